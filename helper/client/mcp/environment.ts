/** Only these of an agent's variables enter a sandbox: what programs need to find each other and the user's language. No secrets. */
const LISTED = /^(PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_[A-Z]+|TZ)$/;

export function insideEnvironment(env: NodeJS.ProcessEnv): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined && LISTED.test(entry[0])),
  );
}

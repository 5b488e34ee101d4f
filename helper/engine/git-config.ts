/** Git's configuration files, as git-config(1) has them: who commits, and what must not enter a sandbox. Plain functions over text. */

/** Sections that hold nothing else. */
const SECTIONS = /^(credential|sendemail|imap|gpg)$/i;
/** Of any section: headers and cookies for servers, keys, words to pass, and that commits be signed (the key is not there). */
const KEYS =
  /^(extraheader|cookiefile|savecookies|sslkey|sslcert|sslcertpasswordprotected|signingkey|gpgsign|.*pass(word)?|.*token|.*secret|.*apikey)$/i;
/** `https://name:word@host`: the part before the @. */
const USERINFO = /\b([a-z][a-z0-9+.-]*:\/\/)[^/@\s"]*:[^/@\s"]*@|\b(https?:\/\/)[^/@\s"]+@/gi;

/** Without what would let somebody act in its owner's name. @returns the text as it is where it holds none of it */
export function withoutCredentials(text: string): string {
  let section = '';
  let kept = '';
  for (const line of logicalLines(text)) {
    const head = /^\s*\[\s*([A-Za-z0-9.-]+)\s*("(?:[^"\\]|\\.)*")?\s*\]/.exec(line);
    if (head) section = head[1]!.split('.')[0]!;
    // A rewritten address that bears a name and a word: what is rewritten to it has no use without.
    if (head?.[2] !== undefined && hasUserinfo(head[2])) section = 'credential';
    if (SECTIONS.test(section)) continue;
    const body = head ? line.slice(head[0].length) : line;
    const key = /^\s*([A-Za-z][A-Za-z0-9-]*)/.exec(body)?.[1];
    if (key !== undefined && KEYS.test(key)) kept += head ? `${head[0]}\n` : '';
    else kept += line.replace(USERINFO, '$1$2');
  }
  return kept;
}

function hasUserinfo(text: string): boolean {
  return text.replace(USERINFO, '') !== text;
}

/** A line that ends with a backslash goes on in the next one. Each with its line's end. */
function logicalLines(text: string): string[] {
  return text.match(/(?:[^\\\n]|\\(?:\n|[^\n]|$))*(?:\n|$)/g)?.filter((line) => line !== '') ?? [];
}

/** Values in quotes, with \ before quotes and itself. */
export function gitConfig({ name, email }: { name?: string; email?: string }): string {
  const entries = Object.entries({ name, email }).filter((entry) => entry[1] !== undefined);
  if (!entries.length) return '';
  const lines = entries.map(([key, value]) => `\t${key} = "${value!.replace(/[\\"]/g, '\\$&')}"\n`);
  return `[user]\n${lines.join('')}`;
}

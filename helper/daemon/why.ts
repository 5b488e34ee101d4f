/** Why a command may have failed that its own words do not say: it looked for a network that the sandbox has not. */

/** What resolvers and programs say where a name or an address can't be reached. */
const NO_NETWORK =
  /Temporary failure in name resolution|Temporary failure resolving|Could not resolve host|Could not resolve proxy|Name or service not known|Unknown host|UnknownHostException|nodename nor servname|EAI_AGAIN|ENOTFOUND|ENETUNREACH|Network is unreachable|failed to lookup address|dns error|lookup \S+( on \S+)?: (no such host|dial|server misbehaving)|unable to resolve host/i;
/** Programs say it last. */
const LAST = 16 << 10;

/** @returns a sentence for people, or undefined */
export function whyFailed(
  ran: { exitCode: number; output: Buffer },
  sandbox: { name: string; network: 'none' | 'nat' },
): string | undefined {
  if (ran.exitCode === 0 || sandbox.network !== 'none') return undefined;
  const said = ran.output.subarray(Math.max(0, ran.output.length - LAST)).toString('latin1');
  if (!NO_NETWORK.test(said)) return undefined;
  return `${sandbox.name} has no network; to allow one: teleport-env network ${sandbox.name} nat`;
}

/** Why a command may have failed that its own words do not say: it looked for a network, or to be root, and the sandbox has neither. */

import { shellWord } from '../protocol/shell-word.ts';
import { ROOT_INSIDE } from './owner.ts';

/** What resolvers and programs say where a name or an address can't be reached. */
const NO_NETWORK =
  /Temporary failure in name resolution|Temporary failure resolving|Could not resolve host|Could not resolve proxy|Name or service not known|Unknown host|UnknownHostException|nodename nor servname|EAI_AGAIN|ENOTFOUND|ENETUNREACH|Network is unreachable|failed to lookup address|dns error|lookup \S+( on \S+)?: (no such host|dial|server misbehaving)|unable to resolve host/i;
/** What sudo, su, pkexec, mount's kind and apt say where nobody can become root. */
const NO_ROOT =
  /"no new privileges" flag is set|sudo: effective uid is not 0|must be setuid root|doas: (Operation not permitted|not installed setuid)|su: (Authentication failure|cannot set|failed to)|are you root\?|must be superuser|This command has to be run (with superuser|under the root)/i;
/** Programs say it last. */
const LAST = 16 << 10;

/** @returns a sentence for people, or undefined */
export function whyFailed(
  ran: { exitCode: number; output: Buffer },
  sandbox: { name: string; network: 'none' | 'nat'; owner?: { uid: number }; root?: boolean },
): string | undefined {
  if (ran.exitCode === 0) return undefined;
  const { name } = sandbox;
  const said = ran.output.subarray(Math.max(0, ran.output.length - LAST)).toString('latin1');
  if (sandbox.network === 'none' && NO_NETWORK.test(said))
    return `${name} has no network; to allow one: teleport-env network ${shellWord(name)} nat`;
  if (NO_ROOT.test(said) && sandbox.owner?.uid !== 0 && !sandbox.root)
    return `nothing in ${name} can become root; where the administrator allows it (${ROOT_INSIDE}): teleport-env up --new --root, or the setting teleportEnv.sandbox.root`;
  return undefined;
}

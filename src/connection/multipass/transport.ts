/** Two ways to run a program inside the machine with its streams in our hands. */

import { randomBytes } from 'node:crypto';
import { shellLine } from '../../../helper/protocol/shell-word.ts';
import { t } from '../../l10n.ts';
import { MultipassError } from './errors.ts';
import { neverFour } from './guest.ts';
import { exec } from './operations.ts';
import type { Program, ProgramOptions } from './runner.ts';

export type TransportKind = 'exec' | 'ssh';

export interface Transport {
  readonly kind: TransportKind;
  /** @param terminal the program is to have one there; then our own standard input is one, too */
  program(argv: readonly string[], terminal?: boolean): Program;
}

export function execTransport(multipass: string, name: string): Transport {
  return { kind: 'exec', program: (argv) => ({ command: multipass, args: exec(name, neverFour(argv)) }) };
}

export interface SshOptions {
  readonly name: string;
  readonly address: string;
  readonly keyFile: string;
  readonly knownHosts: string;
  readonly ssh?: string;
}

export function sshTransport({ name, address, keyFile, knownHosts, ssh = 'ssh' }: SshOptions): Transport {
  const options = [
    'BatchMode=yes',
    'IdentitiesOnly=yes',
    // The machine's own key is told apart by its name: its address changes with the networks.
    `HostKeyAlias=teleport-env-${name}`,
    'StrictHostKeyChecking=accept-new',
    `UserKnownHostsFile=${inConfig(knownHosts)}`,
    'LogLevel=ERROR',
    // Until the keys are exchanged; how long one is waited for altogether is the caller's to say.
    'ConnectTimeout=120',
    // A laptop that slept: notice that the other end is gone, within a minute.
    'ServerAliveInterval=15',
    'ServerAliveCountMax=3',
  ];
  const before = ['-F', 'none', '-i', keyFile, ...options.flatMap((option) => ['-o', option])];
  return {
    kind: 'ssh',
    program: (argv, terminal = false) => ({
      command: ssh,
      args: [...before, terminal ? '-tt' : '-T', `ubuntu@${address}`, '--', shellLine(neverFour(argv))], // ssh joins words with blanks, and the far shell splits them
    }),
  };
}

/** ssh reads this value as a line of its configuration: blanks divide, `%` begins a token. */
function inConfig(path: string): string {
  return `"${path.replaceAll('%', '%%')}"`;
}

/** Which one is tried first: on Windows `multipass exec` loses standard input and hangs on output. */
export function order(platform: NodeJS.Platform, remembered: TransportKind | undefined): TransportKind[] {
  const [first, second]: [TransportKind, TransportKind] = platform === 'win32' ? ['ssh', 'exec'] : ['exec', 'ssh'];
  return remembered === second ? [second, first] : [first, second];
}

/** More than the 4 KB at which some versions' output stops. */
const PROBE_BYTES = 24_000;
const PROBE_MS = 20_000;

/** What is run to try a transport: it must carry this in, and out again. */
export async function carries(
  transport: Transport,
  run: (program: Program, options: ProgramOptions) => Promise<{ exitCode: number | undefined; stdout: string }>,
  signal?: AbortSignal,
): Promise<boolean> {
  const sent = randomBytes(PROBE_BYTES / 2).toString('hex');
  const ended = await run(transport.program(['cat']), { stdin: sent, timeoutMs: PROBE_MS, signal });
  signal?.throwIfAborted();
  return ended.exitCode === 0 && ended.stdout === sent;
}

/**
 * The first that carries a stream both ways, the remembered one first.
 * @throws MultipassError `unreachable`
 */
export async function chooseTransport(
  candidates: readonly Transport[],
  run: Parameters<typeof carries>[1],
  name: string,
  signal?: AbortSignal,
): Promise<Transport> {
  for (const transport of candidates) if (await carries(transport, run, signal)) return transport;
  throw new MultipassError(
    'unreachable',
    t('The machine {0} runs, but answers neither through “multipass exec” nor over ssh.', name),
    t('Try “multipass shell {0}” in a terminal; a VPN or a firewall may stand between. Then connect again.', name),
  );
}

/** Brings our part of the machine up to date, over whichever way leads in. */
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { t } from '../../l10n.ts';
import { MultipassError } from './errors.ts';
import type { Report } from './launch-output.ts';
import type { Payload } from './payload.ts';
import { needsProvisioning, type Provisioned, parseProvisioned } from './plan.ts';
import type { Program, ProgramOptions } from './runner.ts';
import type { Transport } from './transport.ts';

export type RunProgram = (
  program: Program,
  options: ProgramOptions,
) => Promise<{ exitCode: number | undefined; stdout: string; stderr: string }>;

export interface Way {
  readonly transport: Transport;
  readonly run: RunProgram;
  readonly signal?: AbortSignal;
}

const ASK_MS = 30_000;
/** Packages may come over a slow line. */
const PROVISION_MS = 45 * 60_000;
const INITIALIZE_MS = 20 * 60_000;

/** What the machine tells of itself, asked in one go: each question costs a connection. */
export interface Inside {
  /** cloud-init is through. */
  readonly initialized: boolean;
  /** Our cloud-init document made it. */
  readonly ours: boolean;
  readonly provisioned: Provisioned | null;
  /** `x86_64` or `aarch64`. */
  readonly processor: string;
}

const LOOK = `echo "processor $(uname -m)"
cd /etc/teleport-env 2>/dev/null && echo "provisioned $(cat provisioned 2>/dev/null)"
test -e /etc/teleport-env/machine && echo ours
test -e /var/lib/cloud/instance/boot-finished && echo initialized
true`;

/** @throws MultipassError `unreachable` */
export async function lookInside(way: Way): Promise<Inside> {
  const ended = await way.run(way.transport.program(['sh', '-c', LOOK]), { timeoutMs: ASK_MS, signal: way.signal });
  way.signal?.throwIfAborted();
  if (ended.exitCode !== 0)
    throw new MultipassError(
      'unreachable',
      t('The machine does not answer: {0}', ended.stderr.trim() || `exit ${ended.exitCode}`),
    );
  const lines = ended.stdout.trim().split('\n');
  const after = (word: string) => lines.find((line) => line.startsWith(`${word} `))?.slice(word.length + 1);
  const stamp = after('provisioned');
  return {
    initialized: lines.includes('initialized'),
    ours: lines.includes('ours'),
    provisioned: stamp === undefined ? null : parseProvisioned(stamp),
    processor: after('processor') ?? '',
  };
}

/** Does nothing where the machine has all of it. True: something was done, and a helper of before is another one now. */
export async function provision(way: Way, inside: Inside, payload: Payload, report: Report): Promise<boolean> {
  const found = inside.provisioned;
  if (!needsProvisioning(found, payload.provisioned)) return false;
  report({ stage: 'provision', message: found ? t('Updating the helper') : t('Sending the helper') });
  const mark = payload.provisioned.payload;
  // A folder of its own in the user's home: /tmp may be mounted without the right to execute.
  const script =
    'set -e; d=$(mktemp -d "$HOME/.teleport-env-XXXXXX"); trap \'rm -rf "$d"\' EXIT; tar -x -C "$d" --no-same-owner; ' +
    `sudo -n TELEPORT_ENV_PAYLOAD=${mark} sh "$d/multipass/provision.sh" 2>&1`;
  const ended = await way.run(way.transport.program(['bash', '-c', script]), {
    stdin: Readable.from(payload.stream(inside.processor, way.signal)),
    timeoutMs: PROVISION_MS,
    signal: way.signal,
    onOutput: provisionOutput(report),
  });
  way.signal?.throwIfAborted();
  if (ended.exitCode === 0) return true;
  const said = `${ended.stdout}\n${ended.stderr}`.trim().split('\n');
  const last = said.filter((line) => !line.startsWith('@@')).at(-1);
  throw new MultipassError(
    'provisioning',
    t('The machine could not be provisioned: {0}', last || `exit ${ended.exitCode}`),
    t('Try again: what is done is kept. multipass/README.md tells how to do it by hand.'),
  );
}

/** `@@ 2 4 Installing Node` as a step; other lines are for the log. */
export function provisionOutput(report: Report): (text: string) => void {
  let rest = '';
  return (text) => {
    const lines = `${rest}${text}`.split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      const found = line.match(/^@@ (\d+) (\d+) (.+)$/);
      if (found)
        report({ stage: 'provision', message: found[3]!, done: Number(found[1]) - 1, total: Number(found[2]) });
    }
  };
}

/** Until cloud-init is through, however long multipass itself wanted to wait for it. */
export async function initialized(way: Way, report: Report, pollMs = 2_000): Promise<Inside> {
  const deadline = Date.now() + INITIALIZE_MS;
  for (;;) {
    const inside = await lookInside(way);
    if (inside.initialized) return inside;
    if (Date.now() > deadline)
      throw new MultipassError(
        'initTimeout',
        t('The machine’s first boot did not end within {0} minutes.', INITIALIZE_MS / 60_000),
        t('Set it up again later: it goes on where it is. “cloud-init status --long” inside tells what it waits for.'),
      );
    report({ stage: 'initialize', message: t('Waiting for its first boot') });
    await sleep(pollMs, undefined, { signal: way.signal });
  }
}

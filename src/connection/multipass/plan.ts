/** What decides in a launch: plain functions over what was found. */
import { t } from '../../l10n.ts';
import { MultipassError, updateHint } from './errors.ts';
import type { Size } from './operations.ts';
import type { Instance, State } from './outputs.ts';

/** Older ones lack `--format json` in what we use, or the exit codes that we go by. */
export const OLDEST = '1.14';

export interface Host {
  readonly platform: NodeJS.Platform;
  readonly cpus: number;
  /** Bytes. */
  readonly memory: number;
  /** Bytes free where machines are kept; undefined: nobody knows. */
  readonly freeDisk?: number;
}

const MIB = 2 ** 20;
const GIB = 2 ** 30;

/** Half of the processors, a quarter of the memory, and a disk that grows as it fills up to a quarter of what is free. */
export function defaultSize({ cpus, memory, freeDisk }: Host): Size {
  const clamp = (low: number, value: number, high: number) => Math.min(Math.max(Math.floor(value), low), high);
  return {
    cpus: clamp(1, cpus / 2, 8),
    memory: clamp(2, memory / 4 / GIB, 8) * 1024,
    disk: clamp(15, (freeDisk ?? 80 * GIB) / 4 / GIB, 40),
  };
}

/** What the image takes before a sandbox is in it. */
const LEAST_DISK = 8 * GIB;

/** @throws MultipassError `noDisk`, `noMemory` */
export function checkRoom(host: Host, size: Size): void {
  const gigabytes = (bytes: number) => `${(bytes / GIB).toFixed(1)} GB`;
  if (host.freeDisk !== undefined && host.freeDisk < LEAST_DISK)
    throw new MultipassError(
      'noDisk',
      t('The disk has {0} left; a machine needs {1} to begin with.', gigabytes(host.freeDisk), gigabytes(LEAST_DISK)),
      t('Make room, then try again.'),
    );
  if (size.memory * MIB > host.memory * 0.75)
    throw new MultipassError(
      'noMemory',
      t(
        'The machine is to have {0} of this computer’s {1} of memory.',
        gigabytes(size.memory * MIB),
        gigabytes(host.memory),
      ),
      t('Lower the setting teleportEnv.machine.memory.'),
    );
}

/** @throws MultipassError `tooOld` */
export function checkVersion(found: { client: string }, platform: NodeJS.Platform): void {
  if (older(found.client, OLDEST))
    throw new MultipassError(
      'tooOld',
      t('Multipass {0} is too old: {1} or later is needed.', found.client, OLDEST),
      updateHint(platform),
    );
}

/** Compares the numbers of versions such as `1.16.3+mac`. */
export function older(a: string, b: string): boolean {
  const numbers = (version: string) =>
    version
      .split(/[+\-~ ]/)[0]!
      .split('.')
      .map((part) => Number.parseInt(part, 10) || 0);
  const [x, y] = [numbers(a), numbers(b)];
  for (let i = 0; i < Math.max(x.length, y.length); i++) {
    const difference = (x[i] ?? 0) - (y[i] ?? 0);
    if (difference !== 0) return difference < 0;
  }
  return false;
}

/** What an instance in that state needs to be spoken to. */
export type Move = 'none' | 'start' | 'recover' | 'wait';

export function moveFor(state: State): Move {
  switch (state) {
    case 'Running':
      return 'none';
    case 'Stopped':
    case 'Suspended':
      return 'start';
    case 'Deleted':
      return 'recover';
    default:
      // On its way somewhere: from there one goes on.
      return 'wait';
  }
}

/** The words for what is done about it. */
export function moveWords({ name, state }: Instance): string {
  switch (state) {
    case 'Suspended':
      return t('Waking {0}', name);
    case 'Deleted':
      return t('Taking {0} out of Multipass’s trash', name);
    case 'Stopped':
      return t('Starting {0}', name);
    default:
      return t('Waiting for {0}', name);
  }
}

/** What a machine says it was provisioned with: `1 0.1.0 PAYLOAD`. */
export interface Provisioned {
  readonly provision: number;
  readonly version: string;
  readonly payload: string;
}

export function parseProvisioned(text: string): Provisioned | null {
  const found = text.trim().match(/^(\d+) (\S+) (\S+)$/);
  return found ? { provision: Number(found[1]), version: found[2]!, payload: found[3]! } : null;
}

/** A newer machine is left as it is, since another editor's extension is newer: its helper serves us too. */
export function needsProvisioning(found: Provisioned | null, ours: Provisioned): boolean {
  if (!found || found.provision < ours.provision || older(found.version, ours.version)) return true;
  // The same version built anew, while it is being developed.
  return found.version === ours.version && found.provision === ours.provision && found.payload !== ours.payload;
}

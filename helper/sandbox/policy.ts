/**
 * Which checkpoints deserve a standby: a plain function of what was asked for lately. It knows three habits and needs not be told
 * which one it sees: undoing step by step and depth-first search (the current moment and the ones before it), one moment again and
 * again, wherever the head is, and wide fan-out (so fast that standbys made one by one don't suffice: then several of it). A tree
 * search by UCT goes by rewards, which are not seen here: it says what it expects.
 */
import type { CheckpointId } from '../protocol/ids.ts';
import type { Manifest } from './records.ts';
import { lineOf, type Tree } from './tree.ts';

export interface Access {
  checkpoint: CheckpointId;
  /** Milliseconds, of any clock that goes on. */
  at: number;
}

export interface Wish {
  checkpoint: CheckpointId;
  /** Higher is wanted more. */
  weight: number;
}

export interface Limits {
  /** Standbys at once. */
  count: number;
  /** Bytes of memory of all together. */
  bytes: number;
}

/** What a moment's access weighs after that long is halved. One access weighs less than lying next in the line, several more. */
const HALF_LIFE_MS = 20_000;
const ACCESS_WEIGHT = 0.5;
/**
 * The current moment (whose standby also proves it), the one before, … : a slip wants the last one back, and a search that is through
 * with a moment the one before that, however often it was at others.
 */
const LINE_WEIGHTS = [4, 3, 2.4, 0.9];
const HINT_WEIGHT = 10;
/** That many accesses to one moment within that time are a fan-out; each more makes one more standby of it worth having. */
const FAN_ACCESSES = 3;
const FAN_MS = 2000;

/**
 * Wishes in order, best first, cut to the limits. A checkpoint is there as often as standbys of it are wanted.
 * @param accesses rollbacks and forks, any order
 * @param hints what callers said they would want next
 * @param bytesOf resident memory that a standby of a checkpoint takes
 */
export function wishes(
  tree: Tree,
  current: CheckpointId,
  accesses: readonly Access[],
  hints: readonly CheckpointId[],
  now: number,
  limits: Limits,
  bytesOf: (checkpoint: CheckpointId) => number,
): Wish[] {
  const weights = new Map<CheckpointId, number>();
  const add = (checkpoint: CheckpointId, weight: number): void => {
    if (tree.has(checkpoint)) weights.set(checkpoint, (weights.get(checkpoint) ?? 0) + weight);
  };
  const line = lineOf(tree, current).reverse();
  LINE_WEIGHTS.forEach((weight, i) => {
    if (line[i]) add(line[i], weight);
  });
  for (const { checkpoint, at } of accesses) add(checkpoint, ACCESS_WEIGHT * 2 ** (-(now - at) / HALF_LIFE_MS));
  for (const checkpoint of hints) add(checkpoint, HINT_WEIGHT);
  const sorted = [...weights, ...more(accesses, now, limits.count).filter(([checkpoint]) => tree.has(checkpoint))]
    .map(([checkpoint, weight]) => ({ checkpoint, weight }))
    .sort((a, b) => b.weight - a.weight);
  const chosen: Wish[] = [];
  let bytes = 0;
  for (const wish of sorted) {
    if (chosen.length === limits.count) break;
    const size = bytesOf(wish.checkpoint);
    if (chosen.length && bytes + size > limits.bytes) continue;
    bytes += size;
    chosen.push(wish);
  }
  return chosen;
}

/** Further standbys of a moment that is fanned out, each worth a little less than the one before. */
function more(accesses: readonly Access[], now: number, count: number): [CheckpointId, number][] {
  const lately = new Map<CheckpointId, number>();
  for (const { checkpoint, at } of accesses)
    if (now - at <= FAN_MS) lately.set(checkpoint, (lately.get(checkpoint) ?? 0) + 1);
  return [...lately].flatMap(([checkpoint, times]) => {
    const worth = Math.max(0, times - FAN_ACCESSES + 1);
    return Array.from({ length: Math.min(worth, count - 1) }, (_, i): [CheckpointId, number] => [
      checkpoint,
      ACCESS_WEIGHT * (worth - i),
    ]);
  });
}

export interface Standing {
  checkpoint: CheckpointId;
  /** When it was made, of the same clock. */
  since: number;
}

/** A program's timers go on while its standby stands still: an old one would wake to all of them at once. */
export const STANDBY_AGE_MS = 10 * 60_000;
/** Below that share of the machine's memory, what is only likely to be wanted makes room for what is. */
const SCARCE = 0.1;
/** Percentage of the time in which something waits for memory: from then on the machine is short of it, whatever it says is left. */
const STALLED = 10;

/** Available and total: bytes, as MemAvailable and MemTotal of /proc/meminfo. Stalled: percent, as `some avg10` of /proc/pressure/memory. */
export interface MemoryLeft {
  available: number;
  total: number;
  stalled: number;
}

/**
 * Standbys that are to go: all where memory is scarce, else those not wanted any more and those too old. Nothing replaces an old
 * one before somebody works with the sandbox again.
 * @param wanted a checkpoint as often as standbys of it are
 */
export function dismissed<S extends Standing>(
  standing: readonly S[],
  wanted: readonly CheckpointId[],
  now: number,
  memory: MemoryLeft,
): S[] {
  if (isScarce(memory)) return [...standing];
  const room = new Map<CheckpointId, number>();
  for (const checkpoint of wanted) room.set(checkpoint, (room.get(checkpoint) ?? 0) + 1);
  return standing.filter(({ checkpoint, since }) => {
    const left = room.get(checkpoint) ?? 0;
    if (left === 0 || now - since > STANDBY_AGE_MS) return true;
    room.set(checkpoint, left - 1);
    return false;
  });
}

/** None is made then. */
export function isScarce({ available, total, stalled }: MemoryLeft): boolean {
  return available < total * SCARCE || stalled > STALLED;
}

/** What a process maps of files, its share of what it has in common with others, and its page tables. */
const PROCESS_BYTES = 2 ** 20;

/**
 * Memory that a standby of a checkpoint takes: the pages of its image, also those whose blocks are shared on the disk. The checkpoint's
 * files are none of it.
 */
export function standbyBytes({
  memory,
  bytes,
  took,
  processes,
  filesOnly,
}: Pick<Manifest, 'memory' | 'bytes' | 'took' | 'processes' | 'filesOnly'>): number {
  const image = memory ?? bytes + (took?.bytes ?? 0);
  return image + (filesOnly ? 1 : processes + 1) * PROCESS_BYTES; // and PID 1
}

/** Standbys of all sandboxes together take up to that share of the machine's memory, on a small machine up to that many bytes. */
const SHARE = 0.25;
const SMALL_SHARE = 2 ** 30;

/**
 * Whether one more may be made: then all of them together do not take too much, and what is left is not scarce.
 * @param bytes of memory that it takes
 * @param taken by those that there are, of all sandboxes
 */
export function hasRoom(bytes: number, taken: number, memory: MemoryLeft): boolean {
  const { available, total } = memory;
  return (
    taken + bytes <= Math.max(total * SHARE, SMALL_SHARE) && !isScarce({ ...memory, available: available - bytes })
  );
}

/** How busy the machine is, all times milliseconds. */
export interface Load {
  /** Of any clock that goes on. */
  at: number;
  /** In which processors had nothing to do, all of them together, since any moment. */
  idle: number;
  processors: number;
}

/** With less than that many processors idle, programs need all of them. */
const IDLE_PROCESSORS = 0.5;
/** Of the time of all processors, what making standbys may take then. */
const BUSY_SHARE = 0.05;

/**
 * How long those that nobody asked for wait, so that they take only what programs leave, or little.
 * @param begun the load when the first of the last ones was begun
 * @param tookMs what making them took since then
 * @returns milliseconds, 0: the next may be made
 */
export function restMs(begun: Load, tookMs: number, now: Load): number {
  const passed = now.at - begun.at;
  if (passed > 0 && now.idle - begun.idle >= passed * IDLE_PROCESSORS) return 0;
  return Math.max(0, tookMs / (now.processors * BUSY_SHARE) - passed);
}

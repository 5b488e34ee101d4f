/**
 * capture(branch) → checkpoint: the processes by CRIU, the files by a reflink copy of the upperdir beside it. The branch
 * goes on afterwards, undisturbed. Where the upperdir is large, copying it would stop the payload too long: then its
 * contents become the layer as they are (`rotate`), and the branch is left frozen for a successor to replace it.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { TeleportError } from '../protocol/errors.ts';
import { type Live, startTimeOf } from './branch.ts';
import { copyIndexOnly, copyTree } from './copy.ts';
import { CriuError, dump } from './criu.ts';
import { beginDump } from './criu-ahead.ts';
import type { CriuProcess } from './criu-process.ts';
import { inSlices } from './diff.ts';
import { faultPoint } from './fault.ts';
import { mayLackNames } from './hard-links.ts';
import type { BranchLayout, CheckpointLayout } from './layout.ts';
import { libc } from './libc.ts';
import { hasRemaps, maskRemaps, remapsIn, removeRemaps } from './link-remap.ts';
import type { Machine } from './machine.ts';
import { reachesOutside } from './network.ts';
import { noteRotation, rejoin } from './rotation.ts';
import { round, type Steps } from './steps.ts';
import { bytesBelow, countEntries, moveChildren, removeTree } from './trees.ts';

/**
 * From that many entries on rotating stops the payload for a shorter time than copying. Of a shell and a counter, until the successor
 * runs, ms copied/rotated, median and least (the bench's `rotation`, a busy machine): 300 files 40/99, 26/51; 600 77/75, 31/40;
 * 1,000 85/81, 49/35; 3,000 218/116, 154/65.
 */
const ROTATE_ABOVE = 800;
/** For that, and for tests: then memory counts for nothing. */
const FIXED_ABOVE = process.env.TELEPORT_ENV_ROTATE_ABOVE;
/** Where data is not shared, so many bytes of it take as long as one entry (64 MB in 30-40 ms, of 600 files each 50-90 µs). */
const BYTES_AS_ONE = 100_000;
/** To restore a successor, which stands still until then, takes as long for each MB of its memory as to copy so many entries (0.4-0.5 ms). */
const ENTRIES_FOR_A_MB = 8;
/** By then a process that could not go on has ended. */
const LAST_MOMENTS_MS = 50;
/** A dump is tried that often where something is in the way that passes by itself, and that long after. */
const TRIES = 4;
const PASSES_MS = 15;
/** Deleted but open files are kept in the image up to that size. CRIU's default, 1 MiB, fails databases and editors. */
const GHOST_LIMIT = 1 << 30;

export interface Captured {
  /** The upperdir was moved: the branch stands still and must be replaced, or `undoRotation` and thawed. */
  rotated: boolean;
  /** When the payload was stopped, by `performance.now()`. */
  stoppedAt: number;
  /** Milliseconds during which the payload did not run. With `rotated`, up to now: until a successor runs it is more. */
  stoppedMs: number;
  /** Folder of the image that pages were taken over from, and how many bytes. */
  took: { image: string; bytes: number } | null;
  /** Names may be known to the mount's index only (`completeHardLinks`). */
  indexed: boolean;
}

/**
 * @param way `auto` decides by size
 * @param ahead a dump of this branch that was begun before
 * @throws TeleportError `cannotCapture` (a process holds what can't be carried), `volumeFull`; the branch then goes on as
 * it was and nothing is left of the checkpoint
 */
export async function capture(
  machine: Machine,
  live: Live,
  from: BranchLayout,
  to: CheckpointLayout,
  way: 'auto' | 'copy' | 'rotate',
  steps: Steps,
  ahead?: CriuProcess,
): Promise<Captured> {
  for (let tries = TRIES; ; ahead = undefined) {
    const taking = live.writes.since !== null;
    try {
      return await captureOnce(machine, live, from, to, way, steps, ahead);
    } catch (error) {
      if (ahead?.waiting) ahead.kill(); // it was not come to
      const passing = isPassing(error as Error);
      if (--tries === 0 || !(passing || taking)) throw error;
      if (passing) await sleep(PASSES_MS);
      steps.done(`tried again: ${passing ? 'a connection was just being accepted' : 'with all of the memory'}`);
    }
  }
}

/** What is in the way only for a moment, as a connection that is about to be accepted: one to PID 1 is, where a hook asks it. */
function isPassing({ cause }: { cause?: unknown }): boolean {
  return cause instanceof CriuError && cause.reason === 'pendingConnection';
}

async function captureOnce(
  machine: Machine,
  live: Live,
  from: BranchLayout,
  to: CheckpointLayout,
  way: 'auto' | 'copy' | 'rotate',
  steps: Steps,
  ahead?: CriuProcess,
): Promise<Captured> {
  mkdirSync(to.dir, { recursive: true });
  mkdirSync(to.image);
  const shared = await live.writes.ready(to.image);
  // A successor would lose the connections to the outside.
  const mayRotate = way === 'auto' && !reachesOutside(live.pid);
  const since = live.writes.since;
  let rotate = way === 'rotate' || (mayRotate && (await isSoonerMoved(machine, live, from.upper)));
  faultPoint('capture:begun', live.pid);
  const index = join(from.work, 'index');
  let still = performance.now();
  let copying: Promise<void> = Promise.resolve();
  let lacksNames = false;
  let moved = false;
  let processes: ProcessOf[] = [];
  try {
    const { path } = live.cgroup;
    live.cgroup.thawOthers(); // CRIU would wait for them
    const criu = ahead?.waiting ? ahead : beginDump(machine, live.pid);
    criu.proceed([]);
    const dumping = () =>
      dump(
        criu,
        {
          imagesDir: to.image,
          pid: live.pid,
          leaveRunning: true,
          tcpEstablished: true,
          // A connection that nobody has accepted yet: the branch keeps it, and where it is gone back to, the client finds it reset.
          tcpSkipInFlight: true,
          fileLocks: true,
          linkRemap: true,
          ghostLimit: GHOST_LIMIT,
          logLevel: 2,
          ...live.writes.options(to.image),
        },
        {
          // Called once everything stands still. CRIU goes on when this returns, and waits in post-dump: this runs beside it.
          'query-ext-files': () => {
            still = performance.now();
            steps.done('CRIU began, processes stopped');
            faultPoint('capture:stopped', live.pid);
            copying = soon(() => {
              if (rotate) lacksNames = existsSync(index) && mayLackNames(index);
              else copyFiles(from, to);
            });
            copying.catch(() => {}); // told in post-dump
          },
          'post-dump': async () => {
            steps.done('processes dumped');
            await copying;
            faultPoint('capture:copied', live.pid);
            const remaps = hasRemaps(to.image);
            // CRIU makes names for deleted open files, and takes them away when it ends: too early for moving the layer.
            if (rotate) rotate = !remaps;
            if (rotate) live.cgroup.freeze();
            else if (remaps) {
              // Perhaps they were made after their folder had been copied.
              rmSync(to.layer, { recursive: true, force: true });
              rmSync(to.index, { recursive: true, force: true });
              copyFiles(from, to);
            }
            if (!rotate) steps.done('changed files copied');
          },
        },
      );
    const dumped = machine.limiter.withoutMemoryLimit(path, dumping);
    processes = processesOf(live); // while CRIU starts
    const { stats } = await dumped;
    faultPoint('capture:dumped', live.pid);
    // A branch is restored into a control group of its own, whatever the one was that it is dumped in.
    rmSync(join(to.image, 'cgroup.img'), { force: true });
    live.writes.dumped(to.image);
    steps.done(rotate ? 'branch frozen' : 'processes go on');
    if (rotate) {
      await live.cgroup.frozen();
      mkdirSync(to.layer);
      noteRotation(from, to);
      faultPoint('capture:moving', live.pid);
      moved = true;
      moveChildren(from.upper, to.layer);
      faultPoint('capture:moved', live.pid);
      if (existsSync(index)) copyIndexOnly(index, to.index);
      steps.done('upperdir became a layer');
    } else if (hasRemaps(to.image)) {
      const names = remapsIn(to.layer);
      removeRemaps(live.pid, names);
      maskRemaps(to.layer, to.mask, names);
    }
    const stoppedAt = still - (stats?.freezingMicros ?? 0) / 1000;
    const untilNow = performance.now() - stoppedAt;
    return {
      rotated: rotate,
      stoppedAt,
      stoppedMs: round(rotate || !stats ? untilNow : (stats.freezingMicros + stats.frozenMicros) / 1000),
      took:
        since === null || !shared ? null : { image: since, bytes: (stats?.pagesSkipped ?? 0) * libc().getpagesize() },
      // A copy is as the files were when it was made, the index is not any more.
      indexed: rotate ? existsSync(to.index) || lacksNames : isIndexed(index),
    };
  } catch (cause) {
    live.writes.forget();
    if (moved) rejoin(to, from);
    if (rotate) live.cgroup.thaw();
    // Killed while it waited, by whoever is short of memory, and nobody had heard: it had not begun with the processes.
    const unused = ahead?.signalled && !existsSync(join(to.image, 'dump.log'));
    await removeTree(to.dir);
    if (unused) return await captureOnce(machine, live, from, to, way, steps);
    const crashed = cause instanceof CriuError && cause.code === 'crashed';
    throw explain(cause, crashed ? await lost(processes) : []);
  }
}

/** Whether the payload stands still for a shorter time when its files are moved and it is restored on them, than when they are copied. */
async function isSoonerMoved(machine: Machine, live: Live, upper: string): Promise<boolean> {
  const least = Number(FIXED_ABOVE ?? ROTATE_ABOVE);
  if ((await weightOf(machine, upper, least)) < least) return false;
  if (FIXED_ABOVE !== undefined) return true;
  const above = least + ENTRIES_FOR_A_MB * residentMb(live);
  return (await weightOf(machine, upper, above)) >= above;
}

/** What it takes to copy the upper directory, in entries, as far as that is below `limit`. */
async function weightOf({ sharesData }: Machine, upper: string, limit: number): Promise<number> {
  const entries = countEntries(upper, Math.ceil(limit));
  if (sharesData || entries >= limit) return entries;
  return entries + (await inSlices(bytesBelow(upper))) / BYTES_AS_ONE;
}

/** proc_pid_statm(5): the second figure is resident pages. */
function residentMb(live: Live): number {
  const pages = live.cgroup.pids().reduce((sum, pid) => {
    try {
      return sum + Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1]);
    } catch {
      return sum; // it ended meanwhile
    }
  }, 0);
  return (pages * libc().getpagesize()) / 2 ** 20;
}

/** A process of the payload: its pid on the host and inside, and what it is. */
interface ProcessOf {
  pid: number;
  inner: number;
  name: string;
  startTime: string | null;
}

function processesOf(live: Live): ProcessOf[] {
  return live.cgroup.pids().flatMap((pid) => {
    const inner = innerPid(pid);
    return inner === null ? [] : [{ pid, inner, name: nameOf(pid), startTime: startTimeOf(pid) }];
  });
}

/** CRIU runs code of its own in the processes that it dumps; one that it is killed in goes on into that code, and ends of SIGTRAP. */
async function lost(processes: ProcessOf[]): Promise<ProcessOf[]> {
  await sleep(LAST_MOMENTS_MS);
  return processes.filter(({ pid, startTime }) => startTime !== null && startTimeOf(pid) !== startTime);
}

/** After the event loop's current turn, in which CRIU gets its answer. */
function soon(work: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    setImmediate(() => {
      try {
        work();
        resolve();
      } catch (error) {
        reject(error);
      }
    });
  });
}

function copyFiles(from: BranchLayout, to: CheckpointLayout): void {
  copyTree(from.upper, to.layer);
  const index = join(from.work, 'index');
  if (existsSync(index)) copyIndexOnly(index, to.index);
}

function isIndexed(index: string): boolean {
  return existsSync(index) && readdirSync(index).length > 0;
}

/**
 * The files alone, for processes that can't be carried: all stand still while they are copied, so that what belongs together is
 * together. @throws TeleportError `volumeFull`; the branch goes on in any case
 */
export async function captureFiles(
  live: Live,
  from: BranchLayout,
  to: CheckpointLayout,
  steps: Steps,
): Promise<Captured> {
  mkdirSync(to.dir, { recursive: true });
  mkdirSync(to.image);
  const stoppedAt = performance.now();
  live.cgroup.freeze();
  try {
    await live.cgroup.frozen();
    copyFiles(from, to);
    return {
      rotated: false,
      stoppedAt,
      stoppedMs: round(performance.now() - stoppedAt),
      took: null,
      indexed: isIndexed(join(from.work, 'index')),
    };
  } catch (cause) {
    await removeTree(to.dir);
    throw explain(cause);
  } finally {
    live.cgroup.thaw();
    steps.done('files copied');
  }
}

/** Gives a rotated upperdir back to its branch, which may then be thawed. */
export function undoRotation(from: BranchLayout, to: CheckpointLayout): void {
  rejoin(to, from);
}

function explain(cause: unknown, ended: ProcessOf[] = []): TeleportError {
  const error = cause instanceof CriuError && cause.code === 'hook' ? cause.cause : cause;
  const full = error instanceof CriuError && error.reason === 'noSpace';
  if (full || (error as NodeJS.ErrnoException).code === 'ENOSPC' || /No space left/.test(String(error)))
    return new TeleportError(
      'volumeFull',
      'the state volume is full: the checkpoint was not made, the sandbox goes on',
      {
        hint: 'teleport-env gc --keep 10 frees space',
        cause,
      },
    );
  if (!(error instanceof CriuError))
    return new TeleportError('internal', `the checkpoint could not be made: ${(error as Error).message}`, { cause });
  if (error.code === 'crashed' || error.code === 'notStarted') return broken(error, ended);
  const culprit = error.process && {
    pid: innerPid(error.process.pid) ?? error.process.pid,
    command: error.process.command ?? '',
  };
  const message = culprit
    ? error.message.replace(new RegExp(`\\b${error.process!.pid}\\b`, 'g'), `${culprit.pid}`)
    : error.message;
  return new TeleportError('cannotCapture', message, {
    hint: 'end that process, or make a checkpoint of files only',
    process: culprit,
    resource: error.resource,
    cause,
  });
}

/** CRIU itself did not last: no process of the payload stood in the way. */
function broken(error: CriuError, ended: ProcessOf[]): TeleportError {
  const names = ended.map(({ name, inner }) => `${name} (pid ${inner})`).join(', ');
  return new TeleportError('cannotCapture', names ? `${error.message} ${names} ended with it.` : error.message, {
    hint: ended.length ? 'roll back to the newest checkpoint: there they are alive' : 'try again',
    ...(ended[0] ? { process: { pid: ended[0].inner, command: ended[0].name } } : {}),
    cause: error,
  });
}

/** The number that a process of a branch has in there, which is the one that whoever is told can use; null for one of ours. */
function innerPid(pid: number): number | null {
  try {
    const numbers = /^NSpid:[ \t]*(.*)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]?.split('\t') ?? [];
    return numbers.length > 1 ? Number(numbers.at(-1)) : null;
  } catch {
    return null; // it ended meanwhile
  }
}

function nameOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return '';
  }
}

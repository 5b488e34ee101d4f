/**
 * capture(branch) → checkpoint: the processes by CRIU, the files by a reflink copy of the upperdir beside it. The branch
 * goes on afterwards, undisturbed. Where the upperdir is large, copying it would stop the payload too long: then its
 * contents become the layer as they are (`rotate`), and the branch is left frozen for a successor to replace it.
 */
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { TeleportError } from '../protocol/errors.ts';
import { freezeAround, type Live } from './branch.ts';
import { copyIndexOnly, copyTree } from './copy.ts';
import { CriuError, dump } from './criu.ts';
import { worldArguments } from './init.ts';
import type { BranchLayout, CheckpointLayout } from './layout.ts';
import type { Machine } from './machine.ts';
import { round, type Steps } from './steps.ts';
import { countEntries, moveChildren, removeTree } from './trees.ts';

/** Above that many entries rotating stops the payload for a shorter time than copying (measured: they cross at 500-700). */
const ROTATE_ABOVE = 600;
/** Deleted but open files are kept in the image up to that size. CRIU's default, 1 MiB, fails databases and editors. */
const GHOST_LIMIT = 1 << 30;

export interface Captured {
  /** The upperdir was moved: the branch stands still and must be replaced, or `undoRotation` and thawed. */
  rotated: boolean;
  /** Milliseconds during which the payload did not run. With `rotated`, up to now. */
  stoppedMs: number;
  /** Lower files were written to: names may be known to the mount's index only (`completeHardLinks`). */
  indexed: boolean;
}

/**
 * @param way `auto` decides by size
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
): Promise<Captured> {
  mkdirSync(to.dir, { recursive: true });
  mkdirSync(to.image);
  const rotate = way === 'rotate' || (way === 'auto' && countEntries(from.upper, ROTATE_ABOVE) >= ROTATE_ABOVE);
  const index = join(from.work, 'index');
  let stopped = 0;
  let copied = false;
  let failure: unknown;
  try {
    // In the branch's own cgroup CRIU finds no other one to record, and a restore then has none to set up.
    const world = worldArguments({ cgroup: live.cgroup.path, net: live.pid, run: machine.layout.run });
    await dump(
      { binary: machine.criu, prefix: [machine.init, 'enter', ...world, '--'] },
      {
        imagesDir: to.image,
        pid: live.pid,
        leaveRunning: true,
        tcpEstablished: true,
        fileLocks: true,
        linkRemap: true,
        ghostLimit: GHOST_LIMIT,
        logLevel: 2,
      },
      {
        // Called once everything stands still. CRIU goes on when this returns, and waits in post-dump: the copy runs beside it.
        'query-ext-files': () => {
          stopped = performance.now();
          if (!rotate)
            setImmediate(() => {
              try {
                copyTree(from.upper, to.layer);
                if (existsSync(index)) copyIndexOnly(index, to.index);
                copied = true;
              } catch (error) {
                failure = error;
              }
            });
        },
        'post-dump': async () => {
          while (!rotate && !copied && !failure) await new Promise((resolve) => setImmediate(resolve));
          if (failure) throw failure;
          if (rotate) freezeAround(machine, live.cgroup);
        },
      },
    );
    const stoppedMs = round(performance.now() - stopped);
    steps.done(rotate ? 'processes dumped' : 'processes dumped, changed files copied');
    if (rotate) {
      await live.cgroup.frozen();
      mkdirSync(to.layer);
      moveChildren(from.upper, to.layer);
      if (existsSync(index)) copyIndexOnly(index, to.index);
      steps.done('upperdir became a layer');
    }
    const indexed = existsSync(index) && readdirSync(index).length > 0;
    return { rotated: rotate, stoppedMs: rotate ? round(performance.now() - stopped) : stoppedMs, indexed };
  } catch (cause) {
    if (rotate) live.cgroup.thaw();
    await removeTree(to.dir);
    throw explain(cause);
  }
}

/** Gives a rotated upperdir back to its branch, which may then be thawed. */
export function undoRotation(from: BranchLayout, to: CheckpointLayout): void {
  moveChildren(to.layer, from.upper);
}

function explain(cause: unknown): TeleportError {
  const error = cause instanceof CriuError && cause.code === 'hook' ? cause.cause : cause;
  if ((error as NodeJS.ErrnoException).code === 'ENOSPC' || /No space left/.test(String(error)))
    return new TeleportError(
      'volumeFull',
      'the state volume is full: the checkpoint was not made, the sandbox goes on',
      {
        hint: 'teleport-env gc frees space',
        cause,
      },
    );
  if (!(error instanceof CriuError))
    return new TeleportError('internal', `the checkpoint could not be made: ${(error as Error).message}`, { cause });
  return new TeleportError('cannotCapture', error.message, {
    hint: 'end that process, or make a checkpoint of files only',
    process: error.process && { pid: error.process.pid, command: error.process.command ?? '' },
    resource: error.resource,
    cause,
  });
}

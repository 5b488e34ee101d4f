/**
 * Live branches: `launch` makes one from nothing, `activate` makes one of a checkpoint's image; `retire` ends one.
 * All outside state of a branch is its folder, its cgroup and its PID 1; mounts and namespaces go with the processes.
 */
import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, statfsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { promisify } from 'node:util';
import { TeleportError } from '../protocol/errors.ts';
import { Cgroup } from './cgroup.ts';
import { restore } from './criu.ts';
import { beginRestore } from './criu-ahead.ts';
import type { CriuProcess } from './criu-process.ts';
import { faultPoint } from './fault.ts';
import { type Overlay, overlayArguments, type Payload, payloadArguments, worldArguments } from './init.ts';
import type { BranchLayout } from './layout.ts';
import type { Limits } from './limits.ts';
import type { Machine } from './machine.ts';
import { cutOutside, park, reachesOutside, settle } from './network.ts';
import { refillReserve, withReserve } from './reserve.ts';
import { Steps } from './steps.ts';
import { makeLike, removeTree } from './trees.ts';
import { WriteTracking } from './write-tracking.ts';

const run = promisify(execFile);

/** How often one looks whether the PID 1 that is being restored lives. */
const WATCH_MS = 100;

/** Where a branch is made, and on what. */
export interface Ground {
  layout: BranchLayout;
  cgroup: string;
  limits: Limits;
  /** Lower layers, newest first, relative to `from` or absolute. */
  lowers: string[];
  from: string;
}

export interface Live {
  /** Host pid of PID 1. */
  pid: number;
  /** Of PID 1, in clock ticks since boot: with the pid it names the process for good. */
  startTime: string;
  cgroup: Cgroup;
  writes: WriteTracking;
}

/** Of include/linux/sched.h. A PID 1 can stay in that state: it waits for its children, whose tracer waits for it. */
const PF_EXITING = 4;

/** Field 22 of /proc/PID/stat, or null where there is no such process, or only one that is ending or has ended. */
export function startTimeOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const over = fields[0] === 'Z' || fields[0] === 'X' || (Number(fields[6]) & PF_EXITING) !== 0;
    return over ? null : fields[19]!;
  } catch {
    return null;
  }
}

function prepare(ground: Ground): Cgroup {
  const { dir, work, root, upper } = ground.layout;
  try {
    mkdirSync(dir, { recursive: true });
    for (const part of [work, root]) mkdirSync(part);
    // Of the root folder an overlay shows mode and owner of its topmost directory, which is the upper one.
    makeLike(upper, resolve(ground.from, ground.lowers[0]!));
    return Cgroup.make(ground.cgroup);
  } catch (error) {
    rmSync(dir, { recursive: true, force: true });
    throw error;
  }
}

function overlayOf({ layout, lowers, from }: Ground): Overlay {
  const { upper, work, root } = layout;
  return { root, upper, work, lowers, from };
}

async function abandon(ground: Ground, cgroup: Cgroup): Promise<void> {
  await cgroup.end();
  await removeTree(ground.layout.dir);
}

/** The first branch of a sandbox, or one of a files-only checkpoint: nothing runs in it but PID 1. */
export async function launch(machine: Machine, ground: Ground, payload: Payload, hostname: string): Promise<Live> {
  const cgroup = withReserve(() => prepare(ground));
  try {
    faultPoint('branch:prepared');
    const cgroups = [ground.cgroup, ...machine.limiter.groups(ground.cgroup)];
    const world = worldArguments({ cgroups, net: 'new', run: machine.layout.run, overlay: overlayOf(ground) });
    const words = ['launch', ...world, ...payloadArguments(payload, hostname)];
    const { stdout } = await run(machine.init, words, { env: {}, timeout: 20_000 });
    const pid = Number(stdout.trim());
    machine.limiter.apply(cgroup.path, pid, ground.limits);
    faultPoint('branch:live', pid);
    return { pid, startTime: startTimeOf(pid) ?? '', cgroup, writes: new WriteTracking() };
  } catch (cause) {
    await abandon(ground, cgroup);
    const text = ((cause as { stderr?: string }).stderr || (cause as Error).message).trim();
    const message = `the branch could not be started: ${text}`;
    if (/new namespaces: /.test(text))
      throw new TeleportError('noNamespaces', message, {
        hint: 'teleport-env doctor tells what forbids it. In a chroot the kernel always does: use a container or pivot_root',
        cause,
      });
    throw new TeleportError('internal', message, { cause });
  }
}

/**
 * Restores an image. `frozen`: its processes do not run until the cgroup is thawed. `network` gives it its network before
 * that. `check` runs beside, and none of them runs before it resolved. `ahead` was begun for the ground's control group.
 * @throws TeleportError `restoreFailed`; then nothing of the branch is left
 */
export async function activate(
  machine: Machine,
  ground: Ground,
  image: string,
  options: {
    frozen: boolean;
    network?: (pid: number) => void;
    check?: () => Promise<void>;
    ahead?: CriuProcess;
  },
  steps = new Steps(),
): Promise<Live> {
  let cgroup: Cgroup;
  try {
    cgroup = withReserve(() => prepare(ground));
  } catch (cause) {
    // Both were there before.
    options.ahead?.kill();
    await new Cgroup(ground.cgroup).end();
    throw explainRestore(cause, ground);
  }
  steps.done('branch folder and cgroup made');
  const checked = options.check?.();
  const hopeless = new AbortController();
  checked?.catch(() => hopeless.abort()); // told below
  let watch: NodeJS.Timeout | undefined;
  const { ahead } = options;
  const writes = new WriteTracking();
  const pidOf = { root: 0 };
  try {
    faultPoint('branch:prepared');
    const criu = ahead?.waiting ? ahead : beginRestore(machine, ground.cgroup);
    criu.proceed(overlayArguments(overlayOf(ground)));
    const { pid } = await restore(
      criu,
      {
        imagesDir: image,
        workDir: ground.layout.dir,
        root: ground.layout.root,
        tcpEstablished: true,
        fileLocks: true,
        logLevel: 2,
        mapAhead: options.frozen,
        directPages: machine.readsDirect,
        rootCgroup: ground.cgroup,
        ...writes.keeping(),
        // CRIU can wait for ever for pages that are not there, or for a PID 1 that was killed.
        signal: hopeless.signal,
        killAfterMs: 300,
      },
      {
        'setup-namespaces': async (root) => {
          pidOf.root = root!;
          park(root!);
          // It is alone yet, and its children are born where it is. A CRIU that is not ours leaves it where CRIU is.
          if (!cgroup.pids().includes(root!)) await cgroup.take(root!);
          watch = setInterval(() => startTimeOf(root!) === null && hopeless.abort(), WATCH_MS).unref();
        },
        'pre-resume': async () => {
          steps.done('layers mounted read-only, image restored');
          faultPoint('branch:restoring', pidOf.root);
          await checked;
          if (checked) steps.done('image compared with its sums');
          settle(pidOf.root);
          machine.limiter.apply(cgroup.path, pidOf.root, ground.limits);
          options.network?.(pidOf.root);
          if (options.frozen) cgroup.freeze();
        },
      },
    );
    faultPoint('branch:live', pid);
    steps.done(options.frozen ? 'processes frozen' : 'processes let go');
    const startTime = startTimeOf(pid);
    if (!startTime) throw new Error('the restored processes ended at once');
    writes.restored(image);
    return { pid, startTime, cgroup, writes };
  } catch (cause) {
    writes.end();
    // Killed while it waited, by whoever is short of memory: that is no fault of the image. Asked before we end it ourselves.
    const lost = ahead?.signalled && pidOf.root === 0 && !hopeless.signal.aborted;
    await abandon(ground, cgroup);
    if (lost) return await activate(machine, ground, image, { ...options, ahead: undefined }, steps);
    await checked; // that the image is damaged says more than what CRIU found
    throw explainRestore(cause, ground);
  } finally {
    clearInterval(watch);
  }
}

/** CRIU tells a full file system by whatever it could not do then. */
function isFull({ layout }: Ground): boolean {
  const { bavail, bsize } = statfsSync(dirname(layout.dir));
  return bavail * bsize < 1 << 20;
}

function explainRestore(cause: unknown, ground: Ground): TeleportError {
  const text = `the checkpoint could not be restored: ${(cause as Error).message}`;
  const full =
    (cause as NodeJS.ErrnoException).code === 'ENOSPC' || /ENOSPC|No space left/.test(text) || isFull(ground);
  return full
    ? new TeleportError('volumeFull', `${text} (the state volume is full)`, {
        hint: 'teleport-env gc --keep 10 frees space',
        cause,
      })
    : new TeleportError('restoreFailed', text, { cause });
}

/**
 * Ends a branch: its connections to the outside by a reset, its processes by SIGKILL, its cgroup, its folder (moved to the trash
 * first, so that no step can leave half of it).
 */
export async function retire(layout: BranchLayout, live: Live): Promise<Steps> {
  const steps = new Steps();
  cutLoose(live);
  live.writes.end();
  await live.cgroup.end();
  steps.done('old processes ended by SIGKILL');
  faultPoint('branch:retired');
  await removeTree(layout.dir);
  steps.done('their volatile upperdir discarded');
  refillReserve();
  return steps;
}

/**
 * Stops a branch that is to be ended, and resets its connections to the outside: its network goes with its processes, often before
 * the kernel has told the far ends, and those would send to nobody until their patience is over.
 */
export function cutLoose({ pid, startTime, cgroup }: Live): void {
  if (startTimeOf(pid) !== startTime) return;
  try {
    cgroup.freeze(); // no program sees it and connects anew
    if (reachesOutside(pid)) cutOutside(pid);
  } catch (error) {
    // It ended just now, by itself.
    if (startTimeOf(pid) === startTime) throw error;
  }
}

/** Host pids of a branch without its PID 1. */
export function payloadOf(live: Live): number[] {
  return live.cgroup.pids().filter((pid) => pid !== live.pid);
}

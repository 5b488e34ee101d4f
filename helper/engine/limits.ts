/**
 * What a branch may take: processes and memory. Each branch has its own allowance and not a share of its sandbox's, so that
 * however full the head is, a rollback finds room beside it. By whichever the machine has, for each of the two apart:
 *
 * - cgroup v2: the controller is enabled for the branches' groups;
 * - cgroup v1: a group of the same name in the controller's hierarchy, which a branch joins as well;
 * - neither: rlimits, inherited from PID 1. They count processes of a user (root is exempt) and memory by the process.
 *
 * Source: Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/{pids,memory}.rst, getrlimit(2).
 */
import { existsSync, mkdirSync, readFileSync, rmdirSync, statSync, writeFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { check, libc } from './libc.ts';
import { killQuietly, processesIn } from './processes.ts';

export interface Limits {
  /** Null: no limit. */
  processes: number | null;
  /** Bytes. */
  memory: number | null;
}

type Controller = 'pids' | 'memory';
type Means = { way: 'v2' } | { way: 'v1'; mount: string } | { way: 'rlimit' };

/** Far above what work needs, far below what makes a machine stand still. */
export function defaultLimits(): Limits {
  return { processes: 4096, memory: Math.floor(totalmem() * 0.75) };
}

/** Room for PID 1 and CRIU, which work in the branch's group and are not the payload's. */
const SPARE = { processes: 16, memory: 48 << 20 };
const RLIMIT_DATA = 2;
const RLIMIT_NPROC = 6;

/** How each is limited here; enables what of cgroup v2 can be. @param cgroups folder of the branches' groups */
export function findMeans(
  cgroups: string,
  mountinfo = readFileSync('/proc/self/mountinfo', 'utf8'),
): Record<Controller, Means> {
  const find = (controller: Controller): Means => {
    if (enable(controller, cgroups)) return { way: 'v2' };
    const mount = v1Mount(controller, mountinfo);
    return mount ? { way: 'v1', mount } : { way: 'rlimit' };
  };
  return { pids: find('pids'), memory: find('memory') };
}

export function v1Mount(controller: string, mountinfo: string): string | null {
  for (const line of mountinfo.split('\n')) {
    const [before, after] = line.split(' - ');
    const [type, , options] = after?.split(' ') ?? [];
    if (type === 'cgroup' && options?.split(',').includes(controller)) return before!.split(' ')[4]!;
  }
  return null;
}

/** Hands a cgroup v2 controller down to the children of `group`. */
function enable(controller: Controller, group: string): boolean {
  for (const dir of [dirname(group), group]) {
    const read = (file: string): string[] => {
      try {
        return readFileSync(join(dir, file), 'utf8').trim().split(' ');
      } catch {
        return [];
      }
    };
    if (!read('cgroup.controllers').includes(controller)) return false;
    if (read('cgroup.subtree_control').includes(controller)) continue;
    try {
      writeFileSync(join(dir, 'cgroup.subtree_control'), `+${controller}`);
    } catch {
      return false; // the group holds processes itself
    }
  }
  return true;
}

export class Limiter {
  readonly means: Record<Controller, Means>;

  constructor(cgroups: string, means = findMeans(cgroups)) {
    this.means = means;
  }

  /** The v1 groups that go with a branch's cgroup, made where they are not. */
  groups(path: string): string[] {
    const made: string[] = [];
    for (const controller of ['pids', 'memory'] as const) {
      const group = this.v1(controller, path);
      if (!group || made.includes(group)) continue; // both may be one hierarchy
      mkdirSync(group, { recursive: true });
      made.push(group);
    }
    return made;
  }

  private v1(controller: Controller, path: string): string | null {
    const means = this.means[controller];
    return means.way === 'v1' ? join(means.mount, basename(dirname(path)), basename(path)) : null;
  }

  /** @param init host pid of the branch's PID 1 */
  apply(path: string, init: number, limits: Limits): void {
    const { processes, memory } = limits;
    const pids = processes === null ? null : processes + SPARE.processes;
    const bytes = memory === null ? null : memory + SPARE.memory;
    if (this.means.pids.way === 'rlimit') rlimit(init, RLIMIT_NPROC, pids);
    else write(join(this.v1('pids', path) ?? path, 'pids.max'), pids, 'max');
    if (this.means.memory.way === 'rlimit') rlimit(init, RLIMIT_DATA, bytes);
    else this.memory(path, bytes);
  }

  private memory(path: string, bytes: number | null): void {
    const group = this.v1('memory', path);
    if (group) {
      write(join(group, 'memory.limit_in_bytes'), bytes, '-1');
      return;
    }
    write(join(path, 'memory.max'), bytes, 'max');
    // Swapping would only put off the end, and slow down everybody else until then.
    if (existsSync(join(path, 'memory.swap.max')))
      write(join(path, 'memory.swap.max'), bytes === null ? null : 0, 'max');
  }

  /** While CRIU copies a branch's memory, in its group, nothing may fail for want of some. */
  async withoutMemoryLimit<T>(path: string, work: () => Promise<T>): Promise<T> {
    if (this.means.memory.way === 'rlimit') return await work();
    const group = this.v1('memory', path);
    const file = group ? join(group, 'memory.limit_in_bytes') : join(path, 'memory.max');
    const limit = readFileSync(file, 'utf8').trim();
    writeFileSync(file, group ? '-1' : 'max');
    try {
      return await work();
    } finally {
      try {
        writeFileSync(file, limit);
      } catch {
        // the branch has ended
      }
    }
  }
}

/**
 * Removes the v1 groups that went with a cgroup whose processes have ended. A CRIU that is only in these is killed: whoever it worked
 * for is no more. @throws Error after `timeoutMs`
 */
export async function removeTwins(
  path: string,
  timeoutMs = 10_000,
  mountinfo = readFileSync('/proc/self/mountinfo', 'utf8'),
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  for (const controller of ['pids', 'memory']) {
    const mount = v1Mount(controller, mountinfo);
    if (!mount) continue;
    const folder = join(mount, basename(dirname(path)));
    const twin = join(folder, basename(path));
    while (!removedEmpty(twin)) {
      for (const pid of processesIn(twin)) killQuietly(pid);
      if (Date.now() > deadline) throw new Error(`processes in ${twin} did not end within ${timeoutMs} ms`);
      await sleep(1);
    }
    removedEmpty(folder); // unless others are in there
  }
}

/** True where there is none any more. */
function removedEmpty(group: string): boolean {
  const links = statSync(group, { throwIfNoEntry: false })?.nlink;
  if (links === undefined) return true;
  // A folder of none below it has two links. What rmdir refuses costs more than to ask.
  if (links !== 2) return false;
  try {
    rmdirSync(group);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT';
  }
}

function write(file: string, value: number | null, none: string): void {
  writeFileSync(file, value === null ? none : String(value));
}

function rlimit(pid: number, resource: number, value: number | null): void {
  const both = Buffer.alloc(16);
  const wanted = value === null ? 0xffff_ffff_ffff_ffffn : BigInt(value);
  both.writeBigUInt64LE(wanted, 0);
  both.writeBigUInt64LE(wanted, 8);
  check(libc().prlimit64(pid, resource, both, null), 'prlimit64');
}

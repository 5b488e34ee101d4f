/** What a helper holds of the machine, counted: before and after, nothing may have been added. */
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { v1Mount } from '../../helper/engine/limits.ts';
import type { HelperProcess } from './helper-process.ts';

export interface Census {
  /** Mount points below its folder. */
  mounts: number;
  loops: number;
  /** Control groups of branches, in every hierarchy. */
  groups: number;
  /** In those groups, and children of the helper elsewhere. */
  processes: number;
  /** Of these processes, and whatever the helper holds open or bound; its own left out. */
  namespaces: number;
  /** Open in the helper. */
  descriptors: number;
  sandboxes: number;
  branches: number;
  checkpoints: number;
  /** On its way out. */
  trash: number;
}

const KINDS = ['net', 'mnt', 'pid', 'user', 'ipc', 'uts'];

export function census(helper: HelperProcess): Census {
  const groups = helper.cgroups().filter((path) => /\/s\d+-b\d+$/.test(path));
  const twins = ['pids', 'memory'].flatMap((controller) => {
    const mount = v1Mount(controller, read('/proc/self/mountinfo'));
    return mount
      ? names(join(mount, basename(helper.cgroups().at(-1) ?? ''))).filter((n) => /^s\d+-b\d+$/.test(n))
      : [];
  });
  const children = read(`/proc/${helper.pid}/task/${helper.pid}/children`).split(' ').filter(Boolean).map(Number);
  const processes = new Set([...helper.cgroups().flatMap(pidsIn), ...children]);
  const sandboxes = names(join(helper.state, 'volume/sandboxes'));
  const below = (folder: string): number =>
    sandboxes.reduce((sum, id) => sum + names(join(helper.state, 'volume/sandboxes', id, folder)).length, 0);
  return {
    mounts: helper.mounts().length,
    loops: loopsOf(helper.dir).length,
    groups: groups.length + twins.length,
    processes: processes.size,
    namespaces: namespaces(helper, processes),
    descriptors: descriptors(helper.pid).length,
    sandboxes: sandboxes.length,
    branches: below('branches'),
    checkpoints: below('checkpoints'),
    trash: names(join(helper.state, 'volume/trash')).length,
  };
}

/** The census once it is `wanted`, or as it is after `withinMs`: what is taken down in the background takes its time. */
export async function settled(helper: HelperProcess, wanted: Partial<Census>, withinMs = 10_000): Promise<Census> {
  for (const deadline = Date.now() + withinMs; ; await sleep(25)) {
    const now = census(helper);
    const same = Object.entries(wanted).every(([what, count]) => now[what as keyof Census] === count);
    if (same || Date.now() > deadline) return now;
  }
}

/** What each descriptor of a process is. */
export function descriptors(pid: number): string[] {
  return names(`/proc/${pid}/fd`).flatMap((fd) => link(`/proc/${pid}/fd/${fd}`) ?? []);
}

export function loopsOf(dir: string): string[] {
  return names('/sys/block').filter((name) => read(`/sys/block/${name}/loop/backing_file`).startsWith(`${dir}/`));
}

function namespaces(helper: HelperProcess, processes: Iterable<number>): number {
  const found = new Set<string>();
  for (const pid of processes) for (const kind of KINDS) found.add(link(`/proc/${pid}/ns/${kind}`) ?? '');
  for (const what of descriptors(helper.pid)) if (/^(net|mnt|pid|user|ipc|uts):/.test(what)) found.add(what);
  for (const line of read('/proc/self/mountinfo').split('\n'))
    if (line.includes(' nsfs ') && line.includes(helper.dir)) found.add(line.split(' ')[3]!);
  for (const kind of KINDS) found.delete(link(`/proc/${helper.pid}/ns/${kind}`) ?? '');
  found.delete('');
  return found.size;
}

function pidsIn(group: string): number[] {
  return read(join(group, 'cgroup.procs')).split('\n').filter(Boolean).map(Number);
}

function names(dir: string): string[] {
  return existsSync(dir) ? readdirSync(dir) : [];
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function link(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch {
    return null;
  }
}

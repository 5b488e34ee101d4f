/** What a helper holds of the machine, counted: before and after, nothing may have been added. */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, readlinkSync, statfsSync, writeFileSync } from 'node:fs';
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

/** What it makes the machine hold, beside that. Of some of it others have, too, or it comes and goes: see `MAY_GROW`. */
export interface Stock {
  /** Inodes of the volume, those among them that have no name any more and are held open. */
  files: number;
  /** Of the volume. */
  MB: number;
  /** Files kept of the base. */
  pins: number;
  /** Tables, chains, sets and rules of its network's firewall. */
  firewall: number;
  /** Interfaces of its network. */
  links: number;
  /** Its own control groups that were removed, and that the kernel has still. */
  dying: number;
  /** The same of cgroup v1, and of all the machine. */
  'dying of v1': number;
  /** Of the machine. */
  networks: number;
}

/**
 * By how much there may be more before that is a leak: the file system rounds, and of what is the machine's others have some as well.
 * Over 500 rollbacks it was 0 MB and none of the others; each makes a group and a network, as do the standbys made meanwhile.
 */
export const MAY_GROW: Partial<Stock> = { MB: 4, dying: 100, 'dying of v1': 400, networks: 50 };

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

/** Firewall and links are the helper's alone where it has a network of its own (`apart`). */
export function stock(helper: HelperProcess): Stock {
  const volume = statfsSync(join(helper.state, 'volume'));
  const pins = readdirSync(join(helper.state, 'volume/pins'), { recursive: true, withFileTypes: true });
  return {
    files: volume.files - volume.ffree,
    MB: Math.round(((volume.blocks - volume.bfree) * volume.bsize) / 2 ** 20),
    pins: pins.filter((entry) => entry.isFile()).length,
    firewall: firewallOf(helper.pid),
    links: read(`/proc/${helper.pid}/net/dev`)
      .split('\n')
      .filter((line) => line.includes(':')).length,
    dying: Number(/^nr_dying_descendants (\d+)$/m.exec(read(join(helper.cgroups().at(-1)!, 'cgroup.stat')))?.[1]),
    'dying of v1': dyingOfV1(),
    networks: networksOfTheMachine(),
  };
}

/** The stock once it is the same for a second: one taken while files are still going would hide as many that stay later on. */
export async function steady(helper: HelperProcess): Promise<Stock> {
  for (let before = stock(helper), times = 0, tries = 0; ; tries++) {
    await sleep(200);
    const now = stock(helper);
    times = (['files', 'pins', 'firewall', 'links'] as const).every((what) => now[what] === before[what])
      ? times + 1
      : 0;
    if (times === 5) return now;
    if (tries > 300) throw new Error(`it never rests: ${JSON.stringify([before, now])}`);
    before = now;
  }
}

/** What there is more of than there may be, by how much: nothing, or what has not gone `withinMs`. */
export async function grown(helper: HelperProcess, before: Stock, withinMs = 10_000): Promise<Partial<Stock>> {
  for (const deadline = Date.now() + withinMs; ; await sleep(100)) {
    const now = stock(helper);
    const more = Object.entries(now)
      .map(([what, count]) => [what, count - before[what as keyof Stock]] as const)
      // A count that could not be taken is none that held.
      .filter(([what, by]) => !(by <= (MAY_GROW[what as keyof Stock] ?? 0)));
    if (more.length === 0 || Date.now() > deadline) return Object.fromEntries(more);
  }
}

/** Some may go while they are counted. */
function groupsBelow(dir: string): number {
  try {
    const groups = readdirSync(dir, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    return groups.reduce((sum, { name }) => sum + 1 + groupsBelow(join(dir, name)), 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return 0;
  }
}

/** MB that a process has of its own and shares. */
export function residentMb(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
}

/** All of the network that the process is in. */
function firewallOf(pid: number): number {
  const words = [`--net=/proc/${pid}/ns/net`, 'nft', '-j', 'list', 'ruleset'];
  const { nftables } = JSON.parse(execFileSync('nsenter', words, { encoding: 'utf8' })) as { nftables: object[] };
  return nftables.filter((what) => !('metainfo' in what)).length;
}

/**
 * Those that nobody can see any more, too. Counted as well are such as are gone, until another is, and free places, until what each
 * processor keeps of them is given back: so both are brought about (net/core/net_namespace.c, `defer_free_list`; Documentation/mm/slub).
 */
function networksOfTheMachine(): number {
  execFileSync('unshare', ['--net', 'true']);
  const slab = '/sys/kernel/slab/net_namespace/shrink';
  if (existsSync(slab)) writeFileSync(slab, '1');
  return Number(/^net_namespace +(\d+)/m.exec(readFileSync('/proc/slabinfo', 'utf8'))?.[1]);
}

function dyingOfV1(): number {
  const [mounts, groups] = [read('/proc/self/mountinfo'), read('/proc/cgroups')];
  const each = ['pids', 'memory'].map((controller) => {
    const mount = v1Mount(controller, mounts);
    const all = new RegExp(`^${controller}\t\\d+\t(\\d+)`, 'm').exec(groups)?.[1];
    return mount ? Number(all) - groupsBelow(mount) - 1 : 0;
  });
  return each.reduce((sum, n) => sum + n, 0);
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

/**
 * What sandboxes need of a machine, each need with what was found and, where it is not met, what to do. Where something
 * can be tried it is tried: that tells more than a version does. What takes root to find out is left out without root.
 */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync, statfsSync } from 'node:fs';
import { arch, release, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import type { Need } from '../protocol/model.ts';
import { findCgroup2 } from './cgroup.ts';
import type { CheckResult } from './criu-check.ts';
import { capabilities, kernelOptions, surroundings, systemRoot } from './doctor-facts.ts';
import { OVERLAY_OPTIONS } from './init.ts';
import { mount, umount2 } from './syscalls.ts';
import { sharesData, type Volume } from './volume.ts';

export interface Patient {
  /** Where the state stands or is to stand. */
  state: string;
  /** Once it is open. */
  volume?: Volume;
  /** What CRIU said; null where there is none, undefined where it was not asked (only root can). */
  criu: CheckResult | null | undefined;
}

const SET_UP = 'run scripts/setup-linux.sh (or npm run setup)';
const GIB = 1024 ** 3;

export async function doctor(patient: Patient): Promise<Need[]> {
  const root = process.geteuid?.() === 0;
  const status = read('/proc/self/status') ?? '';
  const needs: (Need | null)[] = [
    surroundings({
      release: release(),
      arch: arch(),
      version: read('/proc/version') ?? '',
      container: containerKind(),
    }),
    kernelOptions(await kernelConfig()),
    root ? capabilities(status) : null,
    patient.criu === undefined ? null : criu(patient.criu),
    ptrace(),
    root ? await userNamespaces() : null,
    systemRoot(read('/proc/self/mountinfo') ?? ''),
    root ? overlay(patient.volume?.path) : filesystem('overlay', 'Overlay', 'overlay'),
    loop(),
    volumeTools(),
    patient.volume ? volume(patient.volume) : null,
    cgroup(root),
    dirtyTracking(patient.criu),
    nat(),
    disk(patient.state),
  ];
  return needs.filter((need) => need !== null);
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

/** Its kind where it says so. */
function containerKind(): string | undefined {
  if (existsSync('/.dockerenv')) return 'docker';
  if (existsSync('/run/.containerenv')) return 'podman';
  return read('/run/systemd/container')?.trim() || /\0container=([^\0]+)/.exec(`\0${read('/proc/1/environ')}`)?.[1];
}

/** As text; undefined where this kernel does not tell. */
async function kernelConfig(): Promise<string | undefined> {
  if (existsSync('/proc/config.gz')) {
    const { gunzipSync } = await import('node:zlib');
    return gunzipSync(readFileSync('/proc/config.gz')).toString();
  }
  return read(`/boot/config-${release()}`);
}

function criu(found: CheckResult | null): Need {
  const need = { id: 'criu', title: 'CRIU' };
  if (!found) return { ...need, status: 'missing', detail: 'not installed', remedy: SET_UP };
  const version = found.version?.join('.') ?? '';
  if (!found.ok)
    return {
      ...need,
      status: 'missing',
      detail: `${version} does not work on this kernel: ${found.reason}`.trimStart(),
      remedy: `${SET_UP}: it builds one that fits`,
    };
  if (!found.patches.includes('tcp-repair'))
    return {
      ...need,
      status: 'warning',
      detail: `${version}, not our build: connections inside a sandbox do not survive going back`,
      remedy: `${SET_UP} where apt can fetch sources, to have it built`,
    };
  return { ...need, status: 'ok', detail: `${version} with ${found.patches.join(', ')}` };
}

/** 3 forbids even root to look into a process, and stays until the next boot. */
function ptrace(): Need | null {
  if (read('/proc/sys/kernel/yama/ptrace_scope')?.trim() !== '3') return null;
  return {
    id: 'ptrace',
    title: 'Tracing',
    status: 'missing',
    detail: 'kernel.yama.ptrace_scope is 3: nobody may look into processes, CRIU included',
    remedy: 'set kernel.yama.ptrace_scope to 1 in /etc/sysctl.d and restart the machine',
  };
}

async function userNamespaces(): Promise<Need> {
  const need = { id: 'user-namespaces', title: 'User namespaces' };
  try {
    await promisify(execFile)('unshare', ['--user', '--pid', '--mount', '--net', '--ipc', '--uts', '--fork', 'true']);
    return { ...need, status: 'ok', detail: 'can be made' };
  } catch (error) {
    const limit = read('/proc/sys/user/max_user_namespaces')?.trim();
    return {
      ...need,
      status: 'missing',
      detail: `cannot be made: ${firstLine((error as { stderr?: string }).stderr || String(error))}`,
      remedy:
        limit === '0'
          ? 'sysctl -w user.max_user_namespaces=15000'
          : 'in a container: start it with --privileged; otherwise look for a policy (AppArmor, SELinux) that forbids it',
    };
  }
}

function firstLine(text: string): string {
  return text.trim().split('\n')[0]!;
}

/** @param volume where branches will have theirs; without, a tmpfs has to do */
function overlay(volume: string | undefined): Need {
  const need = { id: 'overlay', title: 'Overlay' };
  const place = mkdtempSync(join(volume ?? tmpdir(), '.doctor-'));
  let own = false;
  try {
    if (!volume) {
      mount('teleport-env', place, 'tmpfs', 0);
      own = true;
    }
    for (const dir of ['lower', 'upper', 'work', 'root']) mkdirSync(join(place, dir));
    const dirs = `lowerdir=${place}/lower,upperdir=${place}/upper,workdir=${place}/work`;
    mount('overlay', join(place, 'root'), 'overlay', 0, `${dirs},${OVERLAY_OPTIONS}`);
    umount2(join(place, 'root'));
    return { ...need, status: 'ok', detail: 'mounts, with index and file handles' };
  } catch (error) {
    return {
      ...need,
      status: 'missing',
      detail: `cannot be mounted: ${(error as Error).message}`,
      remedy: 'modprobe overlay; in a container: start it with --privileged',
    };
  } finally {
    if (own) umount2(place);
    rmSync(place, { recursive: true, force: true });
  }
}

/** Without root: whether the kernel knows it. Modules are loaded when they are first used. */
function filesystem(id: string, title: string, name: string): Need {
  const known = new RegExp(`\\t${name}$`, 'm').test(read('/proc/filesystems') ?? '');
  const module = existsSync(`/lib/modules/${release()}/kernel/fs/${name}`);
  if (known || module) return { id, title, status: 'ok', detail: known ? 'in the kernel' : 'a module' };
  return { id, title, status: 'missing', detail: 'this kernel does not know it', remedy: `modprobe ${name}` };
}

function loop(): Need {
  const need = { id: 'loop', title: 'Loop devices' };
  if (existsSync('/dev/loop-control')) return { ...need, status: 'ok', detail: '/dev/loop-control' };
  return {
    ...need,
    status: 'warning',
    detail: 'none: the state volume is kept in memory and lost with the machine',
    remedy: 'modprobe loop; in a container: start it with --privileged',
  };
}

function volumeTools(): Need {
  const need = { id: 'mkfs.xfs', title: 'mkfs.xfs' };
  const there = ['/usr/sbin/mkfs.xfs', '/sbin/mkfs.xfs'].some((path) => existsSync(path));
  if (there) return { ...need, status: 'ok', detail: 'installed' };
  return {
    ...need,
    status: 'warning',
    detail: 'missing: a new volume is ext4, where a checkpoint copies data instead of sharing it',
    remedy: 'apt-get install xfsprogs',
  };
}

function volume({ path, kind }: Volume): Need {
  const need = { id: 'volume', title: 'State volume' };
  const { bavail, blocks, bsize } = statfsSync(path);
  const free = bavail / blocks;
  const shared = sharesData(path);
  const detail = `${kind} at ${path}, ${gib(bavail * bsize)} of ${gib(blocks * bsize)} free, ${shared ? 'shares data between copies' : 'copies data'}`;
  if (free < 0.1)
    return {
      ...need,
      status: 'warning',
      detail,
      remedy: 'teleport-env gc --keep 10, or remove sandboxes that are done with',
    };
  if (kind === 'tmpfs')
    return { ...need, status: 'warning', detail: `${detail}; lost with the machine`, remedy: 'see Loop devices' };
  if (!shared)
    return {
      ...need,
      status: 'warning',
      detail,
      remedy: 'apt-get install xfsprogs, then remove the volume to have it made anew',
    };
  return { ...need, status: 'ok', detail };
}

function gib(bytes: number): string {
  return `${(bytes / GIB).toFixed(1)} GiB`;
}

function cgroup(root: boolean): Need {
  const need = { id: 'cgroup', title: 'Control groups' };
  const mounted = findCgroup2();
  if (!mounted)
    return {
      ...need,
      status: 'missing',
      detail: 'no cgroup v2 is mounted',
      remedy: 'mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified',
    };
  if (!root) return { ...need, status: 'ok', detail: `v2 at ${mounted}` };
  const probe = join(mounted, `teleport-env.doctor-${process.pid}`);
  try {
    mkdirSync(probe);
    const lacking = ['cgroup.freeze', 'cgroup.kill'].filter((file) => !existsSync(join(probe, file)));
    rmdirSync(probe);
    if (lacking.length === 0) return { ...need, status: 'ok', detail: `v2 at ${mounted}, can freeze and kill` };
    return {
      ...need,
      status: 'missing',
      detail: `v2 at ${mounted} lacks ${lacking.join(' and ')}`,
      remedy: 'a kernel of 5.14 or later',
    };
  } catch (error) {
    return {
      ...need,
      status: 'missing',
      detail: `no group can be made at ${mounted}: ${(error as Error).message}`,
      remedy: 'in a container: start it with --privileged --cgroupns=private',
    };
  }
}

/** Only makes things quicker, so its lack is no more than told. */
function dirtyTracking(found: CheckResult | null | undefined): Need | null {
  if (!found?.ok) return null;
  const detail = found.memTrack
    ? 'this kernel tells which memory was written'
    : 'this kernel does not tell CRIU which memory was written: every checkpoint holds all memory';
  return { id: 'dirty-tracking', title: 'Dirty tracking', status: 'ok', detail };
}

function nat(): Need {
  const need = { id: 'nat', title: 'Network for sandboxes' };
  if (['/usr/sbin/nft', '/sbin/nft'].some((path) => existsSync(path))) return { ...need, status: 'ok', detail: 'nft' };
  return {
    ...need,
    status: 'warning',
    detail: 'nft is missing: sandboxes run without network only',
    remedy: 'apt-get install nftables',
  };
}

function disk(state: string): Need {
  const need = { id: 'disk', title: 'Disk' };
  let place = state;
  while (!existsSync(place) && place !== '/') place = dirname(place);
  const { bavail, bsize } = statfsSync(place);
  const detail = `${gib(bavail * bsize)} free below ${place}`;
  if (bavail * bsize >= 2 * GIB) return { ...need, status: 'ok', detail };
  return { ...need, status: 'warning', detail, remedy: 'free some space there' };
}

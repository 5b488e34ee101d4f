/** What can be told of a machine from texts that its kernel gives, without trying anything. */
import type { Need } from '../protocol/model.ts';

export interface Surroundings {
  /** As `uname -r` has it. */
  release: string;
  /** As Node has it. */
  arch: string;
  /** /proc/version. */
  version: string;
  /** Kind of the container, where it is one. */
  container: string | undefined;
}

/** The oldest with `cgroup.kill`. */
const OLDEST = [5, 14] as const;

export function surroundings({ release, arch, version, container }: Surroundings): Need {
  const need = { id: 'machine', title: 'Machine' };
  const [major = 0, minor = 0] = release.split('.').map(Number.parseFloat);
  const wsl = /microsoft/i.test(version) ? (/WSL2/.test(version + release) ? 'WSL2' : 'WSL1') : undefined;
  const where = [wsl, container && `in a container (${container})`].filter(Boolean).join(', ');
  const detail = `Linux ${release} on ${arch}${where && `, ${where}`}`;
  if (arch !== 'x64' && arch !== 'arm64')
    return { ...need, status: 'missing', detail, remedy: 'a machine with an x86_64 or aarch64 processor' };
  if (wsl === 'WSL1')
    return { ...need, status: 'missing', detail, remedy: 'wsl --set-version NAME 2: WSL1 has no Linux kernel' };
  if (major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1]))
    return { ...need, status: 'missing', detail, remedy: `a kernel of ${OLDEST.join('.')} or later` };
  return { ...need, status: 'ok', detail };
}

/** Without these there is no branch, or CRIU can't look at one. */
const NEEDED =
  'CHECKPOINT_RESTORE NAMESPACES UTS_NS IPC_NS PID_NS NET_NS USER_NS CGROUPS SECCOMP_FILTER FHANDLE EVENTFD EPOLL UNIX_DIAG INET_DIAG OVERLAY_FS';
/** Without these something of what is inside can't be saved. */
const WANTED = 'SYSVIPC INET_UDP_DIAG PACKET_DIAG NETLINK_DIAG BLK_DEV_LOOP XFS_FS';

/** @param config as the kernel was configured; undefined where it does not tell */
export function kernelOptions(config: string | undefined): Need {
  const need = { id: 'kernel-options', title: 'Kernel options' };
  if (config === undefined)
    return { ...need, status: 'ok', detail: 'not told by this kernel; what matters is tried, below' };
  const on = new Set([...config.matchAll(/^CONFIG_(\w+)=[ym]$/gm)].map((match) => match[1]!));
  const off = (names: string) => names.split(' ').filter((name) => !on.has(name));
  const lacking = off(NEEDED);
  const wanting = off(WANTED);
  if (lacking.length > 0)
    return {
      ...need,
      status: 'missing',
      detail: `off: ${[...lacking, ...wanting].join(', ')}`,
      remedy: `a kernel with ${lacking.map((name) => `CONFIG_${name}`).join(', ')} (those of Debian and Ubuntu have them)`,
    };
  if (wanting.length > 0)
    return {
      ...need,
      status: 'warning',
      detail: `off: ${wanting.join(', ')}; what uses them inside a sandbox can't be saved`,
      remedy: `a kernel with ${wanting.map((name) => `CONFIG_${name}`).join(', ')}`,
    };
  return { ...need, status: 'ok', detail: 'all on' };
}

/**
 * Null where nothing is to be said of it. A container's root, and that of a system started from a medium, is an overlay itself; of a
 * file that is mapped through two of them the kernel names the inner one, which no branch has mounted (seen with 6.18).
 *
 * @param mountinfo /proc/self/mountinfo
 */
export function systemRoot(mountinfo: string): Need | null {
  const lines = mountinfo.split('\n').filter((line) => line.split(' ')[4] === '/');
  if (!/ - overlay /.test(lines.at(-1) ?? '')) return null;
  return {
    id: 'system-root',
    title: 'System root',
    status: 'warning',
    detail: 'is an overlay itself, as in a container: processes in sandboxes that stand on it can’t be saved',
    remedy: 'give sandboxes another base: teleport-env up --base FOLDER, the root of a system on a disk',
  };
}

/** Bit of each in a capability set. Source: linux/capability.h. */
const CAPABILITIES = {
  CHOWN: 0,
  DAC_OVERRIDE: 1,
  DAC_READ_SEARCH: 2,
  FOWNER: 3,
  KILL: 5,
  SETGID: 6,
  SETUID: 7,
  SETPCAP: 8,
  NET_ADMIN: 12,
  SYS_CHROOT: 18,
  SYS_PTRACE: 19,
  SYS_ADMIN: 21,
  MKNOD: 27,
};

/** @param status /proc/self/status of a process of root's */
export function capabilities(status: string): Need {
  const need = { id: 'capabilities', title: 'Capabilities' };
  const held = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)/m.exec(status)?.[1] ?? '0'}`);
  const lacking = Object.entries(CAPABILITIES)
    .filter(([, bit]) => ((held >> BigInt(bit)) & 1n) === 0n)
    .map(([name]) => `CAP_${name}`);
  if (lacking.length === 0) return { ...need, status: 'ok', detail: 'all that root has' };
  return {
    ...need,
    status: 'missing',
    detail: `root lacks ${lacking.join(', ')} here`,
    remedy: 'in a container: start it with --privileged',
  };
}

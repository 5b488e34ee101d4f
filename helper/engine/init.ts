/** How teleport-init is called: the arguments that describe a branch's world. See helper/native/main.c. */
export interface World {
  /** Folders of the cgroups to join first. */
  cgroups?: string[];
  /** `new`: a fresh one with only loopback; a pid: that process's. */
  net: 'new' | number;
  /** Bound to /run in a private mount namespace. */
  run?: string;
  overlay?: Overlay;
}

export interface Overlay {
  /** Mount point. */
  root: string;
  upper: string;
  work: string;
  /** Newest first, the base root file system last. Relative to `from`, or absolute. */
  lowers: string[];
  from: string;
}

/** Who runs inside. */
export interface Payload {
  uid: number;
  gid: number;
  groups: number[];
}

/**
 * `index` keeps hard links and, with `nfs_export`, file handles (inotify watches) across copy-up and restore; `redirect_dir`
 * lets directories of lower layers be renamed; `metacopy` would make layers whose files have no data. `volatile`, as nobody ever mounts
 * an upper directory of before a power failure: what is durable is so by the volume's syncfs(2). Without it each fsync(2) inside, and
 * each unmount, waits for the volume's log.
 * Source: Documentation/filesystems/overlayfs.rst.
 */
export const OVERLAY_OPTIONS = 'index=on,nfs_export=on,xino=on,redirect_dir=on,metacopy=off,volatile';

/** The arguments after `teleport-init launch` or `enter`. */
export function worldArguments(world: World): string[] {
  const args: string[] = [];
  for (const cgroup of world.cgroups ?? []) args.push('--cgroup', cgroup);
  args.push('--net', String(world.net));
  if (world.run) args.push('--run', world.run);
  if (world.overlay) args.push(...overlayArguments(world.overlay));
  return args;
}

export function overlayArguments({ root, upper, work, lowers, from }: Overlay): string[] {
  const args = ['--chdir', from, '--root', root, '--upper', upper, '--work', work, '--options', OVERLAY_OPTIONS];
  return [...args, ...lowers.flatMap((lower) => ['--lower', lower])];
}

export function payloadArguments(payload: Payload, hostname: string): string[] {
  const { uid, gid, groups } = payload;
  const args = ['--uid', String(uid), '--gid', String(gid), '--hostname', hostname];
  return groups.length ? [...args, '--groups', groups.join(',')] : args;
}

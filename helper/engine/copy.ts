import { constants } from 'node:fs';
import { constants as os } from 'node:os';
import {
  close,
  DT_CHR,
  DT_DIR,
  lastTimes,
  namesIn,
  OPEN_DIRECTORY,
  OPEN_FILE,
  openAt,
  openRoot,
  readLink,
  type Stat,
  setTimes,
  setTimesOf,
  statAt,
} from './at.ts';
import { copyData } from './copy-data.ts';
import { cBytes, check, lastErrno, libc, showBytes, systemError, toBytes } from './libc.ts';
import { makedev, mknodat } from './syscalls.ts';
import { copyXattrs, copyXattrsAt } from './xattrs.ts';

const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_FDCWD = -100;
const CREATE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
const SPECIAL_BITS = 0o7000;
const PERMISSIONS = 0o7777;

/** What a copy needs to know beyond one directory. */
export interface Copy {
  readonly uid: number;
  readonly gid: number;
  readonly umask: number;
  readonly root: number;
  /** Inodes with several names: where below `root` their copy is. */
  readonly links: Map<bigint, string>;
  count: number;
}

/**
 * Copies the directory `from` as `to`, which must not exist yet: contents (sharing extents where the file system can),
 * modes, owners, times to the nanosecond, xattrs (`trusted.overlay.*` included), symlinks, hard links among the copied,
 * fifos, sockets, device nodes and whiteouts. Synchronous, since it runs while the payload is stopped, and nothing
 * may write to `from` meanwhile. Answers how many entries were copied. Throws Node-style errors (ENOSPC…) and then
 * leaves what it made: remove it with `removeTree`.
 */
export function copyTree(from: string, to: string): number {
  const source = openRoot(from);
  try {
    const stat = statAt(source, '.')!;
    const times = lastTimes();
    const path = toBytes(to);
    check(libc().mkdirat(AT_FDCWD, cBytes(path), 0o700), 'mkdir', to);
    const target = openAt(AT_FDCWD, path, OPEN_DIRECTORY);
    try {
      const copy = newCopy(target);
      copyChildren(copy, source, target, '');
      finishDirectory(copy, source, target, stat, times);
      return copy.count;
    } finally {
      close(target);
    }
  } finally {
    close(source);
  }
}

/**
 * Copies what a mount with `index=on` keeps of hard-linked lower files in its index alone, no name of theirs being in
 * the upper directory any more: into the directory `to`, made where there is such, for `completeHardLinks`. Under the
 * same conditions as `copyTree`. Answers how many there are, as a rule none.
 * @param index `work/index` in the mount's workdir
 */
export function copyIndexOnly(index: string, to: string): number {
  const source = openRoot(index);
  try {
    const alone = namesIn(source).filter(({ name, type }) => {
      if (type === DT_DIR || type === DT_CHR) return false;
      const stat = statAt(source, name);
      return stat !== null && stat.nlink === 1 && !stat.isDirectory && !stat.isWhiteout;
    });
    if (alone.length === 0) return 0;
    const path = toBytes(to);
    check(libc().mkdirat(AT_FDCWD, cBytes(path), 0o700), 'mkdir', to);
    const target = openAt(AT_FDCWD, path, OPEN_DIRECTORY);
    try {
      const copy = newCopy(target);
      for (const { name } of alone) copyLeaf(copy, source, target, name, statAt(source, name)!);
    } finally {
      close(target);
    }
    return alone.length;
  } finally {
    close(source);
  }
}

export function newCopy(root: number): Copy {
  const [uid, gid] = [process.geteuid!(), process.getegid!()];
  return { uid, gid, umask: process.umask(), root, links: new Map(), count: 0 };
}

/** @param path of the directory below the copy's root, '' or ending in a slash */
function copyChildren(copy: Copy, source: number, target: number, path: string): void {
  for (const { name } of namesIn(source)) {
    const stat = statAt(source, name);
    if (stat === null) throw systemError(os.errno.ENOENT, 'copy', showBytes(path + name));
    copy.count++;
    if (stat.isDirectory) copyDirectory(copy, source, target, path, name, stat);
    else copyOther(copy, source, target, path, name, stat);
  }
}

/** What is no directory. `stat` is the last that was asked for. */
export function copyOther(copy: Copy, source: number, target: number, path: string, name: string, stat: Stat): void {
  if (stat.nlink === 1 || !linkCopied(copy, target, path + name, name, stat))
    copyLeaf(copy, source, target, name, stat);
}

function copyDirectory(copy: Copy, source: number, target: number, path: string, name: string, stat: Stat): void {
  const times = lastTimes();
  const from = openAt(source, name, OPEN_DIRECTORY);
  try {
    check(libc().mkdirat(target, cBytes(name), 0o700), 'mkdir', showBytes(path + name));
    const to = openAt(target, name, OPEN_DIRECTORY);
    try {
      copyChildren(copy, from, to, `${path}${name}/`);
      finishDirectory(copy, from, to, stat, times);
    } finally {
      close(to);
    }
  } finally {
    close(from);
  }
}

/** After the children: a default ACL or the setgid bit would change them, and they change the times. */
export function finishDirectory(
  copy: Copy,
  from: number,
  to: number,
  stat: Stat,
  times: Buffer,
  wanted?: (xattr: string) => boolean,
): void {
  if (stat.uid !== copy.uid || stat.gid !== copy.gid) chown(to, '.', stat);
  if ((stat.mode & PERMISSIONS) !== 0o700) check(libc().fchmod(to, stat.mode & PERMISSIONS), 'fchmod');
  copyXattrs(from, to, wanted);
  setTimesOf(to, times);
}

/** Links to the copy of an inode that was met before; else remembers this one as the first. */
function linkCopied(copy: Copy, target: number, path: string, name: string, stat: Stat): boolean {
  const first = copy.links.get(stat.ino);
  if (first === undefined) {
    copy.links.set(stat.ino, path);
    return false;
  }
  check(libc().linkat(copy.root, cBytes(first), target, cBytes(name, 1), 0), 'link', showBytes(path));
  return true;
}

const times = Buffer.alloc(32);

function copyLeaf(copy: Copy, source: number, target: number, name: string, stat: Stat): void {
  lastTimes(times);
  if (stat.isFile) {
    copyFile(copy, source, target, name, stat);
    return;
  }
  if (stat.isSymlink) {
    const text = readLink(source, name);
    check(libc().symlinkat(cBytes(text), target, cBytes(name, 1)), 'symlink', showBytes(name));
  } else mknodat(target, cBytes(name), stat.mode, makedev(stat.rdevMajor, stat.rdevMinor), showBytes(name));
  // Nothing but its being there matters of a whiteout.
  if (stat.isWhiteout) return;
  if (stat.uid !== copy.uid || stat.gid !== copy.gid) chown(target, name, stat);
  if (!stat.isSymlink)
    check(libc().fchmodat(target, cBytes(name), stat.mode & PERMISSIONS, 0), 'fchmodat', showBytes(name));
  copyXattrsAt(source, target, name);
  setTimes(target, name, times);
}

function copyFile(copy: Copy, source: number, target: number, name: string, stat: Stat): void {
  const permissions = stat.mode & PERMISSIONS;
  const from = openAt(source, name, OPEN_FILE);
  try {
    const to = openAt(target, name, CREATE, permissions);
    try {
      if (stat.size > 0) copyData(from, to, stat);
      const foreign = stat.uid !== copy.uid || stat.gid !== copy.gid;
      if (foreign) chown(to, '', stat);
      // chown and write clear setuid and setgid.
      if ((permissions & copy.umask) !== 0 || (permissions & SPECIAL_BITS) !== 0)
        check(libc().fchmod(to, permissions), 'fchmod', showBytes(name));
      copyXattrs(from, to);
      setTimesOf(to, times);
    } finally {
      close(to);
    }
  } catch (error) {
    (error as NodeJS.ErrnoException).path ??= showBytes(name);
    throw error;
  } finally {
    close(from);
  }
}

/** Of `name` in the directory `fd`, or with an empty name of the open file itself. */
function chown(fd: number, name: string, stat: Stat): void {
  const AT_EMPTY_PATH = 0x1000;
  const flags = AT_SYMLINK_NOFOLLOW | (name === '' ? AT_EMPTY_PATH : 0);
  if (libc().fchownat(fd, cBytes(name), stat.uid, stat.gid, flags) === -1)
    throw systemError(lastErrno(), 'fchownat', showBytes(name));
}

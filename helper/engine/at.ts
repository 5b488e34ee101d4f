/**
 * File operations relative to an open directory, for code that walks trees it does not trust: no path is ever walked
 * twice, so nothing can be swapped underneath, and depth is not bound by PATH_MAX. Names are byte strings (libc.ts).
 * Descriptors are plain numbers, to be closed with `close`.
 */
import { constants } from 'node:fs';
import { constants as os } from 'node:os';
import { cBytes, check, lastErrno, libc, showBytes, systemError } from './libc.ts';

const { EAGAIN, ENOENT, ENOTDIR, ELOOP, EPERM } = os.errno;
const O_CLOEXEC = 0o2000000;
const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_NO_AUTOMOUNT = 0x800;
const AT_EMPTY_PATH = 0x1000;
const STATX_BASIC_STATS = 0x7ff;
/** Of linux/stat.h: the root of a mount, so not what the file system itself has there. */
const STATX_ATTR_MOUNT_ROOT = 0x2000;

/** The file's type and permission bits as in stat(2), and what else we use of statx(2). */
export class Stat {
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly ino: bigint;
  readonly size: number;
  /** Of 512 bytes. */
  readonly blocks: number;
  readonly ctimeSec: number;
  readonly ctimeNsec: number;
  readonly mtimeSec: number;
  readonly mtimeNsec: number;
  readonly rdevMajor: number;
  readonly rdevMinor: number;
  readonly dev: number;
  readonly isMountRoot: boolean;

  constructor(view: DataView) {
    this.isMountRoot = (view.getUint32(8, true) & STATX_ATTR_MOUNT_ROOT) !== 0;
    this.nlink = view.getUint32(16, true);
    this.uid = view.getUint32(20, true);
    this.gid = view.getUint32(24, true);
    this.mode = view.getUint16(28, true);
    this.ino = view.getBigUint64(32, true);
    this.size = number64(view, 40);
    this.blocks = number64(view, 48);
    this.ctimeSec = view.getUint32(96, true) + view.getInt32(100, true) * 2 ** 32;
    this.ctimeNsec = view.getUint32(104, true);
    this.mtimeSec = view.getUint32(112, true) + view.getInt32(116, true) * 2 ** 32;
    this.mtimeNsec = view.getUint32(120, true);
    this.rdevMajor = view.getUint32(128, true);
    this.rdevMinor = view.getUint32(132, true);
    this.dev = view.getUint32(136, true) * 2 ** 20 + view.getUint32(140, true);
  }

  get format(): number {
    return this.mode & constants.S_IFMT;
  }
  get isFile(): boolean {
    return this.format === constants.S_IFREG;
  }
  get isDirectory(): boolean {
    return this.format === constants.S_IFDIR;
  }
  get isSymlink(): boolean {
    return this.format === constants.S_IFLNK;
  }
  get isWhiteout(): boolean {
    return this.format === constants.S_IFCHR && this.rdevMajor === 0 && this.rdevMinor === 0;
  }
}

function number64(view: DataView, offset: number): number {
  return view.getUint32(offset, true) + view.getUint32(offset + 4, true) * 2 ** 32;
}

const statBuffer = Buffer.alloc(256);
const statView = new DataView(statBuffer.buffer, statBuffer.byteOffset, 256);

/** lstat(2) in `dir`; null where there is nothing of that name. */
export function statAt(dir: number, name: string): Stat | null {
  const flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT;
  if (libc().statx(dir, cBytes(name), flags, STATX_BASIC_STATS, statBuffer) === 0) return new Stat(statView);
  const errno = lastErrno();
  if (errno === ENOENT || errno === ENOTDIR) return null;
  throw systemError(errno, 'statx', showBytes(name));
}

/** What the last `statAt` saw, in the layout of two struct timespec (little endian, 64 bit); a copy. */
export function lastTimes(into = Buffer.alloc(32)): Buffer {
  statBuffer.copy(into, 0, 64, 80);
  statBuffer.copy(into, 16, 112, 128);
  return into;
}

/** fstat(2), of an O_PATH descriptor too. */
export function statOf(fd: number): Stat {
  check(libc().statx(fd, cBytes(''), AT_EMPTY_PATH | AT_NO_AUTOMOUNT, STATX_BASIC_STATS, statBuffer), 'statx');
  return new Stat(statView);
}

export function setTimes(dir: number, name: string, of: Buffer): void {
  check(libc().utimensat(dir, cBytes(name), of, AT_SYMLINK_NOFOLLOW), 'utimensat', showBytes(name));
}

/** The times of an open file. */
export function setTimesOf(fd: number, of: Buffer): void {
  check(libc().futimens(fd, of), 'futimens');
}

export function openAt(dir: number, name: string, flags: number, mode = 0): number {
  return check(libc().openat(dir, cBytes(name), flags | O_CLOEXEC, mode), 'open', showBytes(name));
}

/** Of asm-generic/fcntl.h: a descriptor of the thing itself, be it a symlink, without opening it. */
export const OPEN_PATH = 0o10000000 | constants.O_NOFOLLOW;
export const OPEN_DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW | constants.O_NOATIME;
export const OPEN_FILE = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NOATIME | constants.O_NONBLOCK;

/** Opens a directory by an ordinary path: the way in for everything here. */
export function openRoot(path: string): number {
  return openAt(AT_FDCWD, Buffer.from(path).toString('latin1'), constants.O_RDONLY | constants.O_DIRECTORY);
}

export function close(fd: number): void {
  libc().close(fd);
}

/** SYS_openat2 of asm/unistd.h, common to x64 and arm64; kernel 5.6. */
const SYS_openat2 = 437;
/** RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH */
const RESOLVE = 0x01 | 0x02 | 0x04 | 0x08;
const how = Buffer.alloc(24);
how.writeBigUInt64LE(BigInt(RESOLVE), 16);

/**
 * Opens what is at `path` below `root`, and never anything else: no symlink, mount or `..` on the way is passed, which
 * the kernel sees to in one go. Null where there is nothing, or something else than a directory on the way.
 * EXDEV at a mount. The path is relative ('.' for the root itself).
 */
export function openBeneath(root: number, path: string, flags: number): number | null {
  how.writeBigUInt64LE(BigInt(flags | O_CLOEXEC), 0);
  const fd = libc().syscall(SYS_openat2, root, cBytes(path), how, 24, 0);
  if (fd >= 0) return fd;
  const errno = lastErrno();
  if (errno === ENOENT || errno === ENOTDIR || errno === ELOOP) return null;
  // Only a file's owner (and root) may ask for its atime to stay: see `asUser`.
  if (errno === EPERM && flags & constants.O_NOATIME) return openBeneath(root, path, flags & ~constants.O_NOATIME);
  throw systemError(errno, 'openat2', showBytes(path));
}

/** RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_IN_ROOT */
const IN_ROOT = 0x01 | 0x02 | 0x10;
/** So often a path is tried that somebody renames folders of while it is resolved. */
const RACES = 16;

/**
 * Opens what is at `path` as if `root` were the root of all: symlinks are followed, and lead somewhere below it; mounts and
 * magic links are not passed. Node-style errors: ENOENT, ENOTDIR, ELOOP, EACCES, EXDEV at a mount.
 */
export function openInRoot(root: number, path: string, flags: number): number {
  const asked = Buffer.alloc(24);
  asked.writeBigUInt64LE(BigInt(flags | O_CLOEXEC), 0);
  asked.writeBigUInt64LE(BigInt(IN_ROOT), 16);
  for (let tries = 0; ; tries++) {
    const fd = libc().syscall(SYS_openat2, root, cBytes(path), asked, 24, 0);
    if (fd >= 0) return fd;
    const errno = lastErrno();
    if (errno !== EAGAIN || tries === RACES) throw systemError(errno, 'openat2', showBytes(path));
  }
}

/** getdents64(2) is given that much at a time. */
const LIST_BYTES = 262_144;
const listBuffer = Buffer.allocUnsafeSlow(LIST_BYTES);
const listView = new DataView(listBuffer.buffer);

export interface Name {
  readonly name: string;
  /** DT_*: the file type as in S_IFMT >> 12, 0 where the file system does not say. */
  readonly type: number;
}
export const DT_FIFO = 1;
export const DT_CHR = 2;
export const DT_DIR = 4;
export const DT_REG = 8;
export const DT_LNK = 10;
export const DT_SOCK = 12;

/** Calls back for each entry of an open directory, from its current position; `.` and `..` left out. */
function eachBatch(fd: number, entry: (name: string, type: number) => void): boolean {
  const bytes = libc().getdents64(fd, listBuffer, LIST_BYTES);
  // Removed since it was opened, as by a program while its files are counted: so says the kernel then.
  if (bytes === -1 && lastErrno() === ENOENT) return false;
  check(bytes, 'getdents64');
  // struct linux_dirent64: u64 ino, s64 off, u16 reclen, u8 type, name with its NUL
  for (let at = 0; at < bytes; ) {
    const length = listView.getUint16(at + 16, true);
    const start = at + 19;
    const name = listBuffer.toString('latin1', start, listBuffer.indexOf(0, start));
    if (name !== '.' && name !== '..') entry(name, listBuffer[at + 18]!);
    at += length;
  }
  return bytes > 0;
}

/** All entries of an open directory, in the file system's order. */
export function namesIn(fd: number): Name[] {
  const names: Name[] = [];
  while (eachBatch(fd, (name, type) => names.push({ name, type })));
  return names;
}

export function readLink(dir: number, name: string): string {
  const length = libc().readlinkat(dir, cBytes(name), listBuffer, LIST_BYTES);
  check(length, 'readlink', showBytes(name));
  return listBuffer.toString('latin1', 0, length);
}

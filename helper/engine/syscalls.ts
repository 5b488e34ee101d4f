/**
 * The system calls that Node lacks, by path or descriptor. Every failure is a Node-style error: `code` ('ENOSPC'),
 * `errno` (negative), `syscall`, `path`. A path is a string (UTF-8) or a Buffer (any bytes).
 */
import { closeSync, constants, openSync } from 'node:fs';
import { constants as os } from 'node:os';
import { kill as nodeKill } from 'node:process';
import { check, cPath, display, lastErrno, libc, systemError } from './libc.ts';

export type RawPath = string | Buffer;

const { AT_FDCWD, AT_SYMLINK_NOFOLLOW } = { AT_FDCWD: -100, AT_SYMLINK_NOFOLLOW: 0x100 };
/** `_IOW(0x94, 9, int)` of linux/fs.h; the same on x64 and arm64. */
const FICLONE = 0x40049409;
/** asm/unistd.h: x64 has its own table, arm64 the generic one; numbers from 424 on are common to both. */
const SYS_mknodat = process.arch === 'arm64' ? 33 : 259;
/** asm-generic/socket.h, for x64 and arm64 alike. */
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const { EWOULDBLOCK } = os.errno;
/** XATTR_SIZE_MAX and XATTR_LIST_MAX of linux/limits.h. */
const XATTR_MAX = 65_536;
const xattrScratch = Buffer.allocUnsafeSlow(XATTR_MAX);

/** Of linux/mount.h. */
export const MS = {
  RDONLY: 1,
  NOSUID: 2,
  NODEV: 4,
  NOEXEC: 8,
  REMOUNT: 32,
  NOATIME: 1024,
  BIND: 4096,
  MOVE: 8192,
  REC: 16_384,
  PRIVATE: 1 << 18,
  SLAVE: 1 << 19,
} as const;
/** Of umount2(2). */
export const MNT_DETACH = 2;

export function llistxattr(path: RawPath): string[] {
  const size = check(libc().llistxattr(cPath(path), xattrScratch, XATTR_MAX), 'llistxattr', display(path));
  return xattrNames(xattrScratch, size);
}

export function xattrNames(list: Buffer, size: number): string[] {
  return size === 0 ? [] : list.toString('utf8', 0, size - 1).split('\0');
}

export function lsetxattr(path: RawPath, name: string, value: string | Buffer): void {
  const bytes = typeof value === 'string' ? Buffer.from(value) : value;
  check(libc().lsetxattr(cPath(path), cPath(name, 1), bytes, bytes.length, 0), 'lsetxattr', display(path));
}

/** A device number as the kernel takes it (`new_encode_dev`). */
export function makedev(major: number, minor: number): number {
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
}

/**
 * Makes a fifo, socket, device node or, as character device 0:0, an overlay whiteout.
 * @param mode type and permission bits, such as `constants.S_IFCHR | 0o666`; the umask applies
 * @param device of `makedev`
 */
export function mknod(path: RawPath, mode: number, device = 0): void {
  mknodat(AT_FDCWD, cPath(path), mode, device, display(path));
}

/** The same, in the directory `dir`, of a terminated path. */
export function mknodat(dir: number, path: Buffer, mode: number, device: number, about: string): void {
  // The third argument is a number where the signature has a pointer: koffi takes an address as a bigint.
  check(libc().syscall(SYS_mknodat, dir, path, BigInt(mode), device, 0), 'mknod', about);
}

/** Makes `to` share the extents of `from` (both open files). EOPNOTSUPP, EXDEV or EINVAL where that can't be. */
export function ficlone(to: number, from: number): void {
  check(libc().ioctl(to, FICLONE, BigInt(from)), 'ioctl_ficlone');
}

/** Of sys/file.h. */
const LOCK_EX_NB = 2 | 4;

/** Locks an open file for this process alone, until its end at the latest. @returns false where somebody else has it */
export function tryLock(fd: number): boolean {
  if (libc().flock(fd, LOCK_EX_NB) === 0) return true;
  const errno = lastErrno();
  if (errno === EWOULDBLOCK) return false;
  throw systemError(errno, 'flock');
}

/** Sets times in nanoseconds since the epoch, of a symlink itself where the path is one. */
export function utimensat(path: RawPath, atimeNs: bigint, mtimeNs: bigint): void {
  const times = Buffer.alloc(32);
  [atimeNs, mtimeNs].forEach((ns, i) => {
    const nanos = ((ns % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n;
    times.writeBigInt64LE((ns - nanos) / 1_000_000_000n, i * 16);
    times.writeBigInt64LE(nanos, i * 16 + 8);
  });
  check(libc().utimensat(AT_FDCWD, cPath(path), times, AT_SYMLINK_NOFOLLOW), 'utimensat', display(path));
}

function _withDirectory<T>(path: RawPath, body: (fd: number) => T): T {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    return body(fd);
  } finally {
    closeSync(fd);
  }
}

/** The same on a thread of koffi's pool. */
export async function syncfsAsync(path: RawPath): Promise<void> {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await callAsync('syncfs', [fd], display(path));
  } finally {
    closeSync(fd);
  }
}

/** SYNC_FILE_RANGE_WAIT_BEFORE | _WRITE | _WAIT_AFTER of linux/fs.h */
const WRITE_OUT = 1 | 2 | 4;

/**
 * Has the data of an open file written, and no log for it: a tenth of what fsync(2) takes. XFS has then noted the file's size, so that
 * none of what is noted later, such as a new name, is there without the data.
 */
export function writeOut(fd: number): void {
  check(libc().sync_file_range(fd, 0, 0, WRITE_OUT), 'sync_file_range');
}

/** @param flags of `MS`; @param data the file system's options, at most 4095 bytes */
export function mount(source: RawPath, target: RawPath, type: string | null, flags: number, data?: string): void {
  const kind = type === null ? null : Buffer.from(`${type}\0`);
  const options = data === undefined ? null : Buffer.from(`${data}\0`);
  check(libc().mount(cPath(source), cPath(target, 1), kind, flags, options), 'mount', display(target));
}

/** @param flags `MNT_DETACH`, `UMOUNT_NOFOLLOW` */
export function umount2(target: RawPath, flags = 0): void {
  check(libc().umount2(cPath(target), flags), 'umount2', display(target));
}

function callAsync(name: 'syncfs' | 'umount2', args: unknown[], about: string): Promise<void> {
  const call = libc()[name] as unknown as { async: (...args: unknown[]) => void };
  return new Promise((resolve, reject) => {
    call.async(...args, (failure: Error | null, result: number) => {
      void args; // the buffers must outlive the call
      // koffi sets the calling thread's errno right before this callback.
      if (failure !== null) reject(failure);
      else if (result === -1) reject(systemError(lastErrno(), name, about));
      else resolve();
    });
  });
}

/** kill(2), groups (negative) and signal 0 included. */
export function kill(pid: number, signal: number): void {
  nodeKill(pid, signal);
}

/** Who connected (or listens on) the other end of a unix stream socket, as of that moment. */
export function peerCredentials(fd: number): { pid: number; uid: number; gid: number } {
  const credentials = Buffer.alloc(12);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(credentials.length);
  check(libc().getsockopt(fd, SOL_SOCKET, SO_PEERCRED, credentials, length), 'getsockopt');
  return { pid: credentials.readInt32LE(0), uid: credentials.readUInt32LE(4), gid: credentials.readUInt32LE(8) };
}

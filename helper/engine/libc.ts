import { constants as os } from 'node:os';
import { getSystemErrorMap } from 'node:util';

/** A C function by koffi: integers in, an integer out (a bigint where it does not fit a number). */
type CFunction = (...args: unknown[]) => number;

/** PATH_MAX of linux/limits.h, its NUL included. */
const PATH_MAX = 4096;

const SIGNATURES = {
  openat: ['int', ['int', 'void *', 'int', 'uint']],
  close: ['int', ['int']],
  read: ['long', ['int', 'void *', 'size_t']],
  write: ['long', ['int', 'void *', 'size_t']],
  pread: ['long', ['int', 'void *', 'size_t', 'long']],
  lseek: ['long', ['int', 'long', 'int']],
  ftruncate: ['int', ['int', 'long']],
  copy_file_range: ['long', ['int', 'void *', 'int', 'void *', 'size_t', 'uint']],
  name_to_handle_at: ['int', ['int', 'void *', 'void *', 'void *', 'int']],
  open_by_handle_at: ['int', ['int', 'void *', 'int']],
  getdents64: ['long', ['int', 'void *', 'size_t']],
  statx: ['int', ['int', 'void *', 'int', 'uint', 'void *']],
  mkdirat: ['int', ['int', 'void *', 'uint']],
  symlinkat: ['int', ['void *', 'int', 'void *']],
  readlinkat: ['long', ['int', 'void *', 'void *', 'size_t']],
  unlinkat: ['int', ['int', 'void *', 'int']],
  renameat2: ['int', ['int', 'void *', 'int', 'void *', 'uint']],
  linkat: ['int', ['int', 'void *', 'int', 'void *', 'int']],
  fchownat: ['int', ['int', 'void *', 'uint', 'uint', 'int']],
  fchmod: ['int', ['int', 'uint']],
  fchmodat: ['int', ['int', 'void *', 'uint', 'int']],
  utimensat: ['int', ['int', 'void *', 'void *', 'int']],
  futimens: ['int', ['int', 'void *']],
  getxattr: ['long', ['void *', 'void *', 'void *', 'size_t']],
  lgetxattr: ['long', ['void *', 'void *', 'void *', 'size_t']],
  fgetxattr: ['long', ['int', 'void *', 'void *', 'size_t']],
  llistxattr: ['long', ['void *', 'void *', 'size_t']],
  flistxattr: ['long', ['int', 'void *', 'size_t']],
  lsetxattr: ['int', ['void *', 'void *', 'void *', 'size_t', 'int']],
  fsetxattr: ['int', ['int', 'void *', 'void *', 'size_t', 'int']],
  lremovexattr: ['int', ['void *', 'void *']],
  fremovexattr: ['int', ['int', 'void *']],
  // Variadic in C. On Linux x64 and arm64 integers travel in the same registers either way.
  ioctl: ['int', ['int', 'ulong', 'void *']],
  syscall: ['long', ['long', 'long', 'void *', 'void *', 'long', 'long']],
  syncfs: ['int', ['int']],
  fsync: ['int', ['int']],
  sync_file_range: ['int', ['int', 'long', 'long', 'uint']],
  flock: ['int', ['int', 'int']],
  mount: ['int', ['void *', 'void *', 'void *', 'ulong', 'void *']],
  umount2: ['int', ['void *', 'int']],
  getsockopt: ['int', ['int', 'int', 'int', 'void *', 'void *']],
  socket: ['int', ['int', 'int', 'int']],
  bind: ['int', ['int', 'void *', 'uint']],
  setsockopt: ['int', ['int', 'int', 'int', 'void *', 'uint']],
  send: ['long', ['int', 'void *', 'size_t', 'int']],
  recv: ['long', ['int', 'void *', 'size_t', 'int']],
  setns: ['int', ['int', 'int']],
  prlimit64: ['int', ['int', 'int', 'void *', 'void *']],
  if_nametoindex: ['uint', ['void *']],
  getpagesize: ['int', []],
} as const satisfies Record<string, readonly [string, readonly string[]]>;

type Libc = Record<keyof typeof SIGNATURES, CFunction>;
interface Loaded {
  libc: Libc;
  errno: () => number;
  addressOf: (buffer: Buffer) => bigint;
}
let loaded: Loaded | undefined;

/** Loads koffi at the first use: command line clients never get here and need not pay its 10 ms. */
function load(): Loaded {
  if (loaded === undefined) {
    const koffi = require('koffi') as typeof import('koffi');
    const library = koffi.load(null);
    const functions = Object.entries(SIGNATURES).map(([name, [result, args]]) => [
      name,
      library.func(name, result, [...args]),
    ]);
    loaded = {
      libc: Object.fromEntries(functions) as Libc,
      errno: () => koffi.errno(),
      addressOf: (buffer) => koffi.address(buffer),
    };
  }
  return loaded;
}

export function libc(): Libc {
  return load().libc;
}

/** Memory that a disk can be read into past the page cache (O_DIRECT): it begins at a page. */
export function pageAligned(size: number): Buffer {
  const page = libc().getpagesize();
  const room = Buffer.allocUnsafeSlow(size + page);
  const into = Number(load().addressOf(room) % BigInt(page));
  return room.subarray(page - into, page - into + size);
}

/** errno of the last call that failed. Read it before anything else runs. */
export function lastErrno(): number {
  return load().errno();
}

const CODES = new Map(Object.entries(os.errno).map(([code, errno]) => [errno as number, code]));
/** Not in Node's table; XFS and overlayfs answer with them. */
for (const [errno, code] of [
  [66, 'EREMOTE'],
  [117, 'EUCLEAN'],
] as const)
  CODES.set(errno, code);

/** Of `errno`, such as `ENOSPC`. */
export function codeOf(errno: number): string {
  return CODES.get(errno) ?? `E${errno}`;
}

/** An error as Node's own fs functions throw it: `errno` (negative), `code`, `syscall`, `path`. */
export function systemError(errno: number, syscall: string, path?: string): NodeJS.ErrnoException {
  const code = codeOf(errno);
  const text = getSystemErrorMap().get(-errno)?.[1] ?? 'system error';
  const about = path === undefined ? '' : ` '${path}'`;
  return Object.assign(new Error(`${code}: ${text}, ${syscall}${about}`), { errno: -errno, code, syscall, path });
}

/** Passes a result on, or throws what errno says where it is -1. */
export function check(result: number, syscall: string, path?: string): number {
  if (result === -1) throw systemError(lastErrno(), syscall, path);
  return result;
}

/** A path for people: bytes that are not UTF-8 show as U+FFFD. */
export function display(path: string | Buffer): string {
  return typeof path === 'string' ? path : path.toString();
}

const scratch = [Buffer.alloc(PATH_MAX), Buffer.alloc(PATH_MAX)] as const;

function terminated(target: Buffer, length: number, wanted: number, path: string): Buffer {
  if (wanted >= PATH_MAX) throw systemError(os.errno.ENAMETOOLONG, 'path', path);
  target[length] = 0;
  if (target.indexOf(0) !== length) throw systemError(os.errno.EINVAL, 'path', path);
  return target;
}

/**
 * `path` as C wants it, in a buffer that the next call with the same `slot` overwrites.
 * A string is UTF-8, a Buffer is any bytes.
 */
export function cPath(path: string | Buffer, slot: 0 | 1 = 0): Buffer {
  const target = scratch[slot];
  if (typeof path === 'string')
    return terminated(target, target.write(path, 0, PATH_MAX - 1), Buffer.byteLength(path), path);
  return terminated(target, path.copy(target, 0, 0, PATH_MAX - 1), path.length, path.toString());
}

/** Like `cPath`, of a byte string: one character (U+0000-U+00FF) per byte, so that any file name fits a string. */
export function cBytes(bytes: string, slot: 0 | 1 = 0): Buffer {
  const target = scratch[slot];
  if (bytes.length >= PATH_MAX) throw systemError(os.errno.ENAMETOOLONG, 'path', showBytes(bytes));
  target.write(bytes, 0, 'latin1');
  target[bytes.length] = 0;
  return target;
}

/** A byte string of a UTF-8 one. */
export function toBytes(text: string): string {
  return Buffer.from(text).toString('latin1');
}

/** The bytes of what is no UTF-8, in base64; undefined for what is. */
export function oddBytes(bytes: string): string | undefined {
  const shown = showBytes(bytes);
  return shown.includes('\uFFFD') && toBytes(shown) !== bytes
    ? Buffer.from(bytes, 'latin1').toString('base64')
    : undefined;
}

/** A byte string for people: UTF-8, and U+FFFD for what is none. */
export function showBytes(bytes: string): string {
  return /^[\0-\x7f]*$/.test(bytes) ? bytes : Buffer.from(bytes, 'latin1').toString();
}

import { constants as os } from 'node:os';
import { check, lastErrno, libc, systemError } from './libc.ts';
import { xattrNames } from './syscalls.ts';

/** XATTR_LIST_MAX and XATTR_SIZE_MAX of linux/limits.h. */
const LIMIT = 65_536;
const list = Buffer.allocUnsafeSlow(LIMIT);
const value = Buffer.allocUnsafeSlow(LIMIT);

/** Gives the open file `to` every xattr of `from` that is `wanted`. */
export function copyXattrs(from: number, to: number, wanted: (name: string) => boolean = () => true): void {
  const size = check(libc().flistxattr(from, list, LIMIT), 'flistxattr');
  for (const name of xattrNames(list, size)) {
    if (!wanted(name)) continue;
    const key = Buffer.from(`${name}\0`);
    const length = check(libc().fgetxattr(from, key, value, LIMIT), 'fgetxattr');
    check(libc().fsetxattr(to, key, value, length, 0), 'fsetxattr');
  }
}

/** The same for what can't be opened: symlinks, sockets, nodes. Through /proc, since no xattr call takes a directory. */
export function copyXattrsAt(fromDir: number, toDir: number, name: string): void {
  const from = Buffer.from(`/proc/self/fd/${fromDir}/${name}\0`, 'latin1');
  const size = check(libc().llistxattr(from, list, LIMIT), 'llistxattr');
  if (size === 0) return;
  const to = Buffer.from(`/proc/self/fd/${toDir}/${name}\0`, 'latin1');
  for (const attribute of xattrNames(list, size)) {
    const key = Buffer.from(`${attribute}\0`);
    const length = check(libc().lgetxattr(from, key, value, LIMIT), 'lgetxattr');
    check(libc().lsetxattr(to, key, value, length, 0), 'lsetxattr');
  }
}

/** Makes the xattrs of `to` those of `from`: what only `to` has goes. */
export function mirrorXattrs(from: number, to: number): void {
  const wanted = new Set(xattrNames(list, check(libc().flistxattr(from, list, LIMIT), 'flistxattr')));
  const present = xattrNames(list, check(libc().flistxattr(to, list, LIMIT), 'flistxattr'));
  for (const name of present)
    if (!wanted.has(name)) check(libc().fremovexattr(to, Buffer.from(`${name}\0`)), 'fremovexattr');
  copyXattrs(from, to);
}

/** An xattr of an open file, or null where it has none of that name. */
export function xattrOf(fd: number, key: Buffer): Buffer | null {
  return valueOrNull(libc().fgetxattr(fd, key, value, LIMIT));
}

/** The same of an O_PATH descriptor, so of a symlink too. */
export function xattrOfPath(fd: number, key: Buffer): Buffer | null {
  return valueOrNull(libc().getxattr(Buffer.from(`/proc/self/fd/${fd}\0`), key, value, LIMIT));
}

/** The same of `name` in an open directory: one call instead of three. */
export function xattrAt(dir: number, name: string, key: Buffer): Buffer | null {
  return valueOrNull(libc().lgetxattr(Buffer.from(`/proc/self/fd/${dir}/${name}\0`, 'latin1'), key, value, LIMIT));
}

function valueOrNull(size: number): Buffer | null {
  if (size >= 0) return Buffer.from(value.subarray(0, size));
  const errno = lastErrno();
  if (errno === os.errno.ENODATA || errno === os.errno.EOPNOTSUPP) return null;
  throw systemError(errno, 'fgetxattr');
}

/**
 * Applies the layers of an image to a folder, in order, with their whiteouts. The archives are somebody's own: whatever they
 * hold, nothing outside the folder is read or written (the kernel resolves every path as if the folder were the root),
 * no device comes to be, and no attribute that means something to the kernel or to overlayfs.
 * Source: OCI image specification, layer.md, "Whiteouts".
 */
import { constants } from 'node:fs';
import { constants as os } from 'node:os';
import { close, namesIn, OPEN_DIRECTORY, openAt, openRoot, statAt } from './at.ts';
import { cBytes, check, lastErrno, libc, showBytes, systemError } from './libc.ts';
import { mknodat } from './syscalls.ts';
import { readTar, type TarEntry, TarError } from './tar.ts';

const SYS_openat2 = 437;
/** RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV: symlinks count as they would inside. */
const IN_ROOT = 0x10 | 0x02 | 0x01;
const O_CLOEXEC = 0o2000000;
const AT_EMPTY_PATH = 0x1000;
const AT_REMOVEDIR = 0x200;
const AT_SYMLINK_NOFOLLOW = 0x100;
const CREATE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
const WHITEOUT = '.wh.';
const OPAQUE = '.wh..wh..opq';
const DEEPEST = 200;
const LARGEST_ID = 0xfffffffe;

export interface Bounds {
  bytes: number;
  entries: number;
}

export class Unpacker {
  private readonly root: number;
  private readonly left: Bounds;
  /** Of the layer at hand: its whiteouts do not concern these. */
  private made = new Set<string>();
  private times: { path: string; sec: number; nsec: number }[] = [];
  /** Device nodes left out. */
  devices = 0;

  /** @param root an empty folder */
  constructor(root: string, bounds: Bounds) {
    this.root = openRoot(root);
    this.left = { ...bounds };
  }

  close(): void {
    close(this.root);
  }

  /** @throws TarError where the layer is none, or tries a trick; Node-style errors (ENOSPC…) */
  async layer(stream: AsyncIterable<Buffer>, signal?: AbortSignal): Promise<void> {
    this.made = new Set();
    this.times = [];
    for await (const entry of readTar(stream)) {
      signal?.throwIfAborted();
      if (--this.left.entries < 0) throw new TarError('it holds too many files');
      this.left.bytes -= entry.size;
      if (this.left.bytes < 0) throw new TarError('it is larger than the state volume may take');
      await this.apply(entry);
    }
    // Making what is in a folder changes its time, so those come last.
    for (const { path, sec, nsec } of this.times.reverse()) this.setFolderTime(path, sec, nsec);
  }

  private async apply(entry: TarEntry): Promise<void> {
    const parts = partsOf(entry.name);
    const name = parts.pop();
    if (name === undefined) {
      if (entry.type === 'folder') finish(this.root, entry);
      return;
    }
    const path = [...parts, name].join('/');
    const dir = this.folder(parts.join('/'));
    try {
      if (name === OPAQUE) this.clear(dir, parts.join('/'));
      else if (name.startsWith(`${WHITEOUT}${WHITEOUT}`))
        return; // aufs' own
      else if (name.startsWith(WHITEOUT)) this.hide(dir, name.slice(WHITEOUT.length), parts);
      else {
        this.made.add(path);
        await this.make(dir, name, path, entry);
      }
    } finally {
      close(dir);
    }
  }

  private hide(dir: number, name: string, parts: string[]): void {
    if (name === '' || name === '.' || name === '..') throw new TarError('a whiteout in it names no file');
    if (!this.made.has([...parts, name].join('/'))) remove(dir, name);
  }

  /** What lower layers put there goes. */
  private clear(dir: number, path: string): void {
    for (const { name } of namesIn(dir)) if (!this.made.has(path ? `${path}/${name}` : name)) remove(dir, name);
  }

  private async make(dir: number, name: string, path: string, entry: TarEntry): Promise<void> {
    const there = statAt(dir, name);
    if (there && !(there.isDirectory && entry.type === 'folder')) remove(dir, name);
    if (entry.type === 'folder') {
      if (!there?.isDirectory) check(libc().mkdirat(dir, cBytes(name), 0o700), 'mkdir', showBytes(path));
      const made = openAt(dir, name, OPEN_DIRECTORY);
      finish(made, entry);
      close(made);
      this.times.push({ path, sec: entry.mtimeSec, nsec: entry.mtimeNsec });
    } else if (entry.type === 'file') await writeFile(dir, name, entry);
    else if (entry.type === 'link') this.link(dir, name, entry);
    else if (entry.type === 'symlink') {
      if (entry.target === '') throw new TarError('a link in it leads nowhere');
      check(libc().symlinkat(cBytes(entry.target), dir, cBytes(name, 1)), 'symlink', showBytes(path));
      own(dir, name, entry);
      check(
        libc().utimensat(dir, cBytes(name), timesOf(entry.mtimeSec, entry.mtimeNsec), AT_SYMLINK_NOFOLLOW),
        'utime',
      );
    } else if (entry.type === 'fifo') {
      mknodat(dir, cBytes(name), 0o010000 | entry.mode, 0, showBytes(path));
      own(dir, name, entry);
    } else if (entry.type === 'device') this.devices++;
  }

  private link(dir: number, name: string, entry: TarEntry): void {
    const parts = partsOf(entry.target);
    const last = parts.pop();
    if (last === undefined) throw new TarError('a link in it leads nowhere');
    const from = this.folder(parts.join('/'));
    try {
      if (statAt(from, last)?.isDirectory !== false)
        throw new TarError(`${showBytes(entry.name)} in it is a link to what is not there`);
      check(libc().linkat(from, cBytes(last), dir, cBytes(name, 1), 0), 'link', showBytes(entry.name));
    } finally {
      close(from);
    }
  }

  /** Opens the folder, making what of it is missing. Symlinks on the way are followed inside the image. */
  private folder(path: string): number {
    const fd = openInRoot(this.root, path === '' ? '.' : path);
    if (fd !== null) return fd;
    const slash = path.lastIndexOf('/');
    const name = path.slice(slash + 1);
    const parent = this.folder(slash < 0 ? '' : path.slice(0, slash));
    try {
      const there = statAt(parent, name);
      // A file where a later layer has a folder; or a symlink to what is not there.
      if (there) remove(parent, name);
      check(libc().mkdirat(parent, cBytes(name), 0o755), 'mkdir', showBytes(path));
      return openAt(parent, name, OPEN_DIRECTORY);
    } finally {
      close(parent);
    }
  }

  private setFolderTime(path: string, sec: number, nsec: number): void {
    const fd = openInRoot(this.root, path);
    if (fd === null) return;
    libc().futimens(fd, timesOf(sec, nsec));
    close(fd);
  }
}

function partsOf(path: string): string[] {
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..')) throw new TarError(`the path ${JSON.stringify(showBytes(path))} in it leads out of it`);
  if (parts.length > DEEPEST || path.length > 4095 || parts.some((part) => part.length > 255))
    throw new TarError('a path in it is too long');
  return parts;
}

const how = Buffer.alloc(24);

function openInRoot(root: number, path: string): number | null {
  how.writeBigUInt64LE(BigInt(constants.O_RDONLY | constants.O_DIRECTORY | O_CLOEXEC), 0);
  how.writeBigUInt64LE(0n, 8);
  how.writeBigUInt64LE(BigInt(IN_ROOT), 16);
  const fd = libc().syscall(SYS_openat2, root, cBytes(path), how, 24, 0);
  if (fd >= 0) return fd;
  const errno = lastErrno();
  if (errno === os.errno.ENOENT || errno === os.errno.ENOTDIR) return null;
  if (errno === os.errno.ELOOP) throw new TarError(`${JSON.stringify(showBytes(path))} in it is a circle of links`);
  throw systemError(errno, 'openat2', showBytes(path));
}

function remove(dir: number, name: string): void {
  if (libc().unlinkat(dir, cBytes(name), 0) === 0) return;
  const errno = lastErrno();
  if (errno === os.errno.ENOENT) return;
  if (errno !== os.errno.EISDIR && errno !== os.errno.EPERM) throw systemError(errno, 'unlink', showBytes(name));
  const below = openAt(dir, name, OPEN_DIRECTORY);
  try {
    for (const child of namesIn(below)) remove(below, child.name);
  } finally {
    close(below);
  }
  check(libc().unlinkat(dir, cBytes(name), AT_REMOVEDIR), 'rmdir', showBytes(name));
}

async function writeFile(dir: number, name: string, entry: TarEntry): Promise<void> {
  const fd = openAt(dir, name, CREATE, 0o600);
  try {
    for await (const chunk of entry.data())
      for (let done = 0; done < chunk.length; )
        done += check(libc().write(fd, chunk.subarray(done), chunk.length - done), 'write', showBytes(entry.name));
    finish(fd, entry);
  } finally {
    close(fd);
  }
}

/** Owner first: it clears setuid. */
function finish(fd: number, entry: TarEntry): void {
  check(libc().fchownat(fd, cBytes(''), id(entry.uid), id(entry.gid), AT_EMPTY_PATH), 'chown', showBytes(entry.name));
  check(libc().fchmod(fd, entry.mode), 'chmod', showBytes(entry.name));
  for (const [key, value] of entry.xattrs)
    if (key.startsWith('user.') && !key.startsWith('user.overlay.'))
      libc().fsetxattr(fd, Buffer.from(`${key}\0`), value, value.length, 0);
  check(libc().futimens(fd, timesOf(entry.mtimeSec, entry.mtimeNsec)), 'utime', showBytes(entry.name));
}

function own(dir: number, name: string, entry: TarEntry): void {
  check(libc().fchownat(dir, cBytes(name), id(entry.uid), id(entry.gid), AT_SYMLINK_NOFOLLOW), 'chown');
}

function id(number: number): number {
  if (number > LARGEST_ID) throw new TarError('an owner in it is out of range');
  return number;
}

function timesOf(sec: number, nsec: number): Buffer {
  const times = Buffer.alloc(32);
  for (const at of [0, 16]) {
    times.writeBigInt64LE(BigInt(Math.min(sec, 2 ** 33)), at);
    times.writeBigInt64LE(BigInt(nsec), at + 8);
  }
  return times;
}

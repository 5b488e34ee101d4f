import { execFile } from 'node:child_process';
import { promises as fs, readdirSync, readFileSync, realpathSync, rmdirSync, unlinkSync } from 'node:fs';
import { constants as os } from 'node:os';
import { promisify } from 'node:util';
import {
  close,
  DT_DIR,
  lastTimes,
  type Name,
  namesIn,
  OPEN_DIRECTORY,
  openBeneath,
  openRoot,
  setTimesOf,
  statAt,
} from './at.ts';
import { cBytes, check, lastErrno, libc, showBytes, systemError, toBytes } from './libc.ts';
import type { Steps } from './same-content.ts';
import { copyXattrs, mirrorXattrs } from './xattrs.ts';

const run = promisify(execFile);
const RENAME_NOREPLACE = 1;
const AT_FDCWD = -100;

/** How many entries `dir` holds, at any depth, itself not counted; stops counting at `limit`. Others may change it meanwhile. */
export function countEntries(dir: string, limit: number): number {
  const root = openRoot(dir);
  try {
    return countBelow(root, limit);
  } finally {
    close(root);
  }
}

function countBelow(dir: number, limit: number): number {
  const names = namesIn(dir);
  let count = names.length;
  for (const { name, type } of names) {
    if (count >= limit) return limit;
    if (type !== DT_DIR && !(type === 0 && statAt(dir, name)?.isDirectory)) continue;
    const below = openBeneath(dir, name, OPEN_DIRECTORY);
    if (below === null) continue;
    try {
      count += countBelow(below, limit - count);
    } finally {
      close(below);
    }
  }
  return Math.min(count, limit);
}

/** Bytes that the files below `dir` take, by blocks; extents shared with others count in each. 100,000 files: 0.5 s. Likewise. */
export function* bytesBelow(dir: string): Steps<number> {
  let bytes = 0;
  // Not by recursion, which a deep tree would exhaust.
  const open: { fd: number; names: Name[] }[] = [];
  const enter = (fd: number): void => {
    open.push({ fd, names: [] });
    open.at(-1)!.names = namesIn(fd);
  };
  try {
    enter(openRoot(dir));
    for (let at = open.at(-1); at !== undefined; at = open.at(-1)) {
      const next = at.names.pop();
      if (next === undefined) {
        close(open.pop()!.fd);
        continue;
      }
      yield;
      const stat = next.type === DT_DIR ? null : statAt(at.fd, next.name);
      if (stat?.isFile) bytes += stat.blocks * 512;
      if (next.type !== DT_DIR && !stat?.isDirectory) continue;
      const below = openBeneath(at.fd, next.name, OPEN_DIRECTORY);
      if (below !== null) enter(below);
    }
    return bytes;
  } finally {
    for (const { fd } of open) close(fd);
  }
}

/**
 * Makes the directory `path` with the mode, owner, times and xattrs of the directory `like`, overlayfs' own left out.
 * A fresh upper directory needs it: of the root folder an overlay shows what its topmost directory has.
 */
export function makeLike(path: string, like: string): void {
  const source = openRoot(like);
  try {
    const stat = statAt(source, '.')!;
    const times = lastTimes();
    check(libc().mkdirat(AT_FDCWD, cBytes(toBytes(path)), 0o700), 'mkdir', path);
    const target = openRoot(path);
    try {
      check(libc().fchownat(target, cBytes('.'), stat.uid, stat.gid, 0), 'fchownat', path);
      check(libc().fchmod(target, stat.mode & 0o7777), 'fchmod', path);
      copyXattrs(source, target, (name) => !name.startsWith('trusted.overlay.'));
      setTimesOf(target, times);
    } finally {
      close(target);
    }
  } finally {
    close(source);
  }
}

/**
 * Moves everything in `from` into the empty directory `to` on the same file system, one rename per top-level entry,
 * and gives `to` the mode, owner, xattrs and times of `from`. `from` stays, empty. All or nothing: where a step
 * fails, what was moved is moved back before it throws. Its inverse is itself with the arguments swapped.
 * Neither may be a layer of a mounted overlay.
 */
export function moveChildren(from: string, to: string): void {
  const source = openRoot(from);
  try {
    const target = openRoot(to);
    try {
      const stat = statAt(source, '.')!;
      const times = lastTimes();
      moveAll(source, target);
      try {
        mirrorXattrs(source, target);
        check(libc().fchownat(target, cBytes('.'), stat.uid, stat.gid, 0), 'fchownat', to);
        check(libc().fchmod(target, stat.mode & 0o7777), 'fchmod', to);
        setTimesOf(target, times);
      } catch (error) {
        moveAll(target, source);
        throw error;
      }
    } finally {
      close(target);
    }
  } finally {
    close(source);
  }
}

function moveAll(source: number, target: number): void {
  const present = namesIn(target)[0];
  if (present !== undefined) throw systemError(os.errno.ENOTEMPTY, 'rename', showBytes(present.name));
  const moved: string[] = [];
  for (const { name } of namesIn(source)) {
    if (libc().renameat2(source, cBytes(name), target, cBytes(name, 1), RENAME_NOREPLACE) === 0) {
      moved.push(name);
      continue;
    }
    const failure = systemError(lastErrno(), 'rename', showBytes(name));
    for (const done of moved.reverse())
      if (libc().renameat2(target, cBytes(done), source, cBytes(done, 1), RENAME_NOREPLACE) === -1)
        failure.cause ??= systemError(lastErrno(), 'rename', showBytes(done));
    throw failure;
  }
}

/** Trees up to that many entries are removed in process, larger ones by rm(1): some µs of ours per entry against none. */
const IN_PROCESS = 200;

/**
 * Removes `path` and all below it; fine where it is not there. Follows no symlink, and refuses (EBUSY) where
 * something is still mounted at or below, so that nothing but this very tree can be lost. Retries what is busy.
 */
export async function removeTree(path: string): Promise<void> {
  const exists = await fs.lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
  if (exists === null) return;
  if (!exists.isDirectory()) return await fs.rm(path, { force: true });
  const mounted = mountBelow(realpathSync(path));
  if (mounted !== undefined)
    throw Object.assign(systemError(os.errno.EBUSY, 'rm', path), {
      message: `EBUSY: ${mounted} is still mounted, rm '${path}'`,
    });
  if (countEntries(path, IN_PROCESS) < IN_PROCESS) {
    try {
      return removeHere(Buffer.from(path));
    } catch {
      // such as a path beyond PATH_MAX, which rm(1) can remove, or one that is busy, which it tries again
    }
  }
  for (let attempt = 0; ; attempt++) {
    try {
      await run('rm', ['-rf', '--one-file-system', '--', path]);
      return;
    } catch (error) {
      if (attempt === 4) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50 * 2 ** attempt));
    }
  }
}

/** One call of the kernel for each entry, in this very thread: one for each by way of the pool costs ten times its work. */
function removeHere(dir: Buffer): void {
  for (const entry of readdirSync(dir, { withFileTypes: true, encoding: 'buffer' })) {
    const path = Buffer.concat([dir, Buffer.from('/'), entry.name as unknown as Buffer]);
    if (entry.isDirectory()) removeHere(path);
    else unlinkSync(path);
  }
  rmdirSync(dir);
}

/** A mount point at or below the absolute `path`, of our mount namespace. */
function mountBelow(path: string): string | undefined {
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
    // Blank, tab, newline and backslash stand as octal escapes.
    const point = line
      .split(' ')[4]
      ?.replace(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8)));
    if (point !== undefined && (point === path || point.startsWith(`${path}/`))) return point;
  }
  return undefined;
}

/**
 * Changing files of a live branch from outside, with the rights of a user of it and no others.
 *
 * The way in is the root of the branch's PID 1. From there the kernel resolves every path in one go as if that were the
 * root of all (openat2, RESOLVE_IN_ROOT): a symlink inside leads somewhere inside, whatever is swapped meanwhile, and
 * mounts and magic links are not passed. What is found is looked at before it is opened, so no device or fifo ever is.
 * Each function is synchronous, to run within `asUser`. Errors are Node-style; their `path` is that inside.
 */
import { closeSync, constants, fchmodSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import { constants as os } from 'node:os';
import type { FileStat } from '../protocol/index.ts';
import {
  close,
  DT_DIR,
  namesIn,
  OPEN_DIRECTORY,
  OPEN_PATH,
  openAt,
  openBeneath,
  openInRoot,
  openRoot,
  type Stat,
  statAt,
  statOf,
} from './at.ts';
import { startTimeOf } from './branch.ts';
import { cBytes, check, libc, showBytes, systemError, toBytes } from './libc.ts';
import type { Steps } from './same-content.ts';

const { EEXIST, EINVAL, EISDIR, ENOENT, ENOTDIR, ESRCH, ESTALE } = os.errno;
/** Opened for its names; O_NOATIME is for owners only. */
const LISTED = OPEN_DIRECTORY & ~constants.O_NOATIME;
/** A descriptor of what a path leads to, without opening it (O_PATH). */
const FOUND = OPEN_PATH & ~constants.O_NOFOLLOW;
const AT_REMOVEDIR = 0x200;
/** Of renameat2(2). */
const RENAME_NOREPLACE = 1;
const PERMISSIONS = 0o777;

/** What a file was when its writer last looked; null: there was none. */
export type Expected = Pick<FileStat, 'size' | 'mtimeMs'> | null;

export interface Writing {
  /** Where in the file the bytes go. */
  offset: number;
  /** The file ends after them. */
  truncate: boolean;
  /** Make it where there is none. */
  create: boolean;
  /** Take one that is there. */
  overwrite: boolean;
  /** Permissions, nine bits; left out: as they are, 0o644 for a new one. */
  mode?: number;
  /** ESTALE where it is another one by now. */
  expected?: Expected;
}

/** @throws ESRCH where that very process has ended. Close what it answers. */
export function openBranchRoot(pid: number, startTime: string): number {
  if (startTimeOf(pid) !== startTime) throw systemError(ESRCH, 'open');
  const root = openRoot(`/proc/${pid}/root`);
  if (startTimeOf(pid) === startTime) return root;
  close(root);
  throw systemError(ESRCH, 'open');
}

/** The folder that holds `path`, and its name there. EISDIR for the root itself. */
function inParent<T>(root: number, path: string, body: (dir: number, name: string) => T): T {
  const parts = toBytes(path)
    .split('/')
    .filter((part) => part !== '');
  const name = parts.pop();
  if (name === undefined) throw systemError(EISDIR, 'open', path);
  const dir = openInRoot(root, `/${parts.join('/')}`, FOUND | constants.O_DIRECTORY);
  try {
    return body(dir, name);
  } finally {
    close(dir);
  }
}

function toFileStat(stat: Stat): FileStat {
  const { size, mode, mtimeSec, mtimeNsec } = stat;
  const type = stat.isFile ? 'file' : stat.isDirectory ? 'folder' : stat.isSymlink ? 'symlink' : 'other';
  return { type, size, mode: mode & 0o7777, mtimeMs: mtimeSec * 1000 + mtimeNsec / 1e6 };
}

/**
 * Writes `data` in place, symlinks followed inside. All of it is there afterwards or nothing: what does not fit (ENOSPC)
 * is taken back.
 */
export function writeInside(root: number, path: string, data: Buffer, options: Writing): FileStat {
  const found = openOrNull(root, path);
  if (found === null) {
    if (!options.create) throw systemError(ENOENT, 'open', path);
    if (options.expected) throw systemError(ESTALE, 'open', path);
    return inParent(root, path, (dir, name) => createIn(dir, name, data, options));
  }
  try {
    const stat = statOf(found);
    if (stat.isDirectory) throw systemError(EISDIR, 'open', path);
    if (!stat.isFile) throw systemError(EINVAL, 'open', path);
    if (!options.overwrite) throw systemError(EEXIST, 'open', path);
    if (options.expected !== undefined && !isStill(toFileStat(stat), options.expected))
      throw systemError(ESTALE, 'open', path);
    return overwrite(found, data, options);
  } finally {
    close(found);
  }
}

function isStill(now: FileStat, expected: Expected): boolean {
  return expected !== null && now.size === expected.size && now.mtimeMs === expected.mtimeMs;
}

function openOrNull(root: number, path: string): number | null {
  try {
    return openInRoot(root, toBytes(path) || '/', FOUND);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

function createIn(dir: number, name: string, data: Buffer, { offset, mode = 0o644 }: Writing): FileStat {
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  const fd = openAt(dir, name, flags, mode & PERMISSIONS);
  try {
    writeAll(fd, data, offset);
    fchmodSync(fd, mode & PERMISSIONS);
    return toFileStat(statOf(fd));
  } catch (error) {
    libc().unlinkat(dir, cBytes(name), 0);
    throw error;
  } finally {
    close(fd);
  }
}

/** @param found a descriptor of the file itself, not open for anything (O_PATH) */
function overwrite(found: number, data: Buffer, { offset, truncate, mode }: Writing): FileStat {
  const fd = openForWriting(found);
  try {
    const before = statOf(fd).size;
    const old = readable(found, offset, Math.min(data.length, Math.max(0, before - offset)));
    try {
      writeAll(fd, data, offset);
    } catch (error) {
      if (old) writeAll(fd, old, offset);
      ftruncateSync(fd, before);
      throw error;
    }
    if (truncate) ftruncateSync(fd, offset + data.length);
    if (mode !== undefined) fchmodSync(fd, mode & PERMISSIONS);
    return toFileStat(statOf(fd));
  } finally {
    closeSync(fd);
  }
}

/** The very file that was looked at, whatever its name leads to by now. */
function openForWriting(found: number): number {
  return openSync(`/proc/self/fd/${found}`, constants.O_WRONLY | constants.O_NONBLOCK);
}

/** What is about to be overwritten; null where its owner may write but not read it. */
function readable(found: number, offset: number, length: number): Buffer | null {
  let fd: number;
  try {
    fd = openSync(`/proc/self/fd/${found}`, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch {
    return null;
  }
  try {
    const old = Buffer.alloc(length);
    return old.subarray(0, length === 0 ? 0 : readSync(fd, old, 0, length, offset));
  } finally {
    closeSync(fd);
  }
}

function writeAll(fd: number, data: Buffer, offset: number): void {
  for (let done = 0; done < data.length; ) done += writeSync(fd, data, done, data.length - done, offset + done);
}

export function makeFolderInside(root: number, path: string, mode = 0o755): void {
  inParent(root, path, (dir, name) => check(libc().mkdirat(dir, cBytes(name), mode & PERMISSIONS), 'mkdir', path));
}

export function linkInside(root: number, path: string, target: string): void {
  inParent(root, path, (dir, name) =>
    check(libc().symlinkat(cBytes(toBytes(target), 1), dir, cBytes(name)), 'symlink', path),
  );
}

export function renameInside(root: number, from: string, to: string, overwriteIt: boolean): void {
  inParent(root, from, (fromDir, fromName) =>
    inParent(root, to, (toDir, toName) => {
      const flags = overwriteIt ? 0 : RENAME_NOREPLACE;
      check(libc().renameat2(fromDir, cBytes(fromName), toDir, cBytes(toName, 1), flags), 'rename', from);
    }),
  );
}

/**
 * Removes a file, a link itself, or a folder; with what is in it only if `recursive`. A generator, so that a large folder can
 * be done in slices. Holds one descriptor a level.
 */
export function* removeInside(root: number, path: string, recursive: boolean): Steps<void> {
  const parts = toBytes(path).split('/').filter(Boolean);
  const name = parts.pop();
  if (name === undefined) throw systemError(EISDIR, 'unlink', path);
  const dir = openInRoot(root, `/${parts.join('/')}`, FOUND | constants.O_DIRECTORY);
  try {
    const stat = statAt(dir, name);
    if (stat === null) throw systemError(ENOENT, 'unlink', path);
    if (stat.isDirectory && recursive) yield* emptyFolder(dir, name);
    remove(dir, name, stat.isDirectory, path);
  } finally {
    close(dir);
  }
}

function remove(dir: number, name: string, isFolder: boolean, about: string): void {
  check(libc().unlinkat(dir, cBytes(name), isFolder ? AT_REMOVEDIR : 0), 'unlink', about);
}

interface Level {
  readonly fd: number;
  readonly name: string;
  readonly rest: { name: string; type: number }[];
}

/** Not by recursion, which a deep tree would exhaust. */
function* emptyFolder(dir: number, name: string): Steps<void> {
  const levels: Level[] = [];
  const enter = (parent: number, child: string): void => {
    const fd = openBeneath(parent, child, LISTED);
    if (fd === null) throw systemError(ENOTDIR, 'open', showBytes(child));
    levels.push({ fd, name: child, rest: namesIn(fd) });
  };
  try {
    enter(dir, name);
    for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
      const next = level.rest.pop();
      if (next === undefined) {
        levels.pop();
        close(level.fd);
        const parent = levels.at(-1);
        if (parent) remove(parent.fd, level.name, true, showBytes(level.name));
      } else if (next.type === DT_DIR) enter(level.fd, next.name);
      else remove(level.fd, next.name, false, showBytes(next.name));
      yield;
    }
  } finally {
    for (const level of levels) close(level.fd);
  }
}

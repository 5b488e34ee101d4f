import { constants, createReadStream } from 'node:fs';
import { access, lstat, readdir, readlink } from 'node:fs/promises';
import { dirname, join, posix } from 'node:path';
import type { FileStat } from '../../protocol/model.ts';
import { type ChangedPaths, each } from './changed.ts';
import { type Fact, PERMISSIONS, type Snapshot } from './facts.ts';
import { type Place, sha256 } from './place.ts';
import type { Applied } from './record.ts';

export interface Sides {
  /** The workspace's path inside the sandbox. */
  workspace: string;
  /** The folder here that is applied to. */
  dir: string;
  before: Place;
  after: Place;
  /** What was applied to that folder earlier. */
  applied: Applied;
}

/** Looks at every path in all three places. Reads only. */
export async function gatherFacts({ paths }: ChangedPaths, sides: Sides): Promise<Fact[]> {
  const facts: Fact[] = [];
  const writable = remember((folder: string) => canWrite(folder, sides.dir));
  await each([...paths], async ([path, { before, after, from }]) => {
    const recorded = sides.applied.get(path);
    const ours = await localSnapshot(sides.dir, path, paths);
    const sizes = [ours !== 'beyond' && ours, recorded ?? (recorded === null ? null : before), after].map((side) =>
      side && side.type === 'file' ? side.size : -1,
    );
    /** A content has to be read only where a size alone does not tell it from the others. */
    const needed = (size: number) => sizes.filter((other) => other === size).length > 1;
    const inside = posix.join(sides.workspace, path);
    facts.push({
      path,
      from,
      base: recorded !== undefined ? recorded : await remoteSnapshot(sides.before, inside, before, needed),
      theirs: await remoteSnapshot(sides.after, inside, after, needed),
      ours,
      writable: await writable(dirname(join(sides.dir, path))),
      unknownInside:
        ours !== 'beyond' && ours?.type === 'folder' && after?.type !== 'folder' && after !== null
          ? await holdsUnknown(sides.dir, path, paths)
          : undefined,
    });
  });
  return facts;
}

async function remoteSnapshot(
  place: Place,
  path: string,
  stat: FileStat | null,
  needed: (size: number) => boolean,
): Promise<Snapshot | null> {
  if (!stat) return null;
  const { type, size } = stat;
  const mode = stat.mode & PERMISSIONS;
  if (type === 'symlink') return { type, size, mode, key: `symlink:${stat.target ?? ''}` };
  if (type !== 'file') return { type, size, mode, key: type };
  return { type, size, mode, key: needed(size) ? `file:${await sha256(place.read(path))}` : `file:~${size}` };
}

/**
 * What the workspace has at a path, never through a symlink. A symlink or file on the way counts as nothing where the
 * sandbox puts a folder in its stead.
 */
async function localSnapshot(dir: string, path: string, paths: ChangedPaths['paths']): Promise<Fact['ours']> {
  const parts = path.split('/');
  for (let i = 1; i < parts.length; i++) {
    const parent = parts.slice(0, i).join('/');
    const stat = await lstatOrNull(join(dir, parent));
    if (!stat) return null;
    if (stat.isDirectory()) continue;
    const change = paths.get(parent);
    const replaced = change?.after?.type === 'folder' && change.before && change.before.type !== 'folder';
    return replaced ? null : 'beyond';
  }
  return await snapshot(join(dir, path));
}

/** One path here, not through a last symlink. */
export async function snapshot(path: string): Promise<Snapshot | null> {
  const stat = await lstatOrNull(path);
  if (!stat) return null;
  const mode = stat.mode & PERMISSIONS;
  const stamp = stampOf(stat);
  if (stat.isSymbolicLink()) {
    const key = `symlink:${await readlink(path)}`;
    return { type: 'symlink', size: stat.size, mode, key, stamp };
  }
  if (stat.isDirectory()) return { type: 'folder', size: 0, mode, key: 'folder' };
  if (!stat.isFile()) return { type: 'other', size: 0, mode, key: 'other' };
  const key = `file:${await sha256(createReadStream(path))}`;
  return { type: 'file', size: stat.size, mode, key, stamp };
}

/** Differs once a file was written or replaced. */
export function stampOf(stat: { ino: number; size: number; mtimeMs: number }): string {
  return `${stat.ino}:${stat.size}:${stat.mtimeMs}`;
}

export async function lstatOrNull(path: string) {
  try {
    return await lstat(path);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    throw error;
  }
}

async function holdsUnknown(dir: string, path: string, paths: ChangedPaths['paths']): Promise<boolean> {
  for (const entry of await readdir(join(dir, path), { withFileTypes: true })) {
    const child = `${path}/${entry.name}`;
    if (!paths.has(child)) return true;
    if (entry.isDirectory() && (await holdsUnknown(dir, child, paths))) return true;
  }
  return false;
}

/** May the user make and remove names there? For a folder that is still to be made, in its nearest parent. */
async function canWrite(folder: string, dir: string): Promise<boolean> {
  for (let at = folder; at.startsWith(dir); at = dirname(at)) {
    if (!(await lstatOrNull(at))?.isDirectory()) continue;
    return await access(at, constants.W_OK | constants.X_OK).then(
      () => true,
      () => false,
    );
  }
  return false;
}

function remember<T>(ask: (key: string) => Promise<T>): (key: string) => Promise<T> {
  const known = new Map<string, Promise<T>>();
  return (key) => {
    const answer = known.get(key) ?? ask(key);
    known.set(key, answer);
    return answer;
  };
}

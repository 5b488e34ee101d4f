/**
 * Where a workspace's git keeps its things, found by reading `.git` alone. Git itself would also take a folder for a repository
 * that merely looks like one from inside, with a configuration that somebody else wrote.
 */
import { lstat, readFile, realpath } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';

export interface Repository {
  /** HEAD and the index of this working tree. */
  dir: string;
  /** Branches, objects, configuration: the same folder but for a linked worktree. */
  common: string;
}

/** The repository whose working tree begins at this folder; null: there is none. */
export async function repositoryAt(folder: string): Promise<Repository | null> {
  const dir = await gitFolder(folder);
  if (dir === null) return null;
  const common = await textOf(join(dir, 'commondir'));
  return { dir, common: common === null ? dir : resolve(dir, common) };
}

/** The folder above that is the top of a repository which this one is only a part of. */
export async function repositoryAround(folder: string): Promise<string | null> {
  for (let at = dirname(folder); ; at = dirname(at)) {
    if (await repositoryAt(at)) return at;
    if (at === dirname(at)) return null;
  }
}

export function isBelow(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder.endsWith('/') ? folder : `${folder}/`);
}

/** `gitdir: PATH`, as a worktree and a submodule have it in the place of the folder. */
export function gitdirIn(text: string): string | null {
  return /^gitdir: ([^\n\0]+)\n?$/.exec(text)?.[1] ?? null;
}

async function gitFolder(folder: string): Promise<string | null> {
  const path = join(folder, '.git');
  const stat = await lstat(path).catch(() => null);
  if (stat?.isDirectory()) return (await looksLikeOne(path)) ? path : null;
  if (stat?.isSymbolicLink()) return await realpath(path).catch(() => null);
  const target = stat?.isFile() ? gitdirIn((await readFile(path, 'utf8').catch(() => '')).slice(0, 8192)) : null;
  if (target === null) return null;
  const dir = resolve(folder, target);
  return (await looksLikeOne(dir)) ? dir : null;
}

async function looksLikeOne(dir: string): Promise<boolean> {
  return (await lstat(join(dir, 'HEAD')).catch(() => null)) !== null;
}

export async function textOf(path: string): Promise<string | null> {
  return await readFile(path, 'utf8').then(
    (text) => text.trim(),
    () => null,
  );
}

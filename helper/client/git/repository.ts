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

/** How many repositories may borrow objects from each other, as git has it (MAXIMUM_ALTERNATES in object-file.c). */
const MOST_ALTERNATES = 5;

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

export interface Outside {
  /** Folders that the repository lives on and that are not below the workspace, none inside another. */
  folders: string[];
  /** What git will lack inside and what to do about it, as sentences. */
  notes: string[];
}

/**
 * What a workspace's git needs that is not in the workspace. A `.git` can be written by anybody, to name a folder that is nobody's
 * business: only what leads back to the workspace counts.
 */
export async function outside(workspace: string): Promise<Outside> {
  const repository = await repositoryAt(workspace);
  if (!repository) {
    const around = await repositoryAround(workspace);
    if (around === null) return { folders: [], notes: [] };
    const note = `${workspace} is a part of the repository ${around}: git finds none inside. For git, make the sandbox of ${around}`;
    return { folders: [], notes: [note] };
  }
  const { dir, common } = repository;
  const away = [...new Set([dir, common])].filter((path) => !isBelow(path, workspace));
  if (away.length && !(await leadsBack(repository, workspace)))
    return {
      folders: [],
      notes: [
        `${workspace}/.git leads to ${dir}, which does not lead back: it stays outside, so git does not work inside. To bring it in: git -C ${workspace} config core.worktree ${workspace}`,
      ],
    };
  const folders = away.filter((path) => !away.some((other) => other !== path && isBelow(path, other)));
  const borrowed = (await alternatesOf(join(common, 'objects'))).filter(
    (path) => ![workspace, ...folders].some((folder) => isBelow(path, folder)),
  );
  const notes = borrowed.map(
    (path) =>
      `the repository borrows objects from ${path}, which stays outside: git misses them inside. To have them: git repack -a -d, then delete ${join(common, 'objects/info/alternates')}`,
  );
  return { folders, notes };
}

/** A worktree's folder holds the path of its `.git`, a submodule's configuration that of its working tree. */
async function leadsBack({ dir, common }: Repository, workspace: string): Promise<boolean> {
  const same = async (path: string) => (await realpath(path).catch(() => null)) === (await realpath(workspace));
  const link = await textOf(join(dir, 'gitdir'));
  if (link !== null) return isBelow(dir, join(common, 'worktrees')) && (await same(dirname(resolve(dir, link))));
  const tree = /^\s*worktree\s*=\s*"?([^"\n]+?)"?\s*$/m.exec((await textOf(join(dir, 'config'))) ?? '')?.[1];
  return tree !== undefined && dir === common && (await same(resolve(dir, tree)));
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

/** Also those of those. */
async function alternatesOf(objects: string, depth = 0): Promise<string[]> {
  const listed = await textOf(join(objects, 'info/alternates'));
  if (listed === null || depth >= MOST_ALTERNATES) return [];
  const own = listed.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  const found = own.map((line) => resolve(objects, line));
  const further = await Promise.all(found.map((path) => alternatesOf(path, depth + 1)));
  return [...found, ...further.flat()];
}

async function textOf(path: string): Promise<string | null> {
  return await readFile(path, 'utf8').then(
    (text) => text.trim(),
    () => null,
  );
}

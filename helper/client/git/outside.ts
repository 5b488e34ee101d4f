/** What a workspace's git, its submodules' included, needs of what is not in the workspace. */
import { realpath } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { TeleportError } from '../../protocol/errors.ts';
import { isBelow, type Repository, repositoryAround, repositoryAt, textOf } from './repository.ts';
import type { GitOptions } from './run-git.ts';
import { submodulesOf } from './submodules.ts';

/** How many repositories may borrow objects from each other, as git has it (MAXIMUM_ALTERNATES in object-file.c). */
const MOST_ALTERNATES = 5;

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
export async function outside(workspace: string, options: Pick<GitOptions, 'env' | 'signal'> = {}): Promise<Outside> {
  const repository = await repositoryAt(workspace);
  if (!repository) {
    const around = await repositoryAround(workspace);
    if (around === null) return { folders: [], notes: [] };
    const note = `${workspace} is a part of the repository ${around}: git finds none inside. For git, make the sandbox of ${around}`;
    return { folders: [], notes: [note] };
  }
  const found: Outside = { folders: [], notes: [] };
  await addOutside(found, repository, workspace, workspace, options);
  const { folders, notes } = found;
  return { folders: folders.filter((path) => !folders.some((other) => other !== path && isBelow(path, other))), notes };
}

/** @param folder the working tree: the workspace, or a submodule in it */
async function addOutside(
  found: Outside,
  repository: Repository,
  folder: string,
  workspace: string,
  options: Pick<GitOptions, 'env' | 'signal'>,
): Promise<void> {
  const { dir, common } = repository;
  const isIn = (path: string) => [workspace, ...found.folders].some((within) => isBelow(path, within));
  const away = [...new Set([dir, common])].filter((path) => !isIn(path));
  if (away.length && !(await leadsBack(repository, folder))) {
    found.notes.push(
      `${folder}/.git leads to ${dir}, which does not lead back: it stays outside, so git does not work inside. To bring it in: git -C ${folder} config core.worktree ${folder}`,
    );
    return;
  }
  found.folders.push(...away);
  for (const path of await alternatesOf(join(common, 'objects')))
    if (!isIn(path))
      found.notes.push(
        `the repository borrows objects from ${path}, which stays outside: git misses them inside. To have them: git repack -a -d, then delete ${join(common, 'objects/info/alternates')}`,
      );
  const submodules = await submodulesOf(repository, folder, options).catch((error: unknown) => {
    // Without git here, or with an index that it can't read, nobody has commits to bring home.
    if (error instanceof TeleportError && (error.code === 'noGit' || error.code === 'notARepository')) return [];
    throw error;
  });
  for (const submodule of submodules)
    if (submodule.repository) await addOutside(found, submodule.repository, submodule.folder, workspace, options);
}

/** A worktree's folder holds the path of its `.git`, a submodule's configuration that of its working tree. */
async function leadsBack({ dir, common }: Repository, workspace: string): Promise<boolean> {
  const same = async (path: string) => (await realpath(path).catch(() => null)) === (await realpath(workspace));
  const link = await textOf(join(dir, 'gitdir'));
  if (link !== null) return isBelow(dir, join(common, 'worktrees')) && (await same(dirname(resolve(dir, link))));
  const tree = /^\s*worktree\s*=\s*"?([^"\n]+?)"?\s*$/m.exec((await textOf(join(dir, 'config'))) ?? '')?.[1];
  return tree !== undefined && dir === common && (await same(resolve(dir, tree)));
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

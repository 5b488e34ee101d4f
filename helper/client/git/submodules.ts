/** Repositories that a repository has as its submodules, as the user's own index names them: what a sandbox says has no part in it. */
import { realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { TeleportError } from '../../protocol/errors.ts';
import { type Repository, repositoryAt } from './repository.ts';
import { firstComplaint, type GitOptions, runGit } from './run-git.ts';

export interface Submodule {
  /** Below the working tree of the outer one. */
  path: string;
  /** Its own working tree. */
  folder: string;
  /** Null where it is not checked out, or where a link on the way leads elsewhere. */
  repository: Repository | null;
}

/** What the mode of an index entry is for a commit of another repository. */
const GITLINK = '160000 ';

/** @throws TeleportError `notARepository` where the index can't be read, `noGit` */
export async function submodulesOf(
  { dir }: Repository,
  folder: string,
  options: Pick<GitOptions, 'as' | 'env' | 'signal'>,
): Promise<Submodule[]> {
  const { code, stdout, stderr } = await runGit(['ls-files', '--stage', '-z'], { ...options, repository: dir });
  if (code !== 0)
    throw new TeleportError('notARepository', `git can't read the index of ${folder}: ${firstComplaint(stderr)}`);
  // More than one stage in a merge.
  const paths = new Set(
    stdout
      .split('\0')
      .filter((entry) => entry.startsWith(GITLINK))
      .map((entry) => entry.slice(entry.indexOf('\t') + 1)),
  );
  const top = await realpath(folder);
  return await Promise.all(
    [...paths].map(async (path) => {
      const at = join(folder, path);
      const straight = (await realpath(at).catch(() => null)) === join(top, path);
      return { path, folder: at, repository: straight ? await repositoryAt(at) : null };
    }),
  );
}

/** Paths that a `.gitmodules` file names. */
export function submodulePaths(text: string): string[] {
  return [...text.matchAll(/^\s*path\s*=\s*"?([^"\n]+?)"?\s*$/gm)].map((found) => found[1]!);
}

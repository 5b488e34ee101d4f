/** What of git's is not in the workspace, or must not come in with it. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { withoutCredentials } from '../engine/git-config.ts';
import { TeleportError } from '../protocol/errors.ts';
import { asCaller } from './as-caller.ts';
import { type Copying, checkWorkspacePath, copyIn } from './copy-in.ts';
import type { Owner } from './owner.ts';

/**
 * After the workspace is in `layer`: the folders that its `.git` leads to come to their own paths, and no credentials with any of
 * them. None may hold the workspace, nor be in it.
 * @throws TeleportError `invalidRequest`, and what copying the workspace throws
 */
export async function copyGit(
  owner: Owner,
  workspace: string,
  folders: string[],
  layer: string,
  options: Copying,
): Promise<void> {
  await removeCredentials(owner, join(layer, workspace), '.git');
  const within = (path: string, outer: string): boolean => `${path}/`.startsWith(`${outer}/`);
  for (const folder of folders) {
    checkWorkspacePath(folder);
    const source = folder.replace(/\/+$/, '');
    if (within(source, workspace) || within(workspace, source))
      throw new TeleportError('invalidRequest', `${source} and the workspace ${workspace} lie in one another`);
    await copyIn(owner, source, layer, { ...options, exclude: [], doing: 'copying the git folder' });
    await removeCredentials(owner, join(layer, source), '.');
  }
}

/**
 * From the copies of a git folder's configurations, its submodules' and worktrees' included. Nobody but the helper can get at
 * them yet, and `find` passes no link.
 */
async function removeCredentials(owner: Owner, dir: string, git: string): Promise<void> {
  const aside = ['objects', 'refs', 'logs'].flatMap((name) => ['-name', name, '-prune', '-o']);
  const wanted = ['-type', 'f', '-name', 'config', '-o', '-type', 'f', '-name', 'config.worktree'];
  const argv = ['find', '-P', git, ...aside, '(', ...wanted, ')', '-printf', '%p\\0'];
  const found = await asCaller(owner, argv, { cwd: dir });
  for (const name of found.stdout.toString('latin1').split('\0').slice(0, -1)) {
    const path = Buffer.concat([Buffer.from(`${dir}/`), Buffer.from(name, 'latin1')]);
    const text = readFileSync(path, 'latin1');
    const left = withoutCredentials(text);
    if (left !== text) writeFileSync(path, left, 'latin1');
  }
}

/** What every client adds to the making of a sandbox: the user's git identity, and the folders that a worktree's `.git` leads to. */
import type { Params } from '../protocol/methods.ts';
import { identityOf } from './git/identity.ts';
import { outside } from './git/outside.ts';

type Create = Params<'sandbox/create'>;

/** Whoever says something about git themselves is not overruled. @returns with `notes`: what git will lack inside, as sentences */
export async function withGit(
  params: Create,
  env: NodeJS.ProcessEnv,
  signal?: AbortSignal,
): Promise<{ params: Create; notes: string[] }> {
  if (params.git !== undefined || typeof params.workspace !== 'string') return { params, notes: [] };
  const { workspace } = params;
  const [identity, { folders, notes }] = await Promise.all([
    identityOf(workspace, env, signal),
    params.exclude?.includes('.git') ? { folders: [], notes: [] } : outside(workspace, { env, signal }),
  ]);
  return { params: { ...params, git: { ...identity, folders } }, notes };
}

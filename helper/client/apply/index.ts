/** Applying a sandbox's files to a folder of the user's, with the user's rights. Planning changes nothing. */
import { access, constants, realpath, stat } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import type { BridgeParams, BridgeResult } from '../../protocol/bridge.ts';
import { TeleportError } from '../../protocol/errors.ts';
import type { Sandbox } from '../../protocol/model.ts';
import type { Requester } from '../connection.ts';
import { changedPaths, withoutExcluded } from './changed.ts';
import { gatherFacts } from './gather.ts';
import { makePatch } from './patch.ts';
import { type Performed, performApply } from './perform.ts';
import { type Place, remotePlace } from './place.ts';
import { type Plan, planApply } from './plan.ts';
import { readApplied, writeApplied } from './record.ts';

export { forcible } from './plan.ts';

/** What every sandbox starts from. */
export const ROOT = 'k0';

export interface Prepared {
  plan: Plan;
  sandbox: Sandbox;
  /** The folder that it is applied to. */
  to: string;
  /** Whose files. */
  from: string;
  place: Place;
}

export interface Options {
  env?: NodeJS.ProcessEnv;
  signal?: AbortSignal;
  onProgress?: (message: string, done: number, total: number) => void;
}

/** Compares the sandbox, the folder, and what they last had in common. */
export async function prepareApply(
  helper: Requester,
  params: { sandbox: string; from?: string; to?: string },
  { env = process.env, signal }: Options = {},
): Promise<Prepared> {
  const { sandbox } = await helper.request('sandbox/get', { sandbox: params.sandbox });
  const from = params.from ?? sandbox.head ?? sandbox.current;
  const to = await targetFolder(params.to ?? sandbox.workspace);
  const workspace = sandbox.workspace;
  const applied = await readApplied(sandbox, to, env);
  const before = remotePlace(helper, sandbox.id, ROOT, signal);
  const place = remotePlace(helper, sandbox.id, from, signal);
  const { changes } = await helper.request(
    'diff',
    { sandbox: sandbox.id, from: ROOT, to: from, path: workspace },
    { signal },
  );
  const changed = withoutExcluded(await changedPaths(changes, workspace, before, place, applied.keys()), sandbox);
  const plan = planApply(await gatherFacts(changed, { workspace, dir: to, before, after: place, applied }));
  for (const [path, reason] of changed.left) plan.left.push({ path, reason });
  return { plan, sandbox, to, from, place };
}

/** Does what was prepared, and remembers it. */
export async function performPrepared(
  { plan, sandbox, to, place }: Prepared,
  choice: { paths?: string[]; force?: boolean | string[] },
  { env = process.env, ...options }: Options = {},
): Promise<Performed> {
  const done = await performApply(plan, { dir: to, workspace: sandbox.workspace, place, ...choice, ...options });
  if (done.agreed.size > 0) {
    const applied = await readApplied(sandbox, to, env);
    for (const [path, snapshot] of done.agreed) applied.set(path, snapshot);
    await writeApplied(sandbox, to, applied, env);
  }
  return done;
}

/** The workspace's changes between two places as a patch that `git apply` takes. */
export async function patchBetween(
  helper: Requester,
  params: BridgeParams<'apply/patch'>,
  { signal }: Options = {},
): Promise<BridgeResult<'apply/patch'>> {
  const { sandbox } = await helper.request('sandbox/get', { sandbox: params.sandbox });
  const { id, workspace } = sandbox;
  const from = params.from ?? ROOT;
  const to = params.to ?? sandbox.head ?? sandbox.current;
  const { changes } = await helper.request('diff', { sandbox: id, from, to, path: workspace }, { signal });
  const before = remotePlace(helper, id, from, signal);
  const after = remotePlace(helper, id, to, signal);
  return await makePatch(await changedPaths(changes, workspace, before, after), workspace, before, after);
}

/** The real folder. @throws TeleportError `workspaceMissing`, `workspaceNotFolder`, `workspaceUnreadable` */
export async function targetFolder(dir: string): Promise<string> {
  if (!isAbsolute(dir)) throw new TeleportError('invalidRequest', `not an absolute path: ${dir}`);
  try {
    const real = await realpath(dir);
    if (!(await stat(real)).isDirectory()) throw new TeleportError('workspaceNotFolder', `${dir} is not a folder`);
    await access(join(real, '.'), constants.R_OK | constants.X_OK);
    return real;
  } catch (error) {
    if (error instanceof TeleportError) throw error;
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ENOTDIR')
      throw new TeleportError('workspaceMissing', `there is no folder ${dir}`, { cause: error });
    throw new TeleportError('workspaceUnreadable', `cannot read ${dir}`, { cause: error });
  }
}

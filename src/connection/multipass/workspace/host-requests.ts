/**
 * Requests about the workspace, answered on this side: the folder is on this host, and the client process in the machine
 * can't see it. The comparing and the writing are those of the client process; only where the files are differs.
 */
import { performPrepared, prepareApply } from '../../../../helper/client/apply/index.ts';
import type { Plan } from '../../../../helper/client/apply/plan.ts';
import type { Requester, RequestOptions } from '../../../../helper/client/connection.ts';
import { withGit } from '../../../../helper/client/create.ts';
import {
  enterFollow,
  type FollowOptions,
  getFollow,
  setFollow,
  syncFollow,
} from '../../../../helper/client/follow/index.ts';
import { fetchCommits, targetOf } from '../../../../helper/client/git/arrive.ts';
import { branchFromSandbox } from '../../../../helper/client/git/branch.ts';
import { measureWorkspace } from '../../../../helper/client/measure.ts';
import { postCreateCommand } from '../../../../helper/client/on-create.ts';
import { BRIDGE_METHODS, type BridgeParsed, type BridgeResult } from '../../../../helper/protocol/bridge.ts';
import { TeleportError } from '../../../../helper/protocol/errors.ts';
import type { NotificationParams } from '../../../../helper/protocol/methods.ts';
import { t } from '../../../l10n.ts';
import { HelperError } from '../../errors.ts';
import type { Copied } from './copy-in.ts';
import { leftOutWords } from './exclusions.ts';
import { fitting, lookAtDisk } from './host-disk.ts';

export interface HostSide {
  /** This host's folder for one in the machine; null where that is none of this host's. */
  hostFolder(inMachine: string): string | null;
  /** What is not brought over from this host. */
  exclude(): readonly string[];
  copyIn(
    folder: string,
    to: string,
    exclude: ReadonlySet<string>,
    onProgress: (bytes: number) => void,
    signal: AbortSignal,
  ): Promise<Copied>;
  readonly log: (text: string) => void;
}

/** Asks the client process in the machine. */
export type Send = (method: string, params: object, signal: AbortSignal) => Promise<unknown>;
export type Tell = (progress: NotificationParams<'progress'>) => void;

type Answer = (params: never, signal: AbortSignal, send: Send, tell: Tell) => Promise<unknown>;

/** Undefined: the request is none of this host's business, and goes to the machine as it is. */
export function answerHere(host: HostSide, method: string, params: object): Answer | undefined {
  const { workspace, sandbox } = params as { workspace?: string; sandbox?: string };
  const answers: { [method: string]: Answer } = {
    'workspace/measure': (asked: { workspace: string; exclude?: string[] }, signal) =>
      here(measureWorkspace({ workspace: host.hostFolder(asked.workspace)!, exclude: excluded(host, asked) }, signal)),
    'workspace/onCreate': async (asked: { workspace: string }) => ({
      command: (await postCreateCommand(host.hostFolder(asked.workspace)!)) ?? null,
    }),
    'sandbox/create': (asked: CreateParams, signal, send, tell) => create(host, asked, signal, send, tell),
    'apply/plan': (asked, signal, send) => here(plan(host, asked, signal, send)),
    'apply/perform': (asked, signal, send, tell) => here(perform(host, asked, signal, send, tell)),
    'git/fetch': (asked, signal, send) => here(fetchHere(host, asked, signal, send)),
    'git/branch': (asked, signal, send) => here(branchHere(host, asked, signal, send)),
    'follow/get': follows(host, 'follow/get', getFollow),
    'follow/set': follows(host, 'follow/set', setFollow),
    'follow/sync': follows(host, 'follow/sync', syncFollow),
    'follow/enter': follows(host, 'follow/enter', enterFollow),
  };
  if (workspace !== undefined && host.hostFolder(workspace) === null) return undefined;
  if (workspace === undefined && sandbox === undefined) return undefined;
  return answers[method];
}

interface CreateParams {
  readonly workspace: string;
  readonly exclude?: string[];
  readonly progress?: string;
}

function excluded(host: HostSide, { exclude = [] }: { exclude?: string[] }): string[] {
  return [...new Set([...host.exclude(), ...exclude])];
}

/** The folder is brought over first; then it is a workspace like any other there. */
async function create(host: HostSide, params: CreateParams, signal: AbortSignal, send: Send, tell: Tell) {
  const folder = host.hostFolder(params.workspace)!;
  const exclude = excluded(host, params);
  const { bytes: total, complete } = await here(measureWorkspace({ workspace: folder, exclude }, signal));
  const megabytes = (bytes: number) => Math.round(bytes / 1e6);
  let told = 0;
  const onProgress = (bytes: number) => {
    if (params.progress === undefined || Date.now() - told < 100) return;
    told = Date.now();
    const message = t('Copying into the machine: {0} MB', megabytes(bytes));
    tell({
      token: params.progress,
      message,
      ...(complete && total > 0 ? { done: Math.min(bytes, total), total } : {}),
    });
  };
  const copied = await host.copyIn(folder, params.workspace, new Set(exclude), onProgress, signal);
  const rate = (copied.bytes / 1e6 / Math.max(copied.ms / 1000, 0.001)).toFixed(0);
  host.log(t('Copied {0}: {1} files, {2} MB, {3} MB/s', folder, copied.files, megabytes(copied.bytes), rate));
  for (const { path, reason } of copied.skipped) host.log(t('Not copied: {0}: {1}', path, reason));
  if (copied.leftOut.length > 0) {
    const words = t('Left out: {0}', leftOutWords(copied.leftOut));
    host.log(`${words} (teleportEnv.machine.leaveOut)`);
    if (params.progress !== undefined) tell({ token: params.progress, message: words });
  }
  // What was left out is not there; the names are no business of the daemon's, which knows only top-level ones.
  // Who commits is known on this host; folders of git's outside of the workspace are not in the machine.
  const { params: known, notes } = await withGit({ workspace: folder, exclude }, process.env, signal);
  const { folders = [], ...identity } = known.git ?? {};
  for (const path of folders)
    notes.push(
      t(
        '{0} has its git folder at {1}, which is not brought into the machine: git does not work inside.',
        folder,
        path,
      ),
    );
  for (const note of notes) {
    host.log(note);
    if (params.progress !== undefined) tell({ token: params.progress, message: note });
  }
  return await send('sandbox/create', { ...params, exclude: params.exclude ?? [], git: identity }, signal);
}

type ApplyParams = { sandbox: string; from?: string; to?: string };

async function prepare(host: HostSide, params: ApplyParams, signal: AbortSignal, send: Send) {
  const helper = requester(send, signal);
  const { sandbox } = await helper.request('sandbox/get', { sandbox: params.sandbox });
  const to = params.to ?? host.hostFolder(sandbox.workspace);
  if (to === null)
    throw new TeleportError('workspaceMissing', t('{0} is a folder of the machine’s own.', sandbox.workspace), {
      hint: t('Apply it inside: teleport-env apply, in the machine’s shell.'),
    });
  const prepared = await prepareApply(helper, { ...params, to }, { signal });
  const disk = await lookAtDisk(prepared.to, new Set(host.exclude()));
  const names: string[] = [];
  // Beside what is new there may be a name that differs in case and did not change: only its folder tells.
  if (disk.ignoresCase) {
    const added = prepared.plan.steps.filter(({ change }) => change.kind === 'added' || change.kind === 'renamed');
    for (const parent of new Set(added.map(({ change }) => change.path.split('/').slice(0, -1).join('/'))))
      for (const { name } of await prepared.place.list([sandbox.workspace, parent].filter(Boolean).join('/')))
        names.push(parent === '' ? name : `${parent}/${name}`);
  }
  return { ...prepared, plan: fitting(prepared.plan, disk, names) };
}

async function plan(host: HostSide, params: ApplyParams, signal: AbortSignal, send: Send) {
  const { plan, to, from } = await prepare(host, params, signal, send);
  return { to, from, changes: plan.steps.map((step) => step.change), left: plan.left } as BridgeResult<'apply/plan'>;
}

/** The folder here that a sandbox's commits go to. */
async function repositoryFor(host: HostSide, params: { sandbox: string; to?: string }, helper: Requester) {
  if (params.to !== undefined) return params.to;
  const { sandbox } = await helper.request('sandbox/get', { sandbox: params.sandbox });
  const to = host.hostFolder(sandbox.workspace);
  if (to !== null) return to;
  throw new TeleportError('notARepository', t('{0} is a folder of the machine’s own.', sandbox.workspace), {
    hint: t('Fetch inside: teleport-env git fetch, in the machine’s shell.'),
  });
}

async function fetchHere(host: HostSide, params: ApplyParams, signal: AbortSignal, send: Send) {
  const helper = requester(send, signal);
  const target = await targetOf(helper, { ...params, to: await repositoryFor(host, params, helper) }, { signal });
  const { head, current } = target.sandbox;
  return (await fetchCommits(helper, target, params.from ?? head ?? current)).arrived;
}

async function branchHere(host: HostSide, params: object, signal: AbortSignal, send: Send) {
  const helper = requester(send, signal);
  const asked = BRIDGE_METHODS['git/branch'].params.parse(params);
  return await branchFromSandbox(helper, { ...asked, to: await repositoryFor(host, asked, helper) }, { signal });
}

async function perform(host: HostSide, params: object, signal: AbortSignal, send: Send, tell: Tell) {
  const { paths, force, progress, ...asked } = BRIDGE_METHODS['apply/perform'].params.parse(params);
  const prepared = await prepare(host, asked, signal, send);
  const onProgress = (message: string, done: number, total: number) => {
    if (progress !== undefined) tell({ token: progress, message, done, total });
  };
  const done = await performPrepared(prepared, { paths, force }, { signal, onProgress });
  const { conflicts, failed } = done;
  return { to: prepared.to, applied: done.applied.map((change) => change.path), conflicts, failed };
}

type FollowMethod = 'follow/get' | 'follow/set' | 'follow/sync' | 'follow/enter';

/** What follows is the folder here, by the client process's own code. */
function follows<M extends FollowMethod>(
  host: HostSide,
  method: M,
  act: (helper: Requester, params: BridgeParsed<M>, options: FollowOptions) => Promise<unknown>,
): Answer {
  return (params: object, signal, send) => {
    let folder = '';
    const folderOf = (workspace: string) => {
      const found = host.hostFolder(workspace);
      if (found === null)
        throw new TeleportError('workspaceMissing', t('{0} is a folder of the machine’s own.', workspace), {
          hint: t('Only a folder of this computer can follow.'),
        });
      folder = found;
      return found;
    };
    const fit = async (plan: Plan) => fitting(plan, await lookAtDisk(folder, new Set(host.exclude())));
    const parsed = BRIDGE_METHODS[method].params.parse(params) as BridgeParsed<M>;
    return here(act(requester(send, signal), parsed, { signal, folderOf, fit }));
  };
}

/** The client code's way to ask, over the extension's. Errors become those that each side knows. */
function requester(send: Send, signal: AbortSignal): Requester {
  return {
    request: async (method: string, params: object, options?: RequestOptions) => {
      try {
        return (await send(method, params, options?.signal ?? signal)) as never;
      } catch (error) {
        if (!(error instanceof HelperError)) throw error;
        const code = error.code in OWN ? 'noHelper' : (error.code as TeleportError['code']);
        throw new TeleportError(code, error.message, { hint: error.hint, cause: error });
      }
    },
  };
}

const OWN = { lost: true, unanswered: true, unexpectedAnswer: true };

async function here<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof TeleportError)) throw error;
    throw new HelperError(error.code, error.message, error.hint, error.process, undefined, { cause: error });
  }
}

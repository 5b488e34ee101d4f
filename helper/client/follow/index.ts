/** The requests of following, with the user's rights. One at a time for each sandbox: they share a state on disk. */
import type { BridgeParsed, BridgeResult, FollowStatus } from '../../protocol/bridge.ts';
import { TeleportError } from '../../protocol/errors.ts';
import type { Sandbox } from '../../protocol/model.ts';
import { targetFolder } from '../apply/index.ts';
import type { Requester } from '../connection.ts';
import { mergeConflicts } from './decide.ts';
import { enterHead } from './enter.ts';
import { readState, type State, saveState } from './state.ts';
import { type SyncOptions, takeHead } from './sync.ts';

export interface FollowOptions extends SyncOptions {
  /** The folder here that the sandbox's workspace is; left out: the same path. */
  folderOf?: (workspace: string) => string;
}

/** The head moves while one looks at it. */
const TRIES = 3;
const queues = new Map<string, Promise<unknown>>();

function inTurn<T>(key: string, work: () => Promise<T>): Promise<T> {
  const result = (queues.get(key) ?? Promise.resolve()).then(work, work);
  queues.set(
    key,
    result.catch(() => undefined),
  );
  return result;
}

interface Following {
  sandbox: Sandbox;
  dir: string;
  state: State;
}

async function find(helper: Requester, ref: string, options: FollowOptions): Promise<Following> {
  const { sandbox } = await helper.request('sandbox/get', { sandbox: ref });
  const dir = await targetFolder((options.folderOf ?? String)(sandbox.workspace));
  return { sandbox, dir, state: await readState(sandbox, dir, options.env ?? process.env) };
}

function statusOf({ dir, state: { on, at, conflicts } }: Following): FollowStatus {
  return { on, to: dir, at, conflicts } as FollowStatus;
}

async function save(following: Following, options: FollowOptions): Promise<FollowStatus> {
  await saveState(following.sandbox, following.dir, following.state, options.env ?? process.env);
  return statusOf(following);
}

export function getFollow(helper: Requester, { sandbox }: BridgeParsed<'follow/get'>, options: FollowOptions = {}) {
  return inTurn(sandbox, async () => statusOf(await find(helper, sandbox, options)));
}

export function setFollow(helper: Requester, params: BridgeParsed<'follow/set'>, options: FollowOptions = {}) {
  return inTurn(params.sandbox, async () => {
    const found = await find(helper, params.sandbox, options);
    // Off for a while, the workspace and the sandbox went their own ways: on again compares from the beginning.
    const state: State = { on: params.on, at: null, head: null, beyond: [], waiting: [], conflicts: [] };
    return await save({ ...found, state: found.state.on === params.on ? found.state : state }, options);
  });
}

export function syncFollow(
  helper: Requester,
  { sandbox: ref, unsaved }: BridgeParsed<'follow/sync'>,
  options: FollowOptions = {},
): Promise<BridgeResult<'follow/sync'>> {
  return inTurn(ref, async () => {
    for (let tries = 1; ; tries++) {
      const found = await find(helper, ref, options);
      if (!found.state.on) return { ...statusOf(found), written: [] };
      try {
        return await sync(helper, found, unsaved, options);
      } catch (error) {
        if (!(error instanceof TeleportError) || error.code !== 'unknownBranch' || tries === TRIES) throw error;
      }
    }
  });
}

async function sync(helper: Requester, found: Following, unsaved: string[], options: FollowOptions) {
  const { sandbox, dir } = found;
  let { state } = found;
  if (sandbox.head !== null && state.waiting.length > 0) {
    const { entered } = await enterHead(helper, sandbox, dir, state.waiting, false, options);
    state = { ...state, waiting: [], beyond: [...new Set([...state.beyond, ...entered])] };
  }
  const taken = await takeHead(helper, sandbox, dir, state, unsaved, options);
  return { ...(await save({ ...found, state: taken.state }, options)), written: taken.written };
}

export function enterFollow(
  helper: Requester,
  { sandbox: ref, paths, force }: BridgeParsed<'follow/enter'>,
  options: FollowOptions = {},
): Promise<BridgeResult<'follow/enter'>> {
  return inTurn(ref, async () => {
    const found = await find(helper, ref, options);
    const { sandbox, dir, state } = found;
    if (sandbox.head === null && state.on) {
      const waiting = [...new Set([...state.waiting, ...paths])];
      return { ...(await save({ ...found, state: { ...state, waiting } }, options)), entered: [] };
    }
    const done = await enterHead(helper, sandbox, dir, paths, force, options);
    const conflicts = mergeConflicts(state.conflicts, done.paths, done.conflicts);
    const beyond = [...new Set([...state.beyond, ...done.entered])];
    // Where following is off there is no state to keep, but who asked hears of conflicts.
    if (!state.on) return { ...statusOf({ ...found, state: { ...state, conflicts } }), entered: done.entered };
    return { ...(await save({ ...found, state: { ...state, conflicts, beyond } }, options)), entered: done.entered };
  });
}

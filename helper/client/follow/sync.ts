/**
 * The workspace takes what the head has. What differs comes straight from the layers, so a step costs what it changed and
 * not what the workspace holds; comparing and writing are those of `apply`.
 */
import type { FollowConflict } from '../../protocol/bridge.ts';
import { TeleportError } from '../../protocol/errors.ts';
import type { Change, FileStat, Sandbox } from '../../protocol/model.ts';
import { below, type ChangedPaths, changedPaths, each, withoutExcluded } from '../apply/changed.ts';
import { gatherFacts } from '../apply/gather.ts';
import { type Options, performPrepared, ROOT } from '../apply/index.ts';
import { type Place, remotePlace } from '../apply/place.ts';
import { type Plan, planApply } from '../apply/plan.ts';
import { type Applied, readApplied } from '../apply/record.ts';
import type { Requester } from '../connection.ts';
import { holdUnsaved, toConflict } from './decide.ts';
import type { State } from './state.ts';

export interface SyncOptions extends Options {
  /** Takes out of a plan what the folder's disk can't hold. */
  fit?: (plan: Plan) => Promise<Plan>;
}

/** Writes the workspace. @returns the state after it, and what was written */
export async function takeHead(
  helper: Requester,
  sandbox: Sandbox,
  dir: string,
  state: State,
  unsaved: string[],
  options: SyncOptions,
): Promise<{ state: State; written: string[] }> {
  const { env = process.env, signal } = options;
  const { id, workspace, current, head } = sandbox;
  // A head that is another than before may be more than its checkpoint (a fork that was made current).
  const target = head !== null && head !== state.head ? head : current;
  const beyondIn = new Set(state.beyond.map((path) => `${workspace}/${path}`));
  const applied = await readApplied(sandbox, dir, env);
  const diff = async (from: string, to: string) =>
    (await helper.request('diff', { sandbox: id, from, to, path: workspace }, { signal })).changes;
  const from = await startOf(state, diff, target);
  const more = [...state.beyond, ...state.conflicts.map((one) => one.path), ...(from.whole ? applied.keys() : [])];
  const root = remotePlace(helper, id, ROOT, signal);
  const checkpoint = remotePlace(helper, id, target, signal);
  const place =
    head === target || head === null ? checkpoint : inPart(checkpoint, remotePlace(helper, id, head, signal), beyondIn);
  const before = from.at === ROOT ? root : remotePlace(helper, id, from.at, signal);
  const changed = withoutExcluded(await changedPaths(from.changes, workspace, before, place, more), sandbox);
  if (from.at !== ROOT) await fromRoot(changed, applied, (path) => root.stat(`${workspace}/${path}`));
  const facts = await gatherFacts(changed, { workspace, dir, before: root, after: place, applied });
  const planned = planApply(facts);
  const { plan, held } = holdUnsaved((await options.fit?.(planned)) ?? planned, unsaved);
  const done = await performPrepared({ plan, sandbox, to: dir, from: target, place }, {}, options);
  const failed = done.failed.map(
    ({ path, message }): FollowConflict => ({ path, message, reason: 'failed', kind: 'changed' }),
  );
  const conflicts = [...held, ...done.conflicts.map(toConflict), ...failed];
  const beyond =
    head === null
      ? []
      : target === head
        ? (await diff(current, head)).flatMap((c) => pathsOf(c, workspace))
        : await stillBeyond(state.beyond, (path) =>
            helper.request('diff', { sandbox: id, from: current, to: head, path: `${workspace}/${path}` }, { signal }),
          );
  return {
    state: { ...state, at: current, head, beyond, conflicts: conflicts.sort((a, b) => (a.path < b.path ? -1 : 1)) },
    written: done.applied.map((change) => change.path),
  };
}

/** What was saved into the head after its last checkpoint is there and not in that one. */
function inPart(checkpoint: Place, head: Place, beyond: ReadonlySet<string>): Place {
  const pick = (path: string): Place => (beyond.has(path) ? head : checkpoint);
  return {
    stat: (path) => pick(path).stat(path),
    list: (path) => pick(path).list(path),
    read: (path) => pick(path).read(path),
  };
}

/** Those that the checkpoint does not have by now. */
async function stillBeyond(paths: string[], diff: (path: string) => Promise<{ changes: Change[] }>): Promise<string[]> {
  const left: string[] = [];
  await each(paths, async (path) => {
    if ((await diff(path)).changes.length > 0) left.push(path);
  });
  return left.sort();
}

/** From where to compare: where it was last, or, where that is no more, the beginning. */
async function startOf(
  { at }: State,
  diff: (from: string, to: string) => Promise<Change[]>,
  target: string,
): Promise<{ at: string; changes: Change[]; whole: boolean }> {
  if (at !== null) {
    try {
      return { at, changes: at === target ? [] : await diff(at, target), whole: false };
    } catch (error) {
      const gone = ['unknownCheckpoint', 'checkpointDamaged'];
      if (!(error instanceof TeleportError) || !gone.includes(error.code)) throw error;
    }
  }
  return { at: ROOT, changes: await diff(ROOT, target), whole: true };
}

/** What the workspace never took since the beginning it still has as it was then. */
async function fromRoot(
  { paths }: ChangedPaths,
  applied: Applied,
  stat: (path: string) => Promise<FileStat | null>,
): Promise<void> {
  await each([...paths], async ([path, change]) => {
    if (!applied.has(path)) change.before = await stat(path);
  });
}

function pathsOf({ path, from }: Change, workspace: string): string[] {
  return [path, from].flatMap((one) => (one === undefined ? [] : (below(workspace, one) ?? [])));
}

/** What following does with a path. Plain: facts in, decisions out. */
import type { FollowConflict, PlannedChange } from '../../protocol/bridge.ts';
import type { Fact } from '../apply/facts.ts';
import { type Plan, same } from '../apply/plan.ts';

/** A plan without the paths that an editor holds unsaved text of, and those as conflicts. */
export function holdUnsaved(plan: Plan, unsaved: Iterable<string>): { plan: Plan; held: FollowConflict[] } {
  const open = new Set(unsaved);
  const held: FollowConflict[] = [];
  const steps = plan.steps.filter(({ change }) => {
    const path = [change.path, change.from].find((one) => one !== undefined && open.has(one));
    if (path === undefined || change.kind === 'mode') return true;
    held.push({ path: change.path, reason: 'unsaved', kind: change.kind });
    return false;
  });
  return { plan: { ...plan, steps }, held };
}

export function toConflict({ path, kind, conflict }: PlannedChange): FollowConflict {
  return { path, kind, reason: conflict ?? 'changed' };
}

/**
 * What a path that was saved in the workspace means for the head. `same`: it has it already; `enter`: only the workspace
 * changed it; otherwise both did, or it can't be.
 */
export function judgeEntering(fact: Fact, force: boolean): 'same' | 'enter' | FollowConflict {
  const { path, base, theirs, ours } = fact;
  const kind = theirs === null ? 'deleted' : base === null ? 'added' : 'changed';
  if (ours === 'beyond') return { path, kind, reason: 'type' };
  if (same(ours, theirs) && (ours?.type !== 'file' || ours.mode === theirs?.mode)) return 'same';
  if (ours?.type === 'other') return { path, kind, reason: 'type' };
  if (force || same(base, theirs) || same(ours, theirs)) return 'enter';
  return { path, kind, reason: ours === null ? 'gone' : base === null ? 'exists' : 'changed' };
}

/** The conflicts that stand after some paths were looked at anew. Sorted by path. */
export function mergeConflicts(
  before: readonly FollowConflict[],
  lookedAt: Iterable<string>,
  found: readonly FollowConflict[],
): FollowConflict[] {
  const all = new Map(before.map((one) => [one.path, one]));
  for (const path of lookedAt) all.delete(path);
  for (const one of found) all.set(one.path, one);
  return [...all.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
}

import type { PlannedChange } from '../../protocol/bridge.ts';
import type { Fact, Snapshot } from './facts.ts';

/** One write or deletion, and what it rests on. */
export interface Step {
  change: PlannedChange;
  /** What the workspace must still have when it is done; null: nothing. */
  ours: Snapshot | null;
  theirs: Snapshot | null;
  /** For a rename: the same of the old path. */
  fromOurs?: Snapshot | null;
}

export interface Plan {
  steps: Step[];
  /** The workspace has them as the sandbox has. */
  agreed: Map<string, Snapshot | null>;
  /** Never written, and why. */
  left: { path: string; reason: string }[];
}

/** Conflicts that no force may overcome: something would be lost that the sandbox never knew of, or it can't be done. */
const UNFORCIBLE = new Set<PlannedChange['conflict']>(['type', 'unwritable']);

export function forcible(change: PlannedChange): boolean {
  return !UNFORCIBLE.has(change.conflict);
}

/** A three-way comparison of every path: what applying would do, without doing it. Sorted by path. */
export function planApply(facts: Fact[]): Plan {
  const plan: Plan = { steps: [], agreed: new Map(), left: [] };
  const steps = new Map<string, Step>();
  for (const fact of facts) {
    if (fact.theirs?.type === 'other') {
      plan.left.push({ path: fact.path, reason: 'not a file, folder or symlink' });
      continue;
    }
    const step = judge(fact);
    if (step) steps.set(fact.path, step);
    else if (fact.ours !== 'beyond' && same(fact.ours, fact.theirs)) plan.agreed.set(fact.path, fact.ours);
  }
  for (const fact of facts) joinRename(fact, steps);
  plan.steps = [...steps.values()].sort((a, b) => compare(a.change.path, b.change.path));
  plan.left.sort((a, b) => compare(a.path, b.path));
  return plan;
}

/** Null: nothing to do, either because the sandbox did nothing or because the workspace has it already. */
function judge(fact: Fact): Step | null {
  const { path, base, theirs } = fact;
  const beyond = fact.ours === 'beyond';
  const ours = fact.ours === 'beyond' ? null : fact.ours;
  if (beyond && !theirs) return null;
  if (!beyond && same(ours, theirs)) return modeStep(fact, ours, theirs);
  // The sandbox left it as it was: what the workspace has since is the user's.
  if (same(base, theirs)) return null;
  // A folder that both have, or that only holds what is judged by itself.
  if (!theirs && ours?.type === 'folder' && base?.type !== 'folder') return null;

  const change: PlannedChange = {
    path,
    kind: kindOf(base, theirs),
    type: (theirs ?? base ?? ours)?.type ?? 'other',
    ...(theirs?.type === 'file' ? { size: theirs.size } : {}),
    conflict: null,
  };
  if (beyond) change.conflict = 'type';
  else if (
    ours?.type === 'folder' &&
    theirs &&
    theirs.type !== 'folder' &&
    (base?.type !== 'folder' || fact.unknownInside)
  )
    change.conflict = 'type';
  else if (!same(ours, base)) change.conflict = clash(ours, base, theirs);
  if (change.conflict === null && !fact.writable) change.conflict = 'unwritable';
  return { change, ours, theirs };
}

function clash(ours: Snapshot | null, base: Snapshot | null, theirs: Snapshot | null): PlannedChange['conflict'] {
  if (!ours) return 'gone';
  if (theirs?.type === 'folder' && ours.type !== 'folder') return 'type';
  return base ? 'changed' : 'exists';
}

function modeStep(fact: Fact, ours: Snapshot | null, theirs: Snapshot | null): Step | null {
  if (!ours || !theirs || theirs.type === 'symlink' || ours.mode === theirs.mode) return null;
  // Only what the sandbox changed: a workspace may have its own permissions.
  if (fact.base && fact.base.mode === theirs.mode) return null;
  if (!fact.base && theirs.type === 'folder') return null;
  const conflict = fact.base && fact.base.mode !== ours.mode ? 'changed' : null;
  return { change: { path: fact.path, kind: 'mode', type: theirs.type, conflict }, ours, theirs };
}

function kindOf(base: Snapshot | null, theirs: Snapshot | null): PlannedChange['kind'] {
  if (!theirs) return 'deleted';
  if (!base) return 'added';
  return theirs.type === 'symlink' && base.type === 'symlink' ? 'link' : 'changed';
}

/** A rename is one change to people where both of its halves are still to be done. */
function joinRename(fact: Fact, steps: Map<string, Step>): void {
  if (fact.from === undefined || fact.theirs?.type === 'folder') return;
  const added = steps.get(fact.path);
  const deleted = steps.get(fact.from);
  if (added?.change.kind !== 'added' || deleted?.change.kind !== 'deleted') return;
  steps.delete(fact.from);
  added.change = {
    ...added.change,
    kind: 'renamed',
    from: fact.from,
    conflict: added.change.conflict ?? deleted.change.conflict,
  };
  added.fromOurs = deleted.ours;
}

export function same(a: Snapshot | null, b: Snapshot | null): boolean {
  return a === null || b === null ? a === b : a.key === b.key;
}

/** By code units: the same everywhere, and a folder before what it holds. */
export function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

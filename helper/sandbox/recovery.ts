/**
 * What to make of the branches that are still alive when the helper starts anew: it may have ended at any moment of a rollback, a fork or
 * a checkpoint. Exactly one head, none of anybody's work lost, nothing left that nobody knows of.
 */
import type { BranchId, CheckpointId } from '../protocol/ids.ts';

export interface Survivor {
  id: BranchId;
  role: 'head' | 'fork' | 'standby';
  /** The checkpoint that it was made of. */
  base: CheckpointId;
  frozen: boolean;
}

/** The checkpoint's layer is the branch's upperdir. */
export interface Rotation {
  checkpoint: CheckpointId;
  branch: BranchId;
}

export interface Plan {
  head: BranchId | null;
  forks: BranchId[];
  standbys: BranchId[];
  end: BranchId[];
  /** These checkpoints give their files back and are no more. */
  undo: Rotation[];
}

/** @param head the one on record */
export function recover(survivors: Survivor[], rotations: Rotation[], head: BranchId | null): Plan {
  const alive = new Map(survivors.map((s) => [s.id, s]));
  // A standby runs only once somebody went to it. A fork's role is written before that, so this one is the new head.
  const activated = survivors.find((s) => s.role === 'standby' && !s.frozen);
  const undo: Rotation[] = [];
  const robbed = new Map<BranchId, CheckpointId>();
  for (const rotation of rotations) {
    const branch = alive.get(rotation.branch);
    if (!branch) continue;
    const succeeded = survivors.some((s) => s.base === rotation.checkpoint && s.role !== 'standby');
    const left = branch.role === 'head' && (activated !== undefined || head !== branch.id);
    if (succeeded || left) robbed.set(branch.id, rotation.checkpoint);
    else undo.push(rotation);
  }
  const successor = head === null ? undefined : robbed.get(head);
  const chosen =
    activated?.id ??
    (head !== null && alive.has(head) && !successor
      ? head
      : (survivors.find((s) => s.role === 'head' && s.base === successor)?.id ?? null));
  const forks = survivors.filter((s) => s.role === 'fork' && !robbed.has(s.id) && s.id !== chosen).map((s) => s.id);
  const standbys = survivors.filter((s) => s.role === 'standby' && s.frozen).map((s) => s.id);
  const kept = new Set([chosen, ...forks, ...standbys]);
  return { head: chosen, forks, standbys, end: survivors.filter((s) => !kept.has(s.id)).map((s) => s.id), undo };
}

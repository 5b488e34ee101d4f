/** Ways to go back, and the least share of a soak's rollbacks that is of each: a mix that lacks one says nothing of it. */
export const SHARES = {
  /** A standby was taken. */
  warm: 0.2,
  /** None was there. */
  cold: 0.2,
  /** What was left was saved first; those that undo do so, too. */
  saving: 0.2,
  /** Back to what a rollback had left, or to what that had. */
  undo: 0.15,
  /** To where most of the layers that may lie one on the other do. */
  deep: 0.08,
};

/** The ways of which there were too few, or nobody knows how many. */
export function tooFew(done: Record<string, unknown>, all: number): string[] {
  return Object.entries(SHARES).flatMap(([way, share]) =>
    Number(done[way]) >= Math.floor(share * all) ? [] : [`${way}: ${done[way]} of ${all}, not ${share * 100} %`],
  );
}

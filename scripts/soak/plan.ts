/** What a soak does, in which lanes, and under which names its parts are kept. */
import { createHash } from 'node:crypto';

export interface Plan {
  /** Random kills of the helper; what else is killed goes by it. */
  faults: number;
  rollbacks: number;
  /** Checkpoints in one line. */
  depth: number;
  seed: number;
}
/** The seed is the same of each soak, so that one that was broken off can be gone on with. */
export const DEFAULTS: Plan = { faults: 1000, rollbacks: 10_000, depth: 3000, seed: 1000 };
/** Beside the first, alive at once. */
export const SANDBOXES = 20;
/** So many faults are one run. */
const PART = 100;

/** One file of tests, run once. */
export interface Run {
  /** Below test/daemon, without `.test.ts`. */
  file: string;
  /** Of its tests those with these words; all where there are none. */
  grep?: string;
  faults: number;
  seed: number;
}

/** Runs that go one after the other, beside the other lanes. */
export function lanesOf({ faults, seed }: Plan): Run[][] {
  const killed: Run[] = [];
  for (let done = 0; done < faults; done += PART)
    killed.push({
      file: 'faults/helper-killed',
      // What is no part of the counted faults is done once.
      ...(done > 0 && { grep: 'random points' }),
      faults: Math.min(PART, faults - done),
      seed: seed + done,
    });
  const whole = (file: string): Run => ({ file: `faults/${file}`, faults, seed });
  return [
    killed.filter((_, i) => i % 2 === 0),
    killed.filter((_, i) => i % 2 === 1),
    [whole('rollbacks'), whole('sandboxes')],
    ['criu-killed', 'damaged', 'full-volume'].map(whole),
    [{ file: 'depth', grep: ' deep$', faults, seed }],
  ];
}

/** @param changes all that the work tree has otherwise than the commit: with any, it is other code */
export function codeName(commit: string, changes: string): string {
  return changes ? `${commit}-dirty-${createHash('sha256').update(changes).digest('hex').slice(0, 12)}` : commit;
}

/** Another name for other code or another plan: what passed there says nothing of this one. */
export function partName({ file, faults, seed }: Run, { rollbacks, depth }: Plan, code: string): string {
  return [code, file.replace('/', '-'), faults, seed, rollbacks, depth].join('_');
}

/** What every workload has: the helper, where rows go. */
import type { PrivateHelper } from './private-helper.ts';
import { ENOUGH, type LeftOut, type Row, tooFew } from './row.ts';
import { round, type Summary, summarize } from './stats.ts';
import type { Subject } from './subject.ts';

export interface Bench {
  helper: PrivateHelper;
  /** For helpers of a workload's own (`withHelpers`): how this command line is run, and what breaks it off. */
  program: string[];
  signal: AbortSignal;
  criuDir: string;
  /** Rollbacks of each kind. */
  rounds: number;
  seedCheckout: string | undefined;
  rows: Row[];
  leftOut: LeftOut[];
  say(text: string): void;
}

export type Goal = { text: string; holds: (s: Summary) => boolean };

/** @param row `few` is left out again where there are enough, or the caller wanted fewer */
export function add(
  bench: Bench,
  { few, unit = 'ms', ...row }: Omit<Row, 'goal' | 'value' | 'unit'> & Partial<Pick<Row, 'unit'>>,
  samples: number[],
  goal?: Goal,
): Summary {
  const value = summarize(samples);
  const made: Row = {
    ...row,
    unit,
    value,
    ...(goal ? { goal: { text: goal.text, met: goal.holds(value) } } : {}),
  };
  const reason = bench.rounds < ENOUGH ? `--rounds ${bench.rounds}` : few;
  bench.rows.push(tooFew(made) !== null && reason ? { ...made, few: reason } : made);
  bench.say(`${row.workload}: ${row.figure}, ${row.subject}: p50 ${value.p50} ${unit} (n ${value.n})`);
  return value;
}

/** Resident MB of a sandbox's payload. */
export async function weight(subject: Subject): Promise<string> {
  const { processes } = await subject.connection.request('process/list', { sandbox: subject.id });
  const mb = processes.reduce((sum, p) => sum + p.rss, 0) / 2 ** 20;
  return `${processes.length} processes, ${round(mb)} MB resident`;
}

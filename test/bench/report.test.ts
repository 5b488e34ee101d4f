import assert from 'node:assert/strict';
import { add, type Bench } from '../../helper/bench/bench.ts';
import {
  AFTER_A_REST,
  AT_ONCE,
  BARE_MESSAGE,
  BURDEN,
  COPYING,
  explainMisses,
  OF_NOTHING,
  WITH,
  WITHOUT,
  WITHOUT_AGAIN,
} from '../../helper/bench/causes.ts';
import { toMarkdown, toSvg, toText } from '../../helper/bench/report.ts';
import type { Report, Row } from '../../helper/bench/row.ts';
import { summarize } from '../../helper/bench/stats.ts';

const machine = { cpu: 'X', cores: 2, memoryGb: 4, kernel: '6', criu: '4', node: '24', loadAverage: 0 };
const warm = (figure: string, ms: number, goal?: Row['goal']): Row => ({
  workload: 'counter',
  figure,
  subject: 'ours, standby ready',
  unit: 'ms',
  value: summarize([ms]),
  context: '2 processes',
  ...(goal ? { goal } : {}),
});
const told = (rows: Row[]): Row[] => {
  explainMisses(rows);
  return rows;
};
const lineOf = (rows: Row[], figure: string, report: Partial<Report> = {}) =>
  toMarkdown({ machine, date: '2026-01-01T00:00:00Z', rows: told(rows), leftOut: [], ...report })
    .split('\n')
    .find((line) => line.includes(`| ${figure} |`))!;

describe('the report of the benchmark', () => {
  const parts = [warm('rollback, reply only', 2), warm('rollback, in the helper', 1.25)];

  it('says of a missed goal where the time went, by the same run, and what it would take', () => {
    const row = warm('rollback', 3.5, { text: 'p50 ≤ 1.8 ms', met: false });
    const line = lineOf([row, ...parts], 'rollback');
    assert.match(
      line,
      /✗ p50 ≤ 1\.8 ms\. Cause: of 3\.5 ms: 1\.25 until PID 1 answers, 0\.75 .*, 1\.5 more for the shell/,
    );
    assert.match(line, /Needs: .*less code on the way/);
    assert.match(JSON.stringify(row), /"met":false,"cause":"of 3\.5 ms.*","needs":"proc/, 'the same as data');
    const bare = (subject: string, ms: number): Row => ({ ...warm(BARE_MESSAGE, ms), subject });
    assert.match(
      lineOf([row, ...parts, bare(AFTER_A_REST, 0.5), bare(AT_ONCE, 0.07)], 'rollback'),
      /a byte there and back takes 0\.5 ms then, 0\.07 at once/,
    );
    const text = toText({ machine, date: '', rows: [row], leftOut: [] });
    assert.match(text, /^missed: counter, rollback, ours, standby ready: p50 ≤ 1\.8 ms\. Cause: of 3\.5 ms/m);
  });

  it('takes the cause from the steps where no better one is known, and says where the run has no figure for it', () => {
    const missed: Row = { ...warm('something', 10, { text: 'p50 ≤ 1 ms', met: false }), subject: 'ours' };
    const steps = [
      { step: 'mounting', ms: 2 },
      { step: 'restoring', ms: 7 },
    ];
    const line = lineOf([{ ...missed, steps }], 'something');
    assert.match(line, /Cause: of 10 ms: mounting 2, restoring 7, all else 1\. Needs: less of restoring/);
    assert.match(lineOf([missed], 'something'), /Cause: this run has no figure that tells/);
  });

  it('tells of a slow exec where it waited, and what the same takes outside', () => {
    const steps = [
      { step: 'begun', ms: 1.5 },
      { step: 'told', ms: 2.25 },
    ];
    const exec = (subject: string, ms: number): Row => ({ ...warm('exec', ms), workload: 'upkeep', subject });
    const over: Row = {
      ...exec('ours', 3.5),
      figure: 'exec over the same outside',
      goal: { text: 'p50 ≤ 3 ms', met: false },
    };
    const line = lineOf([{ ...exec('ours', 4), steps }, exec('a shell outside', 0.5), over], over.figure);
    assert.match(
      line,
      /Cause: of 4 ms: begun 1\.5, told 2\.25, all else 0\.25; by a shell outside it takes 0\.5 ms\. Needs: less of what is told/,
    );
  });

  it('tells of a large helper what its memory is', () => {
    const rest: Row = {
      ...warm('helper at rest, resident', 0),
      ...{ workload: 'upkeep', subject: 'ours', unit: 'MB', value: 120, context: '80 MB are its own' },
      goal: { text: '≤ 100 MB', met: false },
    };
    assert.match(lineOf([rest], rest.figure), /Cause: 120 MB: 80 MB are its own\. Needs: less that Node holds/);
  });

  it('tells of a slow copy what the files cost anybody, and what a sandbox of none', () => {
    const copied = (cp: number, none: number): string => {
      const row: Row = { ...warm('to ready', 6000, { text: 'p50 ≤ 5 s', met: false }), workload: 'copy-in' };
      const steps = [
        { step: COPYING, ms: cp },
        { step: OF_NOTHING, ms: none },
      ];
      return lineOf([{ ...row, steps }], row.figure);
    };
    assert.match(
      copied(4000, 50),
      /of 6000 ms: `cp -a` of the same outside 4000, a sandbox of an empty folder 50, all else 1950/,
    );
    assert.match(copied(4000, 50), /Needs: less of the file system for each file/);
    assert.match(copied(10, 5000), /Needs: less of a sandbox of an empty folder/);
  });

  it('tells of what standbys cost the processor time of them, and how far two runs without any differ', () => {
    const cpu = (ms: number): Row['steps'] => [{ step: "CRIU's", ms }];
    const row = (of: { figure: string }, subject: string, value: number): Row => ({
      ...warm(of.figure, value),
      subject,
      workload: 'burden',
    });
    const missed: Row = { ...row(BURDEN.work, WITH, 80), unit: '%', goal: { text: 'p50 ≥ 90 %', met: false } };
    const rows = [
      { ...row(BURDEN.command, WITHOUT, 3), steps: cpu(20) },
      { ...row(BURDEN.command, WITH, 4), steps: cpu(30) },
      row(BURDEN.work, WITHOUT_AGAIN, 99),
      missed,
    ];
    told(rows);
    assert.match(
      missed.goal!.cause!,
      /^CRIU's 30 ms; with no standbys 20\. No standbys against no standbys came to 99 /,
    );
    assert.match(missed.goal!.needs!, /less of the helper, CRIU and the kernel/);
  });

  it('says why a figure is of fewer than thirty, and complains where nobody told', () => {
    const bench = (rounds: number) => ({ rounds, rows: [] as Row[], say() {} }) as unknown as Bench;
    const added = (rounds: number, n: number, few?: string): Row => {
      const one = bench(rounds);
      const { unit: _unit, value: _value, ...row } = warm('something', 1);
      add(one, { ...row, ...(few ? { few } : {}) }, Array(n).fill(1));
      return one.rows[0]!;
    };
    const both = (row: Row) => {
      const report: Report = { machine, date: '', rows: [row], leftOut: [] };
      return { line: lineOf([row], 'something'), all: `${toMarkdown(report)}\n${toText(report)}` };
    };
    const ten = both(added(30, 2, 'each waits for 10 s'));
    assert.match(ten.line, /, n 2, fewer than 30: each waits for 10 s \|/);
    assert.doesNotMatch(ten.all, /too few/);
    assert.match(both(added(2, 2, 'each waits for 10 s')).line, /n 2, fewer than 30: --rounds 2 \|/);
    const untold = both(added(30, 29));
    assert.match(untold.line, /n 29, fewer than 30: no reason told/);
    assert.equal(
      untold.all.match(/too few, and no reason told: counter, something, ours, standby ready: n 29/g)?.length,
      2,
    );
    const enough = both(added(30, 30, 'each waits for 10 s'));
    assert.match(enough.line, /, n 30 \|/);
    assert.doesNotMatch(enough.all, /too few/);
  });

  it('says nothing of the kind where a goal is met', () => {
    const met = warm('rollback', 1.5, { text: 'p50 ≤ 1.8 ms', met: true });
    assert.match(lineOf([met, ...parts], 'rollback'), /\| ✓ p50 ≤ 1\.8 ms \|$/);
  });

  it('draws a bar for each that rolled back, the published ones too, and says where the machine was busier', () => {
    const bar = (subject: string, ms: number): Row => ({ ...warm('rollback', ms), subject });
    const rows = [bar('ours, cold', 20), bar('runc checkpoint / restore + cp -a', 300), bar('plain CRIU + cp -a', 19)];
    const loads = { counter: 3, 'runc checkpoint / restore': 12 };
    const svg = toSvg({ machine, date: '', rows, leftOut: [], loads });
    const labels = [...svg.matchAll(/text-anchor="end">(.*)</g)].map((found) => found[1]);
    const runc = 'runc checkpoint / restore + cp -a';
    assert.deepEqual(labels, [
      'DeltaBox (published)',
      'plain CRIU + cp -a',
      'ours, cold',
      runc,
      'original (published)',
    ]);
    const widths = [...svg.matchAll(/rect x="\d+" .* width="([\d.]+)"/g)].map((found) => Number(found[1]));
    assert.deepEqual(
      widths,
      widths.toSorted((a, b) => a - b),
    );
    assert.match(svg, />300 ms, at a load of 12 \(the others: 3\)</);
    assert.equal(svg.match(/at a load/g)?.length, 1);
  });

  it('says of which code each row is, where a later run added some', () => {
    const at = (date: string, code: string) => ({ at: { date: `${date}T10:00:00.000Z`, code } });
    const older = { ...warm('rollback', 2), workload: 'mcts', ...at('2026-01-01', 'aaa') };
    const newer = { ...warm('rollback', 1), ...at('2026-02-02', 'bbb-dirty') };
    const text = (rows: Row[]) => toMarkdown({ machine, date: '2026-02-02T10:00:00.000Z', rows, leftOut: [] });
    assert.match(text([newer]), /^One run: 2026-02-02T10:00Z at bbb-dirty\.$/m);
    const both = text([older, newer]);
    assert.match(both, /^Run of 2026-01-01T10:00Z at aaa: mcts\.$/m);
    assert.match(both, /^Run of 2026-02-02T10:00Z at bbb-dirty: counter\.$/m);
  });

  it('has a row for what was not measured, with the error that it ended with', () => {
    const leftOut = [
      {
        workload: 'counter',
        figure: 'container restart',
        subject: 'docker',
        why: 'docker import: no daemon\nat | all',
      },
    ];
    const text = toMarkdown({ machine, date: '', rows: parts, leftOut });
    assert.match(
      text,
      /^\| counter \| container restart \| docker \| \| not measured \| \| docker import: no daemon at \\\| all \|$/m,
    );
  });
});

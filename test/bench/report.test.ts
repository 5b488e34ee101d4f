import assert from 'node:assert/strict';
import { toMarkdown } from '../../helper/bench/report.ts';
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
const lineOf = (rows: Row[], figure: string, report: Partial<Report> = {}) =>
  toMarkdown({ machine, date: '2026-01-01T00:00:00Z', rows, leftOut: [], ...report })
    .split('\n')
    .find((line) => line.includes(`| ${figure} |`))!;

describe('the report of the benchmark', () => {
  const parts = [warm('rollback, reply only', 2), warm('rollback, in the helper', 1.25)];

  it('says of a missed goal where the time went, by the same run', () => {
    const line = lineOf([warm('rollback', 3.5, { text: 'p50 ≤ 1.8 ms', met: false }), ...parts], 'rollback');
    assert.match(line, /✗ p50 ≤ 1\.8 ms: 1\.25 ms until PID 1 answers, 0\.75 ms to be woken.*, 1\.5 ms for the shell/);
  });

  it('says nothing of the kind where a goal is met, or the run knows no cause', () => {
    const met = warm('rollback', 1.5, { text: 'p50 ≤ 1.8 ms', met: true });
    assert.match(lineOf([met, ...parts], 'rollback'), /\| ✓ p50 ≤ 1\.8 ms \|$/);
    const alone = warm('rollback', 3.5, { text: 'p50 ≤ 1.8 ms', met: false });
    assert.match(lineOf([alone], 'rollback'), /\| ✗ p50 ≤ 1\.8 ms \|$/);
  });

  it('names what was left out, and why', () => {
    const text = toMarkdown({
      machine,
      date: '',
      rows: parts,
      leftOut: [{ subject: 'docker', why: 'it is not here' }],
    });
    assert.match(text, /^Left out: docker, it is not here\.$/m);
  });
});

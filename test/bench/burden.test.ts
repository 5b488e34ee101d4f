import assert from 'node:assert/strict';
import type { Bench } from '../../helper/bench/bench.ts';
import { addComparison } from '../../helper/bench/burden.ts';
import { BURDEN, WITH, WITHOUT_AGAIN } from '../../helper/bench/causes.ts';

type Which = Parameters<typeof addComparison>[1];

describe('what standbys cost, as it is judged', () => {
  const compared = (which: Which, again: number, having: number) => {
    const bench = { rounds: 30, rows: [], leftOut: [], say() {} } as unknown as Bench;
    const many = (ratio: number) => (which === 'work' ? Array(30).fill(ratio) : ratio);
    addComparison(bench, which, { again: many(again), having: many(having) }, 'load');
    const judged = bench.rows.find(({ subject }) => subject === WITH);
    assert.equal(bench.rows.find(({ subject }) => subject === WITHOUT_AGAIN)!.goal, undefined);
    return { judged, met: judged?.goal?.met, leftOut: bench.leftOut };
  };

  it('may be a tenth of the work, or of the time that a command takes', () => {
    assert.equal(compared('work', 1.05, 0.9).met, true);
    assert.equal(compared('work', 1.05, 0.89).met, false);
    assert.equal(compared('wait', 0.95, 1.1).met, true);
    assert.equal(compared('wait', 0.95, 1.11).met, false);
    assert.equal(compared('worst', 1, 1.11).met, false);
    const { judged, leftOut } = compared('work', 1, 0.8);
    assert.equal((judged!.value as { p50: number }).p50, 80);
    assert.equal(judged!.unit, '%');
    assert.deepEqual(leftOut, []);
  });

  it('is not judged where two runs without any differ by more than that, and the figures are told all the same', () => {
    const untold = (which: 'work' | 'wait', again: number, why: RegExp): void => {
      const { judged, leftOut } = compared(which, again, 1.5);
      assert.equal(judged, undefined);
      assert.equal(leftOut.length, 1);
      assert.equal(leftOut[0]!.figure, BURDEN[which].figure);
      assert.match(leftOut[0]!.why, why);
    };
    untold('wait', 0.89, /^1\.5 times, .*no standbys against no standbys came to 0\.89,/);
    untold('wait', 1.11, /came to 1\.11,/);
    untold('work', 0.89, /^150 %, turn by turn, .*came to 89, turn by turn/);
    assert.equal(compared('wait', 0.9, 1).met, true);
    assert.equal(compared('work', 1.1, 1).met, true);
  });
});

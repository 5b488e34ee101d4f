import assert from 'node:assert/strict';
import { HelperError, toHelperError } from '../../../src/connection/errors.ts';
import { backoffMs, type ConnectionState, next, problemOf, type Reason } from '../../../src/connection/state.ts';

const problem = (reason: Reason) => ({ reason, message: reason });

describe('the connection', () => {
  it('tries again by itself after a loss, later each time', () => {
    let state: ConnectionState = { kind: 'idle' };
    const delays: number[] = [];
    for (let i = 0; i < 9; i++) {
      state = next(state, { type: 'connect' });
      state = next(state, { type: 'failed', problem: problem('lost') });
      assert.equal(state.kind, 'waiting');
      if (state.kind === 'waiting') delays.push(state.delayMs);
    }
    assert.deepEqual(delays, [250, 500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000]);
  });

  it('starts anew with its patience after it was there', () => {
    const handshake = { protocolVersion: 1, helperVersion: '1', pid: 1, uid: 1, needs: [] };
    const lost = next({ kind: 'ready', handshake }, { type: 'failed', problem: problem('lost') });
    assert.deepEqual(lost, { kind: 'waiting', attempt: 1, delayMs: 250, problem: problem('lost') });
  });

  it('says that an answer is long in coming, as long as it is waited for', () => {
    const waiting = next({ kind: 'connecting', attempt: 1 }, { type: 'slow' });
    assert.deepEqual(waiting, { kind: 'connecting', attempt: 1, slow: true });
    const handshake = { protocolVersion: 1, helperVersion: '1', pid: 1, uid: 1, needs: [] };
    const ready = next(waiting, { type: 'ready', handshake });
    assert.equal(ready.kind, 'ready');
    assert.equal(next(ready, { type: 'slow' }), ready);
  });

  it('does not try again where that changes nothing', () => {
    for (const reason of ['noHelper', 'helperOld', 'helperNew', 'unsupported', 'atRest'] as const) {
      const state = next({ kind: 'connecting', attempt: 1 }, { type: 'failed', problem: problem(reason) });
      assert.deepEqual(state, { kind: 'blocked', problem: problem(reason) });
    }
  });

  it('takes a helper that was there before for one that is being started again', () => {
    const state = next({ kind: 'connecting', attempt: 2 }, { type: 'failed', problem: problem('noHelper') });
    assert.equal(state.kind, 'waiting');
  });

  it('asks once while it is asking', () => {
    const connecting: ConnectionState = { kind: 'connecting', attempt: 2 };
    assert.equal(next(connecting, { type: 'connect' }), connecting);
  });

  it('never waits longer than a quarter of a minute', () => {
    assert.equal(backoffMs(1_000), 15_000);
  });

  it('tells an old helper from a new one', () => {
    const mismatch = (theirs?: number) => new HelperError('protocolMismatch', 'm', undefined, undefined, theirs);
    assert.equal(problemOf(mismatch(1), 2).reason, 'helperOld');
    assert.equal(problemOf(mismatch(4), 2).reason, 'helperNew');
    assert.equal(problemOf(mismatch(), 2).reason, 'helperOld');
    assert.equal(problemOf(new HelperError('unanswered', 'm'), 2).reason, 'hanging');
    assert.equal(problemOf(new HelperError('lost', 'm'), 2).reason, 'lost');
    assert.equal(problemOf(new HelperError('atRest', 'm'), 2).reason, 'atRest');
    assert.equal(problemOf(new HelperError('notRoot', 'm', 'do that'), 2).hint, 'do that');
  });

  it('takes an error of the wire apart, and one that is none', () => {
    const codes = new Set(['volumeFull', 'internal']);
    const full = toHelperError({ message: 'full', data: { code: 'volumeFull', hint: 'gc' } }, codes);
    assert.deepEqual([full.code, full.message, full.hint], ['volumeFull', 'full', 'gc']);
    assert.equal(toHelperError({ message: 'x', data: { code: 'new one' } }, codes).code, 'internal');
    assert.equal(toHelperError(undefined, codes).message, 'undefined');
  });
});

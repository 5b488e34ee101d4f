import assert from 'node:assert/strict';
import type { Need } from '../../../helper/protocol/model.ts';
import { type Facts, situationOf } from '../../../src/setup/situation.ts';

const ready = (...needs: Need[]): Facts['connection'] => ({
  kind: 'ready',
  handshake: { protocolVersion: 1, helperVersion: '1', pid: 1, uid: 1, needs },
});
const missing = (id: string): Need => ({ id, title: id, status: 'missing', detail: '' });
const all: Facts = { connection: ready(), trusted: true, folder: true, sandboxes: 0, listed: true };

describe('what the views have to say', () => {
  const says = (facts: Partial<Facts>) => situationOf({ ...all, ...facts });

  it('follows the connection', () => {
    assert.equal(says({ connection: { kind: 'idle' } }), 'idle');
    assert.equal(says({ connection: { kind: 'connecting', attempt: 1 } }), 'connecting');
    assert.equal(says({ connection: { kind: 'connecting', attempt: 1, slow: true } }), 'slow');
    const lost = { reason: 'lost', message: 'ended' } as const;
    assert.equal(says({ connection: { kind: 'connecting', attempt: 2, after: lost, slow: true } }), 'lost');
    const after = { reason: 'hanging', message: 'no answer' } as const;
    assert.equal(says({ connection: { kind: 'connecting', attempt: 2, after } }), 'hanging');
    const problem = { reason: 'helperNew', message: '' } as const;
    assert.equal(says({ connection: { kind: 'blocked', problem } }), 'helperNew');
    const hanging = { kind: 'waiting', attempt: 1, delayMs: 1, problem: { reason: 'hanging', message: '' } } as const;
    assert.equal(says({ connection: hanging }), 'hanging');
  });

  it('names what is missing, unless there is something to show', () => {
    assert.equal(says({ connection: ready(missing('criu')) }), 'noCriu');
    assert.equal(says({ connection: ready(missing('overlay')) }), 'needs');
    assert.equal(says({ connection: ready(missing('criu')), sandboxes: 1 }), 'ready');
    assert.equal(says({ connection: ready({ ...missing('dirty'), status: 'warning' }) }), 'empty');
  });

  it('has a word for each empty state', () => {
    assert.equal(says({}), 'empty');
    assert.equal(says({ folder: false }), 'noFolder');
    assert.equal(says({ trusted: false }), 'untrusted');
    assert.equal(says({ listed: false }), 'connecting');
    assert.equal(says({ trusted: false, sandboxes: 2 }), 'ready');
  });
});

import assert from 'node:assert/strict';
import { statusOf } from '../../../src/views/status-model.ts';
import { checkpointOf, sandboxOf } from '../scenarios.ts';

const handshake = { protocolVersion: 1, helperVersion: '0.1.0', pid: 1, uid: 1, needs: [] };
const ready = { kind: 'ready', handshake } as const;

describe('the status bar', () => {
  const sandbox = sandboxOf({ id: 's1', name: 'api' });
  const c = checkpointOf({ id: 'k1', parent: 'k0', createdAt: sandbox.createdAt, command: 'npm test' });

  it('has the sandbox and its last checkpoint', () => {
    assert.equal(statusOf(ready, sandbox, c)!.text, '$(history) api: npm test');
    assert.equal(statusOf(ready, { ...sandbox, state: 'stopped' }, c)!.text, '$(history) api: stopped');
    assert.equal(statusOf(ready, { ...sandbox, name: '$(flame)' }, c)!.text, '$(history) $\u200b(flame): npm test');
  });

  it('is not there when there is nothing to say', () => {
    assert.equal(statusOf(ready, undefined, undefined), null);
    assert.equal(statusOf({ kind: 'idle' }, sandbox, c), null);
    assert.equal(statusOf({ kind: 'connecting', attempt: 1 }, sandbox, c), null);
  });

  it('says when the helper is gone', () => {
    const problem = { reason: 'lost', message: 'gone' } as const;
    assert.equal(statusOf({ kind: 'waiting', attempt: 1, delayMs: 250, problem }, sandbox, c)!.warning, true);
    assert.equal(statusOf({ kind: 'connecting', attempt: 3 }, undefined, undefined)!.warning, true);
  });
});

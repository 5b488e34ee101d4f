import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Ask } from '../../../src/connection/helper.ts';
import { Details } from '../../../src/views/details.ts';
import { Store } from '../../../src/views/store.ts';
import { sandboxOf } from '../scenarios.ts';

/** Answers what it expects, once each, and throws on everything else. */
function scripted(...answers: [string, object, object][]) {
  const left = [...answers];
  const ask = (async (method: string, params: object) => {
    const next = left.shift();
    assert.ok(next, `nobody expected ${method}`);
    assert.deepEqual([method, params], [next[0], next[1]]);
    return next[2];
  }) as Ask;
  return { ask, done: () => assert.deepEqual(left, []) };
}

describe('details of a branch', () => {
  const sandbox = sandboxOf({ id: 's1', name: 'one', current: 'k2' });
  const diff = { sandbox: 's1', from: 'k2', to: 'b1' };

  it('asks once, and again when something happened', async () => {
    const first = { changes: [{ path: '/a', kind: 'added', type: 'file' }] };
    const { ask, done } = scripted(['diff', diff, first], ['diff', diff, { changes: [] }]);
    const store = new Store();
    store.setSandboxes([sandbox]);
    const details = new Details(ask, store);
    await details.want('s1', 'b1', 'changes');
    await details.want('s1', 'b1', 'changes');
    assert.equal(details.get('s1', 'b1')!.changes!.length, 1);
    // Several messages about one thing are one question.
    for (let i = 0; i < 3; i++) store.sandboxChanged(sandbox);
    await sleep(250);
    assert.equal(details.get('s1', 'b1')!.changes!.length, 0);
    done();
    details.dispose();
  });

  it('asks nothing about branches that nobody looks at, or that are gone', async () => {
    const { ask, done } = scripted(['process/list', { sandbox: 's1', branch: 'b1' }, { processes: [] }]);
    const store = new Store();
    store.setSandboxes([sandbox]);
    const details = new Details(ask, store);
    await details.want('s1', 'b1', 'processes');
    store.sandboxChanged({ ...sandbox, head: null, branches: [] });
    await sleep(250);
    assert.equal(details.get('s1', 'b1'), undefined);
    done();
    details.dispose();
  });

  it('keeps what it knew when the helper is gone', async () => {
    const store = new Store();
    store.setSandboxes([sandbox]);
    const details = new Details((async () => Promise.reject(new Error('gone'))) as Ask, store);
    await details.want('s1', 'b1', 'changes');
    assert.equal(details.get('s1', 'b1'), undefined);
    details.dispose();
  });
});

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Ask } from '../../../src/connection/helper.ts';
import { Details } from '../../../src/views/details.ts';
import { Store } from '../../../src/views/store.ts';
import { sandboxOf } from '../scenarios.ts';

/** Answers what it expects, once each. Who asks outlives an error, so what else was asked is told at the end. */
function scripted(...answers: [string, object, object][]) {
  const asked: unknown[] = [];
  const ask = (async (method: string, params: object) => {
    asked.push([method, params]);
    const answer = answers[asked.length - 1];
    if (!answer) throw new Error(`nobody expected ${method}`);
    return answer[2];
  }) as Ask;
  const done = () =>
    assert.deepEqual(
      asked,
      answers.map(([method, params]) => [method, params]),
    );
  return { ask, done };
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

  it('knows where a port is on this machine: the head’s wherever the head is, a fork’s for that fork', () => {
    const store = new Store();
    store.setSandboxes([sandbox]);
    const details = new Details(scripted().ask, store);
    details.setForward({ sandbox: 's1', port: 3000 }, 3000);
    details.setForward({ sandbox: 's1', branch: 'b7', port: 3000 }, 3001);
    assert.equal(details.forward('s1', 'b1', 3000), 3000);
    assert.equal(details.forward('s1', 'b7', 3000), 3001);
    store.sandboxChanged({ ...sandbox, head: 'b2', branches: [{ ...sandbox.branches[0]!, id: 'b2' }] });
    assert.equal(details.forward('s1', 'b2', 3000), 3000);
    details.setForward({ sandbox: 's1', branch: 'b7', port: 3000 }, undefined);
    assert.equal(details.forward('s1', 'b7', 3000), undefined);
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

  it('asks no more about a branch that goes right after something happened there', async () => {
    const ports = { sandbox: 's1', branch: 'b1' };
    const { ask, done } = scripted(['port/list', ports, { ports: [] }]);
    const store = new Store();
    store.setSandboxes([sandbox]);
    const details = new Details(ask, store);
    await details.want('s1', 'b1', 'ports');
    store.sandboxChanged(sandbox);
    store.sandboxChanged({ ...sandbox, head: 'b2', branches: [{ ...sandbox.branches[0]!, id: 'b2' }] });
    await sleep(250);
    done();
    details.dispose();
  });

  it('asks no more about a sandbox that is removed', async () => {
    const { ask, done } = scripted(['process/list', { sandbox: 's1', branch: 'b1' }, { processes: [] }]);
    const store = new Store();
    store.setSandboxes([sandbox]);
    const details = new Details(ask, store);
    await details.want('s1', 'b1', 'processes');
    store.sandboxChanged(sandbox);
    store.sandboxRemoved('s1');
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

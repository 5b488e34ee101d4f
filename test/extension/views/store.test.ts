import assert from 'node:assert/strict';
import { Store, type StoreChange } from '../../../src/views/store.ts';
import { checkpointOf, manyCheckpoints, sandboxOf } from '../scenarios.ts';

const createdAt = '2026-11-23T12:00:00.000Z';
const k = (n: number) => checkpointOf({ id: `k${n}`, parent: n > 0 ? `k${n - 1}` : null, createdAt });

function storeWith(...checkpoints: ReturnType<typeof k>[]) {
  const store = new Store();
  store.setSandboxes([sandboxOf({ id: 's1', name: 'one', current: 'k2' })]);
  store.setTimeline('s1', { checkpoints, more: false, current: 'k2' });
  const heard: StoreChange[] = [];
  store.onDidChange((change) => heard.push(change));
  return { store, heard, ids: () => store.timeline('s1')!.checkpoints.map((c) => c.id) };
}

describe('the cache of what the helper told', () => {
  it('keeps the newest first, in whatever order they come', () => {
    const { store, ids } = storeWith(k(2), k(1), k(0));
    store.take('checkpoint/added', { sandbox: 's1', checkpoint: k(10) });
    store.take('checkpoint/added', { sandbox: 's1', checkpoint: k(9) });
    assert.deepEqual(ids(), ['k10', 'k9', 'k2', 'k1', 'k0']);
  });

  it('takes one that it has for a change of it, and tells of that row alone', () => {
    const { store, heard, ids } = storeWith(k(2), k(1), k(0));
    store.take('checkpoint/changed', { sandbox: 's1', checkpoint: { ...k(1), label: 'mine' } });
    assert.deepEqual(heard, [{ kind: 'entry', sandbox: 's1', checkpoint: 'k1' }]);
    assert.equal(store.checkpoint('s1', 'k1')!.label, 'mine');
    assert.equal(ids().length, 3);
  });

  it('hears of a change before it hears of the thing', () => {
    const { store, ids } = storeWith(k(2));
    store.take('checkpoint/changed', { sandbox: 's1', checkpoint: k(3) });
    store.take('checkpoint/added', { sandbox: 's1', checkpoint: k(3) });
    assert.deepEqual(ids(), ['k3', 'k2']);
  });

  it('leaves changes of entries on pages that nobody asked for', () => {
    const { store, heard, ids } = storeWith(k(9), k(8));
    store.setTimeline('s1', { ...store.timeline('s1')!, more: true });
    heard.length = 0;
    store.take('checkpoint/changed', { sandbox: 's1', checkpoint: k(3) });
    assert.deepEqual([ids(), heard], [['k9', 'k8'], []]);
    store.addOlder('s1', [k(7), k(8)], false);
    assert.deepEqual(ids(), ['k9', 'k8', 'k7']);
  });

  it('forgets what is gone, and does not mind hearing it twice', () => {
    const { store, heard, ids } = storeWith(k(2), k(1));
    store.take('checkpoint/removed', { sandbox: 's1', checkpoint: 'k1' });
    store.take('checkpoint/removed', { sandbox: 's1', checkpoint: 'k1' });
    assert.deepEqual(ids(), ['k2']);
    assert.equal(heard.length, 1);
    store.show('s1');
    store.take('sandbox/removed', { sandbox: 's1' });
    store.take('sandbox/removed', { sandbox: 's1' });
    assert.equal(store.shown, undefined);
    assert.equal(store.timeline('s1'), undefined);
  });

  it('brings nothing back that it was told is gone, until it stands in a list again', () => {
    const { store, ids } = storeWith(k(2), k(1));
    store.take('checkpoint/removed', { sandbox: 's1', checkpoint: 'k3' });
    store.take('checkpoint/added', { sandbox: 's1', checkpoint: k(3) });
    store.take('checkpoint/removed', { sandbox: 's1', checkpoint: 'k1' });
    store.take('checkpoint/changed', { sandbox: 's1', checkpoint: k(1) });
    // An answer that was on its way when it went.
    store.addOlder('s1', [k(1), k(0)], false);
    assert.deepEqual(ids(), ['k2', 'k0']);
    const sandbox = sandboxOf({ id: 's1', name: 'one' });
    store.take('sandbox/removed', { sandbox: 's1' });
    store.take('sandbox/changed', { sandbox });
    assert.deepEqual(store.sandboxes, []);
    store.setSandboxes([sandbox]);
    assert.deepEqual(store.sandboxes, [sandbox]);
  });

  it('moves the current entry with the head', () => {
    const { store, heard } = storeWith(k(2), k(1));
    const moved = { sandbox: 's1', head: 'b4', checkpoint: 'k1', cause: 'rollback', ms: 1, saved: null } as const;
    store.take('head/moved', moved);
    store.take('head/moved', moved);
    assert.equal(store.timeline('s1')!.current, 'k1');
    assert.deepEqual(heard, [{ kind: 'timeline', sandbox: 's1' }]);
  });

  it('knows nothing of sandboxes that nobody listed, until they are told of', () => {
    const { store, heard } = storeWith();
    store.take('checkpoint/added', { sandbox: 's9', checkpoint: k(1) });
    assert.deepEqual(heard, []);
    store.take('sandbox/changed', { sandbox: sandboxOf({ id: 's9', name: 'nine' }) });
    assert.deepEqual(heard, [{ kind: 'sandboxes' }]);
    assert.deepEqual(
      store.sandboxes.map((s) => s.id),
      ['s1', 's9'],
    );
  });

  it('takes 10,000 entries and one more without a pause', () => {
    const { store } = storeWith();
    store.setTimeline('s1', { checkpoints: manyCheckpoints(10_000, 0), more: false, current: 'k9999' });
    const start = performance.now();
    for (let n = 10_000; n < 10_020; n++) store.take('checkpoint/added', { sandbox: 's1', checkpoint: k(n) });
    assert.ok(performance.now() - start < 2_000);
    assert.equal(store.timeline('s1')!.checkpoints[0]!.id, 'k10019');
  });
});

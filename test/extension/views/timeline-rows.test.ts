import assert from 'node:assert/strict';
import type { Checkpoint } from '../../../helper/protocol/model.ts';
import { Selection } from '../../../src/views/selection.ts';
import { Store } from '../../../src/views/store.ts';
import { TimelineRows } from '../../../src/views/timeline-rows.ts';
import { checkpointOf, manyCheckpoints, sandboxOf } from '../scenarios.ts';

const NOW = Date.parse('2026-11-23T12:00:00.000Z');
const ALL = 10_000;
const NEWEST = `k${ALL - 1}`;

/** A timeline of 10,000 entries, drawn once. */
function drawn(shown = ALL) {
  const all = manyCheckpoints(ALL, NOW);
  const store = new Store();
  const selection = new Selection();
  store.setSandboxes([sandboxOf({ id: 's1', name: 'long-run', current: NEWEST, checkpoints: ALL })]);
  store.show('s1');
  store.setTimeline('s1', { checkpoints: all.slice(0, shown), current: NEWEST, more: shown < ALL });
  const rows = new TimelineRows();
  assert.equal(rows.update(store, selection, NOW), 'list');
  /** What is drawn again: ids, or the list. */
  const again = (now = NOW) => {
    const changed = rows.update(store, selection, now);
    return changed === 'list' ? changed : changed.map(({ id }) => id);
  };
  const change = (id: string, more: Partial<Checkpoint>) =>
    store.take('checkpoint/changed', { sandbox: 's1', checkpoint: { ...store.checkpoint('s1', id)!, ...more } });
  return { all, store, selection, rows, again, change };
}

describe('what is drawn of 10,000 entries', () => {
  it('is nothing where nothing looks different', () => {
    const { again, change } = drawn();
    assert.deepEqual(again(), []);
    change('k5000', { state: { durable: true, verified: true, filesOnly: false } });
    assert.deepEqual(again(), [], 'how far it has come stands in the hover alone');
  });

  it('is nothing while there is nothing to show yet', () => {
    const { store, selection } = drawn();
    const rows = new TimelineRows();
    assert.deepEqual(rows.update(new Store(), selection, NOW), []);
    store.setSandboxes([sandboxOf({ id: 's2', name: 'another' })]);
    store.show('s2');
    assert.deepEqual(rows.update(store, selection, NOW), [], 'chosen, and its entries not here yet');
    store.setTimeline('s2', { checkpoints: manyCheckpoints(2, NOW), current: 'k1', more: false });
    assert.equal(rows.update(store, selection, NOW), 'list');
  });

  it('is one row where one changed', () => {
    const { again, change, selection } = drawn();
    change('k5000', { label: 'mine' });
    assert.deepEqual(again(), ['k5000']);
    change('k7', { state: { durable: true, verified: false, filesOnly: false, broken: 'cut short' } });
    assert.deepEqual(again(), ['k7']);
    selection.comparing = { kind: 'entry', sandbox: 's1', id: 'k42' };
    assert.deepEqual(again(), ['k42']);
  });

  it('is where one was and where one is, after a short way back', () => {
    const { again, store } = drawn();
    store.take('head/moved', { sandbox: 's1', head: 'b2', checkpoint: 'k9998', cause: 'rollback', ms: 1, saved: null });
    assert.deepEqual(again(), [NEWEST, 'k9998']);
  });

  it('is the rows whose age reads differently, when time passes', () => {
    const { again, rows } = drawn();
    const before = rows.entries.map((entry) => rows.row(entry)!.description);
    const changed = again(NOW + 10_000);
    const differ = rows.entries.filter((entry, i) => rows.row(entry)!.description !== before[i]).map(({ id }) => id);
    assert.deepEqual(changed, differ);
    assert.ok(changed.includes(NEWEST) && changed.length < 500, `${changed.length} rows`);
  });

  it('keeps its rows where others come: the list is asked for, each entry is the same object', () => {
    const { again, rows, store } = drawn();
    const before = rows.entries;
    const parent = NEWEST;
    const checkpoint = checkpointOf({ id: `k${ALL}`, parent, createdAt: new Date(NOW).toISOString() });
    store.take('checkpoint/added', { sandbox: 's1', checkpoint });
    assert.equal(again(), 'list');
    const now = rows.entries;
    assert.ok(before.every((entry, i) => now[i + 1] === entry));
  });

  it('is a page, and the next one when somebody asks for older ones', () => {
    const { again, all, rows, store } = drawn(200);
    assert.equal(rows.elements.length, 201);
    assert.deepEqual(rows.elements.at(-1), { kind: 'older', sandbox: 's1' });
    const before = rows.entries;
    store.addOlder('s1', all.slice(200, 1_200), true);
    assert.equal(again(), 'list');
    assert.equal(rows.elements.length, 1_201);
    const now = rows.entries;
    assert.ok(before.every((entry, i) => now[i] === entry));
    store.addOlder('s1', all.slice(1_200), false);
    assert.equal(again(), 'list');
    assert.equal(rows.elements.length, ALL);
    assert.equal(rows.elements.at(-1)!.kind, 'entry');
  });
});

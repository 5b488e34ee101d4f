import assert from 'node:assert/strict';
import { hover, limbs, rows, stateWords } from '../../../src/views/timeline-model.ts';
import { checkpointOf, makeScenario, manyCheckpoints } from '../scenarios.ts';

const NOW = Date.parse('2026-11-23T12:00:00.000Z');
const at = (seconds: number) => new Date(NOW - seconds * 1000).toISOString();
const line = (...ids: [string, string | null][]) =>
  ids.map(([id, parent]) => checkpointOf({ id, parent, createdAt: at(9) }));

describe('the timeline', () => {
  it('says what a step was, when, and how it ended', () => {
    const checkpoints = [
      checkpointOf({
        id: 'k2',
        parent: 'k1',
        createdAt: at(2),
        kind: 'run',
        command: 'npm test',
        exitCode: 1,
        filesChanged: 2,
      }),
      checkpointOf({ id: 'k1', parent: 'k0', createdAt: at(65), label: 'before the rewrite', filesChanged: 18 }),
      checkpointOf({ id: 'k0', parent: null, createdAt: at(600), kind: 'root' }),
    ];
    const [test, label, root] = rows({ checkpoints, more: false, current: 'k2' }, { now: NOW });
    assert.deepEqual(
      [test!.label, test!.description, test!.icon, test!.tone],
      ['npm test', 'now · exit 1 · 2 files ← current', 'record', 'current'],
    );
    assert.deepEqual(
      [label!.label, label!.description, label!.icon],
      ['before the rewrite', '1 min · 18 files', 'bookmark'],
    );
    assert.deepEqual([root!.label, root!.description], ['sandbox created', '10 min']);
    assert.equal(test!.spoken, 'npm test, now, exit 1, 2 files, current');
    assert.match(test!.context, /^entry current run sound$/);
    assert.match(root!.context, /^entry other root sound$/);
  });

  it('leaves room for the time behind a long command, and lets it be heard in full', () => {
    const command = "find . -name '*.json' -not -path './node_modules/*'";
    const createdAt = at(70);
    const checkpoints = [
      checkpointOf({ id: 'k2', parent: 'k0', createdAt, kind: 'run', command }),
      checkpointOf({ id: 'k1', parent: 'k0', createdAt, kind: 'run', command }),
      checkpointOf({ id: 'k0', parent: null, createdAt, kind: 'root' }),
    ];
    const [current, aside] = rows({ checkpoints, more: false, current: 'k2' }, { now: NOW });
    assert.equal(current!.label, "find . -name '*.json' -…");
    assert.equal(aside!.label, "│ find . -name '*.json'…");
    assert.equal(aside!.spoken, `${command}, 1 min, on another limb`);
  });

  it('sets limbs apart from the line that the head stands on', () => {
    const depth = limbs(line(['k5', 'k1'], ['k4', 'k3'], ['k3', 'k1'], ['k2', 'k1'], ['k1', 'k0'], ['k0', null]), 'k5');
    assert.deepEqual(Object.fromEntries(depth), { k5: 0, k4: 1, k3: 1, k2: 2, k1: 0, k0: 0 });
  });

  it('takes a column again when its limb has ended', () => {
    const depth = limbs(
      line(['k6', 'k4'], ['k5', 'k4'], ['k4', 'k2'], ['k3', 'k2'], ['k2', 'k0'], ['k1', 'k0'], ['k0', null]),
      'k6',
    );
    assert.deepEqual(Object.fromEntries(depth), { k6: 0, k5: 1, k4: 0, k3: 1, k2: 0, k1: 1, k0: 0 });
  });

  it('survives parents that are missing or go in a circle', () => {
    assert.equal(limbs(line(['k2', 'k9'], ['k1', 'k2']), 'k1').size, 2);
    assert.equal(limbs(line(['k2', 'k1'], ['k1', 'k2']), 'k2').size, 2);
  });

  it('marks a broken one, a live fork, and what was chosen to compare', () => {
    const { checkpoints, sandboxes } = makeScenario('sample', '/work', NOW);
    const timeline = { checkpoints: checkpoints.get('s1')!, more: false, current: 'k8' };
    const all = rows(timeline, { now: NOW, branches: sandboxes[0]!.branches, comparing: 'k3' });
    const by = new Map(all.map((row) => [row.id, row]));
    assert.equal(by.get('k4')!.tone, 'broken');
    assert.match(by.get('k4')!.description, /can’t be restored/);
    assert.match(by.get('k4')!.context, /broken$/);
    assert.match(by.get('k5')!.description, /live fork b7/);
    assert.match(by.get('k3')!.description, /selected to compare/);
    assert.equal(by.get('k5')!.label.startsWith('│ find'), true);
  });

  it('filters', () => {
    const checkpoints = makeScenario('sample', '/work', NOW).checkpoints.get('s1')!;
    const ids = (filter: Parameters<typeof rows>[1]['filter']) =>
      rows({ checkpoints, more: false, current: 'k8' }, { now: NOW, ...(filter ? { filter } : {}) }).map(
        (row) => row.id,
      );
    assert.deepEqual(ids({ kind: 'failed' }), ['k8', 'k4']);
    assert.deepEqual(ids({ kind: 'labelled' }), ['k3']);
    assert.deepEqual(ids({ kind: 'text', text: 'SED' }), ['k6', 'k5']);
    assert.equal(ids({ kind: 'commands' }).includes('k7'), false);
    assert.equal(ids({ kind: 'changed' }).includes('k1'), false);
    assert.equal(ids(undefined).length, 9);
  });

  it('works out 10,000 rows well within a tenth of a second', () => {
    const timeline = { checkpoints: manyCheckpoints(10_000, NOW), more: false, current: 'k9999' };
    rows(timeline, { now: NOW });
    const start = performance.now();
    assert.equal(rows(timeline, { now: NOW }).length, 10_000);
    assert.ok(performance.now() - start < 1_000, 'it grows faster than the number of rows');
  });

  it('shows no Markdown of its own making in the hover', () => {
    const c = checkpointOf({
      id: 'k1',
      parent: 'k0',
      createdAt: at(1),
      label: '[x](command:evil) $(alert)',
      note: '<b>*',
    });
    const text = hover(c, 'today');
    assert.ok(!text.includes('[x](command:evil)'));
    assert.ok(text.includes('\\[x\\]\\(command:evil\\) \\$\\(alert\\)'));
    const fenced = hover({ ...c, command: 'echo ```\nrm' }, 'today');
    assert.ok(fenced.includes('````sh\necho ```\nrm\n````'));
  });

  it('says how far a checkpoint has come', () => {
    const state = { durable: true, verified: false, filesOnly: true };
    assert.match(stateWords({ state }), /durable.*not verified yet.*files only/);
    assert.match(stateWords({ state: { ...state, broken: 'cut short' } }), /Can’t be restored: cut short/);
  });
});

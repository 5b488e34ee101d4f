import assert from 'node:assert/strict';
import type { PlannedChange } from '../../../helper/protocol/bridge.ts';
import type { Change } from '../../../helper/protocol/model.ts';
import { addressOf, authorityOf, isLive } from '../../../src/documents/address.ts';
import { applyLines, outcomeWords } from '../../../src/documents/apply-model.ts';
import { pairsOf, titleOf } from '../../../src/documents/comparison.ts';

describe('files of a moment', () => {
  it('have an address that leads back to them', () => {
    const address = { sandbox: 's1', at: 'k4', path: '/home/me/a b#?.txt' };
    assert.deepEqual(addressOf({ authority: authorityOf(address), path: address.path }), address);
    assert.equal(addressOf({ authority: 'nothing', path: '/a' }), 'nothing');
    const head = { ...address, at: 'head' };
    assert.deepEqual(addressOf({ authority: authorityOf(head), path: head.path }), head);
    assert.deepEqual(
      ['head', 'b2', 'k2'].map((at) => isLive({ at })),
      [true, true, false],
    );
  });

  it('have no address outside a sandbox', () => {
    for (const authority of ['', 'k4', 's1.k4', 'k4.s1.x', '../k4.s1', 'x4.s1'])
      assert.equal(addressOf({ authority, path: '/a' }), undefined);
  });
});

describe('a comparison', () => {
  const change = (kind: Change['kind'], more: Partial<Change> = {}): Change => ({
    path: '/w/a',
    kind,
    type: 'file',
    ...more,
  });

  it('sets two texts side by side, or one against nothing', () => {
    const pairs = pairsOf([change('added'), change('deleted'), change('renamed', { from: '/w/b' }), change('changed')]);
    assert.deepEqual(
      pairs.map(({ before, after }) => [before, after]),
      [
        [undefined, '/w/a'],
        ['/w/a', undefined],
        ['/w/b', '/w/a'],
        ['/w/a', '/w/a'],
      ],
    );
  });

  it('leaves out what has no text', () => {
    assert.deepEqual(pairsOf([change('added', { type: 'folder' }), change('added', { type: 'other' })]), []);
  });

  it('says when it does not show all', () => {
    assert.equal(titleOf('“x” (k4)', 2, 2), '“x” (k4)');
    assert.equal(titleOf('“x” (k4)', 400, 1_240), '“x” (k4): first 400 of 1,240 files');
  });
});

describe('applying', () => {
  const planned = (path: string, conflict: PlannedChange['conflict'] = null): PlannedChange => ({
    path,
    kind: 'changed',
    type: 'file',
    conflict,
  });

  it('ticks what is harmless, not what is in conflict, and offers nothing impossible', () => {
    const { fine, conflicting, impossible } = applyLines([
      planned('src/a.ts'),
      planned('b', 'changed'),
      planned('c', 'gone'),
      planned('d', 'unwritable'),
    ]);
    assert.deepEqual(fine, [
      { path: 'src/a.ts', label: 'a.ts', description: 'src · changed', picked: true, force: false },
    ]);
    assert.deepEqual(
      conflicting.map((l) => [l.path, l.picked, l.force]),
      [
        ['b', false, true],
        ['c', false, true],
      ],
    );
    assert.equal(conflicting[0]!.description, 'changed · changed in the workspace too');
    assert.deepEqual(
      impossible.map((l) => l.path),
      ['d'],
    );
  });

  it('says what happened', () => {
    assert.equal(outcomeWords({ applied: ['a'], conflicts: [], failed: [] }), '1 file applied.');
    assert.equal(
      outcomeWords({ applied: [], conflicts: [1], failed: [{ path: 'x', message: 'no space' }] }),
      '0 files applied. 1 file left alone: changed meanwhile. 1 file failed: x: no space.',
    );
  });
});

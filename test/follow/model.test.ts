import assert from 'node:assert/strict';
import type { FollowConflict, FollowStatus, PlannedChange } from '../../helper/protocol/bridge.ts';
import { followWords, linesOfConflicts, linesOfPlan, newConflicts, within } from '../../src/follow/model.ts';

const conflict = (path: string, reason: FollowConflict['reason'] = 'changed'): FollowConflict => ({
  path,
  reason,
  kind: 'changed',
});

describe('what following shows', () => {
  const words = (more: Partial<FollowStatus>) =>
    followWords('api', { on: true, to: '/w', at: null, conflicts: [], ...more });

  it('is one word in the status bar, and a warning where something could not follow', () => {
    assert.match(words({ on: false }).text, /Follow: off/);
    assert.equal(words({}).text, '$(sync) Follow');
    const stuck = words({ conflicts: [conflict('a'), conflict('b')] });
    assert.match(stuck.text, /Follow: 2 files/);
    assert.deepEqual([stuck.warning, words({}).warning], [true, false]);
  });

  it('says a conflict once, and anew when it is another', () => {
    const now = [conflict('a'), conflict('b', 'unsaved')];
    assert.deepEqual(newConflicts([], now), now);
    assert.deepEqual(newConflicts(now, now), []);
    assert.deepEqual(newConflicts(now, [conflict('b')]), [conflict('b')]);
  });
});

describe('a comparison in Source Control', () => {
  const change = (path: string, more: Partial<PlannedChange> = {}): PlannedChange => ({
    path,
    kind: 'changed',
    type: 'file',
    conflict: null,
    ...more,
  });

  it('lists files, tells conflicts apart, and knows what is only there', () => {
    const lines = linesOfPlan([
      change('a'),
      change('d', { kind: 'deleted' }),
      change('n', { kind: 'added' }),
      change('folder', { kind: 'added', type: 'folder' }),
      change('c', { conflict: 'changed' }),
      change('g', { conflict: 'gone' }),
    ]);
    assert.deepEqual(
      lines.map(({ path, letter, conflict, deleted, absent }) => [path, letter, conflict, deleted, absent]),
      [
        ['a', 'M', false, false, false],
        ['d', 'D', false, true, false],
        ['n', 'A', false, false, true],
        ['c', 'M', true, false, false],
        ['g', 'M', true, false, true],
      ],
    );
    assert.match(lines[3]!.tooltip, /changed in the workspace too/);
  });

  it('lists only what is stuck while following', () => {
    assert.deepEqual(
      linesOfConflicts([conflict('a', 'unsaved')]).map(({ path, conflict: stuck, tooltip }) => [path, stuck, tooltip]),
      [['a', true, 'unsaved changes in the editor']],
    );
  });

  it('knows what lies in a folder', () => {
    assert.equal(within('/w', '/w/a/b'), 'a/b');
    assert.equal(within('/', '/a'), 'a');
    for (const path of ['/w', '/w/', '/wx/a', '/other']) assert.equal(within('/w', path), undefined);
  });
});

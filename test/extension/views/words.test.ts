import assert from 'node:assert/strict';
import { ago, bytes, duration, files, nameOf, oneLine } from '../../../src/views/words.ts';

describe('words', () => {
  it('tells times as people do', () => {
    const now = Date.parse('2026-11-23T12:00:00.000Z');
    const told = (ms: number) => ago(new Date(now - ms).toISOString(), now);
    assert.deepEqual(
      [told(-3_000), told(0), told(8_000), told(44_000), told(61_000), told(3_600_000), told(2 * 86_400_000)],
      ['now', 'now', '5 s', '40 s', '1 min', '1 h', '2 d'],
    );
  });

  it('tells durations and sizes with as many digits as matter', () => {
    assert.deepEqual([1.3, 46.2, 2_140, 200_000].map(duration), ['1.3 ms', '46 ms', '2.1 s', '3 min']);
    assert.deepEqual([12, 20_400, 7_400_000, 2_340_000_000].map(bytes), ['12 B', '20 kB', '7.4 MB', '2.3 GB']);
    assert.deepEqual([1, 1_240].map(files), ['1 file', '1,240 files']);
  });

  it('names a checkpoint by its label, its command or what made it', () => {
    const c = { id: 'k3', kind: 'explicit', label: null, command: null } as const;
    assert.equal(nameOf({ ...c, label: 'mine', command: 'ls' }), 'mine');
    assert.equal(nameOf({ ...c, kind: 'run', command: 'for a in 1\ndo\n  x\ndone' }), 'for a in 1 do x done');
    assert.equal(nameOf({ ...c, label: '  ' }), 'k3');
    assert.equal(nameOf({ ...c, kind: 'saved' }), 'saved before rollback');
  });

  it('cuts long lines', () => {
    assert.equal(oneLine('x'.repeat(100_000), 10), 'xxxxxxxxx…');
  });
});

import assert from 'node:assert/strict';
import { age, bytes, clock, count, duration, printable, shorten, table, width } from '../../helper/cli/text.ts';
import { shellLine } from '../../helper/protocol/shell-word.ts';

describe('text for people', () => {
  it('escapes what could move the cursor or turn the writing round', () => {
    assert.equal(printable('a\nb\tc\x1b[31m\x07\x9b'), 'a\\nb\\tc\\x1b[31m\\x07\\x9b');
    assert.equal(printable('\u202egnp.exe'), '\\u202egnp.exe');
    assert.equal(printable('\ud800 alone'), '\\ud800 alone');
    assert.equal(printable('naïve 日本 😀 "quoted"'), 'naïve 日本 😀 "quoted"');
  });

  it('says durations as people do', () => {
    const cases: [number, string][] = [
      [0, '0.0 ms'],
      [1.34, '1.3 ms'],
      [9.96, '10 ms'],
      [14.2, '14 ms'],
      [999.6, '1.0 s'],
      [2400, '2.4 s'],
      [42_000, '42 s'],
      [180_000, '3 min'],
      [4 * 3_600_000, '4 h'],
    ];
    for (const [ms, text] of cases) assert.equal(duration(ms), text);
  });

  it('says ages', () => {
    const now = Date.parse('2026-11-20T10:00:00Z');
    const cases: [string, string][] = [
      ['2026-11-20T09:59:59Z', 'now'],
      ['2026-11-20T09:59:20Z', '40 s'],
      ['2026-11-20T09:56:00Z', '4 min'],
      ['2026-11-20T07:00:00Z', '3 h'],
      ['2026-11-17T10:00:00Z', '3 d'],
      ['2026-11-20T10:05:00Z', 'now'],
      ['nonsense', ''],
    ];
    for (const [then, text] of cases) assert.equal(age(then, now), text);
    assert.match(clock('2026-11-20T14:03:22Z'), /^\d\d:\d\d:22$/);
  });

  it('says sizes and counts', () => {
    assert.equal(bytes(999), '999 B');
    assert.equal(bytes(1200), '1.2 kB');
    assert.equal(bytes(34_000_000), '34 MB');
    assert.equal(bytes(999_900), '1.0 MB');
    assert.equal(count(1, 'file'), '1 file');
    assert.equal(count(2, 'process', 'processes'), '2 processes');
  });

  it('measures columns and cuts by them', () => {
    assert.equal(width('日本'), 4);
    assert.equal(width('e\u0301'), 1);
    assert.equal(width('\x1b[31mred\x1b[39m'), 3);
    assert.equal(shorten('abcdef', 4), 'abc…');
    assert.equal(shorten('日本語', 4), '日…');
    assert.equal(shorten('abcd', 4), 'abcd');
  });

  it('aligns columns, leaves empty ones out, ends no row in spaces', () => {
    assert.equal(
      table(
        [
          ['a', '', '1'],
          ['bbb', '', '22'],
        ],
        [2],
      ),
      'a     1\nbbb  22\n',
    );
    assert.equal(
      table([
        ['日本', 'x'],
        ['abc', ''],
      ]),
      '日本  x\nabc\n',
    );
  });

  it('makes a shell line of words that means those words', () => {
    assert.equal(shellLine(['ls', '-la', './x']), 'ls -la ./x');
    assert.equal(shellLine(['echo', "it's", 'a b', '', '$HOME']), `echo 'it'\\''s' 'a b' '' '$HOME'`);
  });
});

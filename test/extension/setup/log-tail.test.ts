import assert from 'node:assert/strict';
import { troubleOf, withoutOwn } from '../../../src/setup/log-tail.ts';

const at = '2026-11-26 22:00:00.123';

describe('the log in a bug report', () => {
  it('is its warnings and errors, with the lines that belong to them', () => {
    const log = [
      `${at} [info] api$ cat secrets`,
      'what it printed',
      `${at} [warning] port/list: there is no branch b3`,
      `${at} [debug] connection: idle → connecting`,
      `${at} [error] Error: it broke`,
      '    at work (/home/me/.vscode/extensions/x/dist/part-wire-AB12.js:1:2)',
      `${at} [info] on it goes`,
      '',
    ].join('\n');
    assert.deepEqual(troubleOf(log), [
      `${at} [warning] port/list: there is no branch b3`,
      `${at} [error] Error: it broke`,
      '    at work (/home/me/.vscode/extensions/x/dist/part-wire-AB12.js:1:2)',
    ]);
    assert.deepEqual(troubleOf(''), []);
  });

  it('is its end, and no line without one', () => {
    const many = Array.from({ length: 500 }, (_, n) => `${at} [error] no. ${n} ${'x'.repeat(1_000)}`);
    const tail = troubleOf(many.join('\n'));
    assert.equal(tail.length, 40);
    assert.match(tail.at(-1)!, /no\. 499 x+…$/);
    assert.ok(tail.every((line) => line.length < 310));
  });

  for (const [name, text, clean] of [
    ['a path of somebody’s', 'cannot read /home/me/shop/a.txt: gone', 'cannot read …: gone'],
    ['one in brackets', 'a folder (/work/api, it says)', 'a folder (…, it says)'],
    ['one of Windows', String.raw`not in C:\Users\me\shop at all`, 'not in … at all'],
    ['not one of the system', 'no socket /run/teleport-env/d.sock', 'no socket /run/teleport-env/d.sock'],
    ['a place in the code', 'at f (/home/me/x/dist/part-a-1.js:1:22)', 'at f (…/part-a-1.js:1:22)'],
    ['a place in Node’s', 'at g (node:internal/timers:594:17)', 'at g (node:internal/timers:594:17)'],
    ['a quotation', 'no checkpoint after "echo 1": it “failed here” so', 'no checkpoint after "…": it “…” so'],
    ['an address', 'asked https://me:pw@host/x?key=1 twice', 'asked https://… twice'],
    ['a value', 'with TOKEN=hunter2 set', 'with TOKEN=… set'],
    ['a person', 'mail me@example.com', 'mail …'],
    ['a key', 'sent sk-ant-api03-0123456789abcdef by mistake', 'sent … by mistake'],
    ['a name', 'api-server: api is stopped, apiary is not', '…: … is stopped, apiary is not'],
    [
      'words of our own',
      'port/list: b3 of s1 timed out after 60 s (k12)',
      'port/list: b3 of s1 timed out after 60 s (k12)',
    ],
  ] as const)
    it(`is without what is anybody’s own: ${name}`, () => {
      assert.equal(withoutOwn(text, ['api', 'api-server', '']), clean);
    });
});

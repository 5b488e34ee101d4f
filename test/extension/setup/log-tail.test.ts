import assert from 'node:assert/strict';
import type { LogOutputChannel } from 'vscode';
import { Trouble, withoutOwn } from '../../../src/setup/log-tail.ts';

describe('the log in a bug report', () => {
  /** A log of this many members that anybody uses. */
  function log() {
    const said: string[] = [];
    const say = (level: string) => (text: string | Error) => void said.push(`${level}: ${String(text)}`);
    return { said, name: 'ours', info: say('info'), debug: say('debug'), warn: say('warn'), error: say('error') };
  }

  it('is its warnings and errors, and the log has all that it had', () => {
    const trouble = new Trouble();
    const given = log();
    const heard = trouble.heardFrom(given as unknown as LogOutputChannel);
    heard.info('api$ cat secrets');
    heard.warn('port/list: there is no branch b3');
    heard.debug('connection: idle → connecting');
    heard.error('Error: it broke\n    at work (a.js:1:2)\n');
    assert.deepEqual(given.said.length, 4);
    assert.equal(heard.name, 'ours');
    assert.deepEqual(
      trouble.lines.map((line) => line.replace(/^\S+Z /, '')),
      ['[warn] port/list: there is no branch b3', '[error] Error: it broke', '    at work (a.js:1:2)'],
    );
  });

  it('is its end, and no line without one', () => {
    const trouble = new Trouble();
    const heard = trouble.heardFrom(log() as unknown as LogOutputChannel);
    for (let n = 0; n < 500; n++) heard.error(`no. ${n} ${'x'.repeat(1_000)}`);
    assert.equal(trouble.lines.length, 40);
    assert.match(trouble.lines.at(-1)!, /no\. 499 x+…$/);
    assert.ok(trouble.lines.every((line) => line.length < 310));
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

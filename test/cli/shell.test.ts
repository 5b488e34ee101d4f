import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { FakeHelper, type Replies } from '../client/fake-helper.ts';
import { aSandbox } from '../client/models.ts';
import { cli } from './run-cli.ts';

const base64 = (text: string) => Buffer.from(text).toString('base64');
const at = { sandbox: 's1', branch: 'b2', session: 'x3' };
const soon = (act: () => void) => void setTimeout(act, 20);

async function shell(
  replies: Replies,
  argv: string[] = [],
  tty = true,
  signals?: (send: (signal: string) => void) => void,
) {
  const fake = await FakeHelper.start({ 'sandbox/list': () => ({ sandboxes: [aSandbox()] }), ...replies });
  const stdin = new PassThrough();
  const raw: boolean[] = [];
  Object.assign(stdin, { setRawMode: (on: boolean) => raw.push(on) });
  stdin.write('ls\r');
  try {
    const options = tty ? { stdin, signals, tty: { columns: 80, rows: 24 } } : { stdin, signals };
    return { ...(await cli(fake, ['shell', ...argv], { ...options, env: { TERM: 'xterm' } })), fake, raw };
  } finally {
    await fake.stop();
  }
}

describe('shell', () => {
  it('is a terminal of this size, in raw mode, and exits as its shell does', async () => {
    const ran = await shell(
      {
        'session/open': () => ({ session: 'x3' }),
        'session/write': ({ data }, fake) => {
          assert.equal(Buffer.from(data, 'base64').toString(), 'ls\r');
          soon(() => {
            fake.notify('session/output', { ...at, stream: 'stdout', data: base64('files') });
            fake.notify('session/exit', { ...at, exitCode: 5 });
          });
          return {};
        },
      },
      ['--', 'bash', '-l'],
    );
    assert.equal(ran.code, 5);
    assert.match(ran.stdout, /files/);
    assert.deepEqual(ran.raw, [true, false]);
    assert.ok(ran.stdout.endsWith('\x1b[23;0t'));
    assert.deepEqual(ran.fake.called('session/open'), [
      {
        sandbox: 's1',
        kind: 'terminal',
        attach: true,
        argv: ['bash', '-l'],
        env: { TERM: 'xterm', NO_COLOR: '1' },
        cols: 80,
        rows: 24,
      },
    ]);
  });

  it('goes back with the head, and says so above the prompt', async () => {
    const ran = await shell({
      'session/open': () => ({ session: 'x3' }),
      'session/write': (_, fake) => {
        soon(() => {
          fake.notify('session/restored', {
            ...at,
            branch: 'b9',
            running: true,
            scrollback: base64('$ make\r\nok\r\n$ '),
            at: '2026-11-20T14:03:22Z',
            ms: 1.3,
          });
          fake.notify('session/output', { ...at, stream: 'stdout', data: base64('of the old one') });
          fake.notify('session/exit', { ...at, exitCode: 137 });
          fake.notify('session/output', { ...at, branch: 'b9', stream: 'stdout', data: base64('after') });
          fake.notify('session/exit', { ...at, branch: 'b9', exitCode: 0 });
        });
        return {};
      },
    });
    assert.match(
      ran.stdout,
      /\x1b\[2J.*\$ make\r\nok\r\n\x1b\[2m— back at \d\d:\d\d:22, 1\.3 ms —\x1b\[22m\r\n\$ after/s,
    );
  });

  it('ends where it did not exist', async () => {
    const ran = await shell({
      'session/open': () => ({ session: 'x3' }),
      'session/write': (_, fake) => {
        soon(() => fake.notify('session/gone', { sandbox: 's1', session: 'x3', reason: 'opened later' }));
        return {};
      },
    });
    assert.equal(ran.code, 1);
    assert.match(ran.stderr, /this terminal did not exist at that moment: opened later/);
  });

  it('attaches to an open one, and again after the daemon was restarted', async () => {
    let attached = 0;
    const ran = await shell(
      {
        'session/attach': (_, fake) => {
          attached++;
          soon(() => (attached === 1 ? fake.cut() : fake.notify('session/exit', { ...at, exitCode: 0 })));
          return {
            session: { id: 'x3', branch: 'b2', kind: 'terminal', title: 'bash', running: true, exitCode: null },
            scrollback: base64(`screen ${attached}`),
          };
        },
        'session/write': () => ({}),
      },
      ['--session', 'x3', '--branch', 'b2'],
    );
    assert.deepEqual([ran.code, attached], [0, 2]);
    assert.match(ran.stdout, /screen 1.*\x1b\[2J.*screen 2/s);
  });

  it('leaves no session behind where the window is closed while it opens', async () => {
    let send: (signal: string) => void = () => {};
    const ran = await shell(
      {
        'session/open': () => {
          send('SIGHUP');
          return { session: 'x3' };
        },
        'session/write': () => ({}),
        'session/close': () => ({}),
      },
      [],
      true,
      (by) => (send = by),
    );
    assert.deepEqual([ran.code, ran.fake.called('session/close').length], [129, 1]);
  });

  it('shows how one that has ended ended', async () => {
    const ran = await shell(
      {
        'session/attach': () => ({
          session: { id: 'x3', branch: 'b2', kind: 'terminal', title: 'bash', running: false, exitCode: 7 },
          scrollback: base64('bye'),
        }),
        'session/write': () => ({}),
      },
      ['--session', 'x3'],
    );
    assert.equal(ran.code, 7);
  });

  it('works through pipes, without a word for a terminal', async () => {
    const ran = await shell(
      {
        'session/open': () => ({ session: 'x3' }),
        'session/write': (_, fake) => {
          soon(() => {
            fake.notify('session/output', { ...at, stream: 'stdout', data: base64('plain') });
            fake.notify('session/exit', { ...at, exitCode: 0 });
          });
          return {};
        },
      },
      [],
      false,
    );
    assert.equal(ran.stdout, 'plain');
    assert.deepEqual(ran.raw, []);
  });
});

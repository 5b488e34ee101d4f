/** Terminals with the real helper: several, their sizes, what they showed. Needs root. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { realpathSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Connection } from '../../helper/client/connection.ts';
import { HelperProcess, needsMachine, workspace } from '../daemon/helper-process.ts';
import { build, PROGRAM } from './program.ts';

const base64 = (text: string) => Buffer.from(text).toString('base64');

async function until(what: () => boolean, said: () => string): Promise<void> {
  for (const end = Date.now() + 20_000; !what(); await sleep(20)) if (Date.now() > end) assert.fail(said());
}

describe('terminals', function () {
  this.timeout(90_000);
  let helper: HelperProcess;
  let connection: Connection;
  let ws: string;
  let sandbox: string;
  before(async function () {
    needsMachine(this);
    build();
    helper = await HelperProcess.start();
    connection = await helper.connect();
    ws = realpathSync(workspace({ 'a.txt': 'one\n' }));
    sandbox = (await connection.request('sandbox/create', { workspace: ws })).sandbox.id;
  });
  after(async () => {
    await helper?.stop();
    if (ws) rmSync(ws, { recursive: true, force: true });
  });
  afterEach(function () {
    if (this.currentTest?.state === 'failed') console.error(helper.logText());
  });

  /** One over the protocol, and what it says. */
  async function open(cols: number, rows: number) {
    const argv = ['bash', '--norc', '-i'];
    const asked = { sandbox, kind: 'terminal' as const, argv, env: { PS1: '> ' }, cols, rows };
    const heard: { session: string; data: string }[] = [];
    connection.on('session/output', (o) => heard.push({ ...o, data: Buffer.from(o.data, 'base64').toString() }));
    const { session } = await connection.request('session/open', asked);
    const shown = () => heard.map((o) => (o.session === session ? o.data : '')).join('');
    return {
      session,
      forget: () => void heard.splice(0),
      type: (text: string) => connection.request('session/write', { sandbox, session, data: base64(text) }),
      shows: (what: RegExp) =>
        until(
          () => what.test(shown()),
          () => `${what} was not shown: ${JSON.stringify(shown())}`,
        ),
    };
  }

  it('are several, each of its own size, which changes while a program runs and goes back with it', async () => {
    const [one, two] = [await open(100, 30), await open(80, 24)];
    const { checkpoint } = await connection.request('checkpoint/create', { sandbox });
    await one.type("trap 'echo told-of-it' WINCH\n");
    await connection.request('session/resize', { sandbox, session: one.session, cols: 133, rows: 44 });
    await one.type('stty size\n');
    await one.shows(/told-of-it[\s\S]*44 133/);
    await two.type('stty size\n');
    await two.shows(/24 80/);
    for (const terminal of [one, two]) terminal.forget();
    await connection.request('checkpoint/rollback', { sandbox, checkpoint: checkpoint.id });
    await one.type('stty size; trap -p WINCH; echo "ea""sy"\n');
    await one.shows(/30 100\r\neasy/);
  });

  it('are heard by who attaches while their size is set, whichever of the two comes first', async () => {
    const heard = new Map<string, string>();
    connection.on('session/output', ({ session, data }) =>
      heard.set(session, (heard.get(session) ?? '') + Buffer.from(data, 'base64').toString()),
    );
    for (const first of ['session/attach', 'session/resize'] as const) {
      const argv = ['bash', '--norc', '-i'];
      const { session } = await connection.request('session/open', { sandbox, kind: 'terminal', argv, attach: false });
      const second = first === 'session/attach' ? ('session/resize' as const) : ('session/attach' as const);
      const asking = [first, second].map((method) =>
        connection.request(method, { sandbox, session, cols: 90, rows: 20 }),
      );
      await Promise.all(asking);
      const data = Buffer.from('echo "he""ard"; stty size\n').toString('base64');
      await connection.request('session/write', { sandbox, session, data });
      await until(
        () => /heard\r\n20 90/.test(heard.get(session) ?? ''),
        () => `${first} first: there was ${JSON.stringify(heard.get(session))}`,
      );
    }
  });

  it('keep inside what they showed: another client sees it, after the helper was killed, too', async () => {
    const one = await open(80, 24);
    await one.type('echo "seen-be""fore"\n');
    await one.shows(/seen-before/);
    const scrollback = async (): Promise<string> => {
      const other = await helper.connect();
      const attached = await other.request('session/attach', { sandbox, session: one.session });
      return Buffer.from(attached.scrollback, 'base64').toString();
    };
    assert.match(await scrollback(), /seen-before/);
    await helper.restart();
    connection = await helper.connect();
    assert.match(await scrollback(), /seen-before/);
  });

  it('of the command line follow the size of their window, after a rollback to a moment of another size, too', async () => {
    const words = [join(__dirname, 'programs/window.py'), '33', '91', process.execPath, PROGRAM, 'shell', '--'];
    const child: ChildProcess = spawn('python3', [...words, 'bash', '--norc'], {
      cwd: ws,
      env: { PATH: process.env.PATH, HOME: '/dev/null', TERM: 'xterm', TELEPORT_ENV_SOCKET: helper.socket },
      stdio: ['pipe', 'pipe', 'inherit', 'pipe'],
    });
    const size = child.stdio[3] as Writable;
    let shown = '';
    child.stdout!.on('data', (data) => {
      shown += data;
    });
    const shows = (what: RegExp) =>
      until(
        () => what.test(shown),
        () => `${what} was not shown: ${JSON.stringify(shown)}`,
      );
    const type = (text: string) => child.stdin!.write(text);
    const ended = new Promise((done) => child.once('exit', done));
    await shows(/[$#] /); // what sets its title may follow
    /** Asks for its size until it is that one: what changed it may still be under way. */
    async function isOf(wanted: RegExp): Promise<void> {
      shown = '';
      for (let i = 0; i < 20 && !wanted.test(shown); i++) {
        type('stty size\r');
        for (let waited = 0; waited < 1000 && !wanted.test(shown); waited += 20) await sleep(20);
      }
      assert.match(shown, wanted);
    }
    await isOf(/33 91/);
    const { checkpoint } = await connection.request('checkpoint/create', { sandbox });
    size.write('40 120');
    await isOf(/40 120/);
    shown = '';
    await connection.request('checkpoint/rollback', { sandbox, checkpoint: checkpoint.id });
    await shows(/— back at /);
    await isOf(/40 120/);
    type('exit 7\r');
    assert.equal(await ended, 7);
  });
});

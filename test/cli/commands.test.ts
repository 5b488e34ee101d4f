import assert from 'node:assert/strict';
import { TeleportError } from '../../helper/protocol/errors.ts';
import { FakeHelper, type Replies } from '../client/fake-helper.ts';
import { aCheckpoint, aSandbox } from '../client/models.ts';
import { type CliOptions, cli, json, type Ran } from './run-cli.ts';

const base64 = (text: string | Buffer) => Buffer.from(text).toString('base64');
const listed: Replies = { 'sandbox/list': () => ({ sandboxes: [aSandbox()] }) };

/** Runs against a fake helper that answers by that script and nothing else. */
async function against(replies: Replies, argv: string[], options?: CliOptions): Promise<Ran & { fake: FakeHelper }> {
  const fake = await FakeHelper.start({ ...listed, ...replies });
  try {
    return { ...(await cli(fake, argv, options)), fake };
  } finally {
    await fake.stop();
  }
}

const moved = {
  head: 'b5',
  checkpoint: 'k3',
  rollbackMs: 1.34,
  path: 'warm' as const,
  saved: 'k5',
  steps: [
    { step: 'SIGKILL', ms: 0.4 },
    { step: 'volatile upperdir discarded', ms: 0.12 },
  ],
};
const list: Replies['checkpoint/list'] = () => ({
  checkpoints: [
    aCheckpoint('k5', { kind: 'saved', parent: 'k4' }),
    aCheckpoint('k4', { kind: 'run', command: 'sed -i s/v1/v2/g *', filesChanged: 3, exitCode: 0, parent: 'k3' }),
    aCheckpoint('k3', { label: 'before the rewrite', filesChanged: 18, parent: 'k0' }),
    aCheckpoint('k0'),
  ],
  head: 'b5',
  current: 'k3',
  more: false,
});

describe('teleport-env', () => {
  it('shows help, and an example for every command', async () => {
    const help = await cli(null, []);
    assert.equal(help.code, 0);
    const names = [...help.stdout.matchAll(/^ {2}([a-z]+) .*/gm)]
      .map((match) => match[1]!)
      .filter((name) => name !== 'help');
    for (const name of 'up exec run shell checkpoint rollback undo fork try bisect log diff cat ps apply list stop start label rm gc doctor serve connect demo bench network forward ports completion mcp'.split(
      ' ',
    ))
      assert.ok(names.includes(name), name);
    for (const name of names) {
      const { code, stdout } = await cli(null, [name, '--help']);
      assert.equal(code, 0, name);
      assert.match(stdout, new RegExp(`\\$ teleport-env ${name}|\\$ teleport-env exec --branch`), name);
    }
  });

  it('says its version', async () => {
    assert.match((await cli(null, ['--version'])).stdout, /^\d+\.\d+\.\d+\n$/);
  });

  describe('rollback', () => {
    it('says where it went, how fast, and what keeps where one was', async () => {
      const ran = await against({ 'checkpoint/rollback': () => moved, 'checkpoint/list': list }, [
        'rollback',
        'api',
        'k3',
      ]);
      assert.equal(ran.stdout, '✓ back at k3 "before the rewrite" in 1.3 ms (k5 keeps where you were)\n');
      assert.equal(ran.stderr, '');
      assert.deepEqual(ran.fake.called('checkpoint/rollback'), [
        { sandbox: 's1', checkpoint: 'k3', discard: false, untilGone: false },
      ]);
    });

    it('prints every step with --verbose', async () => {
      const ran = await against({ 'checkpoint/rollback': () => moved, 'checkpoint/list': list }, [
        'rollback',
        'k3',
        '--verbose',
      ]);
      assert.deepEqual(ran.fake.called('checkpoint/rollback'), [
        { sandbox: 's1', checkpoint: 'k3', discard: false, untilGone: true },
      ]);
      assert.match(ran.stdout, /^ {2}SIGKILL +0\.40 ms\n {2}volatile upperdir discarded +0\.12 ms\n✓ back/);
    });

    it('answers with one JSON object', async () => {
      const ran = await against({ 'checkpoint/rollback': () => ({ ...moved, saved: null }) }, [
        'rollback',
        'k3',
        '--discard',
        '--json',
      ]);
      assert.deepEqual(json(ran), { ...moved, saved: null });
      assert.equal(ran.stderr, '');
      assert.deepEqual(ran.fake.called('checkpoint/rollback'), [
        { sandbox: 's1', checkpoint: 'k3', discard: true, untilGone: false },
      ]);
    });

    it('asks for no id with .. in it', async () => {
      const ran = await against({}, ['rollback', 'api', '../../k3', '--json']);
      assert.equal(ran.code, 1);
      assert.equal(json(ran).error.code, 'unknownCheckpoint');
    });
  });

  it('log is as in the design', async () => {
    const ran = await against({ 'checkpoint/list': list }, ['log']);
    const lines = ran.stdout.split('\n');
    assert.match(lines[0]!, /^k5 {2}○ \(saved before rollback\) +\d+ d$/);
    assert.match(lines[1]!, /^k4 {2}○ sed -i s\/v1\/v2\/g \* {5} +3 files {2} ?\d+ d$/);
    assert.match(lines[2]!, /^k3 {2}◉ before the rewrite +18 files {2} ?\d+ d {2}← current$/);
    assert.match(lines[3]!, /^k0 {2}○ sandbox created +\d+ d$/);
    const answer = json(await against({ 'checkpoint/list': list }, ['log', '--json']));
    assert.equal(answer.head, 'b5');
    assert.equal(answer.checkpoints.length, 4);
  });

  it('log prints no control characters and says where a limb grew', async () => {
    const checkpoints = [
      aCheckpoint('k3', { command: 'echo \x1b[2J\nrm', kind: 'run', exitCode: 7, parent: 'k1' }),
      aCheckpoint('k2', {
        label: '\u202eevil',
        state: { durable: true, verified: false, broken: 'cut\nshort', filesOnly: true },
      }),
    ];
    const ran = await against({ 'checkpoint/list': () => ({ checkpoints, head: null, current: 'k2', more: true }) }, [
      'log',
    ]);
    assert.match(ran.stdout, /echo \\x1b\[2J\\nrm +exit 7 .*from k1/);
    assert.match(ran.stdout, /\\u202eevil .*broken: cut\\nshort {2}files only/);
    assert.doesNotMatch(ran.stdout, /[\x00-\x09\x0b-\x1f\u202e]/);
  });

  describe('run', () => {
    const answer = {
      exitCode: 0,
      output: base64('hello\n'),
      truncated: false,
      durationMs: 14.2,
      checkpoint: aCheckpoint('k4', { filesChanged: 3 }),
      undone: false,
    };

    it('streams output to stdout and a summary to stderr', async () => {
      const ran = await against(
        {
          run: ({ stream }, fake) => {
            fake.notify('run/output', { stream: 'another', data: base64('not ours') });
            fake.notify('run/output', { stream: stream!, data: base64('hel') });
            fake.notify('run/output', { stream: stream!, data: base64('lo\n') });
            return answer;
          },
        },
        ['run', 'api', 'echo hello'],
      );
      assert.equal(ran.stdout, 'hello\n');
      assert.equal(ran.stderr, '✓ 14 ms · 3 files changed · checkpoint k4\n');
    });

    it('exits as the line did', async () => {
      const ran = await against({ run: () => ({ ...answer, exitCode: 42, checkpoint: null, undone: true }) }, [
        'run',
        '--undo-on-fail',
        '--no-checkpoint',
        '--',
        'false',
      ]);
      assert.equal(ran.code, 42);
      assert.equal(ran.stderr, '✗ exit 42 · 14 ms · undone\n');
      const [params] = ran.fake.called('run') as { checkpoint: boolean; undoOnFail: boolean; line: string }[];
      assert.deepEqual([params!.checkpoint, params!.undoOnFail, params!.line], [false, true, 'false']);
    });

    it('answers in JSON, base64 where it is not text, and exits 0 as the call itself went well', async () => {
      const ran = await against({ run: () => ({ ...answer, exitCode: 3 }) }, ['run', '--json', '--', 'x']);
      assert.equal(ran.code, 0);
      const { exitCode, output, checkpoint } = json(ran);
      assert.deepEqual([exitCode, output, checkpoint], [3, 'hello\n', 'k4']);
      const binary = await against({ run: () => ({ ...answer, output: base64(Buffer.from([0xff, 0])) }) }, [
        'run',
        '--json',
        '--',
        'x',
      ]);
      assert.deepEqual([json(binary).output, json(binary).encoding], ['/wA=', 'base64']);
    });

    it('does not take a forgotten line for a command', async () => {
      const ran = await against({}, ['run', 'api', '--json']);
      assert.equal(json(ran).error.code, 'invalidRequest');
    });

    it('is cancelled by Ctrl-C', async () => {
      let send: (signal: string) => void = () => {};
      const ran = await against(
        {
          run: async () => {
            send('SIGINT');
            await new Promise((resolve) => setTimeout(resolve, 50));
            throw new TeleportError('cancelled', 'cancelled');
          },
        },
        ['run', '--', 'sleep 9'],
        { signals: (by) => (send = by) },
      );
      assert.equal(ran.code, 130);
      assert.equal(ran.stderr, '✗ cancelled\n');
    });

    it('carries hostile lines as they are', async () => {
      const line = `printf '%s' "a'b\n\u00e9 \x1b" # ${'x'.repeat(100_000)}`;
      const ran = await against({ run: () => answer }, ['run', 'api', '--', line]);
      assert.equal((ran.fake.called('run')[0] as { line: string }).line, line);
    });
  });

  describe('exec', () => {
    const session = { sandbox: 's1', branch: 'b2', session: 'x1' };
    const script = (act: (fake: FakeHelper) => void): Replies => ({
      'session/open': (_, fake) => {
        act(fake);
        return { session: 'x1' };
      },
      'session/write': () => ({}),
    });
    const out = (fake: FakeHelper, stream: 'stdout' | 'stderr', data: string | Buffer) =>
      fake.notify('session/output', { ...session, stream, data: base64(data) });

    it('streams both outputs, even what comes before the answer, and exits as the command did', async () => {
      const ran = await against(
        script((fake) => {
          out(fake, 'stdout', 'out');
          fake.notify('session/output', { ...session, session: 'x2', stream: 'stdout', data: base64('of another') });
          out(fake, 'stderr', 'err');
          fake.notify('session/exit', { ...session, exitCode: 137 });
        }),
        ['exec', 'api', '--timeout', '2.5', '--cwd', 'src', '--env', 'A=b c', '--', 'cat', '--json'],
      );
      assert.deepEqual([ran.code, ran.stdout, ran.stderr], [137, 'out', 'err']);
      const [params] = ran.fake.called('session/open');
      assert.deepEqual(params, {
        sandbox: 's1',
        kind: 'process',
        argv: ['cat', '--json'],
        cwd: '/work/api/src',
        env: { A: 'b c' },
        timeoutMs: 2500,
        attach: true,
      });
    });

    it('collects for JSON', async () => {
      const ran = await against(
        script((fake) => {
          out(fake, 'stdout', Buffer.from('é').subarray(0, 1));
          out(fake, 'stdout', Buffer.from('é').subarray(1));
          fake.notify('session/exit', { ...session, exitCode: 4 });
        }),
        ['exec', '--json', '--', 'x'],
      );
      assert.equal(ran.code, 0);
      const { durationMs, ...rest } = json(ran);
      assert.deepEqual(rest, { exitCode: 4, stdout: 'é', stderr: '', timedOut: false });
      assert.ok(durationMs >= 0);
    });

    it('says base64 of binary output', async () => {
      const ran = await against(
        script((fake) => {
          out(fake, 'stdout', Buffer.from([0xff, 0xfe]));
          out(fake, 'stderr', 'text');
          fake.notify('session/exit', { ...session, exitCode: 0 });
        }),
        ['exec', '--json', '--', 'x'],
      );
      const { stdout, stderr, encoding } = json(ran);
      assert.deepEqual([stdout, stderr, encoding], ['//4=', base64('text'), 'base64']);
    });

    it('forwards its input to the end, and signals', async () => {
      let send: (signal: string) => void = () => {};
      let received = '';
      const ran = await against(
        {
          'session/open': () => ({ session: 'x1' }),
          'session/write': ({ data, eof }) => {
            received += Buffer.from(data, 'base64').toString() + (eof ? '.' : '');
            if (eof) send('SIGINT');
            return {};
          },
          'session/signal': (_, fake) => {
            setImmediate(() => fake.notify('session/exit', { ...session, exitCode: 130 }));
            return {};
          },
        },
        ['exec', '--', 'cat'],
        { stdin: 'typed', signals: (by) => (send = by) },
      );
      assert.equal(received, 'typed.');
      assert.deepEqual(ran.fake.called('session/signal'), [{ sandbox: 's1', session: 'x1', signal: 2 }]);
      assert.equal(ran.code, 130);
    });

    it('passes on a signal that comes before the helper has named the process', async () => {
      let send: (signal: string) => void = () => {};
      const ran = await against(
        {
          'session/open': (_, fake) => {
            out(fake, 'stdout', 'ready');
            send('SIGINT');
            return { session: 'x1' };
          },
          'session/write': () => ({}),
          'session/signal': ({ signal }, fake) => {
            fake.notify('session/exit', { ...session, exitCode: 128 + signal });
            return {};
          },
        },
        ['exec', '--', 'server'],
        { signals: (by) => (send = by) },
      );
      assert.deepEqual([ran.code, ran.stdout], [130, 'ready']);
    });

    it('is left by a second Ctrl-C where the helper does not answer', async () => {
      let send: (signal: string) => void = () => {};
      const silent = () => {
        send('SIGINT');
        send('SIGINT');
        return new Promise<never>(() => {});
      };
      const ran = await against({ 'session/open': silent }, ['exec', '--json', '--', 'x'], {
        signals: (by) => (send = by),
      });
      assert.deepEqual([ran.code, json(ran).error.code], [1, 'cancelled']);
    });

    it('ends when the helper does', async () => {
      const ran = await against(
        {
          'session/open': (_, fake) => (setTimeout(() => fake.cut(), 20), { session: 'x1' }),
          'session/write': () => ({}),
        },
        ['exec', '--json', '--', 'cat'],
      );
      assert.equal(ran.code, 2);
      assert.equal(json(ran).error.code, 'noHelper');
    });

    it('wants its command after --', async () => {
      assert.equal((await against({}, ['exec', 'api', 'ls'])).code, 1);
      assert.equal((await against({}, ['exec', 'api', '--'])).code, 1);
    });
  });

  describe('up', () => {
    const created = () => ({ sandbox: aSandbox({ id: 's7', workspace: '/' }), head: 'b1', checkpoint: 'k0' });

    it('makes a sandbox, with listed variables only', async () => {
      const ran = await against(
        { 'sandbox/create': created },
        ['up', '--workspace', '/', '--name', "it's\n", '--env', 'A=1', '--json'],
        {
          env: { PATH: '/bin', AWS_SECRET_ACCESS_KEY: 'no', LC_ALL: 'C.UTF-8' },
        },
      );
      const { sandbox, head, checkpoint } = json(ran);
      assert.deepEqual([sandbox, head, checkpoint], ['s7', 'b1', 'k0']);
      const [{ progress, ...params }] = ran.fake.called('sandbox/create') as [{ progress: string }];
      assert.ok(progress);
      assert.deepEqual(params, {
        workspace: '/',
        name: "it's\n",
        network: 'none',
        lan: false,
        limits: {},
        exclude: [],
        git: { folders: [] },
        root: false,
        env: { PATH: '/bin', LC_ALL: 'C.UTF-8', A: '1' },
      });
    });

    it('finds the one that the folder has, and starts it where it was stopped or ended from outside', async () => {
      for (const rest of [{ state: 'stopped' }, { state: 'failed', problem: 'its processes were ended' }] as const) {
        const mine = aSandbox({ workspace: '/', owner: process.getuid!(), ...rest, head: null });
        const ran = await against(
          {
            'sandbox/list': () => ({ sandboxes: [mine] }),
            'sandbox/start': () => ({ sandbox: { ...mine, state: 'running', head: 'b9' } }),
          },
          ['up', '--workspace', '/', '--json'],
        );
        assert.deepEqual(json(ran), {
          sandbox: 's1',
          name: 'api',
          workspace: '/',
          head: 'b9',
          checkpoint: 'k0',
          created: false,
        });
      }
    });

    it('makes another where --new, or something else than there is, is asked for', async () => {
      const mine = aSandbox({ workspace: '/', owner: process.getuid!() });
      for (const more of [['--new'], ['--network', 'nat'], ['--name', 'other'], ['--base', '/base']]) {
        const ran = await against({ 'sandbox/list': () => ({ sandboxes: [mine] }), 'sandbox/create': created }, [
          'up',
          '--workspace',
          '/',
          ...more,
        ]);
        assert.equal(ran.fake.called('sandbox/create').length, 1, more.join(' '));
      }
    });

    it('shows the words of an error and its hint in one line', async () => {
      const fail = () => {
        throw new TeleportError('workspaceMissing', 'there is no folder /a\x1b[2J', { hint: 'make it first' });
      };
      const ran = await against({ 'sandbox/create': fail }, ['up', '--workspace', '/nowhere']);
      assert.equal(ran.code, 1);
      assert.equal(ran.stderr, '✗ there is no folder /a\\x1b[2J — make it first\n');
    });
  });

  describe('try', () => {
    const steps: Replies = {
      'checkpoint/create': () => ({ checkpoint: aCheckpoint('k4'), steps: [] }),
      'branch/fork': () => ({ branch: 'b7', path: 'warm', ms: 1, steps: [] }),
      run: () => ({
        exitCode: 2,
        output: base64('out'),
        truncated: false,
        durationMs: 5,
        checkpoint: null,
        undone: false,
      }),
      diff: () => ({ changes: [{ path: '/work/api/a\nb', kind: 'added', type: 'file', size: 1 }] }),
    };

    it('runs in a fork of now and throws it away', async () => {
      const ran = await against({ ...steps, 'branch/discard': () => ({}) }, ['try', '--', 'make']);
      assert.equal(ran.stdout, 'out\nadded  /work/api/a\\nb\n✗ exit 2 · 5.0 ms · 1 path changed · nothing kept\n');
      assert.equal(ran.code, 2);
      assert.deepEqual(ran.fake.called('run'), [
        { sandbox: 's1', branch: 'b7', line: 'make', checkpoint: false, undoOnFail: false },
      ]);
      assert.deepEqual(ran.fake.called('diff'), [{ sandbox: 's1', from: 'k4', to: 'b7' }]);
      assert.deepEqual(ran.fake.called('branch/discard'), [{ sandbox: 's1', branch: 'b7' }]);
    });

    it('keeps it with --keep', async () => {
      const ran = await against({ ...steps, 'branch/promote': () => moved }, ['try', '--keep', '--json', '--', 'make']);
      const { exitCode, changes, branch, kept } = json(ran);
      assert.deepEqual([exitCode, changes.length, branch, kept, ran.code], [2, 1, 'b7', true, 0]);
    });

    it('throws it away when something goes wrong', async () => {
      const fail = () => {
        throw new TeleportError('timeout', 'too slow');
      };
      const ran = await against({ ...steps, run: fail, 'branch/discard': () => ({}) }, ['try', '--', 'make']);
      assert.deepEqual([ran.code, ran.fake.called('branch/discard').length], [1, 1]);
    });
  });

  it('bisect finds the first failing checkpoint of the line by forks', async () => {
    const line = Array.from({ length: 20 }, (_, i) => aCheckpoint(`k${i}`)).reverse();
    const stray = aCheckpoint('k30', { parent: 'k5' });
    let at = -1;
    let live = 0;
    const ran = await against(
      {
        'checkpoint/list': () => ({ checkpoints: [stray, ...line], head: 'b2', current: 'k19', more: false }),
        'branch/fork': ({ checkpoint }) => {
          at = Number(checkpoint.slice(1));
          live++;
          return { branch: 'b7', path: 'cold', ms: 1, steps: [] };
        },
        'session/open': ({ branch }, fake) => {
          fake.notify('session/exit', { sandbox: 's1', branch: branch!, session: 'x1', exitCode: at >= 13 ? 1 : 0 });
          return { session: 'x1' };
        },
        'session/write': () => ({}),
        'branch/discard': () => (live--, {}),
      },
      ['bisect', '--json', '--', 'test', '-e', 'x'],
    );
    const { checkpoint, parent, tried } = json(ran);
    assert.deepEqual([checkpoint, parent], ['k13', 'k12']);
    assert.ok(tried.length <= 6);
    assert.equal(live, 0);
  });

  it('cat writes bytes as they are, part by part', async () => {
    const content = Buffer.from([0, 255, 10, 13, 27]);
    const ran = await against(
      {
        'file/read': ({ offset, path, at }) => {
          assert.deepEqual([path, at], ['/work/api/sub/b.bin', 'k3']);
          const data = content.subarray(offset, offset + 2);
          return { data: data.toString('base64'), size: content.length, eof: offset + 2 >= content.length };
        },
      },
      ['cat', 'k3', 'x/../b.bin'],
      { cwd: '/work/api/sub' },
    );
    assert.deepEqual(ran.bytes, content);
  });

  it('checkpoint, undo, label, fork, ps, diff, list, start, stop, rm, gc answer', async () => {
    const table: [string[], Replies, RegExp, string[]][] = [
      [
        ['checkpoint', '--label', 'a "b"\n'],
        {
          'checkpoint/create': ({ label }) => ({
            checkpoint: aCheckpoint('k4', { label: label!, filesChanged: 1 }),
            steps: [],
          }),
        },
        /^✓ k4 "a "b"\\n" · stopped 13 ms · 1 file changed\n$/,
        ['checkpoint', 'stoppedMs', 'totalMs', 'filesChanged'],
      ],
      [
        ['undo'],
        { 'checkpoint/undo': () => moved, 'checkpoint/list': list },
        /^✓ back at k3/,
        ['head', 'rollbackMs', 'path', 'saved'],
      ],
      [
        ['label', 'k3', 'x y'],
        { 'checkpoint/label': () => ({ checkpoint: aCheckpoint('k3') }) },
        /^✓ k3 "x y"\n$/,
        ['checkpoint'],
      ],
      [
        ['label', 'k3', '--clear'],
        { 'checkpoint/label': () => ({ checkpoint: aCheckpoint('k3') }) },
        /no label now\n$/,
        ['label'],
      ],
      [['delete', 'k3'], { 'checkpoint/delete': () => ({}) }, /^✓ k3 deleted\n$/, ['deleted']],
      [
        ['fork', 'k3'],
        { 'branch/fork': () => ({ branch: 'b7', path: 'warm', ms: 0.4, steps: [] }) },
        /^✓ live fork b7 of k3 in 0\.4 ms\n$/,
        ['branch'],
      ],
      [
        ['ps'],
        {
          'process/list': () => ({
            processes: [{ pid: 41, ppid: 1, state: 'S', command: 'sh\x1b', rss: 3_400_000, uid: 0 }],
          }),
        },
        /^PID {2}PPID {2}S {2}MEMORY {2}COMMAND\n 41 {5}1 {2}S {2}3\.4 MB {2}sh\\x1b\n$/,
        ['processes'],
      ],
      [
        ['diff', 'k1'],
        {
          diff: () => ({
            changes: [
              { path: '/work/api/b', kind: 'renamed', from: '/work/api/a', type: 'file' },
              { path: '/etc/hosts', kind: 'changed', type: 'file' },
            ],
          }),
        },
        /^renamed {2}a → b\nchanged {2}\/etc\/hosts\n$/,
        ['changes'],
      ],
      [['list'], {}, /^● {2}api {2}s1 {2}running · 3 processes {2}4 checkpoints {2}\/work\/api\n$/, ['sandboxes']],
      [
        ['start'],
        { 'sandbox/start': () => ({ sandbox: aSandbox() }) },
        /^✓ api runs, from k3\n$/,
        ['sandbox', 'head', 'checkpoint'],
      ],
      [
        ['stop'],
        { 'sandbox/stop': () => ({ sandbox: aSandbox(), saved: 'k9' }) },
        /^✓ api stopped \(k9 keeps where it was\)\n$/,
        ['saved'],
      ],
      [['rm', 'api'], { 'sandbox/remove': () => ({}) }, /^✓ api \(s1\) deleted\n$/, ['removed']],
      [
        ['gc', '--keep', '5', '--max-bytes', '2G', '--max-age', '7d', '--dry-run'],
        {
          gc: (params) => {
            assert.deepEqual(params, { keep: 5, maxBytes: 2e9, maxAgeMs: 7 * 86_400_000, dryRun: true });
            return { deleted: [{ sandbox: 's1', checkpoint: 'k1' }], freedBytes: 12_000_000 };
          },
        },
        /^✓ would delete 1 checkpoint, 12 MB\n$/,
        ['deleted', 'freedBytes'],
      ],
      [
        ['gc'],
        { gc: () => ({ deleted: [], freedBytes: 0 }) },
        /^✓ deleted 0 checkpoints, 0 B \(say what may stay: --keep, --max-bytes, --max-age\)\n$/,
        ['deleted', 'freedBytes'],
      ],
    ];
    for (const [argv, replies, text, keys] of table) {
      const human = await against(replies, argv);
      assert.match(human.stdout, text, argv.join(' '));
      assert.deepEqual([human.code, human.stderr], [0, ''], argv.join(' '));
      const answer = json(await against(replies, [...argv, '--json']));
      for (const key of keys) assert.ok(key in answer, `${argv.join(' ')}: ${key}`);
    }
  });

  describe('doctor', () => {
    const need = { id: 'criu', title: 'CRIU', detail: 'version 3.17.1' };

    it('says what to do about what is missing, and exits 2', async () => {
      const needs = [{ ...need, status: 'missing' as const, remedy: 'npm run setup' }];
      const ran = await against({ doctor: () => ({ needs }) }, ['doctor']);
      assert.equal(ran.code, 2);
      assert.match(ran.stdout, /✓ Helper .*\n✗ CRIU {2}version 3\.17\.1\n {4}→ npm run setup\n$/);
      const answer = json(
        await against({ doctor: () => ({ needs: [{ ...need, status: 'ok' }] }) }, ['doctor', '--json']),
      );
      assert.equal(answer.ok, true);
    });

    it('works without a helper', async () => {
      const ran = await cli(null, ['doctor', '--json']);
      assert.equal(ran.code, 2);
      assert.deepEqual([json(ran).ok, json(ran).needs[0].status], [false, 'missing']);
    });
  });

  describe('errors', () => {
    it('tell whose fault it is by the exit code, and all else in JSON', async () => {
      const cases: [TeleportError, number][] = [
        [new TeleportError('sandboxBusy', 'busy'), 1],
        [new TeleportError('volumeFull', 'full', { hint: 'gc' }), 2],
        [new TeleportError('internal', 'oops'), 3],
      ];
      for (const [error, exit] of cases) {
        const ran = await against(
          {
            'checkpoint/create': () => {
              throw error;
            },
          },
          ['checkpoint', '--json'],
        );
        assert.deepEqual(json(ran), { error: { code: error.code, message: error.message, hint: error.hint ?? null } });
        assert.deepEqual([ran.code, ran.stderr], [exit, '']);
      }
    });

    it('name the process and resource that stood in the way', async () => {
      const error = new TeleportError('cannotCapture', 'cannot keep this moment', {
        process: { pid: 63, command: 'gdb\n' },
        resource: 'a traced process',
      });
      const fail = () => {
        throw error;
      };
      const ran = await against({ 'checkpoint/create': fail }, ['checkpoint']);
      assert.equal(ran.stderr, '✗ cannot keep this moment (process 63, gdb\\n: a traced process)\n');
      assert.equal(json(await against({ 'checkpoint/create': fail }, ['checkpoint', '--json'])).error.process.pid, 63);
    });

    it('show a stack with --verbose only', async () => {
      const fail = () => {
        throw new Error('inside');
      };
      const quiet = await against({ 'checkpoint/create': fail }, ['checkpoint']);
      assert.deepEqual([quiet.code, quiet.stderr], [3, '✗ inside\n']);
      const loud = await against({ 'checkpoint/create': fail }, ['checkpoint', '--verbose']);
      assert.match(loud.stderr, /commands\.test\.ts/);
    });

    it('are JSON too where the words are wrong', async () => {
      for (const argv of [
        ['frob'],
        ['log', '--frob'],
        ['log', 'a', 'b'],
        ['gc', '--keep', '-1'],
        ['up', '--network', 'x'],
      ]) {
        const ran = await cli(null, [...argv, '--json']);
        assert.deepEqual([ran.code, json(ran).error.code], [1, 'invalidRequest'], argv.join(' '));
      }
    });

    it('say that the helper ended in the middle', async () => {
      const ran = await against({ 'checkpoint/create': (_, fake) => (fake.cut(), new Promise<never>(() => {})) }, [
        'checkpoint',
        '--json',
      ]);
      assert.deepEqual([ran.code, json(ran).error.code], [2, 'noHelper']);
    });

    it('say that there is no helper', async () => {
      const ran = await cli(null, ['list', '--json']);
      assert.deepEqual([ran.code, json(ran).error.code], [2, 'noHelper']);
    });
  });
});

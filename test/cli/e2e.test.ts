/** The command line with the real helper and the real CRIU. Needs root. */
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Connection } from '../../helper/client/connection.ts';
import { HelperProcess, needsMachine, workspace } from '../daemon/helper-process.ts';
import { build, PROGRAM } from './program.ts';
import { type CliOptions, cli, json, type Ran } from './run-cli.ts';

describe('teleport-env with the real helper', () => {
  let helper: HelperProcess;
  let ws: string;
  const folders: string[] = [];

  before(async function () {
    needsMachine(this);
    helper = await HelperProcess.start();
  });
  after(async () => {
    await helper?.stop();
    for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  });
  beforeEach(async () => {
    ws = folder({ 'a.txt': 'one\n', 'b.txt': 'two\n' });
    await ok(['up']);
  });
  afterEach(async function () {
    if (this.currentTest?.state === 'failed') console.error(helper.logText());
    await call(['rm']);
  });

  function folder(files: Record<string, string>): string {
    const made = realpathSync(workspace(files));
    folders.push(made);
    return made;
  }
  const env = (): NodeJS.ProcessEnv => ({
    PATH: process.env.PATH,
    HOME: process.env.HOME,
    TELEPORT_ENV_SOCKET: helper.socket,
    XDG_STATE_HOME: join(helper.dir, 'user-state'),
    NO_COLOR: '1',
  });
  const call = (argv: string[], options: CliOptions = {}): Promise<Ran> =>
    cli(null, argv, { cwd: ws, ...options, env: { ...env(), ...options.env } });
  async function ok(argv: string[], options: CliOptions = {}): Promise<Ran> {
    const ran = await call(argv, options);
    assert.equal(ran.code, 0, `${argv.join(' ')}\n${ran.stdout}${ran.stderr}`);
    return ran;
  }
  /** The JSON answer. The flag comes first: what follows `--` is for inside. */
  const ask = async (command: string, ...argv: string[]) => json(await ok([command, '--json', ...argv]));
  async function fails(argv: string[], exit: number, code: string, options: CliOptions = {}): Promise<void> {
    const [command, ...rest] = argv;
    const ran = await call([command!, '--json', ...rest], options);
    assert.deepEqual([ran.code, json(ran).error.code], [exit, code], `${argv.join(' ')}: ${ran.stdout}`);
    assert.equal(ran.stderr, '');
  }
  const inside = async (...argv: string[]) => (await ask('exec', '--', ...argv)).stdout as string;

  it('goes back with files and processes, and forth again', async () => {
    await ask('run', '--', 'export COLOUR=red; sleep 4242 &');
    const { checkpoint, stoppedMs, totalMs } = await ask('checkpoint', '--label', 'before');
    assert.ok(stoppedMs > 0 && totalMs >= stoppedMs);
    await ask('run', '--', 'pkill -f "sleep 424[2]" || kill %1; rm a.txt; export COLOUR=blue');
    assert.match(await inside('ls'), /^b\.txt\n$/);
    const moved = await ask('rollback', checkpoint);
    assert.ok(moved.rollbackMs > 0 && ['warm', 'cold'].includes(moved.path) && moved.saved && moved.head);
    assert.equal(await inside('cat', 'a.txt'), 'one\n');
    assert.equal((await ask('run', '--', 'echo $COLOUR')).output, 'red\n');
    const { processes } = await ask('ps');
    assert.ok(processes.some(({ command }: { command: string }) => command.includes('sleep 4242')));
    const undone = await ask('undo');
    assert.ok(undone.head);
  });

  it('runs processes with their own streams, input and exit code', async () => {
    const ran = await call(['exec', '--', 'sh', '-c', 'cat; echo err >&2; exit 3'], { stdin: 'in' });
    assert.deepEqual([ran.code, ran.stdout, ran.stderr], [3, 'in', 'err\n']);
    const late = await ask('exec', '--timeout', '0.3', '--', 'sleep', '9');
    assert.deepEqual([late.exitCode, late.timedOut], [137, true]);
    const binary = await ask('exec', '--', 'printf', '\\377\\376');
    assert.deepEqual([binary.stdout, binary.encoding], ['//4=', 'base64']);
  });

  it('carries 20 MB of output and of input, byte for byte', async () => {
    const ran = await ok(['exec', '--', 'sh', '-c', 'yes | head -c 20000000']);
    assert.equal(ran.bytes.length, 20_000_000);
    const sum = await ok(['exec', '--', 'wc', '-c'], { stdin: 'x'.repeat(5_000_000) });
    assert.equal(sum.stdout.trim(), '5000000');
  });

  it('tells names that are not UTF-8 by their bytes, and leaves them where they are', async () => {
    const odd = Buffer.concat([Buffer.from(`${ws}/caf`), Buffer.from([0xe9])]);
    const { checkpoint } = await ask(
      'run',
      '--',
      'echo 1 > "$(printf "caf\\351")"; ln -s "$(printf "caf\\351")" link; echo 2 > b.txt',
    );
    const { changes } = await ask('diff', 'k0');
    assert.deepEqual(
      changes.map(({ path, pathBase64 }: { path: string; pathBase64?: string }) => [path, pathBase64]),
      [
        [`${ws}/b.txt`, undefined],
        [`${ws}/caf\ufffd`, odd.toString('base64')],
        [`${ws}/link`, undefined],
      ],
    );
    const renamed = await ask('run', '--', 'mv "$(printf "caf\\351")" plain');
    const moved = (await ask('diff', checkpoint, renamed.checkpoint)).changes;
    assert.deepEqual(
      moved.map(({ kind, path, fromBase64 }: { kind: string; path: string; fromBase64: string }) => [
        kind,
        path,
        fromBase64,
      ]),
      [['renamed', `${ws}/plain`, odd.toString('base64')]],
    );
    await ask('rollback', checkpoint);
    const cat = await call(['cat', '--json', checkpoint, 'caf\ufffd']);
    assert.deepEqual([cat.code, json(cat).error.code], [1, 'unknownPath']);
    assert.match(json(cat).error.hint, /not UTF-8/);
    const connection = await Connection.open(helper.socket, 'test');
    const { sandboxes } = await connection.request('sandbox/list', {});
    const { id } = sandboxes.find(({ workspace }) => workspace === ws)!;
    const { entries } = await connection.request('file/list', { sandbox: id, at: checkpoint, path: ws });
    connection.close();
    assert.deepEqual(
      entries.map(({ name, nameBase64, stat }) => [name, nameBase64, stat.targetBase64]),
      [
        ['a.txt', undefined, undefined],
        ['b.txt', undefined, undefined],
        ['caf\ufffd', Buffer.from('caf\xe9', 'latin1').toString('base64'), undefined],
        ['link', undefined, Buffer.from('caf\xe9', 'latin1').toString('base64')],
      ],
    );
    for (const words of [['--patch'], []]) {
      const said = await ask('apply', ...words);
      assert.match(JSON.stringify(said), /caf\ufffd.{0,20}its name is not UTF-8/);
      assert.match(JSON.stringify(said), /link.{0,20}it leads to a name that is not UTF-8/);
      assert.doesNotMatch(said.patch ?? '', /caf|link/);
    }
    assert.equal(readFileSync(join(ws, 'b.txt'), 'utf8'), '2\n');
    assert.deepEqual(readdirSync(ws).sort(), ['a.txt', 'b.txt']);
  });

  it('carries hostile names, arguments and lines', async () => {
    const name = 'spa ce "q\' $HOME\n日本 \x1b[31m';
    const long = 'x'.repeat(100_000);
    assert.equal(await inside('printf', '%s', long), long);
    await ask('exec', '--', 'touch', '--', name);
    const { changes } = await ask('diff', 'k0');
    assert.deepEqual(
      changes.map(({ path }: { path: string }) => path),
      [`${ws}/${name}`],
    );
    const shown = (await ok(['diff', 'k0'])).stdout;
    assert.doesNotMatch(shown, /\x1b|\n./);
    await ask('checkpoint', '--label', name);
    assert.doesNotMatch((await ok(['log'])).stdout, /\x1b/);
    const other = folder({});
    const { sandbox } = await ask('up', '--workspace', other, '--name', name);
    assert.equal((await ask('exec', name, '--', 'pwd')).stdout, `${other}\n`);
    assert.doesNotMatch((await ok(['list'])).stdout, /\x1b/);
    await ask('rm', sandbox);
  });

  it('keeps a line of work: log, diff, cat, label', async () => {
    const { checkpoint } = await ask('run', '--', 'echo new > a.txt; mkdir d; echo x > d/x');
    assert.equal((await call(['cat', 'k0', 'a.txt'])).stdout, 'one\n');
    assert.equal((await call(['cat', checkpoint, 'd/../a.txt'])).stdout, 'new\n');
    const { changes } = await ask('diff', 'k0', checkpoint);
    const kinds = Object.fromEntries(changes.map(({ path, kind }: { path: string; kind: string }) => [path, kind]));
    assert.deepEqual([kinds[`${ws}/a.txt`], kinds[`${ws}/d/x`] ?? kinds[`${ws}/d`]], ['changed', 'added']);
    await ask('label', checkpoint, 'the new one');
    const { checkpoints } = await ask('log');
    const [newest] = checkpoints;
    assert.deepEqual(
      [newest.id, newest.label, newest.parent, newest.exitCode, newest.command],
      [checkpoint, 'the new one', 'k0', 0, 'echo new > a.txt; mkdir d; echo x > d/x'],
    );
    for (const key of ['createdAt', 'filesChanged', 'bytes', 'state']) assert.ok(key in newest, key);
  });

  it('forks, tries and keeps', async () => {
    const { checkpoint } = await ask('checkpoint');
    const { branch } = await ask('fork', checkpoint);
    await ask('exec', '--branch', branch, '--', 'rm', 'a.txt');
    assert.equal(await inside('cat', 'a.txt'), 'one\n');
    const tried = await ask('try', '--', 'rm a.txt; exit 3');
    assert.deepEqual([tried.exitCode, tried.kept, tried.changes.length], [3, false, 1]);
    assert.equal(await inside('cat', 'a.txt'), 'one\n');
    const kept = await ask('try', '--keep', '--', 'echo kept > a.txt');
    assert.equal(kept.kept, true);
    assert.equal(await inside('cat', 'a.txt'), 'kept\n');
  });

  it('prepares what is expected, for which nothing else speaks, until told that none is', async () => {
    const { id } = (await ask('list')).sandboxes.find(({ workspace }: { workspace: string }) => workspace === ws);
    for (let n = 1; n <= 8; n++) await ask('run', '--', `echo ${n} > n.txt`);
    await ask('run', '--no-checkpoint', '--expect', 'k1,k2', '--', 'true');
    for (const old of ['k1', 'k2']) await helper.standsBy(id, old);
    assert.equal((await ask('rollback', 'k1', '--discard', '--expect', 'k3')).path, 'warm');
    await helper.standsBy(id, 'k3');
    await ask('rollback', 'k8', '--discard');
    const { branch } = await ask('fork', 'k8', '--expect=k4');
    await helper.standsBy(id, 'k4');
    await ask('discard', branch);
    await ask('checkpoint', '--expect', 'none');
    for (let tries = 0; tries < 200 && helper.standbys(id).includes('k4'); tries++) await sleep(20);
    assert.equal((await ask('rollback', 'k4', '--discard')).path, 'cold');
  });

  it('does nothing where what is expected does not exist', async () => {
    const { head } = await ask('log');
    for (const expect of ['k0,k999', 'k0,', 'yesterday', '']) {
      await fails(['run', `--expect=${expect}`, '--', 'echo ran > ran.txt'], 1, 'unknownCheckpoint');
      await fails(['checkpoint', `--expect=${expect}`], 1, 'unknownCheckpoint');
      await fails(['rollback', 'k0', `--expect=${expect}`], 1, 'unknownCheckpoint');
      await fails(['fork', 'k0', `--expect=${expect}`], 1, 'unknownCheckpoint');
    }
    const after = await ask('log');
    assert.deepEqual([after.head, after.checkpoints.length], [head, 1]);
    assert.equal((await call(['exec', '--', 'test', '-e', 'ran.txt'])).code, 1);
  });

  it('bisects by forks', async () => {
    for (const n of [1, 2, 3, 4, 5]) await ask('run', '--', n === 3 ? 'rm b.txt' : `echo ${n} > n.txt`);
    const { checkpoint } = await ask('bisect', '--', 'test', '-e', 'b.txt');
    const { checkpoints } = await ask('log');
    assert.equal(checkpoints.find(({ id }: { id: string }) => id === checkpoint).command, 'rm b.txt');
    assert.equal((await ask('bisect', '--', 'true')).checkpoint, null);
  });

  describe('apply', () => {
    it('brings files to the workspace, twice, and never over what is the user’s', async () => {
      await ask(
        'run',
        '--',
        'echo changed > a.txt; rm b.txt; mkdir -p n; echo n > n/n; mkdir .git; echo evil > .git/config',
      );
      const { applied, conflicts, left } = await ask('apply');
      assert.deepEqual([conflicts, left.map(({ path }: { path: string }) => path)], [[], ['.git']]);
      assert.deepEqual(
        applied.map(({ path }: { path: string }) => path),
        ['a.txt', 'b.txt', 'n', 'n/n'],
      );
      assert.deepEqual([readFileSync(join(ws, 'a.txt'), 'utf8'), existsSync(join(ws, 'b.txt'))], ['changed\n', false]);
      assert.ok(!existsSync(join(ws, '.git')));
      writeFileSync(join(ws, 'n/n'), 'mine\n');
      await ask('run', '--', 'echo again > a.txt');
      assert.deepEqual(
        (await ask('apply')).applied.map(({ path }: { path: string }) => path),
        ['a.txt'],
      );
      await ask('run', '--', 'echo other > n/n');
      const refused = await call(['apply', '--json']);
      assert.deepEqual([refused.code, json(refused).error.code], [1, 'conflicts']);
      assert.deepEqual(
        json(refused).conflicts.map(({ path }: { path: string }) => path),
        ['n/n'],
      );
      assert.equal(readFileSync(join(ws, 'n/n'), 'utf8'), 'mine\n');
      await ask('apply', '--force');
      assert.equal(readFileSync(join(ws, 'n/n'), 'utf8'), 'other\n');
      await ask('rollback', 'k0');
      await ask('apply');
      assert.deepEqual([readFileSync(join(ws, 'a.txt'), 'utf8'), existsSync(join(ws, 'n'))], ['one\n', false]);
    });

    it('makes a patch that git applies, and applies to another folder', async () => {
      await ask(
        'run',
        '--',
        `printf 'x\\ny' > a.txt; head -c 5000 /dev/urandom > "bin é"; mv b.txt c.txt; chmod +x c.txt; ln -s a.txt link`,
      );
      const patch = (await ok(['apply', '--patch'])).bytes;
      const [patched, copied] = [
        folder({ 'a.txt': 'one\n', 'b.txt': 'two\n' }),
        folder({ 'a.txt': 'one\n', 'b.txt': 'two\n' }),
      ];
      execFileSync('git', ['apply', '-'], {
        cwd: patched,
        input: patch,
        env: { ...process.env, GIT_CEILING_DIRECTORIES: '/' },
      });
      await ask('apply', '--to', copied);
      execFileSync('diff', ['-r', patched, copied]);
      assert.equal(readFileSync(join(ws, 'a.txt'), 'utf8'), 'one\n');
    });

    it('refuses a folder that is none', async () => {
      await fails(['apply', '--to', '/nowhere'], 1, 'workspaceMissing');
      await fails(['apply', '--to', join(ws, 'a.txt')], 1, 'workspaceNotFolder');
    });
  });

  it('says what the caller did wrong', async () => {
    await fails(['log', 'nobody'], 1, 'unknownSandbox');
    await fails(['log', '../../etc'], 1, 'unknownSandbox');
    await fails(['rollback', 'k999'], 1, 'unknownCheckpoint');
    await fails(['rollback', '../k0'], 1, 'unknownCheckpoint');
    await fails(['fork', 'k999'], 1, 'unknownCheckpoint');
    await fails(['exec', '--branch', 'b999', '--', 'true'], 1, 'unknownBranch');
    await fails(['cat', 'k0', 'no-such-file'], 1, 'unknownPath');
    await fails(['undo'], 1, 'nothingToUndo');
    await fails(['up', '--workspace', '/nowhere/at/all'], 1, 'workspaceMissing');
    await fails(['up', '--workspace', join(ws, 'a.txt')], 1, 'workspaceNotFolder');
    await fails(['exec', '--', 'no-such-program'], 1, 'unknownPath');
    await fails(['shell', '--session', 'x999'], 1, 'invalidRequest');
    await fails(['log'], 1, 'unknownSandbox', { cwd: '/' });
  });

  it('up twice is up once, and a stopped one starts where it was', async () => {
    const [{ sandbox }] = (await ask('list')).sandboxes.map(({ id }: { id: string }) => ({ sandbox: id }));
    const again = await ask('up');
    assert.deepEqual([again.sandbox, again.created], [sandbox, false]);
    await ask('run', '--', 'export KEPT=yes; echo s > s.txt');
    const { saved } = await ask('stop');
    assert.ok(saved);
    await fails(['exec', '--', 'true'], 1, 'notRunning');
    await ask('start');
    assert.equal((await ask('run', '--', 'echo $KEPT; cat s.txt')).output, 'yes\ns\n');
  });

  it('starts a helper that is not there, and finds the sandboxes', async () => {
    await ask('run', '--', 'export KEPT=yes');
    await helper.kill();
    await fails(['list'], 2, 'noHelper');
    const dev = { env: { TELEPORT_ENV_STATE: helper.state, TELEPORT_ENV_DEV: '1' } };
    try {
      const ran = await ok(['run', '--json', '--', 'echo $KEPT'], dev);
      assert.equal(json(ran).output, 'yes\n');
    } finally {
      const connection = await Connection.open(helper.socket, 'test');
      await connection.request('shutdown', {});
      await new Promise((gone) => connection.lost.addEventListener('abort', gone));
      await helper.restart();
    }
  });

  it('ends with its helper in the middle, and goes on with the next one', async () => {
    const running = call(['run', '--json', '--', 'sleep 5']);
    await sleep(300);
    await helper.restart();
    const ran = await running;
    assert.deepEqual([ran.code, json(ran).error.code], [2, 'noHelper']);
    assert.equal(await inside('cat', 'a.txt'), 'one\n');
  });

  describe('as a program', () => {
    before(build);
    const program = (argv: string[]) => [PROGRAM, ...argv];
    const pty = (argv: string[], stty = '') => {
      const quoted = [process.execPath, ...program(argv)].map((word) => `'${word}'`).join(' ');
      return spawn('script', ['-qec', `${stty}${quoted}`, '/dev/null'], {
        cwd: ws,
        env: { ...env(), TERM: 'xterm', NO_COLOR: undefined },
        stdio: ['pipe', 'pipe', 'inherit'],
      });
    };

    it('forwards an interrupt to the command', async () => {
      const child = spawn(
        process.execPath,
        program(['exec', '--', 'sh', '-c', 'trap "echo caught; exit 9" INT; echo ready; sleep 9 & wait']),
        {
          cwd: ws,
          env: env(),
        },
      );
      let out = '';
      child.stdout.on('data', (data) => {
        out += data;
        if (out === 'ready\n') child.kill('SIGINT');
      });
      const code = await new Promise((ended) => child.once('exit', ended));
      assert.deepEqual([code, out], [9, 'ready\ncaught\n']);
    });

    it('stops when nobody reads any more', () => {
      const line = `${[process.execPath, ...program(['exec', '--', 'yes'])].map((word) => `'${word}'`).join(' ')} < /dev/null | head -n 1`;
      const { stdout } = spawnSync('sh', ['-c', line], { cwd: ws, env: env(), timeout: 20_000 });
      assert.equal(stdout.toString(), 'y\n');
    });

    it('has a terminal inside: its size, its keys, its rollback, its exit code', async function () {
      if (spawnSync('script', ['--version']).error) return this.skip();
      const child = pty(['shell', '--', 'bash', '--norc'], 'stty cols 91 rows 33; ');
      let out = '';
      child.stdout.on('data', (data) => {
        out += data;
      });
      const shows = async (what: RegExp) => {
        for (let i = 0; i < 500 && !what.test(out); i++) await sleep(20);
        assert.match(out, what);
      };
      await shows(/[$#] $/);
      child.stdin.write('stty size; export MARK=1$((1+1))3\r');
      await shows(/33 91/);
      const { checkpoint } = await ask('checkpoint');
      child.stdin.write('export MARK=lost; echo chan""ged\r');
      await shows(/changed/);
      await ask('rollback', checkpoint);
      await shows(/— back at \d\d:\d\d:\d\d, [\d.]+ ms —/);
      child.stdin.write('echo mark=$MARK=; exit 6\r');
      const code = await new Promise((ended) => child.once('exit', ended));
      assert.match(out, /mark=123=/);
      assert.equal(code, 6);
    });

    it('says that its terminal is gone where it did not exist', async function () {
      if (spawnSync('script', ['--version']).error) return this.skip();
      const { checkpoint } = await ask('checkpoint');
      const child = pty(['shell']);
      let out = '';
      child.stdout.on('data', (data) => {
        out += data;
      });
      for (let i = 0; i < 500 && !/[$#] $/.test(out); i++) await sleep(20);
      await ask('rollback', checkpoint);
      const code = await new Promise((ended) => child.once('exit', ended));
      assert.equal(code, 1);
      assert.match(out, /did not exist at that moment/);
    });
  });

  describe('demo', () => {
    it('tells both stories', async () => {
      const ran = await ok(['demo']);
      assert.match(ran.stdout, /✓ the count goes on/);
      assert.match(ran.stdout, /solved after 4 tries/);
      assert.match(ran.stdout, /rollback, (warm|cold) +\d+ +[\d.]+ ms/);
      assert.match(ran.stdout, /✓ \d+ checks passed\n$/);
    });

    it('takes commands from an OpenAI-compatible endpoint', async () => {
      const answers = ["sed -i 's/v1/v2/g' *", "```sh\nsed -i 's/v1/v2/g' config1.json config2.json\n```"];
      const asked: { model: string; messages: { content: string }[]; key?: string }[] = [];
      const server = createServer((request, response) => {
        let body = '';
        request.on('data', (data) => {
          body += data;
        });
        request.on('end', () => {
          asked.push({ ...JSON.parse(body), key: request.headers.authorization });
          const content = answers[asked.length - 1];
          response.setHeader('content-type', 'application/json');
          response.end(
            JSON.stringify({
              id: '1',
              object: 'chat.completion',
              choices: [{ index: 0, message: { role: 'assistant', content } }],
            }),
          );
        });
      });
      await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
      try {
        const ran = await ok(['demo', '--json', '--base-url', url], { env: { OPENAI_API_KEY: 'k' } });
        assert.equal(json(ran).ok, true);
      } finally {
        server.close();
      }
      assert.equal(asked.length, 2);
      assert.deepEqual([asked[0]!.model, asked[0]!.key], ['qwen-2.5-coder-32b-instruct', 'Bearer k']);
      assert.match(asked[1]!.messages.at(-1)!.content, /reward 0\.50/);
    });

    it('exits with 1 where a check fails: a model that never finds it', async () => {
      const server = createServer((request, response) => {
        request.resume().on('end', () => {
          response.setHeader('content-type', 'application/json');
          const message = { role: 'assistant', content: "sed -i 's/v1/v2/g' *" };
          response.end(JSON.stringify({ id: '1', object: 'chat.completion', choices: [{ index: 0, message }] }));
        });
      });
      await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
      try {
        const ran = await call(['demo', '--base-url', `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`]);
        assert.equal(ran.code, 1, ran.stdout);
        assert.match(ran.stdout, /✗ solved after 8 tries: no command earned the whole reward\n/);
        assert.match(ran.stdout, /✗ 1 of \d+ checks failed\n$/);
      } finally {
        server.close();
      }
    });

    it('says that an endpoint is not there', async () => {
      await fails(['demo', '--base-url', 'http://127.0.0.1:1/v1'], 1, 'invalidRequest');
    });
  });

  it('writes nothing through a symlink that the workspace has', async () => {
    const outside = folder({});
    mkdirSync(join(ws, 'sub'));
    symlinkSync(outside, join(ws, 'sub/link'));
    await ask('run', '--', 'mkdir -p sub/link; echo evil > sub/link/file');
    await fails(['apply'], 1, 'conflicts');
    await fails(['apply', '--force'], 1, 'conflicts');
    assert.ok(!existsSync(join(outside, 'file')));
  });
});

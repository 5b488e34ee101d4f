/**
 * What goes wrong, and how it is said: the built command line, the real helper, exit codes 1 (the caller), 2 (the machine),
 * 3 (us), one line for people, one object for programs, a stack only for who asks. Needs root.
 */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Connection } from '../../helper/client/connection.ts';
import { endGroups, HelperProcess, needsMachine, workspace } from '../daemon/helper-process.ts';
import { build, copyForUsers, PROGRAM, type ProgramOptions, program } from './program.ts';
import { json, type Ran } from './run-cli.ts';

const USER = 1503;
const NAME = `spa ce "q' $HOME\n日本 é \x1b[31m`;

describe('errors of the command line', function () {
  this.timeout(60_000);
  let helper: HelperProcess;
  /** Folders for all to read: workspaces, and a copy of the program for a plain user. */
  let dir: string;
  let ws: string;
  let users: string;

  before(async function () {
    needsMachine(this);
    build();
    helper = await HelperProcess.start(undefined, { faults: true, standbys: 0 });
    helper.admit(USER);
    dir = realpathSync(mkdtempSync(join(tmpdir(), 'cli-errors-')));
    chmodSync(dir, 0o755);
    users = copyForUsers(dir);
    ws = join(dir, 'api');
    mkdirSync(ws);
    writeFileSync(join(ws, 'a.txt'), 'one\n');
    await ok(['up', '--name', 'api']);
  });
  after(async () => {
    await helper?.stop();
    if (dir) rmSync(dir, { recursive: true, force: true });
  });
  afterEach(async function () {
    if (this.currentTest?.state === 'failed') console.error(helper.logText().slice(-3000));
    if (helper && (await helper.died(0))) await helper.restart();
  });

  const call = (argv: string[], options: ProgramOptions = {}): Promise<Ran> =>
    program(argv, {
      cwd: ws,
      ...(options.uid === undefined ? {} : { path: users }),
      ...options,
      env: { TELEPORT_ENV_SOCKET: helper.socket, ...options.env },
    });
  async function ok(argv: string[], options: ProgramOptions = {}): Promise<Ran> {
    const ran = await call(argv, options);
    assert.equal(ran.code, 0, `${argv.join(' ')}: ${ran.stdout}${ran.stderr}`);
    return ran;
  }
  // biome-ignore lint/suspicious/noExplicitAny: each test knows what it asked for
  const ask = async (command: string, ...rest: string[]): Promise<any> => json(await ok([command, '--json', ...rest]));

  /** @returns the error as a program is told it, once its shape is checked */
  async function refused(argv: string[], exit: number, code: string, options: ProgramOptions = {}) {
    const [command, ...rest] = argv;
    const ran = await call([command!, '--json', ...rest], options);
    const said = `${argv.join(' ').slice(0, 200)}: ${ran.stdout.slice(0, 2000)}${ran.stderr}`;
    assert.deepEqual([ran.code, ran.stderr], [exit, ''], said);
    const { error } = json(ran);
    assert.equal(error.code, code, said);
    assert.ok(error.message.length > 0 && error.message.length < 1000, said);
    assert.ok(error.hint === null || typeof error.hint === 'string', said);
    assert.ok(!('stack' in error), said);
    return error as { message: string; hint: string | null };
  }
  /** The same for people: one line on stderr, nothing on stdout. */
  async function told(argv: string[], exit: number, text: RegExp, options: ProgramOptions = {}): Promise<void> {
    const ran = await call(argv, options);
    assert.deepEqual([ran.code, ran.stdout], [exit, ''], argv.join(' '));
    assert.match(ran.stderr, /^✗ [^\n]+\n$/, 'one line');
    assert.match(ran.stderr, text);
    assert.doesNotMatch(ran.stderr, /[\x00-\x09\x0b-\x1f]|\bat .*:\d+:\d+/);
  }
  const value = async () => (await ask('run', 'api', '--no-checkpoint', '--', 'echo $X; cat n')).output;
  /** Memory and a file say the same number. */
  const set = async (n: number): Promise<string> => (await ask('run', 'api', '--', `X=${n}; echo ${n} > n`)).checkpoint;
  const checkpoints = async (): Promise<string[]> =>
    (await ask('log', 'api')).checkpoints.map(({ id }: { id: string }) => id);

  it('unknown sandbox, in every command that takes one', async () => {
    const calls = [
      ...['checkpoint', 'undo', 'log', 'ps', 'apply', 'start', 'stop', 'rm', 'gc', 'network', 'ports'].map((c) => [
        c,
        'nobody',
      ]),
      ...['exec', 'run', 'try', 'bisect'].map((c) => [c, 'nobody', '--', 'true']),
      ...['rollback', 'fork', 'diff', 'delete'].map((c) => [c, 'nobody', 'k0']),
      ['cat', 'nobody', 'k0', 'a.txt'],
      ['keep', 'nobody', 'b1'],
      ['discard', 'nobody', 'b1'],
      ['label', 'nobody', 'k0', 'x'],
      ['forward', 'nobody', '80'],
    ];
    for (const argv of calls) await refused(argv, 1, 'unknownSandbox');
    await refused(['log'], 1, 'unknownSandbox', { cwd: '/' });
    await told(['log', 'nobody'], 1, /there is no sandbox nobody — teleport-env list shows yours/);
    await told(['shell', 'nobody'], 1, /there is no sandbox nobody/);
  });

  it('an empty word where a folder is wanted, as of a variable that is not set', async () => {
    for (const argv of [
      ['up', '--workspace', ''],
      ['apply', 'api', '--to', ''],
      ['git', 'fetch', 'api', '--to', ''],
    ])
      await refused(argv, 1, 'invalidRequest');
  });

  it('an undo on failure in a live fork', async () => {
    const { branch } = await ask('fork', 'k0');
    const error = await refused(['run', '--branch', branch, '--undo-on-fail', '--', 'false'], 1, 'invalidRequest');
    assert.match(error.message, /fork/);
    assert.equal((await ask('exec', '--branch', branch, '--', 'cat', 'a.txt')).stdout, 'one\n');
    await ask('discard', branch);
    await refused(['discard', branch], 1, 'unknownBranch');
    await refused(['keep', branch], 1, 'unknownBranch');
    await refused(['discard', '../b1'], 1, 'unknownBranch');
  });

  it('unknown checkpoint, branch and file', async () => {
    for (const command of ['rollback', 'fork', 'diff', 'delete'])
      await refused([command, 'k999'], 1, 'unknownCheckpoint');
    await refused(['cat', 'k999', 'a.txt'], 1, 'unknownCheckpoint');
    await refused(['label', 'k999', 'x'], 1, 'unknownCheckpoint');
    await refused(['delete', 'k0'], 1, 'checkpointInUse');
    await refused(['exec', '--branch', 'b999', '--', 'true'], 1, 'unknownBranch');
    await refused(['cat', 'k0', 'nothing'], 1, 'unknownPath');
    await refused(['exec', '--', 'no-such-program'], 1, 'unknownPath');
    await refused(['undo'], 1, 'nothingToUndo');
    await told(['rollback', 'api', 'k999'], 1, /k999/);
  });

  it('../ in ids and paths leads nowhere', async () => {
    await refused(['log', '../../etc'], 1, 'unknownSandbox');
    for (const id of ['../k0', 'k0/../k0', '../../checkpoints/k0']) {
      await refused(['rollback', id], 1, 'unknownCheckpoint');
      await refused(['fork', 'api', id], 1, 'unknownCheckpoint');
      await refused(['cat', 'api', id, 'a.txt'], 1, 'unknownCheckpoint');
      await refused(['diff', 'api', id], 1, 'unknownCheckpoint');
    }
    await refused(['exec', '--branch', '../b1', '--', 'true'], 1, 'invalidRequest');
    const up = '../'.repeat(30);
    for (const path of [`${up}etc/gshadow`, `${up}${helper.state.slice(1)}/volume/sandboxes`])
      await refused(['cat', 'api', 'k0', path], 1, 'unknownPath');
    assert.equal((await ok(['cat', 'api', 'k0', `sub/../${up}${ws}/a.txt`])).stdout, 'one\n');
    assert.equal(
      (await ask('exec', '--cwd', up, '--', 'pwd')).stdout,
      '/\n',
      'the top of the sandbox, not of the host',
    );
    const { sandbox, name } = await ask('up', '--new', '--name', '../../outside');
    assert.equal(name, '../../outside', 'a name is no path');
    assert.deepEqual(readdirSync(join(helper.state, 'volume/sandboxes')).sort(), ['s1', sandbox]);
    await ask('rm', sandbox);
  });

  it('workspace missing, a file, a folder of the system, or unreadable', async () => {
    const missing = await refused(['up', '--workspace', '/nowhere/at/all'], 1, 'workspaceMissing');
    assert.match(missing.message, /\/nowhere\/at\/all/);
    await refused(['up', '--workspace', join(ws, 'a.txt')], 1, 'workspaceNotFolder');
    await refused(['up', '--workspace', '/etc'], 1, 'workspaceNotFolder');
    await told(['up', '--workspace', '/'], 1, /\/ is a folder of the system.* — choose a project folder/);
    const locked = join(dir, 'locked');
    mkdirSync(join(locked, 'in'), { recursive: true });
    chmodSync(locked, 0o700);
    await refused(['up', '--workspace', locked], 1, 'workspaceUnreadable', { uid: USER });
    await refused(['up', '--workspace', join(locked, 'in')], 1, 'workspaceUnreadable', { uid: USER });
    const partly = join(dir, 'partly');
    mkdirSync(join(partly, 'secret'), { recursive: true });
    chmodSync(join(partly, 'secret'), 0o700);
    const part = await refused(['up', '--workspace', partly], 1, 'workspaceUnreadable', { uid: USER });
    assert.match(`${part.message} ${part.hint}`, /secret.*--exclude/);
    assert.deepEqual((await ask('list')).sandboxes.length, 1, 'nothing half made');
  });

  it('not root, where a helper would have to be started', async () => {
    const elsewhere = {
      TELEPORT_ENV_SOCKET: join(dir, 'none.sock'),
      TELEPORT_ENV_STATE: join(dir, 'state'),
      TELEPORT_ENV_DEV: '1',
    };
    await refused(['list'], 2, 'notRoot', { uid: USER, env: elsewhere });
    const serve = await refused(['serve', '--socket', join(dir, 'none.sock')], 2, 'notRoot', { uid: USER });
    assert.equal(serve.hint, 'sudo teleport-env serve');
    await refused(['list'], 2, 'noHelper', { env: { TELEPORT_ENV_SOCKET: join(dir, 'none.sock') } });
  });

  it('a socket where no folder can be made', async () => {
    for (const folder of ['/proc/nowhere/deeper', join(dir, 'a-file', 'in-it')]) {
      writeFileSync(join(dir, 'a-file'), '');
      const socket = join(folder, 'd.sock');
      const env = { TELEPORT_ENV_SOCKET: socket, TELEPORT_ENV_STATE: join(dir, 'state'), TELEPORT_ENV_DEV: '1' };
      const { message, hint } = await refused(['list'], 1, 'invalidRequest', { env });
      assert.match(`${message} ${hint}`, /log cannot be at .*d\.sock\.log: mkdir: .*TELEPORT_ENV_SOCKET/s);
    }
  });

  it('a user who is not admitted', async () => {
    const { hint } = await refused(['list'], 1, 'notAllowed', { uid: USER + 1 });
    assert.match(hint!, /npm run setup/);
  });

  it('somebody else’s sandbox is as unknown as none', async () => {
    await refused(['log', 'api'], 1, 'unknownSandbox', { uid: USER, cwd: '/' });
    await refused(['rm', 's1'], 1, 'unknownSandbox', { uid: USER, cwd: '/' });
  });

  it('no CRIU, and one that is too old', async () => {
    const state = join(helper.dir, 'other'); // its mounts are taken down with the helper's
    const env = (criu: string) => ({
      TELEPORT_ENV_SOCKET: join(state, 'd.sock'),
      TELEPORT_ENV_STATE: join(state, 'state'),
      TELEPORT_ENV_DEV: '1',
      TELEPORT_ENV_CRIU: criu,
    });
    const none = await refused(['list'], 2, 'noCriu', { env: env('/nowhere/criu') });
    assert.match(`${none.message} ${none.hint}`, /not at \/nowhere\/criu.*npm run setup/);
    const old = await refused(['list'], 2, 'criuTooOld', { env: env(resolve(__dirname, 'programs/old-criu')) });
    assert.match(`${old.message} ${old.hint}`, /CRIU 3\.17\.1 is too old .*4\.1 or later.*npm run setup/);
    await told(['list'], 2, /3\.17\.1 is too old/, { env: env(resolve(__dirname, 'programs/old-criu')) });
  });

  it('an installed helper that others than root could write is not run as root', async () => {
    const opt = `/opt/teleport-env/${JSON.parse(readFileSync(resolve(__dirname, '../../package.json'), 'utf8')).version}`;
    // With an /opt and a /run of its own: no service manager, no helper that runs.
    const alone = `mount -t tmpfs -o mode=755 tmpfs /opt && mount -t tmpfs -o mode=755 tmpfs /run && mkdir -p ${opt} && echo 'console.log("ran")' >${opt}/teleport-env.js &&
      chmod "$1" ${opt}/teleport-env.js && shift && exec "$@"`;
    const list = (mode: string) =>
      new Promise<string>((done) =>
        execFile(
          'unshare',
          ['--mount', 'sh', '-c', alone, '-', mode, process.execPath, PROGRAM, 'list', '--json'],
          { env: { PATH: process.env.PATH, HOME: '/dev/null' } },
          (_, stdout) => done(stdout),
        ),
      );
    const { error } = JSON.parse(await list('666'));
    assert.deepEqual(
      [error.code, error.message.includes(`${opt}/teleport-env.js`)],
      ['notAllowed', true],
      error.message,
    );
    // The same that only root can write is run: not a helper, but that is another error.
    assert.equal(JSON.parse(await list('644')).error.code, 'noHelper');
  });

  it('in a chroot, where the kernel makes no user namespace', async () => {
    const place = join(helper.dir, 'chroot');
    mkdirSync(place);
    const socket = join(helper.dir, 'chroot.sock');
    const state = join(helper.dir, 'chroot-state');
    const enter = 'mount --rbind / "$0" && exec chroot "$0" "$@"';
    const serve = spawn(
      'unshare',
      ['--mount', 'sh', '-c', enter, place, process.execPath, PROGRAM, 'serve', '--socket', socket, '--state', state],
      {
        env: { ...process.env, TELEPORT_ENV_DEV: '1' },
        stdio: ['ignore', 'inherit', 'inherit'],
      },
    );
    const ended = once(serve, 'exit');
    try {
      while (!existsSync(socket)) {
        assert.equal(serve.exitCode, null, 'the helper ended');
        await sleep(50);
      }
      const env = { TELEPORT_ENV_SOCKET: socket };
      const error = await refused(['up', '--workspace', ws], 2, 'noNamespaces', { env });
      assert.match(`${error.message} ${error.hint}`, /new namespaces: Operation not permitted.*doctor.*chroot/);
      assert.deepEqual(json(await call(['list', '--json'], { env })).sandboxes, [], 'nothing half made');
    } finally {
      serve.kill();
      await ended;
      await endGroups(state);
    }
  });

  it('names with spaces, quotes, newlines and non-ASCII are carried whole and shown in one line', async () => {
    const folder = join(dir, NAME);
    mkdirSync(folder);
    writeFileSync(join(folder, NAME), 'content');
    const made = await ask('up', '--workspace', folder, '--name', NAME);
    assert.deepEqual([made.name, made.workspace], [NAME, folder]);
    assert.equal((await ask('exec', NAME, '--', 'cat', NAME)).stdout, 'content');
    const { checkpoint } = await ask('checkpoint', NAME, '--label', NAME);
    assert.equal((await ask('log', NAME)).checkpoints[0].label, NAME);
    assert.equal((await ok(['cat', NAME, checkpoint, NAME])).stdout, 'content');
    await ask('exec', NAME, '--', 'rm', NAME);
    assert.equal((await ask('diff', NAME, checkpoint)).changes[0].path, join(folder, NAME));
    for (const argv of [['list'], ['log', NAME], ['diff', NAME, checkpoint]]) {
      const shown = (await ok(argv)).stdout;
      assert.doesNotMatch(shown, /[\x00-\x09\x0b-\x1f]/);
      assert.match(shown, /spa ce "q' \$HOME\\n日本 é \\x1b\[31m/);
    }
    await told(['log', `${NAME}x`], 1, /spa ce "q' \$HOME\\n日本 é/);
    await ask('rm', NAME);
  });

  it('arguments of 100,000 characters', async () => {
    const long = 'x'.repeat(100_000);
    assert.equal((await ask('exec', '--', 'printf', '%s', long)).stdout, long);
    assert.equal((await ask('run', '--no-checkpoint', '--', `printf %s ${long} | wc -c`)).output.trim(), '100000');
    for (const argv of [
      ['log', long],
      ['up', '--workspace', `/${long}`],
      ['checkpoint', '--label', long],
      ['rollback', long],
      [long],
    ])
      await refusedShortly(argv);
    async function refusedShortly(argv: string[]): Promise<void> {
      const ran = await call(argv);
      assert.equal(ran.code, 1, argv[0]!.slice(0, 20));
      assert.ok(ran.stderr.length < 1000, `${argv[0]!.slice(0, 20)}: ${ran.stderr.length} characters`);
    }
  });

  it('100 MB of output, byte for byte', async () => {
    const ran = await ok(['exec', '--', 'sh', '-c', 'yes 0123456789 | head -c 104857600']);
    assert.equal(ran.bytes.length, 104_857_600);
    assert.ok(ran.bytes.equals(Buffer.alloc(104_857_600, '0123456789\n')));
    const line = await ok(['run', '--no-checkpoint', '--', 'head -c 104857600 /dev/zero']);
    assert.ok(
      line.bytes.length === 104_857_600 || /cut|truncated/.test(line.stderr),
      `${line.bytes.length} ${line.stderr}`,
    );
  });

  it('a reader that does not read slows the command down, and fills no memory', async () => {
    const megabytes = (pid: number) =>
      Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
    for (const call of [
      ['exec', 'api'],
      ['run', 'api', '--no-checkpoint'],
    ]) {
      const child = spawn(PROGRAM, [...call, '--', 'yes'], {
        env: { ...process.env, TELEPORT_ENV_SOCKET: helper.socket },
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      await once(child.stdout, 'readable');
      const before = megabytes(helper.pid);
      await sleep(1500);
      const [client, grown] = [megabytes(child.pid!), megabytes(helper.pid) - before];
      child.stdout.destroy(); // as `| head` does
      await once(child, 'exit');
      assert.ok(client < 200 && grown < 200, `${call[0]}: ${client} MB, the helper ${grown} MB more`);
      const { processes } = await ask('ps', 'api');
      assert.ok(!processes.some(({ command }: { command: string }) => command === 'yes'), 'it ended with its reader');
    }
  });

  it('binary output', async () => {
    const all = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
    writeFileSync(join(ws, 'all'), all);
    const octal = Array.from(all, (byte) => `\\${byte.toString(8).padStart(3, '0')}`).join('');
    assert.deepEqual((await ok(['exec', '--', 'printf', octal])).bytes, all);
    const inJson = await ask('exec', '--', 'printf', octal);
    assert.deepEqual([inJson.encoding, Buffer.from(inJson.stdout, 'base64')], ['base64', all]);
    const line = await ask('run', '--no-checkpoint', '--', `printf '${octal}'`);
    assert.equal(line.encoding, 'base64');
  });

  it('words that mean nothing', async () => {
    for (const argv of [
      ['frobnicate'],
      ['log', '--frob'],
      ['rollback'],
      ['exec'],
      ['exec', 'api'],
      ['run'],
      ['label', 'k0'],
      ['cat', 'k0'],
      ['up', '--memory', 'much'],
    ])
      await refused(argv, 1, 'invalidRequest');
    await told(['rolback', 'k1'], 1, /unknown command 'rolback' \(Did you mean rollback\?\)/);
    await refused(['shell'], 1, 'invalidRequest'); // a terminal has no JSON answer
  });

  it('a stack trace comes with --verbose, and else never', async () => {
    const { stderr, code } = await call(['log', 'nobody', '--verbose']);
    assert.equal(code, 1);
    assert.match(stderr, /^✗ there is no sandbox nobody.*\n.*\n {4}at /);
    const ran = await call(['log', 'nobody', '--verbose', '--json']);
    assert.match(json(ran).error.stack, /\n {4}at /);
  });

  it('two clients rolling back at once both get there, one after the other', async () => {
    const [one, two] = [await set(11), await set(22)];
    const both = await Promise.all([one, two].map((id) => call(['rollback', '--json', id])));
    assert.deepEqual(
      both.map(({ code }) => code),
      [0, 0],
    );
    const { checkpoints: all } = await ask('log');
    const now = await value();
    assert.ok(['11\n11\n', '22\n22\n'].includes(now), `files and memory are of one moment: ${now}`);
    for (const ran of both) assert.ok(all.some(({ id }: { id: string }) => id === json(ran).saved));
  });

  it('the helper killed in the middle of a checkpoint', async () => {
    await set(33);
    const before = await checkpoints();
    writeFileSync(helper.fault, 'capture:dumped');
    const { hint } = await refused(['checkpoint'], 2, 'noHelper');
    assert.match(hint!, /try again/);
    await helper.restart();
    assert.deepEqual(await checkpoints(), before, 'none that is half made');
    assert.equal(await value(), '33\n33\n');
    assert.match((await ask('checkpoint')).checkpoint, /^k\d+$/);
  });

  it('a fault of our own: exit 3, all goes on, and a stack for who asks', async () => {
    await set(77);
    const before = await checkpoints();
    const fail = () => writeFileSync(helper.fault, 'take:captured=throw');
    fail();
    const { message } = await refused(['checkpoint', 'api'], 3, 'internal');
    assert.match(message, /fault at take:captured/);
    fail();
    await told(['checkpoint', 'api'], 3, /fault at take:captured/);
    fail();
    const verbose = await call(['checkpoint', '--verbose', 'api']);
    assert.equal(verbose.code, 3);
    assert.match(verbose.stderr, /\n\s+at .*\(.*:\d+:\d+\)/);
    assert.deepEqual(await checkpoints(), before, 'none that is half made');
    assert.equal(await value(), '77\n77\n', 'files and memory are what they were');
    await ask('checkpoint', 'api');
  });

  it('the helper killed in the middle of a rollback', async () => {
    const target = await set(44);
    await set(55);
    writeFileSync(helper.fault, 'branch:restoring');
    await refused(['rollback', target], 2, 'noHelper');
    await helper.restart();
    assert.equal(await value(), '55\n55\n', 'the head is what it was');
    await ask('rollback', target);
    assert.equal(await value(), '44\n44\n');
  });

  it('a helper that is killed is started again by the next call, and finds its sandboxes', async () => {
    await set(66);
    await helper.kill();
    await refused(['list'], 2, 'noHelper');
    const env = { TELEPORT_ENV_STATE: helper.state, TELEPORT_ENV_DEV: '1' };
    try {
      assert.equal((await ok(['run', 'api', '--no-checkpoint', '--', 'echo $X'], { env })).stdout, '66\n');
    } finally {
      const connection = await Connection.open(helper.socket, 'test');
      await connection.request('shutdown', {});
      await new Promise((gone) => connection.lost.addEventListener('abort', gone));
      await helper.restart();
    }
  });

  describe('what is on disk', () => {
    const place = (...parts: string[]) => join(helper.state, 'volume/sandboxes/s1/checkpoints', ...parts);
    async function durable(id: string): Promise<void> {
      for (let i = 0; i < 200; i++, await sleep(50)) {
        const found = (await ask('log', 'api')).checkpoints.find((checkpoint: { id: string }) => checkpoint.id === id);
        if (found.state.durable) return;
      }
      assert.fail(`${id} was not made durable`);
    }

    it('an image cut short', async () => {
      const [bad, good] = [await set(71), await set(72)];
      await durable(bad);
      for (const name of readdirSync(place(bad, 'image')).filter((n) => n.startsWith('pages-')))
        truncateSync(place(bad, 'image', name), 100);
      const { message } = await refused(['rollback', bad], 2, 'checkpointDamaged');
      assert.match(message, /pages-\d+\.img is cut short/);
      assert.equal(await value(), '72\n72\n', 'the head is what it was');
      await set(73);
      await ask('rollback', good);
      assert.equal(await value(), '72\n72\n');
    });

    it('a manifest garbled', async () => {
      const [bad, good] = [await set(81), await set(82)];
      await durable(bad);
      writeFileSync(place(bad, 'manifest.json'), readFileSync(place(bad, 'manifest.json'), 'utf8').slice(0, 50));
      await helper.restart();
      assert.match((await refused(['rollback', bad], 2, 'checkpointDamaged')).message, new RegExp(bad));
      assert.equal(await value(), '82\n82\n');
      await ask('rollback', good);
    });
  });
});

describe('a volume that is full in the middle of a checkpoint', function () {
  this.timeout(60_000);
  let helper: HelperProcess;
  let ws: string;
  before(async function () {
    needsMachine(this);
    build();
    helper = await HelperProcess.start(400 << 20);
    ws = realpathSync(workspace({ 'a.txt': 'one\n' }));
  });
  after(async () => {
    await helper?.stop();
    if (ws) rmSync(ws, { recursive: true, force: true });
  });

  it('is said to be, with the way out; the sandbox goes on and older checkpoints work', async () => {
    const call = (argv: string[]) => program(argv, { cwd: ws, env: { TELEPORT_ENV_SOCKET: helper.socket } });
    assert.equal((await call(['up'])).code, 0);
    assert.equal((await call(['run', '--', 'X=1; echo 1 > n'])).code, 0);
    const hold = "python3 -c \"import time; kept = b'x' * 500_000_000; open('held', 'w'); time.sleep(10000)\" &";
    assert.equal(
      (await call(['run', '--no-checkpoint', '--', `${hold} while [ ! -e held ]; do sleep 0.1; done; X=2`])).code,
      0,
    );
    const full = await call(['checkpoint', '--json']);
    const { error } = json(full);
    assert.deepEqual([full.code, error.code], [2, 'volumeFull'], full.stdout);
    assert.match(error.hint, /gc/);
    const people = await call(['checkpoint']);
    assert.match(people.stderr, /^✗ [^\n]*full[^\n]*gc[^\n]*\n$/);
    assert.equal((await call(['run', '--no-checkpoint', '--', 'echo $X; jobs -r | wc -l'])).stdout, '2\n1\n');
    const { checkpoints } = json(await call(['log', '--json']));
    assert.deepEqual(
      checkpoints.map(({ id }: { id: string }) => id),
      ['k1', 'k0'],
    );
    assert.equal((await call(['rollback', 'k1', '--discard'])).code, 0);
    assert.equal((await call(['run', '--no-checkpoint', '--', 'echo $X'])).stdout, '1\n');
  });
});

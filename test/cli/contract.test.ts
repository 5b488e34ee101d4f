/** What each call answers, as programs rely on it: the built command line, the real helper. Needs root. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Context } from '../../helper/cli/context.ts';
import { specOf } from '../../helper/cli/define.ts';
import { processIo } from '../../helper/cli/io.ts';
import { buildProgram } from '../../helper/cli/main.ts';
import { HelperProcess, needsMachine, workspace } from '../daemon/helper-process.ts';
import { build, type ProgramOptions, program } from './program.ts';
import { json, type Ran } from './run-cli.ts';

const definitions = buildProgram(new Context(processIo(), undefined), () => {});
type Kind = 'string' | 'number' | 'boolean' | 'array' | 'null';
type Keys = Record<string, Kind | Kind[]>;

describe('the contract of the command line', function () {
  this.timeout(60_000);
  let helper: HelperProcess;
  let ws: string;

  before(async function () {
    needsMachine(this);
    build();
    helper = await HelperProcess.start();
    ws = realpathSync(workspace({ 'a.txt': 'v1\n', 'b.txt': 'v1\n', 'c.txt': 'v1\n' }));
  });
  after(async () => {
    await helper?.stop();
    if (ws) rmSync(ws, { recursive: true, force: true });
  });
  afterEach(function () {
    if (this.currentTest?.state === 'failed') console.error(helper.logText());
  });

  const call = (argv: string[], options: ProgramOptions = {}): Promise<Ran> =>
    program(argv, {
      cwd: ws,
      ...options,
      env: { TELEPORT_ENV_SOCKET: helper.socket, XDG_STATE_HOME: join(helper.dir, 'user-state'), ...options.env },
    });
  async function ok(argv: string[], options: ProgramOptions = {}): Promise<Ran> {
    const ran = await call(argv, options);
    assert.equal(ran.code, 0, `${argv.join(' ')}: ${ran.stdout}${ran.stderr}`);
    return ran;
  }
  /** Asks with --json: one object on stdout, nothing else there or on stderr, and these keys of these kinds in it. */
  // biome-ignore lint/suspicious/noExplicitAny: each test knows what it asked for
  async function ask(argv: string[], keys: Keys): Promise<any> {
    const [command, ...rest] = argv;
    const ran = await ok([command!, '--json', ...rest]);
    assert.equal(ran.stderr, '', argv.join(' '));
    const answer = json(ran);
    has(answer, keys, argv.join(' '));
    for (const key of documented(command!))
      assert.ok(key in answer, `${argv.join(' ')} lacks ${key}, which --help names`);
    return answer;
  }
  /** The keys that --help says are always there: what comes before a semicolon, without the words in brackets. */
  function documented(command: string): string[] {
    const { answers = '' } = specOf(definitions.commands.find((one) => one.name() === command)!) ?? {};
    // A patch and a plan are other answers than the usual one.
    if (command === 'apply') return ['applied', 'conflicts'];
    return answers
      .split(';')[0]!
      .replace(/\(.*?\)/g, '')
      .split(',')
      .map((key) => key.trim())
      .filter(Boolean);
  }
  function has(answer: Record<string, unknown>, keys: Keys, where: string): void {
    for (const [key, kinds] of Object.entries(keys)) {
      const value = answer[key];
      const kind = value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value;
      assert.ok([kinds].flat().includes(kind as Kind), `${where}: ${key} is ${kind}, not ${kinds}`);
    }
  }
  /** All of a tree that could be changed: names, kinds, modes, owners, times, link targets, contents. */
  function fingerprint(tree: string): string {
    const find = ['-printf', '%P %y %m %U %G %n %s %T@ %l\\n', '-type', 'f', '-exec', 'sha256sum', '{}', ';'];
    return execFileSync('find', [tree, ...find], { encoding: 'utf8' })
      .split('\n')
      .sort()
      .join('\n');
  }
  const id = /^[skb]\d+$/;

  it('up: sandbox, head, checkpoint', async () => {
    const first = await ask(['up', '--workspace', ws, '--name', 'api', '--network', 'none'], {
      sandbox: 'string',
      head: 'string',
      checkpoint: 'string',
    });
    for (const word of [first.sandbox, first.head, first.checkpoint]) assert.match(word, id);
    assert.equal(first.checkpoint, 'k0');
    const again = await ask(['up'], { sandbox: 'string', head: 'string', checkpoint: 'string' });
    assert.equal(again.sandbox, first.sandbox, 'up twice is up once');
  });

  it('exec: exitCode, stdout, stderr, durationMs; without --json the streams and the code', async () => {
    const line = 'cat; echo err >&2; exit 7';
    const answer = await ask(['exec', 'api', '--timeout', '30', '--', 'sh', '-c', 'echo out; echo err >&2; exit 7'], {
      exitCode: 'number',
      stdout: 'string',
      stderr: 'string',
      durationMs: 'number',
    });
    assert.deepEqual([answer.exitCode, answer.stdout, answer.stderr], [7, 'out\n', 'err\n']);
    const ran = await call(['exec', '--', 'sh', '-c', line], { input: 'in' });
    assert.deepEqual([ran.code, ran.stdout, ran.stderr], [7, 'in', 'err\n']);
    const log = await ask(['log'], { checkpoints: 'array' });
    assert.equal(log.checkpoints.length, 1, 'exec takes no checkpoint');
  });

  it('run: exitCode, output, checkpoint; --no-checkpoint, --undo-on-fail', async () => {
    const keys: Keys = { exitCode: 'number', output: 'string', checkpoint: ['string', 'null'] };
    const one = await ask(['run', 'api', '--', 'X=5; echo $X'], keys);
    assert.deepEqual([one.exitCode, one.output], [0, '5\n']);
    assert.match(one.checkpoint, /^k\d+$/);
    const none = await ask(['run', '--no-checkpoint', '--', 'echo $X; (exit 3)'], keys);
    assert.deepEqual([none.exitCode, none.output, none.checkpoint], [3, '5\n', null]);
    const undone = await ask(['run', '--undo-on-fail', '--', 'rm a.txt; X=6; false'], keys);
    assert.deepEqual([undone.exitCode, undone.undone], [1, true]);
    assert.equal((await ask(['run', '--no-checkpoint', '--', 'cat a.txt; echo $X'], keys)).output, 'v1\n5\n');
  });

  it('run --undo-on-fail takes back that line alone, and makes no more checkpoints than it must', async () => {
    const ids = async () => (await ask(['log'], {})).checkpoints.map(({ id }: { id: string }) => id);
    // Since the last checkpoint: a file, a variable, a process.
    await ok(['exec', '--', 'sh', '-c', 'echo mine > since']);
    await ok(['run', '--no-checkpoint', '--', 'Y=since; sleep 27182 &']);
    const before = await ids();
    for (let i = 0; i < 2; i++) {
      const undone = await ask(['run', '--undo-on-fail', '--', 'rm since; Y=lost; kill %1; false'], {});
      assert.deepEqual([undone.exitCode, undone.undone], [1, true]);
      const now = await ask(['run', '--no-checkpoint', '--', 'cat since; echo $Y; jobs -r | wc -l'], {});
      assert.equal(now.output, 'mine\nsince\n1\n');
    }
    assert.equal((await ids()).length, before.length + 2, 'a process ran on meanwhile');
    await ask(['run', '--', 'rm since; kill %1; wait'], {});
    const settled = await ids();
    for (let i = 0; i < 3; i++) await ask(['run', '--undo-on-fail', '--', 'rm a.txt; false'], {});
    assert.deepEqual(await ids(), settled, 'nothing was there that no checkpoint had');
    assert.equal((await ok(['exec', '--', 'cat', 'a.txt'])).stdout, 'v1\n');
  });

  it('run, rollback and log read as they were drawn', async () => {
    const ran = await ok(['run', 'api', 'sed -i s/v1/v2/g *; echo done']);
    assert.equal(ran.stdout, 'done\n');
    assert.match(ran.stderr, /^✓ \d+(\.\d)? m?s · 3 files changed · checkpoint k\d+\n$/);
    const failed = await call(['run', 'api', 'exit 4']);
    assert.deepEqual([failed.code, failed.stdout], [4, '']);
    assert.match(failed.stderr, /^✗ exit 4 · \d+(\.\d)? m?s · \d+ files? changed · checkpoint k\d+\n$/);
    const labelled = await ask(['checkpoint', 'api', '--label', 'before the rewrite'], { checkpoint: 'string' });
    await ok(['run', 'api', 'echo more > d.txt']);
    const back = await ok(['rollback', 'api', labelled.checkpoint]);
    assert.match(
      back.stdout,
      new RegExp(
        `^✓ back at ${labelled.checkpoint} "before the rewrite" in \\d+(\\.\\d)? m?s( \\(k\\d+ keeps where you were\\))?\\n$`,
      ),
    );
    const lines = (await ok(['log', 'api'])).stdout.trimEnd().split('\n');
    assert.ok(
      lines.some((line) => new RegExp(`^${labelled.checkpoint} +◉ before the rewrite .*← current$`).test(line)),
      lines.join('\n'),
    );
    assert.ok(lines.some((line) => /^k\d+ +○ sed -i s\/v1\/v2\/g \*; echo done +3 files +(now|\d+ s)$/.test(line)));
    assert.ok(lines.some((line) => /○ exit 4 +exit 4 /.test(line)));
  });

  it('checkpoint: checkpoint, stoppedMs, totalMs, filesChanged', async () => {
    const keys: Keys = { checkpoint: 'string', stoppedMs: 'number', totalMs: 'number', filesChanged: 'number' };
    await ask(['exec', '--', 'touch', 'new1', 'new2'], {});
    const answer = await ask(['checkpoint', 'api', '--label', 'with two new'], keys);
    assert.equal(answer.filesChanged, 2);
    assert.ok(answer.totalMs >= answer.stoppedMs && answer.stoppedMs > 0);
    const again = await ask(['checkpoint', 'api'], keys);
    assert.ok(
      again.checkpoint !== answer.checkpoint && again.filesChanged === 0,
      'one that is asked for is always made',
    );
  });

  it('rollback and undo: head, rollbackMs, path, saved; --discard; --verbose prints the steps', async () => {
    const keys: Keys = { head: 'string', rollbackMs: 'number', path: 'string', saved: ['string', 'null'] };
    await ok(['exec', '--', 'touch', 'dirty']);
    const moved = await ask(['rollback', 'api', 'k1'], keys);
    assert.ok(['warm', 'cold'].includes(moved.path));
    assert.match(moved.saved, /^k\d+$/, 'a dirty head is kept');
    const undone = await ask(['undo', 'api'], keys);
    assert.notEqual(undone.head, moved.head);
    await ok(['exec', '--', 'test', '-e', 'dirty']);
    assert.equal((await ask(['rollback', 'k1', '--discard'], keys)).saved, null);
    const told = (await ok(['rollback', 'k0', '--discard', '--verbose'])).stdout.split('\n').slice(0, -2);
    for (const line of told) assert.match(line, /^ {2}\S.*\S +\d+\.\d\d ms$/);
    const steps = told.join('\n');
    for (const step of [/image restored|standby thawed/, /SIGKILL/, /volatile upperdir discarded/])
      assert.match(steps, step);
    // Not all can stand by: one of them is restored from its image.
    let cold = '';
    for (const { id: checkpoint } of (await ask(['log'], {})).checkpoints) {
      cold = (await ok(['rollback', checkpoint, '--discard', '--verbose'])).stdout;
      if (!cold.includes('standby')) break;
    }
    assert.match(cold, /layers mounted read-only, image restored +\d+\.\d\d ms/);
  });

  it('a layer is what it was after root inside wrote everywhere, and no retired upperdir remains', async () => {
    const { sandbox } = await ask(['up'], {});
    const line =
      'mkdir -p deep/er; echo kept > deep/er/file; ln deep/er/file deep/hard; ln -s file deep/er/link; chmod 640 a.txt';
    const { checkpoint } = await ask(['run', '--', line], {});
    const place = join(helper.state, 'volume/sandboxes', sandbox);
    const layer = join(place, 'checkpoints', checkpoint, 'layer');
    const before = fingerprint(layer);
    assert.match(before, /deep\/er\/file/);
    assert.equal((await ok(['exec', '--', 'id', '-u'])).stdout, '0\n');
    const wreck = [
      `find ${ws} /etc /srv -xdev -type f -exec sh -c 'for f; do echo wrecked > "$f"; done' sh {} +`,
      `find ${ws} -exec chmod 777 {} + -exec chown 7:7 {} + -exec touch -hd @1 {} +`,
      'rm -rf deep/er/link /usr/share/doc/[a-c]*; mv deep shallow; mkdir deep; rm -rf /etc/*; touch /new; chmod 700 /usr',
    ];
    await ask(['run', '--no-checkpoint', '--', `{ ${wreck.join('; ')}; } 2>/dev/null; true`], {});
    assert.equal((await ok(['exec', '--', 'cat', 'shallow/er/file'])).stdout, 'wrecked\n');
    assert.equal(fingerprint(layer), before);
    const { head } = await ask(['rollback', checkpoint, '--discard'], { head: 'string' });
    assert.equal(fingerprint(layer), before);
    assert.equal((await ok(['exec', '--', 'cat', 'deep/hard', '/etc/passwd'])).stdout.split('\n')[0], 'kept');
    const { sandboxes } = await ask(['list'], {});
    const live = new Set<string>(sandboxes[0].branches.map(({ id }: { id: string }) => id)).add(head);
    const isStandby = (branch: string) =>
      /"role":\s*"standby"/.test(readFileSync(join(place, 'branches', branch, 'branch.json'), 'utf8'));
    const retired = () =>
      readdirSync(join(place, 'branches')).filter((branch) => !live.has(branch) && !isStandby(branch));
    for (let i = 0; i < 100 && retired().length > 0; i++) await sleep(50);
    assert.deepEqual(retired(), []);
    assert.deepEqual(readdirSync(join(helper.state, 'volume/trash')), []);
  });

  it('fork: branch', async () => {
    const { branch } = await ask(['fork', 'api', 'k1'], { branch: 'string' });
    assert.match(branch, /^b\d+$/);
    assert.equal((await ok(['exec', '--branch', branch, '--', 'cat', 'a.txt'])).stdout, 'v1\n');
    assert.equal((await ask(['discard', 'api', branch], { discarded: 'string' })).discarded, branch);
  });

  it('keep: head, checkpoint, saved', async () => {
    const before = await ask(['log'], { head: 'string' });
    const { branch } = await ask(['fork', 'api', 'k1'], { branch: 'string' });
    await ok(['exec', '--branch', branch, '--', 'sh', '-c', 'echo forked > a.txt']);
    const kept = await ask(['keep', branch], { head: 'string', checkpoint: 'string' });
    assert.equal(kept.head, branch);
    assert.equal((await ok(['exec', '--', 'cat', 'a.txt'])).stdout, 'forked\n');
    await ask(['undo', 'api'], { head: 'string' });
    assert.equal((await ok(['exec', '--', 'cat', 'a.txt'])).stdout, 'v1\n');
    assert.notEqual((await ask(['log'], { head: 'string' })).head, before.head);
  });

  it('try: exitCode, changes, branch; --keep', async () => {
    const keys: Keys = { exitCode: 'number', changes: 'array', branch: 'string' };
    const tried = await ask(['try', 'api', '--', 'rm a.txt; exit 3'], keys);
    assert.deepEqual([tried.exitCode, tried.changes.length], [3, 1]);
    has(tried.changes[0], { path: 'string', kind: 'string' }, 'try');
    assert.equal((await ok(['exec', '--', 'cat', 'a.txt'])).stdout, 'v1\n');
    const kept = await ask(['try', 'api', '--keep', '--', 'echo kept > a.txt'], keys);
    const { head } = await ask(['log'], { head: 'string' });
    assert.equal(head, kept.branch);
  });

  it('bisect: checkpoint', async () => {
    const { checkpoint } = await ask(['run', '--', 'rm b.txt'], {});
    await ask(['run', '--', 'echo later > e.txt'], {});
    assert.equal(
      (await ask(['bisect', 'api', '--', 'test', '-e', 'b.txt'], { checkpoint: 'string' })).checkpoint,
      checkpoint,
    );
    assert.equal((await ask(['bisect', 'api', '--', 'true'], { checkpoint: 'null' })).checkpoint, null);
  });

  it('log: checkpoints with all that a line is made of, head', async () => {
    const { checkpoints } = await ask(['log', 'api'], { checkpoints: 'array', head: 'string' });
    for (const checkpoint of checkpoints) {
      has(
        checkpoint,
        {
          id: 'string',
          parent: ['string', 'null'],
          label: ['string', 'null'],
          createdAt: 'string',
          command: ['string', 'null'],
          exitCode: ['number', 'null'],
          filesChanged: 'number',
          bytes: 'number',
        },
        'log',
      );
      assert.deepEqual(Object.keys(checkpoint.state).sort().slice(0, 1), ['durable']);
    }
  });

  it('diff: changes of path and kind', async () => {
    const { changes } = await ask(['diff', 'api', 'k0', 'k1'], { changes: 'array' });
    assert.deepEqual(changes, []);
    const since = await ask(['diff', 'k0'], { changes: 'array' });
    const kinds = Object.fromEntries(since.changes.map(({ path, kind }: Record<string, string>) => [path, kind]));
    assert.deepEqual([kinds[`${ws}/b.txt`], kinds[`${ws}/e.txt`]], ['deleted', 'added']);
  });

  it('cat: the bytes as they were', async () => {
    await ok(['exec', '--', 'sh', '-c', "printf '\\377\\000\\n' > bytes"]);
    const { checkpoint } = await ask(['checkpoint'], { checkpoint: 'string' });
    assert.deepEqual((await ok(['cat', 'api', checkpoint, 'bytes'])).bytes, Buffer.from([255, 0, 10]));
    assert.equal((await ok(['cat', 'k0', 'b.txt'])).stdout, 'v1\n');
  });

  it('ps: processes', async () => {
    await ok(['run', '--no-checkpoint', '--', 'sleep 31415 &']);
    const { processes } = await ask(['ps', 'api'], { processes: 'array' });
    const found = processes.find(({ command }: { command: string }) => command === 'sleep 31415');
    has(found, { pid: 'number', ppid: 'number', state: 'string', command: 'string', rss: 'number' }, 'ps');
  });

  it('apply: applied, conflicts; --to, --patch, --force', async () => {
    const keys: Keys = { applied: 'array', conflicts: 'array' };
    const to = realpathSync(workspace({ 'a.txt': 'v1\n', 'b.txt': 'v1\n', 'c.txt': 'v1\n' }));
    try {
      const done = await ask(['apply', 'api', '--to', to], keys);
      assert.ok(done.applied.some(({ path }: { path: string }) => path === 'e.txt'));
      assert.ok(existsSync(join(to, 'e.txt')) && !existsSync(join(to, 'b.txt')));
      assert.equal(readFileSync(join(ws, 'b.txt'), 'utf8'), 'v1\n', 'the workspace itself is not touched');
    } finally {
      rmSync(to, { recursive: true });
    }
    const { patch } = await ask(['apply', '--patch'], { ...keys, patch: 'string' });
    assert.match(patch, /^diff --git a\/a\.txt b\/a\.txt$/m);
    assert.equal((await ok(['apply', '--patch'])).stdout, patch);
  });

  it('label, gc, ports, network, list, doctor', async () => {
    await ask(['label', 'api', 'k1', 'the first'], { checkpoint: 'string', label: 'string' });
    await ask(['label', 'api', 'k1', '--clear'], { label: 'null' });
    await ask(['gc', 'api', '--keep', '100', '--dry-run'], { deleted: 'array', freedBytes: 'number' });
    await ask(['ports', 'api'], { ports: 'array' });
    assert.equal((await ask(['network', 'api'], { network: 'string' })).network, 'none');
    const { sandboxes } = await ask(['list'], { sandboxes: 'array' });
    has(sandboxes[0], { id: 'string', name: 'string', workspace: 'string', state: 'string', head: 'string' }, 'list');
    const doctor = await ask(['doctor'], { ok: 'boolean', needs: 'array' });
    for (const need of doctor.needs) has(need, { id: 'string', title: 'string', status: 'string' }, 'doctor');
  });

  it('stop and start keep the very moment', async () => {
    const { saved } = await ask(['stop', 'api'], { saved: 'string' });
    const started = await ask(['start', 'api'], { sandbox: 'string', head: 'string', checkpoint: 'string' });
    assert.equal(started.checkpoint, saved);
    const { processes } = await ask(['ps'], {});
    assert.ok(processes.some(({ command }: { command: string }) => command === 'sleep 31415'));
  });

  it('demo: ok, checks, latencies', async () => {
    const { ok: well, checks } = await ask(['demo'], { ok: 'boolean', checks: 'array', latencies: 'array' });
    assert.ok(well && checks.length >= 15);
  });

  it('rm: the sandbox is gone, the workspace is not', async () => {
    await ask(['rm', 'api'], { removed: 'string' });
    assert.deepEqual((await ask(['list'], {})).sandboxes, []);
    assert.equal(readFileSync(join(ws, 'b.txt'), 'utf8'), 'v1\n');
  });
});

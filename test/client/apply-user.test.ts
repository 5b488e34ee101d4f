/** `apply` by the built command line as a plain user, with the real helper: odd names, permissions, a git index in use. Needs root. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Connection } from '../../helper/client/connection.ts';
import { build, copyForUsers, program } from '../cli/program.ts';
import { HelperProcess, needsMachine } from '../daemon/helper-process.ts';
import { GIT_ENV, git as gitOfRoot, newRepository } from '../git/repositories.ts';

const UID = 1501;

describe('apply by a plain user', function () {
  this.timeout(60_000);
  let helper: HelperProcess;
  let connection: Connection;
  let sandbox: string;
  let top: string;
  let path: string;
  let ws: string;
  let count = 0;

  before(async function () {
    needsMachine(this);
    build();
    helper = await HelperProcess.start();
    helper.admit(UID);
    connection = await helper.connect();
    top = realpathSync(mkdtempSync(join(tmpdir(), 'apply-user-')));
    chmodSync(top, 0o755);
    chownSync(top, UID, UID);
    path = copyForUsers(top);
  });
  after(async () => {
    await helper?.stop();
    if (top) rmSync(top, { recursive: true, force: true });
  });

  const env = () => ({
    ...GIT_ENV,
    TELEPORT_ENV_SOCKET: helper.socket,
    XDG_STATE_HOME: join(top, 'state'),
    NO_COLOR: '1',
  });
  const call = (...argv: string[]) => program(argv, { cwd: ws, env: env(), uid: UID, path });
  async function ok(...argv: string[]): Promise<string> {
    const done = await call(...argv);
    assert.equal(done.code, 0, `${argv.join(' ')}: ${done.stdout}${done.stderr}`);
    return done.stdout;
  }
  async function inside(line: string, checkpoint = false): Promise<string> {
    const { output } = await connection.request('run', { sandbox, line, checkpoint });
    return Buffer.from(output, 'base64').toString();
  }
  const git = (...argv: string[]) =>
    execFileSync('git', argv, { cwd: ws, env: GIT_ENV, uid: UID, gid: UID, encoding: 'utf8' });
  /** A workspace that is a repository, with this in it, and a sandbox of it. */
  async function make(prepare: () => void): Promise<void> {
    ws = newRepository(join(top, `w${++count}`));
    prepare();
    gitOfRoot(ws, 'add', '-A');
    gitOfRoot(ws, 'commit', '-q', '--allow-empty', '-m', 'start');
    execFileSync('chown', ['-R', `${UID}:${UID}`, ws]);
    sandbox = JSON.parse(await ok('up', '--json')).sandbox;
  }

  it('brings odd names, links, modes, folders that went and came', async () => {
    await make(() => {
      for (const folder of ['gone/deep/er', 'becomes-file', 'stays']) mkdirSync(join(ws, folder), { recursive: true });
      for (const file of ['gone/deep/er/x', 'gone/y', 'becomes-file/x', 'becomes-folder', 'run.sh', 'target'])
        writeFileSync(join(ws, file), `${file}\n`);
      symlinkSync('target', join(ws, 'link'));
      symlinkSync('target', join(ws, 'link-becomes-file'));
    });
    await inside(`
      rm -r gone becomes-file becomes-folder link-becomes-file
      echo file > becomes-file; mkdir becomes-folder; echo x > becomes-folder/x; echo real > link-becomes-file
      ln -sfn ../../outside link; ln -s /etc/passwd absolute; ln -s loop loop
      chmod 4755 run.sh; chmod 600 target; mkdir -m 700 private; mkdir -p 'stays/a b'; mkfifo pipe
      echo 1 > ./-rf; echo 2 > "$(printf 'new\\nline')"; echo 3 > "q'\\"q"; echo 4 > 'sp ace '; echo 5 > '$HOME'; echo 6 > ü; echo 7 > "$(printf 'b\\200d')"; echo 8 > '*'`);
    const said = await ok('apply');
    assert.match(said, /left +pipe/);
    assert.match(said, /not UTF-8/);
    const read = (path: string) => readFileSync(join(ws, path), 'utf8');
    const odd = ['-rf', 'new\nline', `q'"q`, 'sp ace ', '$HOME', 'ü', '*'];
    assert.deepEqual(odd.map(read), ['1\n', '2\n', '3\n', '4\n', '5\n', '6\n', '8\n']);
    assert.deepEqual(
      [read('becomes-file'), read('becomes-folder/x'), read('link-becomes-file')],
      ['file\n', 'x\n', 'real\n'],
    );
    assert.deepEqual(
      ['link', 'absolute', 'loop'].map((path) => readlinkSync(join(ws, path))),
      ['../../outside', '/etc/passwd', 'loop'],
    );
    const mode = (path: string) => (statSync(join(ws, path)).mode & 0o7777).toString(8);
    assert.deepEqual(['run.sh', 'target', 'private'].map(mode), ['755', '600', '700']);
    assert.ok(statSync(join(ws, 'stays/a b')).isDirectory());
    for (const path of ['gone', 'pipe']) assert.ok(!existsSync(join(ws, path)), path);
    for (const name of readdirSync(ws)) assert.equal(lstatSync(join(ws, name)).uid, UID, name);
    assert.match(await ok('apply'), /nothing to apply/);
  });

  it('leaves a git index in use as it is, and what is staged in it', async () => {
    await make(() => writeFileSync(join(ws, 'b.txt'), 'b\n'));
    writeFileSync(join(ws, 'a.txt'), 'staged\n');
    git('add', 'a.txt');
    writeFileSync(join(ws, 'a.txt'), 'staged, and more\n');
    writeFileSync(join(ws, 'mine'), 'untracked\n');
    writeFileSync(join(ws, '.git/index.lock'), ''); // git is at work
    const index = readFileSync(join(ws, '.git/index'));
    await inside('echo inside > a.txt; echo inside > b.txt; git add -A; git commit -qm inside; git gc -q');
    const refused = await call('apply');
    assert.equal(refused.code, 1);
    assert.match(
      refused.stderr,
      /conflict +a\.txt +changed in the workspace as well[\s\S]*nothing was written[\s\S]*--force/,
    );
    assert.equal(readFileSync(join(ws, 'b.txt'), 'utf8'), 'b\n');
    await ok('apply', '--force');
    assert.deepEqual(
      [readFileSync(join(ws, 'a.txt'), 'utf8'), readFileSync(join(ws, 'mine'), 'utf8')],
      ['inside\n', 'untracked\n'],
    );
    assert.deepEqual(readFileSync(join(ws, '.git/index')), index);
    rmSync(join(ws, '.git/index.lock'));
    assert.equal(git('show', ':a.txt'), 'staged\n');
    assert.equal(git('log', '-1', '--format=%s'), 'start\n');
    assert.match(await ok('git', 'fetch'), /heads\/main/);
    assert.deepEqual(git('show', ':a.txt'), 'staged\n');
  });

  it('makes a patch that git applies to the same files', async () => {
    await make(() => {
      mkdirSync(join(ws, 'd'));
      writeFileSync(join(ws, 'd/gone'), 'x\n');
      writeFileSync(join(ws, 'binary'), Buffer.from([0, 1, 2, 255]));
      writeFileSync(join(ws, 'no-newline'), 'end');
      writeFileSync(join(ws, 'to-move'), `${'line\n'.repeat(50)}end\n`);
      symlinkSync('a.txt', join(ws, 'link'));
    });
    await inside(
      `rm -r d; printf '\\0\\5' > binary; printf 'other end' > no-newline; git mv to-move moved; ln -sfn b link; chmod 755 a.txt; echo x > 'odd "ü" name'; echo two >> a.txt; : > empty`,
    );
    const patch = await ok('apply', '--patch');
    const clone = join(top, `clone${count}`);
    git('clone', '-q', ws, clone);
    execFileSync('git', ['apply', '--index', '-'], { cwd: clone, env: GIT_ENV, input: patch, uid: UID, gid: UID });
    const tree = git('-C', clone, 'write-tree').trim();
    assert.equal((await inside('git add -A; git write-tree')).trim(), tree);
    assert.equal(git('status', '--porcelain'), '', 'the workspace is as it was');
  });

  it('says where it may not write, and writes nothing', async () => {
    await make(() => {
      mkdirSync(join(ws, 'locked'));
      writeFileSync(join(ws, 'locked/x'), 'x\n');
    });
    await inside('echo inside > a.txt; echo inside > locked/x; echo new > locked/new');
    chmodSync(join(ws, 'locked'), 0o555);
    const part = await call('apply', '--json');
    const { error } = JSON.parse(part.stdout);
    assert.deepEqual([part.code, error.code], [1, 'workspaceUnwritable']);
    assert.equal(readFileSync(join(ws, 'a.txt'), 'utf8'), 'one\n');
    assert.equal((await call('apply', '--force')).code, 1, 'no force helps');
    chmodSync(ws, 0o555);
    const whole = await call('apply');
    assert.equal(whole.code, 1);
    assert.match(whole.stderr, /no permission[\s\S]*--to[\s\S]*--patch/);
    assert.deepEqual(readdirSync(ws).sort(), ['.git', 'a.txt', 'locked']);
    const elsewhere = join(top, 'elsewhere');
    git('clone', '-q', ws, elsewhere);
    execFileSync('chown', ['-R', `${UID}:${UID}`, elsewhere]);
    await ok('apply', '--to', elsewhere);
    assert.equal(readFileSync(join(elsewhere, 'locked/new'), 'utf8'), 'new\n');
    for (const path of [ws, join(ws, 'locked')]) chmodSync(path, 0o755);
    await ok('apply');
    assert.equal(readFileSync(join(ws, 'locked/x'), 'utf8'), 'inside\n');
  });

  it('tries and bisects without a trace in the workspace', async () => {
    await make(() => {});
    for (const n of [1, 2, 3, 4]) await inside(`echo ${n} > n`, true);
    const found = JSON.parse(await ok('bisect', '--json', '--', 'sh', '-c', '! grep -q "[34]" n'));
    assert.ok(found.checkpoint && found.tried.length <= 4, JSON.stringify(found));
    assert.match(await ok('cat', found.checkpoint, join(ws, 'n')), /^3\n$/);
    const tried = JSON.parse(await ok('try', '--json', '--', 'rm -rf ./* .git; echo gone'));
    assert.deepEqual([tried.exitCode, tried.kept], [0, false]);
    assert.equal(await inside('cat n; git status --porcelain'), '4\n?? n\n');
    assert.deepEqual(readdirSync(ws).sort(), ['.git', 'a.txt']);
    assert.doesNotMatch(await ok('list', '--json'), /"role":"fork"/);
  });
});

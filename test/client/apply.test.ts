import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { changedPaths } from '../../helper/client/apply/changed.ts';
import { gatherFacts } from '../../helper/client/apply/gather.ts';
import { type PerformOptions, performApply } from '../../helper/client/apply/perform.ts';
import { planApply } from '../../helper/client/apply/plan.ts';
import type { Applied } from '../../helper/client/apply/record.ts';
import type { Change } from '../../helper/protocol/model.ts';
import { changesBetween, FOLDER, memoryPlace, type Node } from './memory-place.ts';

const WORKSPACE = '/w';
type Files = Record<string, Node>;

describe('apply', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'apply-'));
  });
  afterEach(() => {
    rmSync(dir, { recursive: true, force: true });
  });

  const inside = (files: Files) =>
    Object.fromEntries(Object.entries(files).map(([path, node]) => [`${WORKSPACE}/${path}`, node]));

  function fill(files: Files): void {
    for (const [path, node] of Object.entries(files)) {
      const target = join(dir, path);
      mkdirSync(dirname(target), { recursive: true });
      if (node === FOLDER) mkdirSync(target);
      else if (typeof node === 'object' && 'link' in node) symlinkSync(node.link, target);
      else if (typeof node === 'object' && 'text' in node) writeFileSync(target, node.text, { mode: node.mode });
      else writeFileSync(target, node as string);
    }
  }

  /** The workspace starts as the sandbox did, unless `ours` says otherwise. */
  async function plan(
    base: Files,
    theirs: Files,
    { applied = new Map() as Applied, changes = undefined as Change[] | undefined } = {},
  ) {
    const [before, after] = [memoryPlace(inside(base)), memoryPlace(inside(theirs))];
    const changed = await changedPaths(
      changes ?? changesBetween(before, after),
      WORKSPACE,
      before,
      after,
      applied.keys(),
    );
    const sides = { workspace: WORKSPACE, dir, before, after, applied };
    const made = planApply(await gatherFacts(changed, sides));
    for (const [path, reason] of changed.left) made.left.push({ path, reason });
    const perform = (options: Partial<PerformOptions> = {}) =>
      performApply(made, { dir, workspace: WORKSPACE, place: after, ...options });
    const says = made.steps.map(({ change }) => [change.kind, change.path, change.conflict].filter(Boolean).join(' '));
    return { made, says, perform };
  }

  const read = (path: string) => readFileSync(join(dir, path), 'utf8');
  const left = () => readdirSync(dir).filter((name) => name.startsWith('.teleport-env'));

  it('writes, deletes, links and sets permissions', async () => {
    const base: Files = {
      'a.txt': 'a1',
      gone: 'x',
      'run.sh': { text: '#!', mode: 0o644 },
      'folder/deep': 'd1',
      'old/one': '1',
      link: { link: 'a.txt' },
      same: 'same',
    };
    const theirs: Files = {
      'a.txt': 'a2',
      'run.sh': { text: '#!', mode: 0o4755 },
      'folder/deep': 'd2',
      'new/sub/file': Buffer.from([0, 255]),
      empty: FOLDER,
      link: { link: '../elsewhere' },
      same: 'same',
    };
    fill(base);
    const { says, perform } = await plan(base, theirs);
    assert.deepEqual(says, [
      'changed a.txt',
      'added empty',
      'changed folder/deep',
      'deleted gone',
      'link link',
      'added new',
      'added new/sub',
      'added new/sub/file',
      'deleted old',
      'deleted old/one',
      'mode run.sh',
    ]);
    const done = await perform();
    assert.deepEqual([done.conflicts, done.failed, done.applied.length], [[], [], 11]);
    assert.deepEqual([read('a.txt'), read('folder/deep')], ['a2', 'd2']);
    assert.deepEqual(readFileSync(join(dir, 'new/sub/file')), Buffer.from([0, 255]));
    assert.equal(statSync(join(dir, 'run.sh')).mode & 0o7777, 0o755, 'set-user-id never leaves a sandbox');
    assert.ok(statSync(join(dir, 'empty')).isDirectory());
    assert.equal(readlinkSync(join(dir, 'link')), '../elsewhere');
    for (const path of ['gone', 'old']) assert.ok(!existsSync(join(dir, path)), path);
    assert.deepEqual(left(), []);
  });

  it('has nothing to do twice', async () => {
    fill({ a: '2' });
    assert.deepEqual((await plan({ a: '1' }, { a: '2' })).says, []);
  });

  describe('conflicts', () => {
    const base: Files = { a: 'base', b: 'base', c: 'base', same: 'base' };
    const theirs: Files = { a: 'theirs', same: 'theirs!', added: 'theirs', c: 'base' };
    const ours: Files = { a: 'ours', b: 'ours', c: 'ours', same: 'theirs!', added: 'ours' };

    it('are found by content, of either side', async () => {
      fill(ours);
      const { says, perform } = await plan(base, theirs);
      assert.deepEqual(says, ['changed a changed', 'added added exists', 'deleted b changed']);
      const done = await perform();
      assert.deepEqual([done.applied, done.conflicts.length], [[], 3]);
      for (const path of ['a', 'b', 'c', 'added']) assert.equal(read(path), 'ours');
    });

    it('of a deleted file are called gone', async () => {
      fill({ other: 'x' });
      const { says } = await plan({ a: '1' }, { a: '2' });
      assert.deepEqual(says, ['changed a gone']);
    });

    it('are overwritten by force, all or some', async () => {
      fill(ours);
      const { perform } = await plan(base, theirs);
      const some = await perform({ force: ['a'] });
      assert.deepEqual(
        [some.applied.length, some.conflicts.length, read('a'), read('added')],
        [1, 2, 'theirs', 'ours'],
      );
      await (await plan(base, theirs)).perform({ force: true });
      assert.deepEqual([read('added'), existsSync(join(dir, 'b')), read('c')], ['theirs', false, 'ours']);
    });

    it('leave the rest to be applied, path by path', async () => {
      fill({ a: 'ours', x: '1', y: '1' });
      const { perform } = await plan({ a: '1', x: '1', y: '1' }, { a: '2', x: '2', y: '2' });
      const done = await perform({ paths: ['x', 'a'] });
      assert.deepEqual(
        done.applied.map(({ path }) => path),
        ['x'],
      );
      assert.deepEqual([read('a'), read('x'), read('y')], ['ours', '2', '1']);
    });

    it('are also what is written between plan and deed', async () => {
      fill({ a: '1', b: '1' });
      const { perform } = await plan({ a: '1', b: '1' }, { a: '2', b: '2' });
      writeFileSync(join(dir, 'a'), 'just now');
      const done = await perform();
      assert.deepEqual(
        done.conflicts.map(({ path }) => path),
        ['a'],
      );
      assert.deepEqual([read('a'), read('b')], ['just now', '2']);
    });

    it('of kind stand where a folder and a file meet, and no force helps', async () => {
      fill({ 'a/mine': 'x', b: 'file' });
      const { says, perform } = await plan({}, { a: 'file', 'b/c': 'theirs' });
      assert.deepEqual(says, ['added a type', 'added b type', 'added b/c type']);
      const done = await perform({ force: true });
      assert.deepEqual([done.applied.length, read('a/mine'), read('b')], [0, 'x', 'file']);
    });
  });

  it('never writes into .git, at any depth and in any case', async () => {
    fill({ '.git/config': 'mine', 'sub/.git': 'gitdir: x' });
    const { says, made } = await plan(
      { '.git/config': 'mine', 'sub/.git': 'gitdir: x' },
      { '.git/config': 'theirs', '.git/hooks/post-checkout': 'evil', 'sub/.git': 'evil', 'x/.GIT/config': 'evil' },
    );
    assert.deepEqual(says, ['added x']);
    assert.deepEqual(made.left.map(({ path }) => path).sort(), ['.git', 'sub/.git', 'x/.GIT']);
  });

  it('keeps .git of a folder that the sandbox deleted', async () => {
    fill({ 'sub/.git/config': 'mine', 'sub/a': '1' });
    const { perform } = await plan({ 'sub/.git/config': 'mine', 'sub/a': '1' }, {});
    await perform();
    assert.deepEqual([read('sub/.git/config'), existsSync(join(dir, 'sub/a'))], ['mine', false]);
  });

  it('follows no symlink out of the workspace', async () => {
    const outside = mkdtempSync(join(tmpdir(), 'outside-'));
    try {
      symlinkSync(outside, join(dir, 'sub'));
      const { says, perform } = await plan({ 'sub/keep': '1' }, { 'sub/keep': '1', 'sub/evil': 'x' });
      assert.deepEqual(says, ['added sub/evil type']);
      await perform({ force: true });
      assert.deepEqual(readdirSync(outside), []);
    } finally {
      rmSync(outside, { recursive: true });
    }
  });

  it('puts a folder in the place of a symlink without going through it', async () => {
    const outside = mkdtempSync(join(tmpdir(), 'outside-'));
    try {
      fill({ sub: { link: outside } });
      const { perform } = await plan({ sub: { link: outside } }, { 'sub/file': 'x' });
      const done = await perform();
      assert.deepEqual([done.failed, done.conflicts], [[], []]);
      assert.deepEqual([lstatSync(join(dir, 'sub')).isDirectory(), read('sub/file')], [true, 'x']);
      assert.deepEqual(readdirSync(outside), []);
    } finally {
      rmSync(outside, { recursive: true });
    }
  });

  it('puts a file in the place of a folder, unless there is more in it', async () => {
    fill({ 'a/x': '1' });
    assert.deepEqual((await (await plan({ 'a/x': '1' }, { a: 'file' })).perform()).failed, []);
    assert.equal(read('a'), 'file');
    fill({ 'b/x': '1', 'b/mine': 'm' });
    const { says } = await plan({ 'b/x': '1' }, { b: 'file' });
    assert.deepEqual(says, ['changed b type', 'deleted b/x']);
  });

  it('keeps a folder that holds what the sandbox never knew of', async () => {
    fill({ 'a/x': '1', 'a/mine': 'm' });
    const done = await (await plan({ 'a/x': '1' }, {})).perform();
    assert.deepEqual([done.failed, readdirSync(join(dir, 'a'))], [[], ['mine']]);
  });

  it('renames as one change, and folders with all they hold', async () => {
    fill({ a: 'content', 'old/x': '1', 'old/y': '2' });
    const { says, perform } = await plan(
      { a: 'content', 'old/x': '1', 'old/y': '2' },
      { b: 'content', 'new/x': '1', 'new/y': '2' },
      {
        changes: [
          { path: '/w/b', from: '/w/a', kind: 'renamed', type: 'file' },
          { path: '/w/new', from: '/w/old', kind: 'renamed', type: 'folder' },
        ],
      },
    );
    assert.deepEqual(says, [
      'renamed b',
      'added new',
      'added new/x',
      'added new/y',
      'deleted old',
      'deleted old/x',
      'deleted old/y',
    ]);
    await perform();
    assert.deepEqual(readdirSync(dir).sort(), ['b', 'new']);
    assert.equal(read('new/y'), '2');
  });

  it('keeps both names where the old one was changed here', async () => {
    fill({ a: 'ours' });
    const changes: Change[] = [{ path: '/w/b', from: '/w/a', kind: 'renamed', type: 'file' }];
    const { says } = await plan({ a: 'base' }, { b: 'base' }, { changes });
    assert.deepEqual(says, ['renamed b changed']);
  });

  it('leaves sockets, devices, nameless bytes and what lies outside the workspace', async () => {
    const { says, made } = await plan(
      {},
      { fifo: { other: true }, 'bad\ufffdname': 'x' },
      {
        changes: [
          { path: '/w/fifo', kind: 'added', type: 'other' },
          { path: '/w/bad\ufffdname', kind: 'added', type: 'file' },
          { path: '/etc/hosts', kind: 'changed', type: 'file' },
          { path: '/w', kind: 'changed', type: 'folder' },
        ],
      },
    );
    assert.deepEqual(says, []);
    assert.deepEqual(
      made.left.map(({ path }) => path),
      ['fifo', 'bad\ufffdname'],
    );
  });

  it('carries names with spaces, quotes, newlines and other writing', async () => {
    const names = ['a b', `q'"q`, 'n\nl', '日本', '-rf', '$HOME', '__proto__'];
    const theirs = Object.fromEntries(names.map((name) => [`d/${name}`, name]));
    const done = await (await plan({}, theirs)).perform();
    assert.deepEqual(done.failed, []);
    for (const name of names) assert.equal(read(`d/${name}`), name);
  });

  describe('a second time', () => {
    it('compares with what was applied before', async () => {
      fill({ a: '1', b: '1', c: '1' });
      const base = { a: '1', b: '1', c: '1' };
      const first = await (await plan(base, { a: '2', b: '2', c: '2' })).perform();
      // The user goes on with b, the sandbox with a; c goes back to what it was.
      writeFileSync(join(dir, 'b'), 'mine');
      const second = await plan(base, { a: '3', b: '2', c: '1' }, { applied: first.agreed });
      assert.deepEqual(second.says, ['changed a', 'changed c']);
      await second.perform();
      assert.deepEqual([read('a'), read('b'), read('c')], ['3', 'mine', '1']);
    });

    it('takes away what a rollback took away, but not what was changed since', async () => {
      const first = await (await plan({}, { x: '1', y: '1' })).perform();
      writeFileSync(join(dir, 'y'), 'mine');
      const second = await plan({}, {}, { applied: first.agreed });
      assert.deepEqual(second.says, ['deleted x', 'deleted y changed']);
    });
  });

  it('changes nothing where a file cannot be read to its end', async () => {
    fill({ a: '1', b: '1' });
    const base = { a: '1', b: '1' };
    const { made } = await plan(base, { a: '2', b: '2' });
    const broken = memoryPlace(inside({ a: '2', b: '2' }));
    const place = {
      ...broken,
      async *read(path: string) {
        if (path.endsWith('b')) throw new Error('cut');
        yield* broken.read(path);
      },
    };
    await assert.rejects(performApply(made, { dir, workspace: WORKSPACE, place }), /cut/);
    assert.deepEqual([read('a'), read('b'), left()], ['1', '1', []]);
  });

  it('takes away what one that was killed left, and not what another is filling', async () => {
    const program = `
      const { makeStaging } = require(${JSON.stringify(join(__dirname, '../../helper/client/apply/staging.ts'))});
      makeStaging(${JSON.stringify(dir)}).then((made) => (console.log(made), setInterval(() => {}, 1000)));`;
    const killed = spawn(process.execPath, ['--require', require.resolve('tsx/cjs'), '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line] = await once(killed.stdout, 'data');
    const abandoned = String(line).trim();
    writeFileSync(join(abandoned, '0'), 'half of it');
    fill({ a: '1' });
    const apply = async (from: string, to: string) => (await plan({ a: from }, { a: to })).perform();
    await apply('1', '2');
    assert.deepEqual(left(), [basename(abandoned)], 'its process lives');
    killed.kill('SIGKILL');
    await once(killed, 'close');
    mkdirSync(join(dir, '.teleport-env-mine'));
    await apply('2', '3');
    assert.deepEqual([read('a'), left()], ['3', ['.teleport-env-mine']]);
  });

  it('takes away what one that was killed left on a file system mounted in the workspace', async function () {
    if (process.getuid?.() !== 0) return this.skip(); // who may mount one
    fill({ a: '1', 'sub/m': FOLDER, 'sub/n': FOLDER });
    const mounted = join(dir, 'sub/m');
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=600m', 'none', mounted]);
    try {
      const program = `
        const { performApply } = require(${JSON.stringify(join(__dirname, '../../helper/client/apply/perform.ts'))});
        const change = { path: 'sub/m/big', kind: 'added', type: 'file', conflict: null };
        const theirs = { type: 'file', key: 'file:', mode: 0o644, size: 0 };
        const place = { async *read() { for (let i = 0; i < 250; i++) yield Buffer.alloc(1 << 20, 1); } };
        performApply({ steps: [{ change, ours: null, theirs }], agreed: new Map() }, { dir: ${JSON.stringify(dir)}, workspace: '/w', place });`;
      const killed = spawn(process.execPath, ['--require', require.resolve('tsx/cjs'), '-e', program], {
        stdio: 'inherit',
      });
      const ended = once(killed, 'close');
      while (readdirSync(mounted).length === 0 && killed.exitCode === null) await new Promise(setImmediate);
      killed.kill('SIGKILL');
      await ended;
      const [rest] = readdirSync(mounted);
      assert.match(rest!, /^\.teleport-env-/, 'killed in the middle');
      assert.deepEqual(left(), [rest]);
      // What only says that there is something elsewhere is not believed.
      writeFileSync(join(dir, 'sub/n', rest!), 'mine');
      const outside = mkdtempSync(join(tmpdir(), 'apply-outside-'));
      writeFileSync(join(outside, rest!), 'mine');
      symlinkSync(outside, join(dir, 'sub/link'));
      appendFileSync(join(dir, rest!, 'beside'), `sub/link\0../${basename(outside)}\0`);
      await (await plan({ a: '1' }, { a: '2' })).perform();
      assert.deepEqual([read('a'), left(), readdirSync(mounted)], ['2', [], []]);
      assert.deepEqual(readdirSync(outside), [rest]);
      assert.ok(existsSync(join(dir, 'sub/n', rest!)));
      rmSync(outside, { recursive: true });
      // And one that is not killed leaves nothing.
      await (await plan({}, { 'sub/m/new': { text: 'x', mode: 0o755 } })).perform();
      assert.deepEqual([readdirSync(mounted), statSync(join(mounted, 'new')).mode & 0o777], [['new'], 0o755]);
    } finally {
      execFileSync('umount', [mounted]);
    }
  });

  it('changes nothing where the disk is too small for all of it', async function () {
    if (process.getuid?.() !== 0) return this.skip(); // who may mount one
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'none', dir]);
    try {
      fill({ a: '1', b: '1' });
      const { perform } = await plan({ a: '1', b: '1' }, { a: '2', b: Buffer.alloc(1 << 20, 1) });
      await assert.rejects(perform(), (error: Error & { code: string }) => {
        assert.equal(error.code, 'workspaceUnwritable');
        assert.match(error.message, /no space left/);
        return true;
      });
      assert.deepEqual([read('a'), read('b'), left()], ['1', '1', []]);
    } finally {
      execFileSync('umount', [dir]);
    }
  });

  it('says where it may not write', async function () {
    if (process.getuid?.() === 0) return this.skip();
    fill({ 'locked/a': '1' });
    chmodSync(join(dir, 'locked'), 0o555);
    const { says } = await plan({ 'locked/a': '1' }, { 'locked/a': '2' });
    assert.deepEqual(says, ['changed locked/a unwritable']);
    chmodSync(join(dir, 'locked'), 0o755);
  });
});

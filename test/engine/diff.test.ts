import assert from 'node:assert/strict';
import fs from 'node:fs';
import { join } from 'node:path';
import { changesOf, countChanges, diff, diffAsync } from '../../helper/engine/diff.ts';
import { toBytes } from '../../helper/engine/libc.ts';
import { LayerStack } from '../../helper/engine/stack.ts';
import { removeTree } from '../../helper/engine/trees.ts';
import type { Change } from '../../helper/protocol/index.ts';
import { disturb, OverlaySandbox, randomNumbers, type Seen, seenByKernel } from './overlay-sandbox.ts';
import { makeVolume, type Volume, volumeMissing } from './volume.ts';

type Tree = Map<string, Seen>;

/** Checks a list of changes against the two trees that it is to lead from and to. */
function verify(changes: Change[], a: Tree, b: Tree, about: string): void {
  const of = new Map<string, Set<string>>();
  const note = (path: string, kind: string) => of.set(path, (of.get(path) ?? new Set()).add(kind));
  const below = (tree: Tree, path: string) => [...tree.keys()].filter((p) => p === path || p.startsWith(`${path}/`));
  assert.equal(new Set(changes.map(({ path, kind }) => `${kind} ${path}`)).size, changes.length, `${about}: twice`);
  for (const { path, kind, from, type } of changes) {
    const bytes = unshow(path);
    if (kind !== 'renamed') {
      assert.equal(type, (kind === 'deleted' ? a : b).get(bytes)?.type, `${about}: ${kind} ${path}`);
      note(bytes, kind);
      continue;
    }
    for (const p of type === 'folder' ? below(a, unshow(from!)) : [unshow(from!)]) note(p, 'deleted');
    for (const p of type === 'folder' ? below(b, bytes) : [bytes]) note(p, 'added');
    if (type === 'file')
      assert.equal(a.get(unshow(from!))?.content, b.get(bytes)?.content, `${about}: ${from} ${path}`);
  }
  for (const path of new Set([...a.keys(), ...b.keys(), ...of.keys()])) {
    const kinds = of.get(path) ?? new Set();
    const what = `${about}: ${path} ${[...kinds]}`;
    const [before, after] = [a.get(path), b.get(path)];
    assert.ok(before !== undefined || after !== undefined, what);
    if (before === undefined) assert.ok(kinds.has('added') && !kinds.has('deleted'), what);
    else if (after === undefined) assert.ok(kinds.has('deleted') && !kinds.has('added'), what);
    else if (!kinds.has('added')) {
      const leaf = before.type !== 'folder' || after.type !== 'folder';
      let expected: string[] = [];
      if (before.type !== after.type) expected = ['changed'];
      else if (leaf && before.content !== after.content) expected = [before.type === 'symlink' ? 'link' : 'changed'];
      else if (before.mode !== after.mode || before.owner !== after.owner) expected = ['mode'];
      assert.deepEqual([...kinds], expected, what);
    }
  }
}

/** The one name of the random trees that is not UTF-8 shows like that. */
const unshow = (path: string) => toBytes(path.replaceAll('\ufffd\ufffd', '\x01')).replaceAll('\x01', '\xff\xfe');

describe('diff', function () {
  this.timeout(600_000);
  let volume: Volume;
  before(function () {
    const missing = volumeMissing();
    if (missing !== undefined) {
      this.test!.title += ` (${missing})`;
      this.skip();
    }
    volume = makeVolume(1500);
  });
  after(() => volume?.release());
  const at = (name: string) => join(volume.path, name);

  it('leads from any checkpoint to any other', async () => {
    const descriptors = fs.readdirSync('/proc/self/fd').length;
    let renamed = 0;
    for (let seed = 1; seed <= Number(process.env.SEEDS ?? 12); seed++) {
      const random = randomNumbers(seed);
      const hardLinks = seed % 2 === 0;
      fs.mkdirSync(at(`${seed}/base`), { recursive: true });
      disturb(at(`${seed}/base`), 300, random, hardLinks);
      const sandbox = new OverlaySandbox(at(String(seed)), at(`${seed}/base`), !hardLinks);
      const checkpoints: { stack: LayerStack; tree: Tree }[] = [];
      try {
        sandbox.start();
        for (let round = 0; round < 7; round++) {
          disturb(sandbox.merged, 25, random, hardLinks);
          const tree = seenByKernel(sandbox.merged);
          const below = new LayerStack(sandbox.layers);
          const parent = checkpoints.find(({ stack }) => stack.paths.join() === below.paths.join());
          if (parent !== undefined) verify(changesOf(sandbox.upper, below), parent.tree, tree, `${seed} live ${round}`);
          const layer = sandbox.capture();
          checkpoints.push({ stack: new LayerStack([layer, ...sandbox.layers]), tree });
          // Some heads go on after their checkpoint, some start afresh from it or from its parent.
          if (random(2) === 0) sandbox.goOnFrom(layer);
          else if (random(3) === 0) {
            sandbox.stop();
            sandbox.start();
          }
        }
      } finally {
        sandbox.stop();
      }
      for (const [i, from] of checkpoints.entries())
        for (const [j, to] of checkpoints.entries()) {
          const changes = diff(from.stack, to.stack);
          renamed += changes.filter(({ kind, type }) => kind === 'renamed' && type === 'folder').length;
          verify(changes, from.tree, to.tree, `seed ${seed} ${i} to ${j}`);
          const plain = diff(from.stack, to.stack, { renames: false }).length;
          assert.equal(await countChanges(from.stack, to.stack), plain, `seed ${seed} ${i} to ${j}, counted`);
          assert.deepEqual(
            changes.map(({ path }) => path),
            changes.map(({ path }) => path).sort((x, y) => (x < y ? -1 : x > y ? 1 : 0)),
          );
        }
    }
    assert.ok(renamed > 0);
    const now = fs.readdirSync('/proc/self/fd').length;
    assert.ok(now <= descriptors, `${now}, ${descriptors} before`);
  });

  describe('of one sandbox', () => {
    let sandbox: OverlaySandbox;
    let below: LayerStack;
    beforeEach(() => {
      const base = at('one/base');
      fs.mkdirSync(join(base, 'dir/sub'), { recursive: true });
      fs.mkdirSync(join(base, '.teleport-env'));
      fs.writeFileSync(join(base, 'dir/file'), 'file');
      fs.writeFileSync(join(base, 'dir/other'), 'other');
      fs.writeFileSync(join(base, 'dir/sub/large'), Buffer.alloc(400_000, 'x'));
      fs.symlinkSync('file', join(base, 'dir/link'));
      sandbox = new OverlaySandbox(at('one'), base);
      sandbox.start();
      below = new LayerStack([base]);
    });
    afterEach(async () => {
      sandbox.stop();
      await removeTree(at('one'));
    });
    const inside = (name: string) => join(sandbox.merged, name);
    const lines = (changes: Change[]) =>
      changes.map(({ kind, path, from, type, size }) => `${kind} ${from ?? ''}>${path} ${type} ${size ?? '-'}`);
    const now = () => lines(changesOf(sandbox.upper, below));

    it('is empty for what was only touched', () => {
      fs.utimesSync(inside('dir/file'), 1, 1);
      fs.writeFileSync(inside('dir/other'), 'other');
      fs.chmodSync(inside('dir/sub/large'), 0o600);
      fs.chmodSync(inside('dir/sub/large'), 0o644);
      fs.writeFileSync(inside('.teleport-env/ours'), 'x');
      fs.renameSync(inside('dir/link'), inside('dir/l'));
      fs.renameSync(inside('dir/l'), inside('dir/link'));
      assert.deepEqual(now(), []);
    });

    it('sees a change that keeps size and time', () => {
      const { atime, mtime } = fs.statSync(inside('dir/file'));
      fs.writeFileSync(inside('dir/file'), 'FILE');
      fs.utimesSync(inside('dir/file'), atime, mtime);
      assert.deepEqual(now(), ['changed >/dir/file file 4']);
    });

    it('names each kind', () => {
      fs.chmodSync(inside('dir/file'), 0o600);
      fs.unlinkSync(inside('dir/link'));
      fs.symlinkSync('elsewhere', inside('dir/link'));
      fs.renameSync(inside('dir/other'), inside('moved'));
      fs.rmSync(inside('dir/sub'), { recursive: true });
      fs.mkdirSync(inside('new'));
      assert.deepEqual(now(), [
        'mode >/dir/file file 4',
        'link >/dir/link symlink -',
        'deleted >/dir/sub folder -',
        'deleted >/dir/sub/large file 400000',
        'renamed /dir/other>/moved file 5',
        'added >/new folder -',
      ]);
    });

    it('follows a moved folder, and what happened in it', () => {
      fs.renameSync(inside('dir'), inside('moved'));
      fs.writeFileSync(inside('moved/file'), 'changed');
      fs.unlinkSync(inside('moved/link'));
      fs.renameSync(inside('moved/sub'), inside('out'));
      fs.mkdirSync(inside('dir'));
      fs.writeFileSync(inside('dir/file'), 'new');
      assert.deepEqual(now(), [
        'added >/dir folder -',
        'added >/dir/file file 3',
        'deleted >/dir/link symlink -',
        'renamed /dir>/moved folder -',
        'changed >/moved/file file 7',
        'renamed /dir/sub>/out folder -',
      ]);
    });

    it('does not guess where a content stands several times', () => {
      fs.writeFileSync(inside('copy1'), 'file');
      fs.writeFileSync(inside('copy2'), 'file');
      fs.unlinkSync(inside('dir/file'));
      assert.deepEqual(now(), ['added >/copy1 file 4', 'added >/copy2 file 4', 'deleted >/dir/file file 4']);
    });

    it('keeps below a path', () => {
      fs.writeFileSync(inside('dir/file'), 'x');
      fs.writeFileSync(inside('top'), 'x');
      const live = new LayerStack([sandbox.upper, ...below.paths]);
      assert.deepEqual(lines(diff(below, live, { under: '/dir/' })), ['changed >/dir/file file 1']);
      assert.deepEqual(lines(diff(below, live, { under: '/dir/file' })), ['changed >/dir/file file 1']);
      assert.deepEqual(diff(below, live, { under: '/dir/sub' }), []);
      assert.deepEqual(diff(below, live, { under: '/none' }), []);
    });

    it('copes with 100,000 files in slices that let others run', async () => {
      for (let d = 0; d < 100; d++) {
        fs.mkdirSync(join(sandbox.upper, `many${d}`));
        for (let i = 0; i < 1000; i++) fs.writeFileSync(join(sandbox.upper, `many${d}/${i}`), '');
      }
      const live = new LayerStack([sandbox.upper, ...below.paths]);
      const started = performance.now();
      assert.equal(diff(below, live).length, 100_100);
      const whole = performance.now() - started;
      let longest = 0;
      let last = performance.now();
      const timer = setInterval(() => {
        longest = Math.max(longest, performance.now() - last);
        last = performance.now();
      }, 1);
      assert.equal(await countChanges(below, live), 100_100);
      clearInterval(timer);
      console.log(`      diff ${whole.toFixed(0)} ms; longest slice of countChanges ${longest.toFixed(1)} ms`);
      assert.ok(longest < whole / 2);
      const abort = new AbortController();
      setTimeout(() => abort.abort(new Error('enough')), 20);
      await assert.rejects(diffAsync(below, live, { signal: abort.signal }), /enough/);
    });
  });
});

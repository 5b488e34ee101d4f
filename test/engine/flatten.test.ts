import assert from 'node:assert/strict';
import fs from 'node:fs';
import { join } from 'node:path';
import { inSlices } from '../../helper/engine/diff.ts';
import { flatten } from '../../helper/engine/flatten.ts';
import { mount, umount2 } from '../../helper/engine/syscalls.ts';
import { makeLike } from '../../helper/engine/trees.ts';
import { xattrOf } from '../../helper/engine/xattrs.ts';
import { disturb, OverlaySandbox, randomNumbers, type Seen, seenByKernel } from './overlay-sandbox.ts';
import { makeVolume, type Volume, volumeMissing } from './volume.ts';

describe('flattening', function () {
  this.timeout(300_000);
  let volume: Volume;
  before(function () {
    const missing = volumeMissing();
    if (missing !== undefined) {
      this.test!.title += ` (${missing})`;
      this.skip();
    }
    volume = makeVolume();
  });
  after(() => volume?.release());
  const at = (name: string) => join(volume.path, name);
  const descriptors = () => fs.readdirSync('/proc/self/fd').length;

  /** What a branch on these layers shows, before and after a change. */
  function seenOn(home: string, layers: readonly string[], change: (root: string) => void): Map<string, Seen>[] {
    const [upper, work, root] = ['upper', 'work', 'root'].map((name) => join(home, name)) as [string, string, string];
    fs.mkdirSync(home);
    makeLike(upper, layers[0]!);
    for (const dir of [work, root]) fs.mkdirSync(dir);
    const options = 'index=on,nfs_export=on,xino=on,redirect_dir=on,metacopy=off';
    mount('overlay', root, 'overlay', 0, `lowerdir=${layers.join(':')},upperdir=${upper},workdir=${work},${options}`);
    try {
      const before = seenByKernel(root);
      change(root);
      return [before, seenByKernel(root)];
    } finally {
      umount2(root);
    }
  }

  it('shows what the layers showed, over what lies below them, and is changed alike', async () => {
    const open = descriptors();
    let redirected = 0;
    for (let seed = 1; seed <= Number(process.env.SEEDS ?? 8); seed++) {
      const random = randomNumbers(seed);
      const hardLinks = seed % 2 === 0;
      const home = at(`s${seed}`);
      const base = join(home, 'base');
      fs.mkdirSync(base, { recursive: true });
      disturb(base, 150, random, hardLinks);
      const sandbox = new OverlaySandbox(home, base, false);
      sandbox.start();
      for (let layer = 0; layer < 6; layer++) {
        disturb(sandbox.merged, 60, random, hardLinks);
        sandbox.goOnFrom(sandbox.capture());
      }
      sandbox.stop();
      const { layers } = sandbox;
      for (const depth of [1, 3, layers.length - 1]) {
        const flat = join(home, `flat${depth}`);
        await inSlices(flatten(layers, depth, flat));
        const change = (root: string) => disturb(root, 60, randomNumbers(seed * 100), hardLinks);
        const [before, after] = seenOn(join(home, `a${depth}`), layers, change);
        const [flatBefore, flatAfter] = seenOn(join(home, `b${depth}`), [flat, ...layers.slice(depth)], change);
        assert.deepEqual([...flatBefore!], [...before!], `seed ${seed}, ${depth} layers`);
        assert.deepEqual([...flatAfter!], [...after!], `seed ${seed}, ${depth} layers, changed`);
        // Twice flattened is flattened.
        const again = join(home, `again${depth}`);
        await inSlices(flatten([flat, ...layers.slice(depth)], 1, again));
        const [twice] = seenOn(join(home, `c${depth}`), [again, ...layers.slice(depth)], () => {});
        assert.deepEqual([...twice!], [...before!]);
      }
      redirected += redirects(join(home, `flat${layers.length - 1}`));
    }
    assert.ok(redirected > 0, 'renamed directories of the base were among them');
    assert.ok(descriptors() <= open, 'none stays open');
  });

  it('keeps times, hard links, whiteouts and what an opaque directory hides', async () => {
    const home = at('exact');
    const base = join(home, 'base');
    fs.mkdirSync(join(base, 'dir/sub'), { recursive: true });
    for (const name of ['dir/old', 'dir/sub/x', 'gone']) fs.writeFileSync(join(base, name), name);
    const sandbox = new OverlaySandbox(home, base);
    sandbox.start();
    const inside = (name: string) => join(sandbox.merged, name);
    fs.rmSync(inside('gone'));
    fs.writeFileSync(inside('one'), 'linked');
    fs.linkSync(inside('one'), inside('two'));
    fs.utimesSync(inside('one'), 1e9, 1.5e9);
    sandbox.goOnFrom(sandbox.capture());
    fs.rmSync(inside('dir'), { recursive: true });
    fs.mkdirSync(inside('dir'));
    fs.writeFileSync(inside('dir/new'), 'new');
    fs.utimesSync(inside('dir'), 1e9, 1.25e9);
    sandbox.goOnFrom(sandbox.capture());
    fs.rmSync(inside('dir/new'));
    sandbox.goOnFrom(sandbox.capture());
    sandbox.stop();
    const flat = join(home, 'flat');
    await inSlices(flatten(sandbox.layers, 3, flat));
    seenOn(join(home, 'view'), [flat, base], (root) => {
      assert.deepEqual(fs.readdirSync(root).sort(), ['dir', 'one', 'two']);
      assert.deepEqual(fs.readdirSync(join(root, 'dir')), []);
      assert.equal(fs.statSync(join(root, 'one')).mtimeMs, 1.5e12);
      assert.equal(fs.statSync(join(root, 'one')).ino, fs.statSync(join(root, 'two')).ino);
    });
  });
});

/** Directories of a layer that lead elsewhere in the layers below. */
function redirects(layer: string): number {
  return [...seenByKernel(layer)].filter(([path, { type }]) => {
    if (type !== 'folder') return false;
    const fd = fs.openSync(Buffer.from(Buffer.from(layer).toString('latin1') + path, 'latin1'), 'r');
    try {
      return xattrOf(fd, Buffer.from('trusted.overlay.redirect\0')) !== null;
    } finally {
      fs.closeSync(fd);
    }
  }).length;
}

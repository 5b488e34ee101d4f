import assert from 'node:assert/strict';
import fs from 'node:fs';
import { join } from 'node:path';
import { completeHardLinks, mayLackNames } from '../../helper/engine/hard-links.ts';
import type { Entry } from '../../helper/engine/layer.ts';
import { LinkedNames, seenAt } from '../../helper/engine/linked-names.ts';
import type { Steps } from '../../helper/engine/same-content.ts';
import { LayerStack, openEntry } from '../../helper/engine/stack.ts';
import { lsetxattr, makedev, mknod, mount, umount2 } from '../../helper/engine/syscalls.ts';
import { disturb, OverlaySandbox, randomNumbers, type Seen, seenByKernel } from './overlay-sandbox.ts';
import { makeVolume, type Volume, volumeMissing } from './volume.ts';

function seenByStack(stack: LayerStack): Map<string, Seen> {
  const seen = new Map<string, Seen>();
  const visit = (path: string, entry: Entry) => {
    let content = '';
    if (entry.type === 'symlink') content = entry.target()!;
    if (entry.type === 'file') {
      const fd = openEntry(entry)!;
      content = fs.readFileSync(fd, 'latin1');
      fs.closeSync(fd);
    }
    const { mode, uid, gid } = entry.stat;
    seen.set(path === '' ? '/' : path, { type: entry.type, mode: mode & 0o7777, owner: `${uid}:${gid}`, content });
    if (entry.type !== 'folder') return;
    const children: [string, Entry][] = [];
    stack.eachChild(entry, (name, child) => children.push([name, child]));
    for (const [name, child] of children.sort(([a], [b]) => (a < b ? -1 : 1))) visit(`${path}/${name}`, child);
  };
  stack.retain();
  visit('', stack.rootEntry());
  stack.release();
  return seen;
}

function finish<T>(steps: Steps<T>): T {
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

const sorted = (seen: Map<string, Seen>) => [...seen].sort(([a], [b]) => (a < b ? -1 : 1));
const openDescriptors = () => fs.readdirSync('/proc/self/fd').length;

describe('LayerStack', function () {
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

  it('shows what the kernel shows, through many layers', () => {
    const descriptors = openDescriptors();
    for (let seed = 1; seed <= Number(process.env.SEEDS ?? 12); seed++) {
      const random = randomNumbers(seed);
      fs.mkdirSync(at(`${seed}/base`), { recursive: true });
      const hardLinks = seed % 2 === 0;
      disturb(at(`${seed}/base`), 300, random, hardLinks);
      const sandbox = new OverlaySandbox(at(String(seed)), at(`${seed}/base`), !hardLinks);
      sandbox.start();
      try {
        for (let round = 0; round < 6; round++) {
          disturb(sandbox.merged, 40, random, hardLinks);
          const kernel = seenByKernel(sandbox.merged);
          const live = new LayerStack([sandbox.upper, ...sandbox.layers]);
          assert.deepEqual(sorted(seenByStack(live)), sorted(kernel), `seed ${seed} round ${round}, live`);
          const layer = sandbox.capture();
          const saved = new LayerStack([layer, ...sandbox.layers]);
          assert.deepEqual(sorted(seenByStack(saved)), sorted(kernel), `seed ${seed} round ${round}, checkpoint`);
          for (const path of kernel.keys())
            assert.equal(saved.lookupBytes(path)?.type, kernel.get(path)!.type, `${seed} ${round} ${path}`);
          sandbox.goOnFrom(layer);
          assert.deepEqual(sorted(seenByKernel(sandbox.merged)), sorted(kernel), 'a copy as lower layer');
        }
      } finally {
        sandbox.stop();
      }
    }
    assert.equal(openDescriptors(), descriptors);
  });

  it('shows what the kernel shows of hard links, once the layer is completed', () => {
    let made = 0;
    let onlyInIndex = 0;
    for (let seed = 1; seed <= Number(process.env.SEEDS ?? 12); seed++) {
      const random = randomNumbers(seed);
      fs.mkdirSync(at(`h${seed}/base`), { recursive: true });
      disturb(at(`h${seed}/base`), 400, random);
      const sandbox = new OverlaySandbox(at(`h${seed}`), at(`h${seed}/base`));
      const linked = new LinkedNames();
      sandbox.start();
      try {
        for (let round = 0; round < 5; round++) {
          disturb(sandbox.merged, 40, random);
          const kernel = seenByKernel(sandbox.merged);
          const layer = sandbox.capture();
          const below = new LayerStack(sandbox.layers);
          const suspected = mayLackNames(sandbox.indexFolder) || sandbox.saved !== undefined;
          const completed = finish(completeHardLinks(layer, below, linked, sandbox.saved));
          assert.ok(
            suspected || completed === 0,
            `seed ${seed} round ${round}: names lacking that the index does not tell`,
          );
          made += completed;
          if (sandbox.saved !== undefined) onlyInIndex++;
          const saved = new LayerStack([layer, ...sandbox.layers]);
          assert.deepEqual(sorted(seenByStack(saved)), sorted(kernel), `seed ${seed} round ${round}`);
          assert.equal(finish(completeHardLinks(layer, below, linked, sandbox.saved)), 0);
          sandbox.goOnFrom(layer);
          assert.deepEqual(
            sorted(seenByKernel(sandbox.merged)),
            sorted(kernel),
            `seed ${seed} round ${round}, mounted`,
          );
        }
      } finally {
        sandbox.stop();
      }
    }
    assert.ok(made > 0 && onlyInIndex > 0);
  });

  it('knows by the index alone that no name is lacking, however many files are new or written to', () => {
    const base = at('index/base');
    fs.mkdirSync(base, { recursive: true });
    for (const name of ['a', 'b', 'c']) fs.writeFileSync(join(base, name), name);
    fs.linkSync(join(base, 'b'), join(base, 'b2'));
    fs.linkSync(join(base, 'c'), join(base, 'c2'));
    const sandbox = new OverlaySandbox(at('index'), base);
    sandbox.start();
    try {
      fs.writeFileSync(join(sandbox.merged, 'new'), '');
      fs.linkSync(join(sandbox.merged, 'new'), join(sandbox.merged, 'newer'));
      fs.writeFileSync(join(sandbox.merged, 'a'), 'written');
      assert.equal(mayLackNames(sandbox.indexFolder), false);
      for (const name of ['b', 'b2']) fs.appendFileSync(join(sandbox.merged, name), 'written');
      assert.equal(mayLackNames(sandbox.indexFolder), false, 'under all its names');
      fs.writeFileSync(join(sandbox.merged, 'c'), 'written');
      assert.equal(mayLackNames(sandbox.indexFolder), true);
      fs.unlinkSync(join(base, 'c2'));
      assert.equal(mayLackNames(sandbox.indexFolder), false, "the other was a former mount's index, which is gone");
    } finally {
      sandbox.stop();
    }
  });

  it('walks the layers below once for their hard links, and again where one changed', () => {
    const base = at('once/base');
    for (let folder = 0; folder < 20; folder++) {
      fs.mkdirSync(join(base, `d${folder}`), { recursive: true });
      for (let file = 0; file < 100; file++) fs.writeFileSync(join(base, `d${folder}/f${file}`), '');
    }
    fs.linkSync(join(base, 'd0/f0'), join(base, 'd7/other'));
    fs.linkSync(join(base, 'd1/f1'), join(base, 'd8/another'));
    const sandbox = new OverlaySandbox(at('once'), base);
    sandbox.start();
    try {
      const linked = new LinkedNames();
      const complete = () => {
        const layer = sandbox.capture();
        const work = completeHardLinks(layer, new LayerStack(sandbox.layers), linked, sandbox.saved);
        for (let steps = 0; ; steps++) {
          const { done, value } = work.next();
          if (done) return { layer, steps, made: value };
        }
      };
      fs.writeFileSync(join(sandbox.merged, 'd0/f0'), 'written');
      const first = complete();
      assert.ok(first.made === 1 && first.steps > 2000, JSON.stringify(first));
      assert.equal(fs.readFileSync(join(first.layer, 'd7/other'), 'utf8'), 'written');
      // Another file, in a folder that is elsewhere by now, twice.
      fs.writeFileSync(join(sandbox.merged, 'd1/f1'), 'written too');
      fs.renameSync(join(sandbox.merged, 'd8'), join(sandbox.merged, 'd9/moved'));
      fs.renameSync(join(sandbox.merged, 'd9'), join(sandbox.merged, 'e9'));
      const second = complete();
      assert.ok(second.made === 2 && second.steps < 50, JSON.stringify(second));
      assert.equal(fs.readFileSync(join(second.layer, 'e9/moved/another'), 'utf8'), 'written too');
      // The base is not ours alone.
      fs.linkSync(join(base, 'd1/f1'), join(base, 'd2/third'));
      const third = complete();
      assert.ok(third.made === 3 && third.steps > 2000, JSON.stringify(third));
    } finally {
      sandbox.stop();
    }
  });

  it('tells where a path may be seen that folders above moved', () => {
    const one = [{ path: '/b', below: '/a' }];
    const two = [
      { path: '/c', below: '/b' },
      { path: '/c/in', below: '/a/x' },
    ];
    assert.deepEqual(seenAt('/a/x/f', [one, two]).sort(), ['/a/x/f', '/b/x/f', '/c/in/f', '/c/x/f']);
    assert.deepEqual(seenAt('/ab/f', [one, two]), ['/ab/f']);
  });

  it('knows whiteouts made of xattrs', () => {
    for (const name of ['x/top/dir', 'x/low/dir']) fs.mkdirSync(at(name), { recursive: true });
    fs.writeFileSync(at('x/low/dir/gone'), 'low');
    fs.writeFileSync(at('x/low/dir/kept'), 'low');
    fs.writeFileSync(at('x/top/dir/gone'), '');
    lsetxattr(at('x/top/dir'), 'trusted.overlay.opaque', 'x');
    lsetxattr(at('x/top/dir/gone'), 'trusted.overlay.whiteout', '');
    fs.mkdirSync(at('x/merged'));
    mount('overlay', at('x/merged'), 'overlay', 0, `lowerdir=${at('x/top')}:${at('x/low')}`);
    try {
      assert.deepEqual(fs.readdirSync(at('x/merged/dir')), ['kept']);
    } finally {
      umount2(at('x/merged'));
    }
    const stack = new LayerStack([at('x/top'), at('x/low')]);
    assert.deepEqual(
      stack.readdir('/dir').map(({ name }) => name),
      ['kept'],
    );
    assert.equal(stack.lookup('/dir/gone'), null);
  });

  it('follows redirects out of a redirected folder', () => {
    // b/c was moved to /z while b was called a further down.
    for (const name of ['r/1/z', 'r/2/b', 'r/3/a/c']) fs.mkdirSync(at(name), { recursive: true });
    fs.writeFileSync(at('r/3/a/c/file'), 'found');
    lsetxattr(at('r/1/z'), 'trusted.overlay.redirect', '/b/c');
    lsetxattr(at('r/2/b'), 'trusted.overlay.redirect', 'a');
    mknod(at('r/2/a'), fs.constants.S_IFCHR, makedev(0, 0));
    const stack = new LayerStack([at('r/1'), at('r/2'), at('r/3')]);
    assert.equal(stack.lookup('/z/file')?.realPath, at('r/3/a/c/file'));
    assert.equal(stack.lookup('/z/file')?.layerIndex, 2);
    assert.equal(stack.lookup('/b/c/file')?.layerIndex, 2);
    assert.equal(stack.lookup('/a'), null);
    fs.mkdirSync(at('r/merged'));
    mount(
      'overlay',
      at('r/merged'),
      'overlay',
      0,
      `lowerdir=${at('r/1')}:${at('r/2')}:${at('r/3')},redirect_dir=follow`,
    );
    try {
      assert.deepEqual(sorted(seenByStack(stack)), sorted(seenByKernel(at('r/merged'))));
    } finally {
      umount2(at('r/merged'));
    }
  });

  it('follows a redirect out of an opaque folder, reached by another redirect', () => {
    for (const name of ['o/1/z', 'o/2/c/d', 'o/3/x', 'o/3/c/d']) fs.mkdirSync(at(name), { recursive: true });
    fs.writeFileSync(at('o/3/x/file'), 'found');
    fs.writeFileSync(at('o/3/c/d/hidden'), '');
    lsetxattr(at('o/1/z'), 'trusted.overlay.redirect', '/c/d');
    lsetxattr(at('o/2/c'), 'trusted.overlay.opaque', 'y');
    lsetxattr(at('o/2/c/d'), 'trusted.overlay.redirect', '/x');
    const stack = new LayerStack([at('o/1'), at('o/2'), at('o/3')]);
    fs.mkdirSync(at('o/merged'));
    mount(
      'overlay',
      at('o/merged'),
      'overlay',
      0,
      `lowerdir=${at('o/1')}:${at('o/2')}:${at('o/3')},redirect_dir=follow`,
    );
    try {
      assert.deepEqual(fs.readdirSync(at('o/merged/z')), ['file']);
      assert.deepEqual(sorted(seenByStack(stack)), sorted(seenByKernel(at('o/merged'))));
    } finally {
      umount2(at('o/merged'));
    }
  });

  describe('reading', () => {
    let stack: LayerStack;
    before(() => {
      for (const name of ['f/up/etc', 'f/low/etc', 'f/low/dir']) fs.mkdirSync(at(name), { recursive: true });
      fs.writeFileSync(at('f/secret'), 'secret');
      fs.writeFileSync(at('f/low/etc/passwd'), 'ours');
      fs.writeFileSync(at('f/low/dir/file'), '0123456789');
      fs.symlinkSync('../etc/passwd', at('f/low/dir/relative'));
      fs.symlinkSync('/etc/passwd', at('f/up/absolute'));
      fs.symlinkSync('/etc', at('f/up/folder'));
      fs.symlinkSync('../../../../../etc/passwd', at('f/up/dots'));
      fs.symlinkSync(at('f/secret'), at('f/up/outside'));
      fs.symlinkSync('loop2', at('f/up/loop1'));
      fs.symlinkSync('loop1', at('f/up/loop2'));
      for (let i = 0; i < 41; i++) fs.symlinkSync(i === 0 ? 'etc/passwd' : `chain${i - 1}`, at(`f/up/chain${i}`));
      mknod(at('f/up/fifo'), fs.constants.S_IFIFO | 0o600);
      fs.mkdirSync(at('f/up/mounted'));
      stack = new LayerStack([at('f/up'), at('f/low')]);
    });
    const read = (path: string) => {
      const file = stack.open(path);
      try {
        return file.read(0, 1000).toString();
      } finally {
        file.close();
      }
    };

    it('resolves symlinks inside the stack', () => {
      for (const path of ['/dir/relative', '/absolute', '/folder/passwd', '/dots', '/chain39', '/dir/../absolute'])
        assert.equal(read(path), 'ours', path);
    });

    it('never leaves the stack', () => {
      for (const path of [
        '/outside',
        '/../secret',
        '/etc/../../secret',
        '/loop1',
        '/chain40',
        '/dir/file/x',
        '/nothing',
      ])
        assert.throws(() => read(path), { code: 'unknownPath' }, path);
      assert.equal(stack.lookup('/folder/passwd'), null);
      assert.equal(stack.lookup('/../secret'), null);
      assert.throws(() => read('/fifo'), { code: 'notAFile' });
      assert.throws(() => read('/dir'), { code: 'notAFile' });
      assert.throws(() => stack.readdir('/dir/file'), { code: 'notADirectory' });
    });

    it('does not enter a mount in a layer', () => {
      mount(at('f/low'), at('f/up/mounted'), null, 4096);
      try {
        assert.deepEqual(stack.readdir('/mounted'), []);
        assert.throws(() => read('/mounted/etc/passwd'), { code: 'unknownPath' });
      } finally {
        umount2(at('f/up/mounted'));
      }
    });

    it('never leaves the stack while folders turn into symlinks', () => {
      const up = at('f/up/race');
      fs.mkdirSync(`${up}/deep`, { recursive: true });
      fs.writeFileSync(`${up}/deep/secret`, 'inside');
      const entry = stack.lookup('/race/deep/secret')!;
      fs.renameSync(`${up}/deep`, `${up}/old`);
      fs.symlinkSync(at('f'), `${up}/deep`);
      assert.equal(openEntry(entry), null);
    });

    it('reads ranges', () => {
      const file = stack.open('/dir/file');
      assert.equal(file.size, 10);
      assert.equal(file.read(3, 4).toString(), '3456');
      assert.equal(file.read(8, 100).toString(), '89');
      assert.equal(file.read(10, 5).length, 0);
      file.close();
    });

    it('says what things are', () => {
      assert.deepEqual(
        { ...stack.stat('/absolute'), mtimeMs: 0, mode: 0 },
        {
          type: 'symlink',
          size: 11,
          mode: 0,
          mtimeMs: 0,
          target: '/etc/passwd',
        },
      );
      assert.equal(stack.stat('/folder/passwd').type, 'file');
      assert.equal(stack.stat('/').type, 'folder');
      assert.equal(stack.stat('/fifo').type, 'other');
    });
  });
});

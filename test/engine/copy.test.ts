import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import { close, namesIn, openRoot } from '../../helper/engine/at.ts';
import { copyTree } from '../../helper/engine/copy.ts';
import { inSlices } from '../../helper/engine/diff.ts';
import { llistxattr, lsetxattr, makedev, mknod, mount, umount2, utimensat } from '../../helper/engine/syscalls.ts';
import { bytesBelow, countEntries, moveChildren, removeTree } from '../../helper/engine/trees.ts';
import { makeVolume, type Volume, volumeMissing } from './volume.ts';

/** Everything that a copy must keep, one line per entry; `Buffer` names, so that any will do. */
function describeTree(root: string): string[] {
  const first = new Map<bigint, string>();
  const lines: string[] = [];
  const visit = (path: Buffer, shown: string) => {
    const stat = fs.lstatSync(path, { bigint: true });
    const link = stat.isDirectory() ? '' : (first.get(stat.ino) ?? shown);
    first.set(stat.ino, link);
    const content = stat.isFile()
      ? fs.readFileSync(path).toString('latin1')
      : stat.isSymbolicLink()
        ? fs.readlinkSync(path, 'latin1')
        : '';
    const xattrs = llistxattr(path).sort().join();
    // A whiteout's times mean nothing and are not kept.
    const mtime = stat.isCharacterDevice() && stat.rdev === 0n ? 0n : stat.mtimeNs;
    lines.push([shown, stat.mode, stat.uid, stat.gid, stat.rdev, mtime, link, xattrs, content].join('|'));
    if (stat.isDirectory())
      for (const name of fs.readdirSync(path, { encoding: 'buffer' }).sort(Buffer.compare))
        visit(Buffer.concat([path, Buffer.from('/'), name]), `${shown}/${name.toString('latin1')}`);
  };
  visit(Buffer.from(root), '');
  return lines;
}

function makeEverything(root: string): void {
  const at = (name: string) => join(root, name);
  fs.mkdirSync(at('sub/empty'), { recursive: true });
  fs.writeFileSync(at('small'), 'small');
  fs.writeFileSync(at('empty'), '');
  fs.writeFileSync(at('large'), Buffer.alloc(3_000_000, 'large'));
  fs.writeFileSync(at('setuid'), 'x');
  fs.chownSync(at('setuid'), 12, 34);
  fs.chmodSync(at('setuid'), 0o6751);
  fs.linkSync(at('small'), at('sub/same'));
  fs.symlinkSync('/etc/passwd', at('sub/outside'));
  fs.lchownSync(at('sub/outside'), 5, 6);
  mknod(at('fifo'), fs.constants.S_IFIFO | 0o640);
  mknod(at('socket'), fs.constants.S_IFSOCK | 0o600);
  mknod(at('null'), fs.constants.S_IFCHR | 0o666, makedev(1, 3));
  mknod(at('disk'), fs.constants.S_IFBLK | 0o660, makedev(259, 70_000));
  mknod(at('sub/gone'), fs.constants.S_IFCHR, makedev(0, 0));
  fs.writeFileSync(Buffer.concat([Buffer.from(at('sub/')), Buffer.of(0xff, 0xfe, 0x41)]), 'not UTF-8');
  const sparse = fs.openSync(at('sparse'), 'w');
  fs.writeSync(sparse, 'end', 50_000_000);
  fs.closeSync(sparse);
  lsetxattr(at('small'), 'trusted.overlay.origin', 'o');
  lsetxattr(at('sub'), 'trusted.overlay.opaque', 'y');
  lsetxattr(at('sub/outside'), 'trusted.x', 'on a link');
  fs.chmodSync(at('sub'), 0o2770);
  for (const name of ['small', 'sub/outside', 'fifo', 'sub']) utimensat(at(name), 1_000_000_007n, -3n);
}

describe('copyTree', function () {
  this.timeout(60_000);
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

  it('keeps everything, on the same file system', () => {
    fs.mkdirSync(at('a'));
    makeEverything(at('a'));
    const copied = copyTree(at('a'), at('a-copy'));
    assert.deepEqual(describeTree(at('a-copy')), describeTree(at('a')));
    assert.equal(copied, describeTree(at('a')).length - 1);
    assert.ok(fs.statSync(at('a-copy/sparse')).blocks < 1000);
    const shared = execFileSync('filefrag', ['-v', at('a-copy/large')], { encoding: 'utf8' });
    assert.match(shared, /shared/);
  });

  it('keeps everything, and holes, where extents can not be shared', () => {
    fs.mkdirSync(at('tmpfs'));
    mount('tmpfs', at('tmpfs'), 'tmpfs', 0);
    try {
      copyTree(at('a'), at('tmpfs/copy'));
      assert.deepEqual(describeTree(at('tmpfs/copy')), describeTree(at('a')));
      assert.ok(fs.statSync(at('tmpfs/copy/sparse')).blocks < 1000);
    } finally {
      umount2(at('tmpfs'));
    }
  });

  it('keeps modes under any umask', () => {
    const before = process.umask(0o077);
    try {
      copyTree(at('a'), at('umask'));
    } finally {
      process.umask(before);
    }
    assert.deepEqual(describeTree(at('umask')), describeTree(at('a')));
  });

  it('copies a tree deeper than a path can name, and removes it', async () => {
    execFileSync(
      'bash',
      ['-c', 'mkdir deep; cd deep; n=$(printf %0200d 0); for i in {1..40}; do mkdir $n; cd $n; done; echo x > end'],
      {
        cwd: volume.path,
      },
    );
    assert.equal(copyTree(at('deep'), at('deep-copy')), 41);
    assert.equal(countEntries(at('deep-copy'), 1000), 41);
    await removeTree(at('deep'));
    await removeTree(at('deep-copy'));
    assert.ok(!fs.existsSync(at('deep')) && !fs.existsSync(at('deep-copy')));
  });

  it('says ENOSPC and the file where the volume is full', () => {
    mount('tmpfs', at('tmpfs'), 'tmpfs', 0, 'size=1m');
    try {
      assert.throws(() => copyTree(at('a'), at('tmpfs/copy')), { code: 'ENOSPC', path: 'large' });
    } finally {
      umount2(at('tmpfs'));
    }
  });

  it('counts up to a limit', () => {
    assert.equal(countEntries(at('a'), 5), 5);
    assert.equal(countEntries(at('a'), 1000), describeTree(at('a')).length - 1);
  });

  it('sees nothing in a folder that is removed while it is open, as by a program whose files are counted', () => {
    const gone = at('gone');
    fs.mkdirSync(gone);
    const fd = openRoot(gone);
    fs.rmdirSync(gone);
    try {
      assert.deepEqual(namesIn(fd), []);
    } finally {
      close(fd);
    }
  });

  it('adds up the bytes of a tree deeper than the stack', async () => {
    const make =
      'import os; os.mkdir("chain"); os.chdir("chain")\nfor _ in range(6000): os.mkdir("a"); os.chdir("a")\n';
    execFileSync('python3', ['-c', `${make}open("end", "w").write("x" * 5000)`], { cwd: volume.path });
    const before = fs.readdirSync('/proc/self/fd').length;
    assert.equal(await inSlices(bytesBelow(at('chain'))), 8192);
    assert.ok(fs.readdirSync('/proc/self/fd').length <= before);
    await removeTree(at('chain'));
  });

  it('moves a tree and back', () => {
    const before = describeTree(at('a'));
    fs.mkdirSync(at('moved'));
    lsetxattr(at('moved'), 'trusted.stale', '1');
    moveChildren(at('a'), at('moved'));
    assert.deepEqual(describeTree(at('moved')), before);
    assert.deepEqual(fs.readdirSync(at('a')), []);
    moveChildren(at('moved'), at('a'));
    assert.deepEqual(describeTree(at('a')), before);
  });

  it('moves back what it moved when a move fails', () => {
    const before = describeTree(at('a'));
    fs.mkdirSync(at('a/held'));
    fs.mkdirSync(at('target'), { recursive: true });
    // A mount point can't be renamed.
    mount('tmpfs', at('a/held'), 'tmpfs', 0);
    assert.throws(() => moveChildren(at('a'), at('target')), { code: 'EBUSY' });
    umount2(at('a/held'));
    fs.rmdirSync(at('a/held'));
    assert.deepEqual(fs.readdirSync(at('target')), []);
    const times = (lines: string[]) => lines.slice(1);
    assert.deepEqual(times(describeTree(at('a'))), times(before));
  });

  it('removes nothing that is mounted or linked', async () => {
    fs.mkdirSync(at('r/m'), { recursive: true });
    fs.symlinkSync(at('a'), at('r/link'));
    mount(at('a'), at('r/m'), null, 4096);
    await assert.rejects(removeTree(at('r')), { code: 'EBUSY' });
    umount2(at('r/m'));
    await removeTree(at('r'));
    await removeTree(at('r'));
    assert.ok(!fs.existsSync(at('r')));
    assert.ok(fs.existsSync(at('a/small')));
  });

  it('removes large trees and names that are not UTF-8', async () => {
    fs.mkdirSync(at('many'));
    for (let i = 0; i < 1000; i++) fs.writeFileSync(at(`many/${i}`), '');
    await removeTree(at('many'));
    await removeTree(at('a-copy'));
    assert.ok(!fs.existsSync(at('many')) && !fs.existsSync(at('a-copy')));
  });
});

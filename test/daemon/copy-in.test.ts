/** What gets into a sandbox of a workspace, and with whose rights. Needs root. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { copyIn } from '../../helper/daemon/copy-in.ts';
import type { Owner } from '../../helper/daemon/owner.ts';
import { llistxattr, lsetxattr, utimensat } from '../../helper/engine/syscalls.ts';
import type { TeleportError } from '../../helper/protocol/errors.ts';

const USER = 1502;
const root: Owner = { uid: 0, gid: 0, groups: [], home: '/root' };
const user: Owner = { uid: USER, gid: USER, groups: [], home: '/' };

describe('copy-in', () => {
  let dir: string;
  let ws: string;
  let layer: string;
  before(function () {
    if (process.geteuid?.() !== 0) this.skip();
  });
  beforeEach(() => {
    dir = fs.mkdtempSync(join(tmpdir(), 'copy-in-'));
    fs.chmodSync(dir, 0o755);
    ws = join(dir, 'ws');
    layer = join(dir, 'layer');
    for (const folder of [ws, layer]) fs.mkdirSync(folder);
  });
  afterEach(() => fs.rmSync(dir, { recursive: true, force: true }));

  const told: [number | undefined, number | undefined][] = [];
  async function copy(owner: Owner, exclude: string[] = [], signal?: AbortSignal): Promise<string> {
    told.length = 0;
    const progress = (_: string, done?: number, total?: number) => void told.push([done, total]);
    await copyIn(owner, ws, layer, { base: '/', exclude, progress, signal, doing: 'copying' });
    return join(layer, ws);
  }
  /** All that must be kept of an entry, in one line. */
  function facts(path: string, followed: Map<bigint, string>, shown: string): string {
    const s = fs.lstatSync(path, { bigint: true });
    const first = s.isFile() && s.nlink > 1n ? (followed.get(s.ino) ?? shown) : '';
    if (first) followed.set(s.ino, first);
    const content = s.isSymbolicLink()
      ? fs.readlinkSync(path)
      : s.isFile() && s.size < 1000n
        ? fs.readFileSync(path)
        : '';
    const xattrs = llistxattr(Buffer.from(path)).filter((name) => !name.startsWith('trusted.overlay'));
    const size = s.isFile() ? s.size : '';
    return [shown, s.mode.toString(8), s.uid, s.gid, size, s.mtimeNs, first, xattrs, content].join('|');
  }
  function describeTree(top: string): string[] {
    const followed = new Map<bigint, string>();
    const names = fs.readdirSync(top, { recursive: true, encoding: 'utf8' }).sort();
    return ['', ...names].map((name) => facts(join(top, name), followed, name));
  }

  it('keeps modes, times, owners, links, xattrs and holes, of the folder itself too', async () => {
    fs.mkdirSync(join(ws, 'd/e'), { recursive: true });
    fs.writeFileSync(join(ws, 'd/file'), 'text');
    fs.writeFileSync(join(ws, 'setuid'), 'x');
    fs.chownSync(join(ws, 'setuid'), 12, 34);
    fs.chmodSync(join(ws, 'setuid'), 0o6755);
    fs.writeFileSync(join(ws, 'unwritable'), '', { mode: 0o400 });
    fs.linkSync(join(ws, 'd/file'), join(ws, 'd/e/same'));
    fs.linkSync(join(ws, 'd/file'), join(ws, 'zz-same'));
    fs.symlinkSync('nowhere/at/all', join(ws, 'd/link'));
    fs.lchownSync(join(ws, 'd/link'), 5, 6);
    fs.writeFileSync(join(ws, 'spa ce\n\'"日本'), 'odd');
    const hole = fs.openSync(join(ws, 'hole'), 'w');
    fs.writeSync(hole, 'end', 50_000_000);
    fs.closeSync(hole);
    lsetxattr(join(ws, 'd/file'), 'user.note', 'of a file');
    lsetxattr(ws, 'user.note', 'of the folder');
    fs.chmodSync(join(ws, 'd'), 0o2770);
    fs.chmodSync(ws, 0o750);
    fs.chownSync(ws, 7, 8);
    for (const name of ['d/file', 'd/link', 'd', '']) utimensat(join(ws, name), 1_000_000_007n, 2_000_000_009n);
    const before = describeTree(ws);
    const copied = await copy(root);
    assert.deepEqual(describeTree(copied), before);
    const { blocks } = fs.statSync(join(copied, 'hole'));
    assert.ok(blocks * 512 < 1_000_000, `the hole is one: ${blocks} blocks`);
  });

  it('keeps hard links between two of thousands of names, and says how far it is', async () => {
    for (let i = 0; i < 1200; i++) fs.writeFileSync(join(ws, `f${String(i).padStart(4, '0')}`), '');
    fs.linkSync(join(ws, 'f0000'), join(ws, 'zz'));
    const copied = await copy(root);
    assert.equal(fs.statSync(join(copied, 'f0000')).ino, fs.statSync(join(copied, 'zz')).ino);
    assert.deepEqual(told[0], [0, 1201]);
    assert.deepEqual(told.at(-1), [1201, 1201]);
  });

  it('gives a plain user all that they may read, with its owners', async () => {
    fs.chownSync(ws, USER, USER);
    fs.writeFileSync(join(ws, 'mine'), 'm');
    fs.chownSync(join(ws, 'mine'), USER, USER);
    fs.mkdirSync(join(ws, 'roots'));
    fs.writeFileSync(join(ws, 'roots/file \xe9'), 'r', { mode: 0o644 });
    fs.symlinkSync('/etc/shadow', join(ws, 'roots/link'));
    const before = describeTree(ws);
    assert.deepEqual(describeTree(await copy(user)), before);
  });

  it('refuses by name what the user may not read, and copies the rest without it', async () => {
    fs.chownSync(ws, USER, USER);
    fs.writeFileSync(join(ws, 'a'), 'a');
    fs.mkdirSync(join(ws, 'secret'), { mode: 0o700 });
    fs.writeFileSync(join(ws, 'secret/key'), 'k');
    await assert.rejects(copy(user), (error: TeleportError) => {
      assert.deepEqual([error.code, /secret/.test(error.message)], ['workspaceUnreadable', true]);
      assert.match(error.hint!, /--exclude/);
      return true;
    });
    fs.rmSync(layer, { recursive: true });
    fs.mkdirSync(layer);
    assert.deepEqual(fs.readdirSync(await copy(user, ['secret'])), ['a']);
  });

  it('reads no folder through a link that the user could not read', async () => {
    fs.rmdirSync(ws);
    fs.mkdirSync(join(dir, 'hidden'), { mode: 0o700 });
    fs.symlinkSync(join(dir, 'hidden'), ws);
    await assert.rejects(copy(user), (error: TeleportError) => error.code === 'workspaceUnreadable');
  });

  it('can be cancelled in the middle', async () => {
    for (let i = 0; i < 300; i++) fs.writeFileSync(join(ws, `f${i}`), Buffer.alloc(100_000, 'x'));
    const abort = new AbortController();
    const copying = copy(root, [], abort.signal);
    abort.abort();
    await assert.rejects(copying, { name: 'AbortError' });
  });

  it('says that a file system has no room', async () => {
    const small = join(dir, 'small');
    fs.mkdirSync(small);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=300k', 'none', small]);
    try {
      fs.writeFileSync(join(ws, 'big'), Buffer.alloc(1_000_000, 'x'));
      layer = join(small, 'layer');
      fs.mkdirSync(layer);
      await assert.rejects(copy(root), (error: TeleportError) => error.code === 'volumeFull');
    } finally {
      execFileSync('umount', [small]);
    }
  });
});

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { changedPaths } from '../../helper/client/apply/changed.ts';
import { makePatch } from '../../helper/client/apply/patch.ts';
import type { Change } from '../../helper/protocol/model.ts';
import { changesBetween, memoryPlace, type Node } from './memory-place.ts';

type Files = Record<string, Node>;
const lines = (count: number, change?: (n: number) => string | undefined) =>
  Array.from({ length: count }, (_, i) => change?.(i) ?? `line ${i}\n`).join('');
/** Bytes that look random and are always the same. */
const noise = (length: number, seed: number) =>
  Buffer.from(Array.from({ length }, (_, i) => (i * i * 31 + i * seed + (i >> 3)) & 255));

describe('a patch', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'patch-'));
  });
  afterEach(() => {
    rmSync(dir, { recursive: true, force: true });
  });

  function put(files: Files): void {
    for (const [path, node] of Object.entries(files)) {
      const target = join(dir, path);
      mkdirSync(dirname(target), { recursive: true });
      if (typeof node === 'object' && 'link' in node) symlinkSync(node.link, target);
      else if (typeof node === 'object' && 'text' in node) {
        writeFileSync(target, node.text);
        chmodSync(target, node.mode);
      } else writeFileSync(target, node as string | Buffer);
    }
  }

  async function patchOf(before: Files, after: Files, changes?: Change[]) {
    const inside = (files: Files) =>
      memoryPlace(Object.fromEntries(Object.entries(files).map(([path, node]) => [`/w/${path}`, node])));
    const [from, to] = [inside(before), inside(after)];
    return await makePatch(await changedPaths(changes ?? changesBetween(from, to), '/w', from, to), '/w', from, to);
  }

  const cases: [string, Files, Files][] = [
    ['text', { a: lines(50) }, { a: lines(50, (n) => (n === 3 || n === 40 ? 'other\n' : undefined)) }],
    ['an added and a deleted file', { old: lines(3) }, { new: lines(3, (n) => `n${n}\n`) }],
    ['the first line and the last', { a: lines(5) }, { a: `top\n${lines(5)}end\n` }],
    ['no newline at the end', { a: 'x\ny', b: 'x\ny\n', c: 'x' }, { a: 'x\ny\n', b: 'x\ny', c: 'z' }],
    ['empty files', { a: '', b: 'x\n' }, { b: '', c: '' }],
    ['binary files', { a: noise(3000, 1), gone: noise(70, 5) }, { a: noise(3000, 2), new: noise(53, 3) }],
    ['text that is not UTF-8', { a: Buffer.from([0x61, 0xe9, 0x0a]) }, { a: Buffer.from([0x62, 0xe9, 0x0a]) }],
    ['carriage returns', { a: 'x\r\ny\r\n' }, { a: 'x\r\nz\r\n' }],
    [
      'permissions',
      { a: { text: 'x\n', mode: 0o644 }, b: { text: 'x\n', mode: 0o644 } },
      { a: { text: 'x\n', mode: 0o755 }, b: { text: 'y\n', mode: 0o755 } },
    ],
    ['links', { a: { link: 'x' }, b: { link: 'x' } }, { a: { link: 'y' }, c: { link: 'z' } }],
    ['a file that became a link', { a: 'text\n' }, { a: { link: 'x' } }],
    [
      'hostile names',
      { 'a b': '1\n', 'q"q': '1\n' },
      { 'a b': '2\n', 'q"q': '2\n', 'n\nl': 'x\n', 'd/日本 é': 'x\n', 't\tt': noise(9, 1) },
    ],
    ['a file that became a folder', { a: 'x\n' }, { 'a/b': 'y\n' }],
  ];
  for (const [what, before, after] of cases)
    it(`of ${what} is one that git applies`, async () => {
      put(before);
      const { patch } = await patchOf(before, after);
      execFileSync('git', ['apply', '--whitespace=nowarn', '-'], {
        cwd: dir,
        input: patch,
        env: { ...process.env, GIT_CEILING_DIRECTORIES: tmpdir() },
      });
      for (const path of Object.keys(before))
        if (!(path in after) && what !== 'a file that became a folder') assert.ok(!existsSync(join(dir, path)), path);
      for (const [path, node] of Object.entries(after)) {
        const target = join(dir, path);
        if (typeof node === 'object' && 'link' in node) assert.equal(readlinkSync(target), node.link);
        else if (typeof node === 'object' && 'text' in node) {
          assert.deepEqual(
            [readFileSync(target, 'utf8'), lstatSync(target).mode & 0o111],
            [node.text, node.mode & 0o111],
          );
        } else assert.deepEqual(readFileSync(target), Buffer.from(node as string | Buffer), path);
      }
    });

  it('says renames, and applies', async () => {
    const before = { a: lines(30), same: lines(20) };
    const after = { b: lines(30, (n) => (n === 2 ? 'new\n' : undefined)), moved: lines(20) };
    put(before);
    const { patch, files } = await patchOf(before, after, [
      { path: '/w/b', from: '/w/a', kind: 'renamed', type: 'file' },
      { path: '/w/moved', from: '/w/same', kind: 'renamed', type: 'file' },
    ]);
    assert.equal(files, 2);
    assert.match(patch, /rename from a\nrename to b\n/);
    execFileSync('git', ['apply', '-'], {
      cwd: dir,
      input: patch,
      env: { ...process.env, GIT_CEILING_DIRECTORIES: tmpdir() },
    });
    assert.deepEqual([existsSync(join(dir, 'a')), readFileSync(join(dir, 'b'), 'utf8')], [false, after.b]);
    assert.ok(existsSync(join(dir, 'moved')));
  });

  it('leaves out .git and what did not change', async () => {
    const { patch, files } = await patchOf({ '.git/config': 'a', a: 'x' }, { '.git/config': 'b', a: 'x' });
    assert.deepEqual([patch, files], ['', 0]);
  });
});

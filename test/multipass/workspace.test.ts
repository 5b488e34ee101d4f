import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Plan, Step } from '../../helper/client/apply/plan.ts';
import { runProgram } from '../../src/connection/multipass/runner.ts';
import { copyIn } from '../../src/connection/multipass/workspace/copy-in.ts';
import { leftOutWords } from '../../src/connection/multipass/workspace/exclusions.ts';
import { fitting, lookAtDisk, windowsTakes } from '../../src/connection/multipass/workspace/host-disk.ts';
import { nameFor, normalHost, toHost, toMachine } from '../../src/connection/multipass/workspace/paths.ts';
import { linkTarget, walk } from '../../src/connection/multipass/workspace/walk.ts';

const here = {
  kind: 'exec' as const,
  program: (argv: readonly string[]) => ({ command: argv[0]!, args: argv.slice(1) }),
};

describe('a workspace on its way into the machine', () => {
  let dir: string;
  let from: string;
  let to: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'teleport-env-copy-'));
    from = join(dir, 'from');
    to = join(dir, 'workspaces', 'from');
    mkdirSync(from);
  });
  afterEach(() => {
    execFileSync('chmod', ['-R', 'u+rwX', dir]);
    rmSync(dir, { recursive: true });
  });
  const way = { transport: here, run: runProgram };
  const copy = (exclude: string[] = [], signal?: AbortSignal) =>
    copyIn({ ...way, signal }, { folder: from, to, exclude: new Set(exclude) });

  it('arrives as it is: names in any language and of any length, modes, links, line ends, empty folders', async () => {
    const long = `${'deep/'.repeat(60)}${'n'.repeat(120)}.txt`;
    const files: { [path: string]: string } = {
      'plain.txt': 'one\n',
      'crlf.bat': 'a\r\nb\r\n',
      'ünïcödé/日本語 🙂.txt': 'x',
      'quote\'"$(id) .txt': 'y',
      [long]: 'z',
      empty: '',
      'block.bin': 'b'.repeat(512),
    };
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(join(from, path, '..'), { recursive: true });
      writeFileSync(join(from, path), text);
    }
    chmodSync(join(from, 'plain.txt'), 0o640);
    writeFileSync(join(from, 'run.sh'), '#!/bin/sh\n');
    chmodSync(join(from, 'run.sh'), 0o755);
    mkdirSync(join(from, 'nothing-in-it'));
    mkdirSync(join(from, 'sealed'));
    writeFileSync(join(from, 'sealed/inside'), '1');
    chmodSync(join(from, 'sealed'), 0o555);
    symlinkSync('plain.txt', join(from, 'link'));
    symlinkSync(`../${'far/'.repeat(40)}ü`, join(from, 'long-link'));
    const copied = await copy();
    for (const [path, text] of Object.entries(files)) assert.equal(readFileSync(join(to, path), 'utf8'), text, path);
    assert.equal(lstatSync(join(to, 'plain.txt')).mode & 0o777, 0o640);
    assert.equal(lstatSync(join(to, 'run.sh')).mode & 0o777, 0o755);
    assert.equal(lstatSync(join(to, 'sealed')).mode & 0o777, 0o555);
    assert.deepEqual(readdirSync(join(to, 'nothing-in-it')), []);
    assert.equal(readlinkSync(join(to, 'link')), 'plain.txt');
    assert.equal(readlinkSync(join(to, 'long-link')), readlinkSync(join(from, 'long-link')));
    assert.equal(Math.round(lstatSync(join(to, 'empty')).mtimeMs), Math.round(lstatSync(join(from, 'empty')).mtimeMs));
    assert.equal(copied.files, Object.keys(files).length + 2);
    assert.deepEqual(copied.skipped, []);
    assert.deepEqual(readdirSync(join(dir, 'workspaces')), ['from']);
  });

  it('leaves out what is named, at any depth, and says so; tells of what it cannot carry', async () => {
    for (const path of ['node_modules/a', 'pkg/node_modules/b', 'src'])
      mkdirSync(join(from, path), { recursive: true });
    writeFileSync(join(from, 'src/a.ts'), '');
    const server = createServer().listen(join(from, 'a.sock'));
    await new Promise((resolve) => server.once('listening', resolve));
    const copied = await copy(['node_modules']);
    server.close();
    assert.deepEqual(copied.leftOut, ['node_modules', 'pkg/node_modules']);
    assert.equal(leftOutWords(copied.leftOut), 'node_modules (2)');
    assert.deepEqual(copied.skipped, [{ path: 'a.sock', reason: 'neither a file, a folder nor a symlink' }]);
    assert.deepEqual(readdirSync(to).sort(), ['pkg', 'src']);
  });

  it('takes the place of what was there before, whole', async () => {
    writeFileSync(join(from, 'a'), '1');
    await copy();
    rmSync(join(from, 'a'));
    writeFileSync(join(from, 'b'), '2');
    await copy();
    assert.deepEqual(readdirSync(to), ['b']);
  });

  it('a stream that breaks off leaves what was there', async () => {
    writeFileSync(join(from, 'a'), '1');
    await copy();
    writeFileSync(join(from, 'b'), Buffer.alloc(2_000_000));
    // Exactly between two entries, where tar sees nothing wrong.
    const cut = {
      kind: 'exec' as const,
      program: (argv: readonly string[]) => ({ command: 'sh', args: ['-c', 'head -c 1536 | "$@"', 'sh', ...argv] }),
    };
    await assert.rejects(copyIn({ ...way, transport: cut }, { folder: from, to, exclude: new Set() }), /broke off/);
    assert.deepEqual(readdirSync(to), ['a']);
    assert.deepEqual(readdirSync(join(dir, 'workspaces')), ['from']);
  });

  it('is cancelled without a trace', async () => {
    writeFileSync(join(from, 'a'), Buffer.alloc(50_000_000));
    const abort = new AbortController();
    const slow = {
      kind: 'exec' as const,
      program: (argv: readonly string[]) => ({ command: 'sh', args: ['-c', 'sleep 2; exec "$@"', 'sh', ...argv] }),
    };
    setTimeout(() => abort.abort(), 200);
    await assert.rejects(
      copyIn({ ...way, transport: slow, signal: abort.signal }, { folder: from, to, exclude: new Set() }),
      { name: 'AbortError' },
    );
    assert.equal(existsSync(to), false);
  });

  it('brings many small files and few large ones, and says how fast', async function () {
    this.timeout(60_000);
    mkdirSync(join(from, 'many'));
    for (let i = 0; i < 2_000; i++) writeFileSync(join(from, `many/${i}`), Buffer.alloc(20_000, i));
    writeFileSync(join(from, 'large'), Buffer.alloc(60_000_000, 1));
    const { bytes, ms } = await copy();
    assert.equal(bytes, 100_000_000);
    console.log(`      ${(bytes / 1e6 / (ms / 1000)).toFixed(0)} MB/s, where 20 are wanted`);
  });

  it('as Windows has it: programs by their beginnings, links with its own strokes', async () => {
    writeFileSync(join(from, 'run'), '#!/bin/sh\n');
    writeFileSync(join(from, 'text'), 'text');
    chmodSync(join(from, 'text'), 0o666);
    const modes: { [path: string]: number } = {};
    for await (const entry of walk(from, { exclude: new Set(), platform: 'win32' })) modes[entry.path] = entry.mode;
    assert.deepEqual(modes, { run: 0o755, text: 0o644 });
    assert.equal(linkTarget('..\\lib\\a', 'win32'), '../lib/a');
    assert.equal(linkTarget('C:\\lib', 'win32'), 'C:\\lib');
    assert.equal(linkTarget('a\\b', 'darwin'), 'a\\b');
  });
});

describe('paths there and back', () => {
  const folders = { 'C:\\Users\\Ann\\my app': 'my-app', 'C:\\Users\\Ann\\my app\\inner': 'inner' };
  it('of Windows', () => {
    const there = (path: string) => toMachine(path, folders, 'win32');
    assert.equal(there('C:\\Users\\Ann\\my app'), '/workspaces/my-app');
    assert.equal(there('c:\\users\\ann\\MY APP\\src\\a.ts'), '/workspaces/my-app/src/a.ts');
    assert.equal(there('C:/Users/Ann/my app/src/'), '/workspaces/my-app/src');
    assert.equal(there('C:\\Users\\Ann\\my app\\inner\\x'), '/workspaces/inner/x');
    assert.equal(there('C:\\Users\\Ann\\my apparatus'), null);
    const back = (path: string) => toHost(path, folders, 'win32');
    assert.equal(back('/workspaces/my-app'), 'C:\\Users\\Ann\\my app');
    assert.equal(back('/workspaces/my-app/src/a.ts'), 'C:\\Users\\Ann\\my app\\src\\a.ts');
    assert.equal(back('/workspaces/other/a'), null);
    assert.equal(back('/usr/include/stdio.h'), null);
    assert.equal(toHost('/workspaces/d/a', { 'D:\\': 'd' }, 'win32'), 'D:\\a');
    assert.equal(toMachine('D:\\a', { 'D:\\': 'd' }, 'win32'), '/workspaces/d/a');
  });

  it('of macOS and Linux', () => {
    const own = { '/Users/ann/app': 'app' };
    assert.equal(toMachine('/Users/Ann/App/src', own, 'darwin'), '/workspaces/app/src');
    assert.equal(toMachine('/Users/Ann/App/src', own, 'linux'), null);
    assert.equal(toHost('/workspaces/app/a b', own, 'darwin'), '/Users/ann/app/a b');
  });

  it('names are readable, and different for different folders', () => {
    assert.equal(nameFor('C:\\Users\\Ann\\my app', {}, 'win32'), 'my-app');
    assert.equal(nameFor('/home/ann/日本語', {}, 'linux'), '日本語');
    assert.equal(nameFor('/home/ann/..hidden', {}, 'linux'), 'hidden');
    assert.equal(nameFor('D:\\', {}, 'win32'), 'D');
    assert.match(nameFor('/other/app', { '/Users/ann/app': 'app' }, 'darwin'), /^app-[0-9a-f]{4}$/);
    assert.equal(nameFor('/Users/ann/app/', { '/Users/ann/app': 'app' }, 'darwin'), 'app');
    assert.equal(normalHost('c:/a/b/', 'win32'), 'C:\\a\\b');
  });
});

describe('what a host’s disk can’t hold', () => {
  const step = (
    path: string,
    kind: Step['change']['kind'],
    type: 'file' | 'symlink' = 'file',
    from?: string,
  ): Step => ({
    change: { path, kind, type, conflict: null, ...(from ? { from } : {}) },
    ours: null,
    theirs: kind === 'deleted' ? null : { type, key: 'k', mode: 0o644, size: 1 },
  });
  const plan = (...steps: Step[]): Plan => ({ steps, agreed: new Map(), left: [] });
  const disk = { ignoresCase: false, windows: false, symlinks: true, exclude: new Set(['node_modules']) };
  const kept = (...args: Parameters<typeof fitting>) => fitting(...args).steps.map((s) => s.change.path);

  it('names that differ only in case, new or beside what is there', () => {
    const both = plan(step('a/Readme', 'added'), step('a/README', 'added'), step('b', 'added'));
    assert.deepEqual(kept(both, disk), ['a/Readme', 'a/README', 'b']);
    const sensitive = fitting(both, { ...disk, ignoresCase: true });
    assert.deepEqual(
      sensitive.steps.map((s) => s.change.path),
      ['b'],
    );
    assert.match(sensitive.left[0]!.reason, /case/);
    assert.deepEqual(
      kept(plan(step('Makefile', 'added')), { ...disk, ignoresCase: true }, ['makefile', 'Makefile']),
      [],
    );
    // A rename that only changes case.
    const rename = plan(step('Makefile', 'renamed', 'file', 'makefile'));
    assert.deepEqual(kept(rename, { ...disk, ignoresCase: true }, ['Makefile']), ['Makefile']);
  });

  it('names, permissions and links that Windows doesn’t take', () => {
    const all = plan(
      step('a:b', 'added'),
      step('aux.txt', 'added'),
      step('m', 'mode'),
      step('l', 'added', 'symlink'),
      step('ok', 'added'),
    );
    assert.deepEqual(kept(all, { ...disk, windows: true, symlinks: false }), ['ok']);
    assert.deepEqual(kept(plan(step('a:b', 'deleted')), { ...disk, windows: true }), ['a:b']);
    for (const bad of ['a?', 'end.', 'end ', 'nul', 'x/COM1.log', 'a\\b']) assert.equal(windowsTakes(bad), false, bad);
    for (const good of ['console', 'a.b', '.env', 'ü 1']) assert.equal(windowsTakes(good), true, good);
  });

  it('what was made for Linux stays there', () => {
    const { steps, left } = fitting(plan(step('node_modules/a.js', 'added'), step('src/a.js', 'changed')), disk);
    assert.deepEqual(
      steps.map((s) => s.change.path),
      ['src/a.js'],
    );
    assert.match(left[0]!.reason, /made for Linux/);
  });

  it('this disk tells cases apart', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'Teleport-'));
    assert.deepEqual(await lookAtDisk(dir, new Set()), {
      ignoresCase: false,
      windows: false,
      symlinks: true,
      exclude: new Set(),
    });
    rmSync(dir, { recursive: true });
  });
});

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readWhole } from '../../helper/client/apply/place.ts';
import type { BridgeResult } from '../../helper/protocol/bridge.ts';
import { HelperError } from '../../src/connection/errors.ts';
import { answerHere, type HostSide, type Send } from '../../src/connection/multipass/workspace/host-requests.ts';
import { changesBetween, memoryPlace } from '../client/memory-place.ts';
import { aSandbox } from '../client/models.ts';

const WORKSPACE = '/workspaces/app';
type Files = { [path: string]: string };

/** The machine: what the sandbox started from, and what it is now. */
function machine(before: Files, after: Files): { send: Send; asked: string[] } {
  const asked: string[] = [];
  const inside = (files: Files) =>
    memoryPlace(Object.fromEntries(Object.entries(files).map(([name, text]) => [`${WORKSPACE}/${name}`, text])));
  const [was, is] = [inside(before), inside(after)];
  const send: Send = async (method, params) => {
    asked.push(method);
    const { path, at } = params as { path: string; at: string };
    const place = at === 'k0' ? was : is;
    switch (method) {
      case 'sandbox/get':
        return { sandbox: aSandbox({ workspace: WORKSPACE }) };
      case 'sandbox/create':
        return params;
      case 'diff':
        return { changes: changesBetween(was, is) };
      case 'file/stat': {
        const stat = await place.stat(path);
        if (!stat) throw new HelperError('unknownPath', `${path}: there is no such file`);
        return stat;
      }
      case 'file/list':
        return { entries: await place.list(path) };
      case 'file/read': {
        const data = await readWhole(place, path);
        return { data: data.toString('base64'), size: data.length, eof: true };
      }
      default:
        throw new Error(`unexpected ${method}`);
    }
  };
  return { send, asked };
}

describe('requests about a folder of this host', () => {
  let dir: string;
  let home: string;
  let copies: string[][];
  const logged: string[] = [];
  const told: { message: string; done?: number; total?: number }[] = [];
  const host = (): HostSide => ({
    hostFolder: (path) => (path === WORKSPACE ? dir : null),
    exclude: () => ['node_modules'],
    copyIn: async (folder, to, exclude, onProgress) => {
      copies.push([folder, to, ...exclude]);
      onProgress(5);
      return {
        files: 1,
        bytes: 10,
        ms: 1,
        leftOut: ['node_modules'],
        skipped: [{ path: 'a.sock', reason: 'a socket' }],
      };
    },
    log: (text) => void logged.push(text),
  });
  const ask = async <T>(method: string, params: object, send: Send): Promise<T> => {
    const answer = answerHere(host(), method, params);
    assert.ok(answer, `${method} goes to the machine`);
    const tell = (progress: (typeof told)[number]) => void told.push(progress);
    return (await answer(params as never, new AbortController().signal, send, tell)) as T;
  };
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'teleport-env-host-'));
    home = mkdtempSync(join(tmpdir(), 'teleport-env-home-'));
    process.env.XDG_STATE_HOME = join(dir, '.state');
    writeFileSync(join(home, 'gitconfig'), '[user]\n\tname = Jo\n\temail = jo@example.test\n');
    process.env.GIT_CONFIG_GLOBAL = join(home, 'gitconfig');
    copies = [];
  });
  afterEach(() => {
    delete process.env.XDG_STATE_HOME;
    delete process.env.GIT_CONFIG_GLOBAL;
    for (const made of [dir, home]) rmSync(made, { recursive: true });
  });

  it('measures here, without what stays here', async () => {
    mkdirSync(join(dir, 'node_modules'));
    writeFileSync(join(dir, 'a'), '1234');
    const { entries } = await ask<BridgeResult<'workspace/measure'>>(
      'workspace/measure',
      { workspace: WORKSPACE, exclude: ['.state'] },
      machine({}, {}).send,
    );
    assert.deepEqual(
      entries.map((entry) => entry.name),
      ['a'],
    );
  });

  it('copies in before a sandbox is made, and says what was left out', async () => {
    const { send } = machine({}, {});
    const made = await ask('sandbox/create', { workspace: WORKSPACE, exclude: ['big'], progress: 'p' }, send);
    assert.deepEqual(copies, [[dir, WORKSPACE, 'node_modules', 'big']]);
    const identity = { name: 'Jo', email: 'jo@example.test' };
    assert.deepEqual(made, { workspace: WORKSPACE, exclude: ['big'], progress: 'p', git: identity });
    assert.ok(logged.includes('Not copied: a.sock: a socket'));
    assert.ok(told.some(({ message }) => message === 'Left out: node_modules'));
  });

  it('compares with the folder here and writes here', async () => {
    const before = { 'same.txt': 'same', 'a.txt': 'one', 'b.txt': 'one', 'gone.txt': 'x' };
    const after = {
      'same.txt': 'same',
      'a.txt': 'two',
      'b.txt': 'two',
      'src/ü.txt': 'new\r\n',
      'node_modules/x.js': '',
    };
    for (const [name, text] of Object.entries(before)) writeFileSync(join(dir, name), text);
    writeFileSync(join(dir, 'b.txt'), 'mine');
    const { send, asked } = machine(before, after);
    const plan = await ask<BridgeResult<'apply/plan'>>('apply/plan', { sandbox: 's1' }, send);
    assert.equal(plan.to, dir);
    assert.deepEqual(
      plan.changes.map(({ path, kind, conflict }) => [path, kind, conflict]),
      [
        ['a.txt', 'changed', null],
        ['b.txt', 'changed', 'changed'],
        ['gone.txt', 'deleted', null],
        ['src', 'added', null],
        ['src/ü.txt', 'added', null],
      ],
    );
    assert.match(plan.left.find(({ path }) => path === 'node_modules/x.js')?.reason ?? '', /made for Linux/);
    const done = await ask<BridgeResult<'apply/perform'>>('apply/perform', { sandbox: 's1' }, send);
    assert.deepEqual(
      done.conflicts.map((change) => change.path),
      ['b.txt'],
    );
    assert.deepEqual(done.failed, []);
    assert.equal(readFileSync(join(dir, 'a.txt'), 'utf8'), 'two');
    assert.equal(readFileSync(join(dir, 'b.txt'), 'utf8'), 'mine');
    assert.equal(readFileSync(join(dir, 'src/ü.txt'), 'utf8'), 'new\r\n');
    assert.throws(() => readFileSync(join(dir, 'gone.txt')), /ENOENT/);
    assert.ok(!asked.some((method) => method.startsWith('apply/')), 'the machine was asked to apply');
  });

  it('lets the folder here follow', async () => {
    writeFileSync(join(dir, 'a.txt'), 'one');
    const { send, asked } = machine({ 'a.txt': 'one' }, { 'a.txt': 'two', 'node_modules/x.js': '' });
    await ask('follow/set', { sandbox: 's1', on: true }, send);
    const done = await ask<BridgeResult<'follow/sync'>>('follow/sync', { sandbox: 's1' }, send);
    assert.deepEqual([done.to, done.written, done.conflicts], [dir, ['a.txt'], []]);
    assert.equal(readFileSync(join(dir, 'a.txt'), 'utf8'), 'two');
    assert.ok(!asked.some((method) => method.startsWith('follow/')), 'the machine was asked to follow');
  });

  it('a folder of the machine’s own, and everything else, is the machine’s business', () => {
    assert.equal(answerHere(host(), 'workspace/measure', { workspace: '/srv' }), undefined);
    assert.equal(answerHere(host(), 'sandbox/create', { workspace: '/srv' }), undefined);
    assert.equal(answerHere(host(), 'sandbox/list', {}), undefined);
    assert.equal(answerHere(host(), 'run', { sandbox: 's1', line: 'ls' }), undefined);
    assert.equal(answerHere(host(), 'apply/patch', { sandbox: 's1' }), undefined);
  });
});

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import {
  CancellationTokenSource,
  createMessageConnection,
  type MessageConnection,
  StreamMessageReader,
  StreamMessageWriter,
} from 'vscode-jsonrpc/node';
import { bridge } from '../../helper/client/bridge.ts';
import { TeleportError } from '../../helper/protocol/errors.ts';
import { FakeHelper, type Replies } from './fake-helper.ts';
import { memoryPlace, type Node } from './memory-place.ts';
import { aSandbox } from './models.ts';

const code = (expected: string) => (error: { data?: { code: string } }) => error.data?.code === expected;
const hello = { client: 'test' };

describe('the bridge', () => {
  let fake: FakeHelper;
  let editor: MessageConnection;
  let input: PassThrough;
  let ended: Promise<number>;
  let folder: string;

  async function start(replies: Replies): Promise<void> {
    fake = await FakeHelper.start(replies);
    folder = realpathSync(mkdtempSync(join(tmpdir(), 'bridge-')));
    input = new PassThrough();
    const output = new PassThrough();
    ended = bridge(input, output, { TELEPORT_ENV_SOCKET: fake.socketPath, XDG_STATE_HOME: join(folder, 'state') });
    editor = createMessageConnection(new StreamMessageReader(output), new StreamMessageWriter(input));
    editor.listen();
  }
  afterEach(async () => {
    input.end();
    await ended;
    editor.dispose();
    await fake.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  it('is a language server that is there at once', async () => {
    await start({});
    const { serverInfo } = await editor.sendRequest<{ serverInfo: { name: string } }>('initialize', {
      processId: 1,
      capabilities: {},
    });
    assert.equal(serverInfo.name, 'teleport-env');
    assert.deepEqual(fake.calls, []);
    await editor.sendRequest('shutdown');
    await editor.sendNotification('exit');
    assert.equal(await ended, 0);
  });

  it('ends with its input', async () => {
    await start({});
    input.end();
    assert.equal(await ended, 0);
  });

  it('connects when asked, once for two who ask, and again with fresh needs', async () => {
    await start({ doctor: () => ({ needs: [{ id: 'x', title: 'X', status: 'ok', detail: '' }] }) });
    await assert.rejects(editor.sendRequest('sandbox/list', {}), code('noHelper'));
    const [first] = await Promise.all(
      [1, 2].map(() => editor.sendRequest<{ needs: unknown[] }>('teleport/handshake', hello)),
    );
    assert.deepEqual([first!.needs.length, fake.called('initialize').length], [0, 1]);
    assert.equal((await editor.sendRequest<{ needs: unknown[] }>('teleport/handshake', hello)).needs.length, 1);
  });

  it('passes requests, errors and notifications as they are', async () => {
    await start({
      'sandbox/get': () => ({ sandbox: aSandbox() }),
      'checkpoint/undo': (_, fake) => {
        fake.notify('sandbox/removed', { sandbox: 's9' });
        throw new TeleportError('nothingToUndo', 'nothing', { hint: 'h' });
      },
    });
    await editor.sendRequest('teleport/handshake', hello);
    const heard: unknown[] = [];
    editor.onNotification('sandbox/removed', (params) => void heard.push(params));
    assert.deepEqual(await editor.sendRequest('sandbox/get', { sandbox: 's1' }), { sandbox: aSandbox() });
    await assert.rejects(editor.sendRequest('checkpoint/undo', { sandbox: 's1' }), code('nothingToUndo'));
    assert.deepEqual(heard, [{ sandbox: 's9' }]);
    await assert.rejects(editor.sendRequest('frob', {}), /unknown method/);
  });

  it('passes cancelling', async () => {
    await start({ doctor: () => new Promise<never>(() => {}) });
    await editor.sendRequest('teleport/handshake', hello);
    const source = new CancellationTokenSource();
    const asked = editor.sendRequest('doctor', {}, source.token);
    setTimeout(() => source.cancel(), 20);
    setTimeout(() => fake.cut(), 60);
    await assert.rejects(asked);
  });

  it('says when the helper is lost, and connects anew', async () => {
    await start({
      'sandbox/list': () => ({ sandboxes: [] }),
      doctor: (_, fake) => (fake.cut(), new Promise<never>(() => {})),
    });
    await editor.sendRequest('teleport/handshake', hello);
    const lost = new Promise((resolve) => editor.onNotification('teleport/lost', resolve));
    await assert.rejects(editor.sendRequest('doctor', {}), code('noHelper'));
    await lost;
    await assert.rejects(editor.sendRequest('sandbox/list', {}), code('noHelper'));
    await editor.sendRequest('teleport/handshake', hello);
    assert.deepEqual(await editor.sendRequest('sandbox/list', {}), { sandboxes: [] });
  });

  it('measures a workspace without following links', async () => {
    await start({});
    const workspace = join(folder, 'workspace');
    mkdirSync(join(workspace, 'big/deep'), { recursive: true });
    writeFileSync(join(workspace, 'big/deep/file'), 'x'.repeat(10_000));
    writeFileSync(join(workspace, 'small'), 'y');
    writeFileSync(join(workspace, 'left out'), 'z');
    symlinkSync('/', join(workspace, 'link'));
    const measured = await editor.sendRequest<{
      files: number;
      bytes: number;
      complete: boolean;
      entries: { name: string; type: string }[];
    }>('workspace/measure', { workspace, exclude: ['left out'] });
    assert.deepEqual([measured.files, measured.bytes, measured.complete], [5, 10_001, true]);
    assert.deepEqual(
      measured.entries.map(({ name, type }) => [name, type]),
      [
        ['big', 'folder'],
        ['small', 'file'],
        ['link', 'symlink'],
      ],
    );
    await assert.rejects(
      editor.sendRequest('workspace/measure', { workspace: join(folder, 'none') }),
      code('workspaceMissing'),
    );
    await assert.rejects(editor.sendRequest('workspace/measure', {}), code('invalidRequest'));
  });

  it('plans, applies and patches with the files of the helper', async () => {
    const files: Record<string, () => Record<string, Node>> = {
      k0: () => ({ [`${folder}/a`]: '1\n', [`${folder}/b`]: '1\n' }),
      b2: () => ({ [`${folder}/a`]: '2\n', [`${folder}/b`]: '2\n', [`${folder}/c`]: '3\n' }),
    };
    const place = (at: string) => memoryPlace(files[at]!());
    await start({
      'sandbox/get': () => ({ sandbox: aSandbox({ workspace: folder }) }),
      diff: ({ from, to, path }) => {
        assert.deepEqual([from, to ?? 'b2', path], ['k0', 'b2', folder]);
        return {
          changes: ['a', 'b', 'c'].map((name) => ({
            path: `${folder}/${name}`,
            kind: name === 'c' ? 'added' : 'changed',
            type: 'file',
          })),
        };
      },
      'file/stat': async ({ at, path }) => {
        const stat = await place(at).stat(path);
        if (!stat) throw new TeleportError('unknownPath', 'no');
        return stat;
      },
      'file/read': async ({ at, path, offset, length }) => {
        const content = Buffer.from(place(at).files.get(path) as string);
        const data = content.subarray(offset, offset + Math.min(length, 1));
        return { data: data.toString('base64'), size: content.length, eof: offset + data.length >= content.length };
      },
    });
    writeFileSync(join(folder, 'a'), '1\n');
    writeFileSync(join(folder, 'b'), 'mine\n');
    await editor.sendRequest('teleport/handshake', hello);
    const plan = await editor.sendRequest<{
      changes: { path: string; conflict: string | null }[];
      from: string;
      to: string;
    }>('apply/plan', { sandbox: 's1' });
    assert.deepEqual([plan.from, plan.to], ['b2', folder]);
    assert.deepEqual(
      plan.changes.map(({ path, conflict }) => [path, conflict]),
      [
        ['a', null],
        ['b', 'changed'],
        ['c', null],
      ],
    );
    const progress: string[] = [];
    editor.onNotification('progress', ({ message }: { message: string }) => void progress.push(message));
    const done = await editor.sendRequest<{ applied: string[]; conflicts: { path: string }[]; failed: unknown[] }>(
      'apply/perform',
      {
        sandbox: 's1',
        progress: 'p',
      },
    );
    assert.deepEqual([done.applied, done.conflicts.map(({ path }) => path), done.failed], [['a', 'c'], ['b'], []]);
    assert.deepEqual(
      [readFileSync(join(folder, 'a'), 'utf8'), readFileSync(join(folder, 'b'), 'utf8')],
      ['2\n', 'mine\n'],
    );
    assert.deepEqual(progress, ['a', 'c']);
    const { patch, files: count } = await editor.sendRequest<{ patch: string; files: number }>('apply/patch', {
      sandbox: 's1',
    });
    assert.equal(count, 3);
    assert.match(patch, /^diff --git a\/a b\/a\nindex .*\n--- a\/a\n\+\+\+ b\/a\n@@ -1 \+1 @@\n-1\n\+2\n/);
  });
});

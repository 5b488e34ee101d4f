/** The protocol as the real daemon speaks it: handshake, validation, progress, cancellation, word of every change. Needs root. */
import assert from 'node:assert/strict';
import { mkdirSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  createMessageConnection,
  type MessageConnection,
  ResponseError,
  StreamMessageReader,
  StreamMessageWriter,
} from 'vscode-jsonrpc/node';
import type { Connection } from '../../helper/client/connection.ts';
import type { TeleportError } from '../../helper/protocol/errors.ts';
import { METHODS, NOTIFICATIONS, type NotificationName, PROTOCOL_VERSION } from '../../helper/protocol/methods.ts';
import { HelperProcess, needsMachine, workspace } from './helper-process.ts';

describe('the protocol', () => {
  let helper: HelperProcess;
  let connection: Connection;
  const folders: string[] = [];
  before(async function () {
    needsMachine(this);
    helper = await HelperProcess.start();
    connection = await helper.connect();
  });
  after(async () => {
    await helper?.stop();
    for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  });
  afterEach(function () {
    if (this.currentTest?.state === 'failed') console.error(helper.logText());
  });
  function folder(files: Record<string, string> = {}): string {
    const made = realpathSync(workspace(files));
    folders.push(made);
    return made;
  }

  /** Speaks without our own client in between. */
  async function raw<T>(act: (rpc: MessageConnection, socket: Socket) => Promise<T>): Promise<T> {
    const socket = connect(helper.socket);
    const rpc = createMessageConnection(new StreamMessageReader(socket), new StreamMessageWriter(socket));
    rpc.listen();
    try {
      return await act(rpc, socket);
    } finally {
      rpc.dispose();
      socket.destroy();
    }
  }
  const failure = (work: Promise<unknown>): Promise<ResponseError<{ code: string; hint?: string }>> =>
    work.then(
      () => assert.fail('it was accepted'),
      (error) => (assert.ok(error instanceof ResponseError, String(error)), error),
    );

  it('serves clients of its version and of the one before, and tells others who is to be updated', async () => {
    const greet = (protocolVersion: number) =>
      raw((rpc) => rpc.sendRequest<{ protocolVersion: number }>('initialize', { protocolVersion, client: 'test' }));
    for (const version of [PROTOCOL_VERSION, PROTOCOL_VERSION - 1])
      assert.equal((await greet(version)).protocolVersion, PROTOCOL_VERSION);
    const newer = await failure(greet(PROTOCOL_VERSION + 1));
    assert.deepEqual([newer.data?.code, /update the helper/.test(newer.data?.hint ?? '')], ['protocolMismatch', true]);
    const older = await failure(greet(PROTOCOL_VERSION - 2));
    assert.deepEqual([older.data?.code, /update the client/.test(older.data?.hint ?? '')], ['protocolMismatch', true]);
  });

  it('validates every message on its side', async () => {
    const wrong = [
      null,
      [],
      7,
      'text',
      { sandbox: 7 },
      { sandbox: '' },
      { sandbox: 's1', checkpoint: '../k1', branch: '../b1' },
    ];
    await raw(async (rpc) => {
      for (const method of Object.keys(METHODS) as (keyof typeof METHODS)[])
        for (const params of wrong) {
          if (METHODS[method].params.safeParse(params ?? {}).success) continue;
          const error = await failure(rpc.sendRequest(method, params));
          assert.equal(error.data?.code, 'invalidRequest', `${method} ${JSON.stringify(params)}: ${error.message}`);
          assert.ok(error.message.startsWith(`${method}: `), error.message);
        }
      const unknown = await failure(rpc.sendRequest('sandbox/format', {}));
      assert.equal(unknown.code, -32601);
    });
  });

  it('outlives what is no message at all', async () => {
    for (const bytes of [
      'GET / HTTP/1.1\r\n\r\n',
      'Content-Length: 5\r\n\r\n{"a":',
      'Content-Length: -1\r\n\r\n',
      '\0'.repeat(10_000),
    ])
      await new Promise<void>((done) => {
        const socket = connect(helper.socket, () => socket.end(bytes));
        socket.on('error', () => {}).on('close', () => done());
        socket.resume();
        setTimeout(() => socket.destroy(), 500);
      });
    assert.ok((await connection.request('doctor', {})).needs.length > 0);
  });

  it('says how far long work is, to who asked', async () => {
    const ws = folder({ a: '1', b: '2' });
    const told: { message: string; done?: number; total?: number }[] = [];
    const onProgress = (progress: (typeof told)[number]) => void told.push(progress);
    const { sandbox } = await connection.request('sandbox/create', { workspace: ws }, { onProgress });
    assert.deepEqual(
      told.map(({ message }) => message).filter((m, i, all) => m !== all[i - 1]),
      ['copying the workspace', 'starting'],
    );
    assert.ok(told.some(({ done, total }) => done === 2 && total === 2));
    await connection.request('sandbox/remove', { sandbox: sandbox.id });
  });

  it('gives up what is cancelled, and leaves nothing of it', async () => {
    const ws = folder();
    for (let i = 0; i < 200; i++) {
      mkdirSync(join(ws, `d${i}`));
      for (let f = 0; f < 50; f++) writeFileSync(join(ws, `d${i}/f${f}`), 'x'.repeat(3000));
    }
    const abort = new AbortController();
    const onProgress = () => abort.abort();
    const making = connection.request('sandbox/create', { workspace: ws }, { signal: abort.signal, onProgress });
    await assert.rejects(making, (error: TeleportError) => error.code === 'cancelled');
    assert.deepEqual((await connection.request('sandbox/list', {})).sandboxes, []);
    assert.deepEqual(helper.liveBranches(), []);
  });

  it('serves many clients at once, and tells each of every change, by messages that the schemas allow', async () => {
    const clients = await Promise.all(Array.from({ length: 12 }, () => helper.connect()));
    const heard = new Map<Connection, Set<string>>();
    for (const client of clients) {
      heard.set(client, new Set());
      client.onAny((name, params) => {
        NOTIFICATIONS[name as NotificationName].parse(params);
        heard.get(client)!.add(name);
      });
    }
    const { sandbox } = await clients[0]!.request('sandbox/create', { workspace: folder({ a: '1' }) });
    const here = { sandbox: sandbox.id };
    const made = await Promise.all(
      clients.map((client, i) => client.request('run', { ...here, line: `echo ${i} > f${i}` })),
    );
    const ids = new Set(made.map(({ checkpoint }) => checkpoint!.id));
    assert.equal(ids.size, clients.length, 'each got a checkpoint of its own');
    const [first] = ids;
    await clients[1]!.request('checkpoint/label', { ...here, checkpoint: first!, label: 'x' });
    await clients[2]!.request('checkpoint/rollback', { ...here, checkpoint: first!, discard: true });
    await clients[4]!.request('sandbox/remove', here);
    const wanted = ['sandbox/changed', 'checkpoint/added', 'checkpoint/changed', 'head/moved', 'sandbox/removed'];
    const all = () => [...heard.values()].every((names) => wanted.every((name) => names.has(name)));
    for (let i = 0; i < 100 && !all(); i++) await sleep(20);
    for (const names of heard.values())
      for (const name of wanted) assert.ok(names.has(name), `${name} was not told to all`);
  });

  it('tells of every kind of change, so that nobody needs to ask', async () => {
    const watcher = await helper.connect();
    let told: { name: string; params: Record<string, unknown> }[] = [];
    watcher.onAny((name, params) => void told.push({ name, params: params as Record<string, unknown> }));
    const { sandbox } = await connection.request('sandbox/create', { workspace: folder({ a: '1' }) });
    const here = { sandbox: sandbox.id };
    /** What is done, and what is told of it then. */
    async function tells<T>(work: () => Promise<T>, ...wanted: [name: string, is: (params: string) => boolean][]) {
      told = [];
      const done = await work();
      const missing = () =>
        wanted.filter(([name, is]) => !told.some((one) => one.name === name && is(JSON.stringify(one.params))));
      for (let i = 0; i < 500 && missing().length > 0; i++) await sleep(20);
      const names = missing().map(([name]) => name);
      assert.deepEqual(names, [], `${work}: ${JSON.stringify(told).slice(0, 2000)}`);
      return done;
    }
    const says = (text: string) => (params: string) => params.includes(text);
    const lacks = (text: string) => (params: string) => !params.includes(text);

    const first = (
      await tells(() => connection.request('run', { ...here, line: 'true' }), ['checkpoint/added', says('"true"')])
    ).checkpoint!.id;
    await tells(
      () => connection.request('checkpoint/label', { ...here, checkpoint: first, label: 'mine' }),
      ['checkpoint/changed', says('"mine"')],
    );
    const { branch } = await tells(
      () => connection.request('branch/fork', { ...here, checkpoint: first }),
      ['sandbox/changed', says('"fork"')],
    );
    await tells(() => connection.request('branch/discard', { ...here, branch }), ['sandbox/changed', lacks('"fork"')]);
    const second = (await connection.request('run', { ...here, line: 'echo 2 > a' })).checkpoint!.id;
    await tells(
      () => connection.request('checkpoint/rollback', { ...here, checkpoint: first }),
      ['head/moved', says('"rollback"')],
      ['checkpoint/added', says('"saved"')],
      ['sandbox/changed', says(`"current":"${first}"`)],
    );
    await tells(() => connection.request('checkpoint/undo', here), ['head/moved', says('"undo"')]);
    await connection.request('checkpoint/rollback', { ...here, checkpoint: first, discard: true });
    await tells(
      () => connection.request('gc', { ...here, keep: 1 }),
      ['checkpoint/removed', says(`"${second}"`)],
      ['sandbox/changed', () => true],
    );
    const third = (await connection.request('checkpoint/create', here)).checkpoint.id;
    await connection.request('checkpoint/rollback', { ...here, checkpoint: first, discard: true });
    await tells(
      () => connection.request('checkpoint/delete', { ...here, checkpoint: third }),
      ['checkpoint/removed', says(`"${third}"`)],
    );
    await tells(() => connection.request('sandbox/stop', here), ['sandbox/changed', says('"stopped"')]);
    await tells(
      () => connection.request('sandbox/start', here),
      ['sandbox/changed', says('"running"')],
      ['head/moved', says('"start"')],
    );
    // It is told as soon as it is no sandbox any more, and not only when all that it took up is free.
    const left = new Promise<string[]>((done, fail) =>
      connection.on('sandbox/removed', () =>
        connection.request('sandbox/list', {}).then(({ sandboxes }) => done(sandboxes.map(({ id }) => id)), fail),
      ),
    );
    await tells(() => connection.request('sandbox/remove', here), ['sandbox/removed', says(`"${sandbox.id}"`)]);
    assert.ok(!(await left).includes(sandbox.id));
  });

  it('tells a checkpoint as soon as it is safe in memory, then that it is on disk, and that it was restored, whatever is hinted at', async () => {
    const { sandbox } = await connection.request('sandbox/create', { workspace: folder({ a: '1' }) });
    const here = { sandbox: sandbox.id };
    const watcher = await helper.connect();
    const states = new Map<string, { durable: boolean; verified: boolean }[]>();
    const note = ({ checkpoint }: { checkpoint: { id: string; state: { durable: boolean; verified: boolean } } }) => {
      const { durable, verified } = checkpoint.state;
      states.set(checkpoint.id, [...(states.get(checkpoint.id) ?? []), { durable, verified }]);
    };
    watcher.on('checkpoint/added', note);
    watcher.on('checkpoint/changed', note);
    const settled = async (...ids: string[]) => {
      const isSettled = (id: string) => states.get(id)?.some(({ durable, verified }) => durable && verified);
      for (let i = 0; i < 500 && !ids.every(isSettled); i++) await sleep(20);
      for (const id of ids) {
        const told = states.get(id)!;
        assert.deepEqual(told[0], { durable: false, verified: false }, id);
        assert.deepEqual(told.at(-1), { durable: true, verified: true }, `${id}: ${JSON.stringify(told)}`);
        assert.ok(told.length >= 3, `${id}: ${JSON.stringify(told)}`);
      }
    };
    const make = async (expect?: string[]) =>
      (await connection.request('checkpoint/create', { ...here, expect })).checkpoint;
    const first = await make();
    assert.deepEqual([first.state.durable, first.state.verified], [false, false], 'whoever asked does not wait for it');
    await settled(first.id);
    // Three standbys of others are wanted, and there may be no more.
    const old = [first.id, (await make()).id, (await make()).id];
    await settled(...old);
    const hinted = await make(old);
    await settled(hinted.id);
    // Checkpoints so close upon each other that none is the current one for long: none is forgotten.
    const many: string[] = [];
    for (let i = 0; i < 6; i++) many.push((await make()).id);
    await settled(...many);
    for (let i = 0; i < 100 && helper.liveBranches().length !== 4; i++) await sleep(20);
    assert.equal(helper.liveBranches().length, 4, 'the current branch and the three that are hinted at');
    for (const checkpoint of old) {
      const { path } = await connection.request('branch/fork', { ...here, checkpoint });
      assert.equal(path, 'warm', checkpoint);
    }
    await connection.request('sandbox/remove', here);
  });
});

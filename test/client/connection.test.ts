import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ErrorCodes, ResponseError } from 'vscode-jsonrpc/node';
import { Connection } from '../../helper/client/connection.ts';
import { fromWire, toWire } from '../../helper/client/errors.ts';
import { connectOrStart } from '../../helper/client/start.ts';
import { TeleportError } from '../../helper/protocol/errors.ts';
import { FakeHelper, type Replies } from './fake-helper.ts';
import { aSandbox } from './models.ts';

const code = (expected: string) => (error: TeleportError) => error.code === expected;

describe('a connection', () => {
  let fake: FakeHelper | undefined;
  const connect = async (replies: Replies) => {
    fake = await FakeHelper.start(replies);
    return await Connection.open(fake.socketPath, 'test');
  };
  afterEach(async () => {
    await fake?.stop();
    fake = undefined;
  });

  it('shakes hands and asks', async () => {
    const connection = await connect({ 'sandbox/get': () => ({ sandbox: aSandbox() }) });
    assert.equal(connection.helper.helperVersion, '0.0.0');
    assert.equal((await connection.request('sandbox/get', { sandbox: 'api' })).sandbox.name, 'api');
    connection.close();
  });

  it('gives errors back as they were', async () => {
    const connection = await connect({
      'sandbox/get': () => {
        throw new TeleportError('volumeFull', 'full', { hint: 'gc', process: { pid: 1, command: 'x' }, resource: 'y' });
      },
    });
    await assert.rejects(connection.request('sandbox/get', { sandbox: 'api' }), (error: TeleportError) => {
      assert.ok(error instanceof TeleportError);
      assert.deepEqual(
        [error.code, error.message, error.hint, error.process, error.resource, error.fault],
        ['volumeFull', 'full', 'gc', { pid: 1, command: 'x' }, 'y', 'machine'],
      );
      return true;
    });
    connection.close();
  });

  it('hears notifications, and no more once told not to', async () => {
    const connection = await connect({
      'sandbox/remove': (_, fake) => {
        fake.notify('sandbox/removed', { sandbox: 's1' });
        return {};
      },
    });
    const heard: string[] = [];
    const stop = connection.on('sandbox/removed', ({ sandbox }) => heard.push(sandbox));
    await connection.request('sandbox/remove', { sandbox: 's1' });
    stop();
    await connection.request('sandbox/remove', { sandbox: 's1' });
    assert.deepEqual(heard, ['s1']);
    connection.close();
  });

  it('tells progress of its own request only', async () => {
    const connection = await connect({
      'sandbox/create': ({ progress }, fake) => {
        fake.notify('progress', { token: 'another', message: 'no' });
        fake.notify('progress', { token: progress!, message: 'copying', done: 1, total: 2 });
        return { sandbox: aSandbox(), head: 'b1', checkpoint: 'k0' };
      },
    });
    const heard: string[] = [];
    await connection.request(
      'sandbox/create',
      { workspace: '/' },
      { onProgress: ({ message }) => heard.push(message) },
    );
    assert.deepEqual(heard, ['copying']);
    connection.close();
  });

  it('leaves no request unanswered when the helper ends', async () => {
    const connection = await connect({ doctor: (_, fake) => (fake.cut(), new Promise<never>(() => {})) });
    await assert.rejects(connection.request('doctor', {}), code('noHelper'));
    assert.ok(connection.lost.aborted);
    await assert.rejects(connection.request('doctor', {}), code('noHelper'));
  });

  it('asks nothing that is cancelled already', async () => {
    const connection = await connect({});
    await assert.rejects(connection.request('doctor', {}, { signal: AbortSignal.abort() }), code('cancelled'));
    connection.close();
  });
});

describe('errors on the wire', () => {
  it('without data are told by their number', () => {
    const cases: [number, string][] = [
      [-32800, 'cancelled'],
      [ErrorCodes.InvalidParams, 'invalidRequest'],
      [ErrorCodes.MethodNotFound, 'protocolMismatch'],
      [ErrorCodes.InternalError, 'internal'],
    ];
    for (const [number, expected] of cases)
      assert.equal(fromWire(new ResponseError(number, 'x'), 'doctor').code, expected);
    assert.equal(fromWire(new Error('x'), 'doctor').code, 'internal');
  });

  it('go there and back', () => {
    const error = new TeleportError('conflicts', 'c', { hint: 'h' });
    const back = fromWire(toWire(error), 'x');
    assert.deepEqual([back.code, back.message, back.hint], ['conflicts', 'c', 'h']);
    assert.match((back.cause as Error).stack!, /connection\.test\.ts/);
    assert.equal(fromWire(toWire('text'), 'x').code, 'internal');
  });
});

describe('finding a helper', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'find-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));
  const find = (socket: string, start = true) =>
    connectOrStart({ client: 'test', start, env: { TELEPORT_ENV_SOCKET: socket } });

  it('starts none on a socket that is not the usual one', async () => {
    await assert.rejects(find(join(folder, 'none.sock')), code('noHelper'));
    await assert.rejects(find(join(folder, 'none.sock'), false), code('noHelper'));
  });

  it('takes a file in its place for none', async () => {
    writeFileSync(join(folder, 'file'), '');
    await assert.rejects(find(join(folder, 'file')), code('noHelper'));
    await assert.rejects(find(join(folder, 'file/below')), code('noHelper'));
  });

  it('says that its version does not fit', async () => {
    const fake = await FakeHelper.start({
      initialize: () => {
        throw new TeleportError('protocolMismatch', 'too old');
      },
    });
    await assert.rejects(find(fake.socketPath), code('protocolMismatch'));
    await fake.stop();
  });
});

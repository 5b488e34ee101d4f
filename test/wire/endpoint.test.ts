import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CancellationTokenSource,
  createMessageConnection,
  ErrorCodes,
  ResponseError,
  StreamMessageReader,
  StreamMessageWriter,
} from 'vscode-jsonrpc/node';
import { Closed, Endpoint } from '../../helper/wire/endpoint.ts';
import { Frames, framed } from '../../helper/wire/frames.ts';

describe('frames', () => {
  const messages = [{ a: 1 }, 'ü€😀\r\n\r\n', { text: 'Content-Length: 3\r\n\r\n{}' }, []];
  const bytes = Buffer.from(messages.map(framed).join(''));

  it('come whole, wherever the stream is cut', () => {
    for (let size = 1; size <= bytes.length; size++) {
      const frames = new Frames();
      const heard: unknown[] = [];
      for (let at = 0; at < bytes.length; at += size) heard.push(...frames.take(bytes.subarray(at, at + size)));
      assert.deepEqual(heard, messages, `pieces of ${size} bytes`);
    }
  });

  it('are read as others write them', () => {
    const header = 'Content-Type: application/vscode-jsonrpc; charset=utf-8\r\ncontent-length:2 \r\n\r\n';
    assert.deepEqual([...new Frames().take(Buffer.from(`${header}{}`))], [{}]);
  });

  for (const [what, text] of [
    ['no header', 'x'.repeat(5000)],
    ['a header without a length', 'Content-Type: x\r\n\r\n{}'],
    ['a length that is none', 'Content-Length: many\r\n\r\n{}'],
    ['no JSON', 'Content-Length: 2\r\n\r\n{]'],
  ] as const)
    it(`refuse ${what}`, () => {
      assert.throws(() => [...new Frames().take(Buffer.from(text))]);
    });
});

describe('an endpoint', () => {
  let server: Server;
  let theirs: Socket;
  let ours: Socket;
  beforeEach(async () => {
    const path = join(tmpdir(), `endpoint-${process.pid}.sock`);
    server = createServer().listen(path);
    await once(server, 'listening');
    const arrived = once(server, 'connection');
    ours = connect(path);
    [theirs] = (await arrived) as [Socket];
  });
  afterEach(async () => {
    ours.destroy();
    theirs.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  const unasked = { request: () => Promise.reject(new Error('nobody asks here')) };

  it('speaks with a JSON-RPC library, whoever asks: answers, errors, notifications, cancelling', async () => {
    const heard: unknown[] = [];
    const library = createMessageConnection(new StreamMessageReader(theirs), new StreamMessageWriter(theirs));
    library.onRequest('double', ({ n }: { n: number }) => ({ n: 2 * n }));
    library.onRequest('fail', () => new ResponseError(7, 'no', { why: 'x' }));
    // Cancelled before it was begun, its token has no event.
    library.onRequest('wait', (_, token) =>
      token.isCancellationRequested
        ? 'stopped'
        : new Promise((done) => token.onCancellationRequested(() => done('stopped'))),
    );
    library.onNotification('told', (params) => void heard.push(params));
    library.listen();
    const own = new Endpoint(ours, {
      async request(method, params, signal) {
        if (method === 'nothing') return undefined;
        if (method === 'fail') throw new ResponseError(8, 'neither', { why: 'y' });
        if (method === 'crash') throw new TypeError('oh');
        if (method === 'wait') await once(signal, 'abort');
        return { method, params };
      },
      notification: (method, params) => heard.push([method, params]),
    });
    assert.deepEqual(await own.request('double', { n: 21 }), { n: 42 });
    await assert.rejects(own.request('fail', {}), (e: ResponseError<unknown>) => {
      assert.deepEqual([e.code, e.message, e.data], [7, 'no', { why: 'x' }]);
      return true;
    });
    await assert.rejects(own.request('unknown', {}), { code: ErrorCodes.MethodNotFound });
    const abort = new AbortController();
    const waiting = own.request('wait', {}, abort.signal);
    abort.abort();
    assert.equal(await waiting, 'stopped');
    await own.notify('told', { a: 1 });

    assert.deepEqual(await library.sendRequest('echo', { b: 2 }), { method: 'echo', params: { b: 2 } });
    assert.equal(await library.sendRequest('nothing', {}), null);
    await assert.rejects(library.sendRequest('fail', {}), { code: 8, data: { why: 'y' } });
    await assert.rejects(library.sendRequest('crash', {}), { code: ErrorCodes.InternalError, message: 'oh' });
    const source = new CancellationTokenSource();
    const longer = library.sendRequest<{ method: string }>('wait', {}, source.token);
    source.cancel();
    assert.equal((await longer).method, 'wait');
    await library.sendNotification('told', { c: 3 });
    await own.request('double', { n: 1 }); // by then both notifications have been heard
    assert.deepEqual(heard, [{ a: 1 }, ['told', { c: 3 }]]);
    library.dispose();
  });

  it('lets whoever gets an answer begin to listen to what came right behind it', async () => {
    const heard: unknown[] = [];
    let listening = false;
    const own = new Endpoint(ours, { ...unasked, notification: (method) => listening && heard.push(method) });
    theirs.once('data', () =>
      theirs.write([{ id: 1, result: {} }, { method: 'one' }, { method: 'two' }].map(framed).join('')),
    );
    await own.request('open', {});
    listening = true;
    while (heard.length < 2) await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(heard, ['one', 'two']);
  });

  it('sends what was said in the very turn in which it is closed', async () => {
    const own = new Endpoint(ours, unasked);
    const parts: Buffer[] = [];
    theirs.on('data', (part) => parts.push(part));
    const ended = once(theirs, 'end');
    const text = 'x'.repeat(4 << 20); // more than one write takes
    const told = [own.notify('a', { text }), own.notify('b', {})];
    own.close();
    await Promise.all([...told, ended]);
    assert.equal(
      Buffer.concat(parts).toString(),
      ['a', 'b'].map((method) => framed({ jsonrpc: '2.0', method, params: method === 'a' ? { text } : {} })).join(''),
    );
  });

  it('tells who still waits that the connection ended, once, after all that was read', async () => {
    let closed = 0;
    const own = new Endpoint(ours, { ...unasked, closed: () => closed++ });
    const [first, second] = [own.request('a', {}), own.request('b', {})];
    const never = assert.rejects(second, Closed);
    theirs.once('data', () => theirs.end(framed({ id: 1, result: 'in time' })));
    assert.equal(await first, 'in time');
    await never;
    await assert.rejects(own.request('c', {}), Closed);
    await own.notify('d', {});
    own.close();
    assert.equal(closed, 1);
  });

  it('hangs up on what is no message, and outlives messages that make no sense', async () => {
    const own = new Endpoint(ours, { request: async (method) => method });
    const answers: unknown[] = [];
    const frames = new Frames();
    theirs.on('data', (chunk) => answers.push(...frames.take(chunk)));
    for (const odd of [null, 5, 'x', [], {}, { id: 9, result: 1 }, { id: 'y', error: { code: 1, message: '' } }])
      theirs.write(framed(odd));
    for (const cancel of [undefined, null, [], { id: 77 }])
      theirs.write(framed({ method: '$/cancelRequest', params: cancel }));
    theirs.write(framed({ id: 'last', method: 'still there' }));
    while (!answers.length) await once(theirs, 'data');
    assert.deepEqual(answers, [{ jsonrpc: '2.0', id: 'last', result: 'still there' }]);
    theirs.write('GET / HTTP/1.1\r\n\r\n');
    await once(theirs, 'close');
    await assert.rejects(own.request('more', {}), Closed);
  });
});

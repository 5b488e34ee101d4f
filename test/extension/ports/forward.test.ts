import assert from 'node:assert/strict';
import { connect } from 'node:net';
import type { Ask } from '../../../src/connection/helper.ts';
import { type Dialler, Forward } from '../../../src/ports/forward.ts';

type Listener = (params: never) => void;

/** A helper in which something echoes on every port but 1, in capitals. */
function echoing() {
  const listeners = new Map<string, Set<Listener>>();
  const asked: string[] = [];
  const tell = (name: string, params: object) => {
    for (const listener of listeners.get(name) ?? []) listener(params as never);
  };
  let sessions = 0;
  const ask = (async (
    method: string,
    params: { kind?: string; port?: number; session?: string; data: string; eof?: boolean },
  ) => {
    asked.push(method);
    if (method === 'session/open') {
      assert.equal(params.kind, 'dial');
      if (params.port === 1) throw new Error('nothing listens');
      const session = `x${++sessions}`;
      // Before the answer that names the session.
      tell('session/output', { session, data: Buffer.from('hello ').toString('base64') });
      return { session };
    }
    if (method === 'session/write') {
      const text = Buffer.from(params.data, 'base64').toString().toUpperCase();
      tell('session/output', { session: params.session, data: Buffer.from(text).toString('base64') });
      tell('session/output', { session: 'x99', data: Buffer.from('not yours').toString('base64') });
      if (params.eof) tell('session/exit', { session: params.session, exitCode: 0 });
      return {};
    }
    if (method === 'session/close') return {};
    throw new Error(`nobody expected ${method}`);
  }) as Ask;
  const helper: Dialler = {
    ask,
    onNotification: (name, listener) => {
      const all = listeners.get(name) ?? new Set();
      listeners.set(name, all.add(listener as Listener));
      return { dispose: () => all.delete(listener as Listener) };
    },
  };
  return { helper, asked, left: () => [...listeners.values()].reduce((sum, all) => sum + all.size, 0) };
}

/** What a client gets that says this and then ends. */
function say(port: number, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let got = '';
    const socket = connect(port, '127.0.0.1', () => socket.end(text));
    socket.on('data', (data) => {
      got += data;
    });
    socket.on('end', () => resolve(got));
    socket.on('error', reject);
  });
}

describe('a port of a sandbox on this machine', () => {
  it('carries bytes both ways, each connection its own', async () => {
    const { helper, left } = echoing();
    const forward = await Forward.open(helper, { sandbox: 's1', port: 3999 });
    assert.deepEqual(await Promise.all([say(forward.local, 'one'), say(forward.local, 'two')]), [
      'hello ONE',
      'hello TWO',
    ]);
    forward.dispose();
    assert.equal(left(), 0);
  });

  it('takes another number where this one is in use', async () => {
    const { helper } = echoing();
    const first = await Forward.open(helper, { sandbox: 's1', port: 3998 });
    const second = await Forward.open(helper, { sandbox: 's2', port: 3998 });
    assert.notEqual(second.local, first.local);
    first.dispose();
    second.dispose();
  });

  it('resets what can’t be connected inside', async () => {
    const { helper, left } = echoing();
    const forward = await Forward.open(helper, { sandbox: 's1', port: 1 });
    await assert.rejects(say(forward.local, 'x'), /ECONNRESET/);
    forward.dispose();
    assert.equal(left(), 0);
  });
});

/** What the extension's connection is over VS Code's client library, over plain JSON-RPC: the same place, the same wire. */
import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  createMessageConnection,
  type Disposable,
  StreamMessageReader,
  StreamMessageWriter,
} from 'vscode-jsonrpc/node';
import type { BridgeMethod, BridgeParams, BridgeResult } from '../../helper/protocol/bridge.ts';
import { ERRORS } from '../../helper/protocol/errors.ts';
import type { Method, NotificationName, NotificationParams, Params, Result } from '../../helper/protocol/methods.ts';
import { toHelperError } from '../../src/connection/errors.ts';
import type { Place } from '../../src/connection/place.ts';
import type { Wire } from '../../src/connection/wire.ts';

type ParamsOf<M> = M extends BridgeMethod ? BridgeParams<M> : M extends Method ? Params<M> : never;
type ResultOf<M> = M extends BridgeMethod ? BridgeResult<M> : M extends Method ? Result<M> : never;

const CODES = new Set(Object.keys(ERRORS));

export interface Client {
  ask<M extends Method | BridgeMethod>(method: M, params: ParamsOf<M>): Promise<ResultOf<M>>;
  readonly told: { name: string; params: unknown }[];
  onNotification<N extends NotificationName>(name: N, listener: (params: NotificationParams<N>) => void): Disposable;
  /** The place gave the connection up, for this reason. */
  readonly lost: Promise<string>;
  close(): Promise<void>;
}

/** Prepares the place, starts its client process and shakes hands. */
export async function connect(place: Place): Promise<Client & { handshake: BridgeResult<'teleport/handshake'> }> {
  await place.prepare?.(true);
  const { command, args, env } = place.connect();
  const child = spawn(command, [...args], { env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  const rpc = createMessageConnection(new StreamMessageReader(child.stdout), new StreamMessageWriter(child.stdin));
  const told: Client['told'] = [];
  const listening = new Set<(name: string, params: unknown) => void>();
  rpc.onNotification((name, params) => {
    const one = { name, params: Array.isArray(params) ? params[0] : params };
    told.push(one);
    for (const listener of listening) listener(one.name, one.params);
  });
  rpc.listen();
  const plain: Wire = {
    get alive() {
      return child.exitCode === null;
    },
    request: (method, params, _token, timeoutMs) =>
      Promise.race([
        ...(timeoutMs
          ? [sleep(timeoutMs, undefined, { ref: false }).then(() => Promise.reject(new Error(`${method}: no answer`)))]
          : []),
        rpc.sendRequest(method, params).catch((error) => {
          throw toHelperError(error, CODES);
        }),
        ended.then((code) => Promise.reject(new Error(`the client process ended with ${code} during ${method}`))),
      ]),
    dispose: () => rpc.dispose(),
  };
  let lose: (reason: string) => void;
  const lost = new Promise<string>((resolve) => {
    lose = resolve;
  });
  const notified = (name: string, params: unknown) => void told.push({ name, params });
  const events = { notified, closed: (reason: string) => lose(reason) };
  const wire = place.wrap?.(plain, events) ?? plain;
  await wire.request('initialize', { processId: null, rootUri: null, capabilities: {} }, undefined, 0);
  const ask: Client['ask'] = async (method, params) =>
    (await wire.request(method, params as object, undefined, 0)) as never;
  const handshake = await ask('teleport/handshake', { client: 'vm test' });
  return {
    ask,
    told,
    onNotification: (wanted, listener) => {
      const one = (name: string, params: unknown) => name === wanted && listener(params as never);
      listening.add(one);
      return { dispose: () => void listening.delete(one) };
    },
    lost,
    handshake,
    close: async () => {
      child.stdin.end();
      await ended;
      wire.dispose();
    },
  };
}

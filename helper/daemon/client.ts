/** One connection of a client: who it is, what it listens to, how it is told things. */
import type { NotificationName, NotificationParams } from '../protocol/methods.ts';
import type { Endpoint } from '../wire/endpoint.ts';
import type { Owner } from './owner.ts';
import type { SessionClient } from './sandbox.ts';
import type { Listener, Sessions } from './sessions.ts';

export class Client {
  readonly owner: Owner;
  private readonly endpoint: Endpoint;
  private readonly leaving: (() => void)[] = [];
  private readonly listeners = new Map<string, ClientListener>();
  gone = false;

  constructor(endpoint: Endpoint, owner: Owner) {
    this.endpoint = endpoint;
    this.owner = owner;
  }

  notify<N extends NotificationName>(name: N, params: NotificationParams<N>): Promise<void> {
    if (this.gone) return Promise.resolve();
    // Resolves when the bytes are written: that is the flow control.
    return this.endpoint.notify(name, params);
  }

  onLeave(work: () => void): void {
    this.leaving.push(work);
  }

  leave(): void {
    this.gone = true;
    for (const work of this.leaving.splice(0)) work();
    this.listeners.clear();
  }

  /** The one listener of this client for a session: attaching twice does not show things twice. */
  listener(sandbox: string, branch: string, session: string, sessions: Sessions): ClientListener {
    const key = `${sandbox}/${session}`;
    this.listeners.get(key)?.stop();
    const listener = new ClientListener(this, sandbox, branch, session, () => {
      if (this.listeners.get(key) === listener) this.listeners.delete(key);
    });
    listener.stop = () => sessions.detachListener(listener);
    this.listeners.set(key, listener);
    this.onLeave(() => listener.stop());
    return listener;
  }
}

/** Bytes under way to a client above which the session's source is paused. */
const HIGH_WATER = 1 << 20;

/** Sends in parts; where the client is behind, answers what to wait for before there is more. */
export function paced(send: (data: Buffer) => Promise<void>): (data: Buffer) => void | Promise<void> {
  let underWay = 0;
  return (data) => {
    underWay += data.length;
    const sent = send(data).then(() => {
      underWay -= data.length;
    });
    return underWay > HIGH_WATER ? sent : undefined;
  };
}

export class ClientListener implements Listener, SessionClient {
  private readonly client: Client;
  private readonly sandbox: string;
  private branch: string;
  private readonly session: string;
  private readonly over: () => void;
  private readonly send = { stdout: this.paced('stdout'), stderr: this.paced('stderr') };
  stop: () => void = () => {};

  constructor(client: Client, sandbox: string, branch: string, session: string, over: () => void) {
    this.client = client;
    this.sandbox = sandbox;
    this.branch = branch;
    this.session = session;
    this.over = over;
  }

  private get where(): { sandbox: string; branch: string; session: string } {
    return { sandbox: this.sandbox, branch: this.branch, session: this.session };
  }

  private paced(stream: 'stdout' | 'stderr') {
    return paced((data) =>
      this.client.notify('session/output', { ...this.where, stream, data: data.toString('base64') }),
    );
  }

  output(stream: 'stdout' | 'stderr', data: Buffer): void | Promise<void> {
    return this.send[stream](data);
  }

  exit(exitCode: number): void {
    void this.client.notify('session/exit', { ...this.where, exitCode });
    this.over();
  }

  restored(back: { branch: string; running: boolean; scrollback: Buffer; at: string; ms: number }): void {
    this.branch = back.branch;
    const { running, at, ms } = back;
    void this.client.notify('session/restored', {
      ...this.where,
      running,
      scrollback: back.scrollback.toString('base64'),
      at,
      ms,
    });
  }

  gone(reason: string): void {
    void this.client.notify('session/gone', { sandbox: this.sandbox, session: this.session, reason });
    this.over();
  }
}

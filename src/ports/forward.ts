import { Buffer } from 'node:buffer';
import { createServer, type Server, type Socket } from 'node:net';
import type { Disposable } from 'vscode';
import type { NotificationName, NotificationParams } from '../../helper/protocol/methods.ts';
import type { Ask } from '../connection/helper.ts';
import type { Inside } from './inside.ts';

/** What of the helper it takes to carry a connection. */
export interface Dialler {
  readonly ask: Ask;
  onNotification<N extends NotificationName>(name: N, listener: (params: NotificationParams<N>) => void): Disposable;
}

/** Bytes on their way into the sandbox above which the local side is not read any further. */
const HIGH_WATER = 1 << 20;

/**
 * A port of a sandbox on this machine's loopback: each connection to it is one of its own inside, over the connection that
 * the extension has anyway, so it is the same for a sandbox on this machine, in a virtual one or over Remote-SSH. A
 * checkpoint or a rollback cuts the connections there are; whoever wants to makes new ones.
 */
export class Forward implements Disposable {
  private readonly sockets = new Set<Socket>();

  private constructor(
    private readonly helper: Dialler,
    private readonly inside: Inside,
    private readonly server: Server,
  ) {
    server.on('connection', (socket) => void this.serve(socket));
  }

  /** The same number here if it is free, else another. */
  static async open(helper: Dialler, inside: Inside): Promise<Forward> {
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true });
    await listen(server, inside.port).catch(() => listen(server, 0));
    return new Forward(helper, inside, server);
  }

  get local(): number {
    return (this.server.address() as { port: number } | null)?.port ?? 0;
  }

  dispose(): void {
    this.server.close();
    for (const socket of this.sockets) socket.destroy();
  }

  private async serve(socket: Socket): Promise<void> {
    const { sandbox, branch, port } = this.inside;
    const { helper } = this;
    this.sockets.add(socket);
    /** What came before the answer that names the session. */
    const early: (() => void)[] = [];
    let session: string | undefined;
    let over = false;
    const mine = (name: string | undefined, act: () => void) => {
      if (session === undefined) early.push(() => name === session && act());
      else if (name === session) act();
    };
    const listening = [
      helper.onNotification('session/output', (p) =>
        mine(p.session, () => void socket.write(Buffer.from(p.data, 'base64'))),
      ),
      helper.onNotification('session/exit', (p) =>
        mine(p.session, () => finish(() => socket.end(() => socket.destroySoon()))),
      ),
      helper.onNotification('session/gone', (p) => mine(p.session, () => finish(() => socket.destroy()))),
    ];
    const finish = (how: () => void) => {
      if (over) return;
      over = true;
      for (const one of listening) one.dispose();
      how();
    };
    const close = () => {
      this.sockets.delete(socket);
      const open = session !== undefined && !over;
      finish(() => socket.destroy());
      if (open) helper.ask('session/close', at()).catch(() => undefined);
    };
    const at = () => ({ sandbox, session: session!, ...(branch === undefined ? {} : { branch }) });
    socket.on('error', close);
    socket.on('close', close);
    try {
      const opened = await helper.ask('session/open', {
        sandbox,
        kind: 'dial',
        port,
        ...(branch === undefined ? {} : { branch }),
      });
      session = opened.session;
    } catch {
      // A reset tells the difference to a server that had nothing to say.
      finish(() => socket.resetAndDestroy());
      return;
    }
    for (const act of early) act();
    let underWay = 0;
    const send = (data: Buffer, eof: boolean) => {
      underWay += data.length;
      if (underWay > HIGH_WATER) socket.pause();
      helper.ask('session/write', { ...at(), data: data.toString('base64'), eof }).then(() => {
        underWay -= data.length;
        if (underWay <= HIGH_WATER) socket.resume();
      }, close);
    };
    socket.on('data', (data) => send(data as Buffer, false));
    socket.on('end', () => !over && send(Buffer.alloc(0), true));
    socket.resume();
  }
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => {
      server.off('error', reject);
      resolve();
    });
  });
}

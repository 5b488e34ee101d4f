/**
 * A port of a sandbox on this machine: a listener on loopback, each of whose connections is one of its own inside (a session
 * of kind `dial`). It follows the head: what connects after a rollback reaches the moment gone back to. A checkpoint or a
 * rollback cuts the connections there are; programs that serve and browsers make new ones.
 */
import { setMaxListeners } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { TeleportError } from '../protocol/errors.ts';
import type { Connection } from './connection.ts';
import { AttachedSession } from './session.ts';

export interface ForwardOptions {
  sandbox: string;
  /** Left out: whichever branch is the head. */
  branch?: string;
  /** Inside. */
  port: number;
  /** Here. Left out: the same number if it is free, else another. 0: another. */
  local?: number;
}

/** Bytes on their way into the sandbox above which the local side is not read any further. */
const HIGH_WATER = 1 << 20;

export class PortForward {
  readonly options: Readonly<ForwardOptions>;
  readonly localPort: number;
  private readonly server: Server;
  private readonly sockets = new Set<Socket>();
  /** Told of each connection that could not be made. */
  onRefused: ((error: Error) => void) | undefined;
  /** It was closed, or the connection to the helper is gone. */
  onClosed: (() => void) | undefined;

  private constructor(options: ForwardOptions, server: Server, connection: Connection) {
    this.options = options;
    this.server = server;
    this.localPort = (server.address() as { port: number }).port;
    server.on('connection', (socket) => void this.serve(socket, connection));
    const lost = (): void => this.close();
    setMaxListeners(0, connection.lost); // as many as there are ports
    connection.lost.addEventListener('abort', lost, { once: true });
    server.once('close', () => {
      connection.lost.removeEventListener('abort', lost);
      this.onClosed?.();
    });
  }

  /** @throws TeleportError `portTaken` where `local` was asked for and another program has it */
  static async open(connection: Connection, options: ForwardOptions): Promise<PortForward> {
    const { local, port } = options;
    // Half-open: a client that has said all it wants to say may still listen.
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true });
    try {
      await listen(server, local ?? port);
    } catch (error) {
      if (local !== undefined)
        throw new TeleportError('portTaken', `cannot listen on port ${local}: ${(error as Error).message}`, {
          hint: 'choose another with --local, or leave it out',
          cause: error,
        });
      await listen(server, 0);
    }
    return new PortForward(options, server, connection);
  }

  private async serve(socket: Socket, connection: Connection): Promise<void> {
    this.sockets.add(socket);
    let session: AttachedSession | undefined;
    let ended = false;
    const over = (): void => {
      ended = true;
      this.sockets.delete(socket);
      socket.destroy();
    };
    socket.on('error', over);
    socket.on('close', () => {
      const wasEnded = ended;
      over();
      if (!wasEnded) session?.close().catch(() => undefined);
    });
    const { sandbox, branch, port } = this.options;
    try {
      session = await AttachedSession.open(
        connection,
        { sandbox, branch, kind: 'dial', port },
        {
          output: (_, data) => void socket.write(data),
          exit: () => {
            ended = true;
            socket.end(() => socket.destroySoon());
          },
          gone: over,
        },
      );
    } catch (error) {
      this.onRefused?.(error as Error);
      // A reset tells the difference to a server that had nothing to say.
      socket.resetAndDestroy();
      this.sockets.delete(socket);
      return;
    }
    if (ended) return void session.close().catch(() => undefined);
    this.carry(socket, session, over);
  }

  private carry(socket: Socket, session: AttachedSession, over: () => void): void {
    let underWay = 0;
    const send = (data: Buffer, eof: boolean): void => {
      underWay += data.length;
      if (underWay > HIGH_WATER) socket.pause();
      session.write(data, eof).then(() => {
        underWay -= data.length;
        if (underWay <= HIGH_WATER) socket.resume();
      }, over);
    };
    socket.on('data', (data) => send(data, false));
    socket.on('end', () => send(Buffer.alloc(0), true));
    socket.resume();
  }

  /** Stops listening and cuts what is connected. */
  close(): void {
    this.server.close();
    for (const socket of this.sockets) socket.destroy();
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

/** Those of one client process, so that asking twice gives the same one. */
export class PortForwards {
  private readonly open_ = new Map<string, Promise<PortForward>>();

  open(connection: Connection, options: ForwardOptions): Promise<PortForward> {
    const key = keyOf(options);
    const known = this.open_.get(key);
    if (known) return known;
    const made = PortForward.open(connection, options);
    this.open_.set(key, made);
    const forget = (): void => {
      if (this.open_.get(key) === made) this.open_.delete(key);
    };
    made.then((forward) => {
      forward.onClosed = forget;
    }, forget);
    return made;
  }

  list(): Promise<PortForward[]> {
    return Promise.all(this.open_.values());
  }

  async close(options: ForwardOptions): Promise<void> {
    const key = keyOf(options);
    const known = this.open_.get(key);
    this.open_.delete(key);
    (await known?.catch(() => undefined))?.close();
  }

  async closeAll(): Promise<void> {
    const all = [...this.open_.values()];
    this.open_.clear();
    for (const one of all) (await one.catch(() => undefined))?.close();
  }
}

function keyOf({ sandbox, branch, port }: ForwardOptions): string {
  return `${sandbox}/${branch ?? ''}/${port}`;
}

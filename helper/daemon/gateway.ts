/**
 * The model gateway of a sandbox, as far as the daemon goes: a listener on loopback in each live branch's network, whose bytes are
 * passed to the one client that registered, and its answers back. What the bytes mean is that client's business: it has the
 * user's rights, holds the keys and speaks to the world.
 *
 * The listener is the daemon's, so it is in no image. A connection to it survives a checkpoint, as one to the outside does; while
 * the branch is dumped nothing is written to it. Where a branch is restored, the ends that were in the image are reset before anything
 * runs (`cutGateway`), so whoever waits for an answer there is told at once.
 */

import { closeSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { gatewaySocket } from '../engine/network.ts';
import { TeleportError } from '../protocol/errors.ts';
import { GATEWAY_PORT } from '../protocol/methods.ts';
import { shellWord } from '../protocol/shell-word.ts';
import type { Branch } from './branch.ts';
import type { Client } from './client.ts';

/** Bytes under way to the client above which the program inside is not read any further. */
const HIGH_WATER = 1 << 20;

/** Numbers of connections, in all sandboxes. */
let given = 0;

interface Passage {
  client: Client;
  socket: Socket;
  branch: Branch;
}

/** All connections of all gateways: a client names one by its number. */
const passages = new Map<number, Passage>();

export class Gateway {
  readonly client: Client;
  private readonly sandbox: string;
  private readonly log: (text: string) => void;
  private readonly branches: () => Iterable<Branch>;
  private over = false;

  /** @param branches the live ones */
  constructor(sandbox: string, client: Client, branches: () => Iterable<Branch>, log: (text: string) => void) {
    this.sandbox = sandbox;
    this.client = client;
    this.branches = branches;
    this.log = log;
    for (const branch of branches()) this.listen(branch);
  }

  /** Before the branch runs, where it can be. A branch without it is better than none. */
  listen(branch: Branch): void {
    if (this.over || branch.gateway || branch.over) return;
    let fd: number;
    try {
      fd = gatewaySocket(branch.live.pid);
    } catch (error) {
      this.log(`${this.sandbox}/${branch.id}: no model gateway: ${(error as Error).message}`);
      return;
    }
    const door = new Door(branch, createServer({ pauseOnConnect: true, noDelay: true }), this.sandbox, this.client);
    branch.gateway = door;
    door.open(fd, (error) => {
      this.log(`${this.sandbox}/${branch.id}: model gateway: ${error.message}`);
      door.close();
      if (branch.gateway === door) branch.gateway = null;
    });
  }

  close(): void {
    this.over = true;
    for (const branch of this.branches()) {
      branch.gateway?.close();
      branch.gateway = null;
    }
  }
}

/** The gateway of one branch. */
export class Door {
  private readonly branch: Branch;
  private readonly server: Server;
  private readonly mine = new Set<number>();
  private held: Promise<void> | null = null;
  private letGo: (() => void) | null = null;

  constructor(branch: Branch, server: Server, sandbox: string, client: Client) {
    this.branch = branch;
    this.server = server;
    server.on('connection', (socket) => this.pass(socket, sandbox, client));
  }

  /** @param fd bound; it is the server's from now on */
  open(fd: number, failed: (error: Error) => void): void {
    this.server.on('error', failed);
    try {
      this.server.listen({ fd });
    } catch (error) {
      closeSync(fd);
      failed(error as Error);
    }
  }

  private pass(socket: Socket, sandbox: string, client: Client): void {
    const connection = ++given;
    passages.set(connection, { client, socket, branch: this.branch });
    this.mine.add(connection);
    let underWay = 0;
    socket.on('data', (data) => {
      underWay += data.length;
      if (underWay > HIGH_WATER) socket.pause();
      void client.notify('gateway/data', { connection, data: data.toString('base64') }).then(() => {
        underWay -= data.length;
        if (underWay <= HIGH_WATER) socket.resume();
      });
    });
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      passages.delete(connection);
      this.mine.delete(connection);
      void client.notify('gateway/disconnected', { connection });
    });
    void client.notify('gateway/connected', { sandbox, branch: this.branch.id, connection });
    socket.resume();
  }

  /** Nothing is written while the branch is dumped: its sockets are being read then. */
  hold(): void {
    this.held ??= new Promise((resolve) => {
      this.letGo = resolve;
    });
  }

  release(): void {
    this.letGo?.();
    this.held = this.letGo = null;
  }

  get ready(): Promise<void> | null {
    return this.held;
  }

  /** Cuts what is connected. */
  close(): void {
    this.release();
    this.server.close();
    for (const connection of this.mine) passages.get(connection)?.socket.resetAndDestroy();
  }
}

/** What the client has to say to a program inside. Resolves when there is room for more. @throws TeleportError `notAllowed` */
export async function writeGateway(client: Client, connection: number, data: Buffer, end: boolean): Promise<void> {
  const passage = passages.get(connection);
  if (!passage) return; // it ended meanwhile; the notice is on its way
  if (passage.client !== client)
    throw new TeleportError('notAllowed', `connection ${connection} is another client's`, {
      hint: 'only the gateway that it was told to may write to it',
    });
  while (passage.branch.gateway?.ready) await passage.branch.gateway.ready;
  const { socket } = passage;
  if (socket.destroyed) return;
  const room = data.length === 0 || socket.write(data);
  if (end) socket.end();
  if (room || end) return;
  await new Promise<void>((resolve) => {
    const done = (): void => {
      socket.off('drain', done);
      socket.off('close', done);
      resolve();
    };
    socket.on('drain', done);
    socket.on('close', done);
  });
}

export function takenError(name: string): TeleportError {
  return new TeleportError('gatewayTaken', `another program serves as the model gateway of ${name} already`, {
    hint: `end that one first (a teleport-env gateway ${shellWord(name)}, or a window that has it switched on); it listens on port ${GATEWAY_PORT} inside`,
  });
}

import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  createMessageConnection,
  type MessageConnection,
  StreamMessageReader,
  StreamMessageWriter,
} from 'vscode-jsonrpc/node';
import { toWire } from '../../helper/client/errors.ts';
import {
  METHODS,
  type Method,
  NOTIFICATIONS,
  type NotificationName,
  type NotificationParams,
  type Parsed,
  PROTOCOL_VERSION,
  type Result,
} from '../../helper/protocol/methods.ts';

export type Replies = {
  [M in Method]?: (params: Parsed<M>, fake: FakeHelper) => Result<M> | Promise<Result<M>>;
};

/**
 * A helper that answers by script. It throws on what a test did not expect, and on what the protocol does not allow, in
 * either direction.
 */
export class FakeHelper {
  readonly calls: { method: string; params: unknown }[] = [];
  readonly socketPath: string;
  readonly folder = mkdtempSync(join(tmpdir(), 'fake-helper-'));
  readonly #complaints: string[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #connections = new Set<MessageConnection>();

  private constructor(private readonly replies: Replies) {
    this.socketPath = join(this.folder, 'daemon.sock');
    this.#server = createServer((socket) => this.#serve(socket));
  }

  static async start(replies: Replies): Promise<FakeHelper> {
    const fake = new FakeHelper(replies);
    await new Promise<void>((resolve) => fake.#server.listen(fake.socketPath, resolve));
    return fake;
  }

  called(method: Method): unknown[] {
    return this.calls.filter((call) => call.method === method).map(({ params }) => params);
  }

  notify<N extends NotificationName>(name: N, params: NotificationParams<N>): void {
    NOTIFICATIONS[name].parse(params);
    for (const connection of this.#connections) void connection.sendNotification(name, params);
  }

  /** As a daemon that dies: every connection is cut. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async stop(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
    rmSync(this.folder, { recursive: true, force: true });
    if (this.#complaints.length > 0) throw new Error(this.#complaints.join('\n'));
  }

  #serve(socket: Socket): void {
    const connection = createMessageConnection(new StreamMessageReader(socket), new StreamMessageWriter(socket));
    this.#sockets.add(socket);
    this.#connections.add(connection);
    socket.on('close', () => {
      this.#sockets.delete(socket);
      this.#connections.delete(connection);
    });
    connection.onRequest(async (method, raw) => {
      try {
        return await this.#answer(method, Array.isArray(raw) ? raw[0] : raw);
      } catch (error) {
        return toWire(error);
      }
    });
    connection.listen();
  }

  async #answer(method: string, raw: unknown): Promise<unknown> {
    if (!(method in METHODS)) throw this.#complain(`unknown method ${method}`);
    const { params, result } = METHODS[method as Method];
    const parsed = params.safeParse(raw);
    if (!parsed.success) throw this.#complain(`${method} ${JSON.stringify(raw)}: ${parsed.error.message}`);
    this.calls.push({ method, params: parsed.data });
    const reply = this.replies[method as Method] as ((params: unknown, fake: FakeHelper) => unknown) | undefined;
    if (!reply && method === 'initialize')
      return { protocolVersion: PROTOCOL_VERSION, helperVersion: '0.0.0', pid: 1, uid: 0, needs: [] };
    if (!reply) throw this.#complain(`unexpected ${method} ${JSON.stringify(raw)}`);
    const answer = await reply(parsed.data, this);
    const checked = result.safeParse(answer);
    if (!checked.success) throw this.#complain(`reply to ${method}: ${checked.error.message}`);
    return answer;
  }

  #complain(text: string): Error {
    this.#complaints.push(text);
    return new Error(text);
  }
}

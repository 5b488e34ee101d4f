/**
 * What an agent works in: the connection, which sandbox is meant when none is named, and what happened to it behind the agent's
 * back. An agent outside of the sandbox remembers what a rollback took back, so its next result tells it.
 */
import { rolledBackNews } from '../../protocol/agent-news.ts';
import { TeleportError } from '../../protocol/errors.ts';
import type { Method, NotificationParams, Params, Result } from '../../protocol/methods.ts';
import type { Sandbox } from '../../protocol/model.ts';
import type { Connection, RequestOptions } from '../connection.ts';

export interface RoomOptions {
  connect(): Promise<Connection>;
  /** The sandbox that the server was started for, if it was for one. */
  sandbox?: string;
  /** The folder that the agent works in. */
  cwd: string;
  env: NodeJS.ProcessEnv;
}

type Moved = NotificationParams<'head/moved'>;

export class Room {
  private connection: Connection | undefined;
  private chosen: string | undefined;
  /** By sandbox: where its head went without the agent. */
  private readonly moved = new Map<string, Moved>();
  /** Heads that the agent moved to itself; whether the answer or the notification comes first is not said. */
  private readonly own = new Set<string>();

  constructor(readonly options: RoomOptions) {
    this.chosen = options.sandbox;
  }

  async helper(): Promise<Connection> {
    if (this.connection && !this.connection.lost.aborted) return this.connection;
    const connection = await this.options.connect();
    connection.on('head/moved', (moved) => {
      const byHand = ['rollback', 'undo', 'promote'].includes(moved.cause);
      if (byHand && !this.own.has(`${moved.sandbox} ${moved.head}`)) this.moved.set(moved.sandbox, moved);
    });
    this.connection = connection;
    return connection;
  }

  async request<M extends Method>(method: M, params: Params<M>, options?: RequestOptions): Promise<Result<M>> {
    return await (await this.helper()).request(method, params, options);
  }

  /** The one that is named, else the one in use, else the folder's. @throws TeleportError `unknownSandbox`, `ambiguousSandbox` */
  async sandbox(named: string | undefined): Promise<Sandbox> {
    const wanted = named ?? this.chosen;
    if (wanted !== undefined) return this.use((await this.request('sandbox/get', { sandbox: wanted })).sandbox);
    const { sandboxes } = await this.request('sandbox/list', {});
    const { cwd } = this.options;
    const here = sandboxes
      .filter(({ workspace }) => cwd === workspace || cwd.startsWith(`${workspace}/`))
      .sort((a, b) => b.workspace.length - a.workspace.length);
    const best = here.filter(({ workspace }) => workspace === here[0]!.workspace);
    if (best.length === 1) return this.use(best[0]!);
    if (best.length > 1)
      throw new TeleportError('ambiguousSandbox', `this folder has several sandboxes: ${names(best)}`, {
        hint: 'name one of them',
      });
    throw new TeleportError('unknownSandbox', `there is no sandbox of ${cwd} yet`, {
      hint: sandboxes.length > 0 ? `make one with create, or name one: ${names(sandboxes)}` : 'make one with create',
    });
  }

  use(sandbox: Sandbox): Sandbox {
    this.chosen = sandbox.id;
    return sandbox;
  }

  /** A move that the agent asked for itself is no news. */
  expected(sandbox: string, head: string): void {
    this.own.add(`${sandbox} ${head}`);
    if (this.moved.get(sandbox)?.head === head) this.moved.delete(sandbox);
  }

  /** Said once: that somebody else moved the head since the agent's last result. */
  async news(sandbox: string): Promise<string | null> {
    const moved = this.moved.get(sandbox);
    if (!moved) return null;
    this.moved.delete(sandbox);
    const { checkpoints } = await this.request('checkpoint/list', { sandbox });
    const at = checkpoints.find(({ id }) => id === moved.checkpoint);
    return rolledBackNews(at ?? { id: moved.checkpoint }, moved.saved);
  }

  close(): void {
    this.connection?.close();
  }
}

function names(sandboxes: Sandbox[]): string {
  return sandboxes.map(({ name }) => name).join(', ');
}

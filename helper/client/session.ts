import type { BranchId, SandboxId, SessionId } from '../protocol/ids.ts';
import type { NotificationName, NotificationParams, Params } from '../protocol/methods.ts';
import type { Session } from '../protocol/model.ts';
import type { Connection } from './connection.ts';

/** What happens to a session that this client is attached to. */
export interface SessionEvents {
  output(stream: 'stdout' | 'stderr', data: Buffer): void;
  exit(exitCode: number): void;
  /** The head moved to a moment at which the session existed: this is how it looked. */
  restored?(moment: NotificationParams<'session/restored'>, scrollback: Buffer): void;
  /** The head moved to a moment at which it did not exist. */
  gone(reason: string): void;
}

/** What a session needs of a connection. */
export type Link = Pick<Connection, 'request' | 'on'>;

type Where = { sandbox: SandboxId; branch?: BranchId };

/** A session inside a sandbox, and what can be done with it. */
export class AttachedSession {
  private constructor(
    private readonly connection: Link,
    private readonly where: Where,
    readonly id: SessionId,
    /** Stops listening; the session goes on. */
    readonly detach: () => void,
  ) {}

  /** Opens one; who opens is attached from its first byte on. */
  static async open(connection: Link, params: Params<'session/open'>, events: SessionEvents) {
    const inbox = new Inbox(connection, params.sandbox as SandboxId, events);
    try {
      const { session } = await connection.request('session/open', params);
      inbox.deliverTo(session);
      return new AttachedSession(connection, whereOf(params), session, () => inbox.close());
    } catch (error) {
      inbox.close();
      throw error;
    }
  }

  /** Attaches to one that exists. `scrollback` is what came before. */
  static async attach(connection: Link, params: Params<'session/attach'>, events: SessionEvents) {
    const inbox = new Inbox(connection, params.sandbox as SandboxId, events);
    try {
      const answer = await connection.request('session/attach', params);
      const scrollback = Buffer.from(answer.scrollback, 'base64');
      const attached = new AttachedSession(connection, whereOf(params), params.session, () => inbox.close());
      const { session } = answer;
      return { attached, session, scrollback, deliver: () => inbox.deliverTo(params.session, session) };
    } catch (error) {
      inbox.close();
      throw error;
    }
  }

  async write(data: Uint8Array, eof = false): Promise<void> {
    await this.connection.request('session/write', { ...this.me(), data: Buffer.from(data).toString('base64'), eof });
  }

  async resize(cols: number, rows: number): Promise<void> {
    await this.connection.request('session/resize', { ...this.me(), cols, rows });
  }

  async signal(signal: number): Promise<void> {
    await this.connection.request('session/signal', { ...this.me(), signal });
  }

  /** Hangs up and forgets it. */
  async close(): Promise<void> {
    this.detach();
    await this.connection.request('session/close', this.me());
  }

  private me() {
    return { ...this.where, session: this.id };
  }
}

function whereOf({ sandbox, branch }: { sandbox: string; branch?: string }): Where {
  return branch === undefined ? { sandbox } : { sandbox, branch };
}

/** Output may arrive before the answer that says the session's id: it waits here for that. */
class Inbox {
  private waiting: (() => void)[] | null = [];
  private id: SessionId | undefined;
  /** The branch it lives in now: a rollback gives it another, and what the old one still says is not about this one. */
  private branch: BranchId | undefined;
  private ended = false;
  private readonly stops: (() => void)[] = [];

  constructor(
    connection: Link,
    private readonly sandbox: SandboxId,
    private readonly events: SessionEvents,
  ) {
    const listen = <N extends NotificationName & `session/${string}`>(
      name: N,
      act: (params: NotificationParams<N>) => void,
    ) => {
      this.stops.push(connection.on(name, (params) => this.take(params, () => act(params))));
    };
    listen('session/output', (p) => this.isHere(p) && events.output(p.stream, Buffer.from(p.data, 'base64')));
    listen('session/exit', (p) => this.isHere(p) && this.end(() => events.exit(p.exitCode)));
    listen('session/restored', (p) => {
      this.branch = p.branch;
      events.restored?.(p, Buffer.from(p.scrollback, 'base64'));
    });
    listen('session/gone', (p) => this.end(() => events.gone(p.reason)));
  }

  deliverTo(id: SessionId, state?: Session): void {
    this.id = id;
    const early = this.waiting ?? [];
    this.waiting = null;
    for (const deliver of early) deliver();
    if (state && !state.running) this.end(() => this.events.exit(state.exitCode ?? 0));
  }

  close(): void {
    this.ended = true;
    for (const stop of this.stops.splice(0)) stop();
  }

  private isHere({ branch }: { branch: BranchId }): boolean {
    this.branch ??= branch;
    return this.branch === branch;
  }

  private take(params: { sandbox: string; session: string }, act: () => void): void {
    const deliver = () => {
      if (!this.ended && params.session === this.id && params.sandbox === this.sandbox) act();
    };
    if (this.waiting) this.waiting.push(deliver);
    else deliver();
  }

  private end(act: () => void): void {
    if (this.ended) return;
    this.close();
    act();
  }
}

/**
 * The sessions of one branch, as the helper sees them: who listens to which, and the connections to PID 1 that carry them.
 * No connection stays open across a dump: `quiesce` lets go of all, `resume` takes them up where they were, nothing
 * lost or shown twice. Input meanwhile waits.
 */

import {
  type Answer,
  type Ask,
  type Heard,
  InitConnection,
  InitRefusal,
  type ListedSession,
  type Opening,
} from '../engine/init-client.ts';
import { TeleportError } from '../protocol/errors.ts';

/** Somebody who listens to a session. */
export interface Listener {
  /** A promise: not so fast, go on when it resolves. */
  output(stream: 'stdout' | 'stderr', data: Buffer): void | Promise<void>;
  exit(code: number): void;
  /** The daemon's own: it belongs to this branch, and does not go over to the one that replaces it. */
  readonly stays?: boolean;
}

interface Link {
  id: string;
  kind: Opening['kind'];
  connection: InitConnection | null;
  listeners: Set<Listener>;
  input: (Buffer | 'end')[];
  exitCode: number | null;
  /** What was held back of its connections has been told. */
  inTurn: Promise<unknown>;
}

/**
 * Input for a session that is only being attached to. It goes out right behind the request, so that PID 1 finds both at once; where
 * that is refused, so is this.
 */
export class Behind {
  private connection: InitConnection | null = null;
  private readonly input: Buffer[] = [];

  write(data: Buffer): void {
    if (this.connection) this.connection.write(data);
    else this.input.push(data);
  }

  goesTo(connection: InitConnection): void {
    this.connection = connection;
    for (const data of this.input.splice(0)) connection.write(data);
  }
}

/** Sessions of a branch that wakes, asked for before anybody said who listens to them. */
interface Foreseen {
  listed: Promise<ListedSession[]>;
  taken: Map<string, { link: Link; scrollback: Promise<Buffer | null> }>;
  /** Who listens is known: what came until now is told. */
  known(): void;
}

/** By then the branch that takes the place of one that was abandoned has answered. */
const CLOSE_MS = 5;

export class Sessions {
  private readonly pid: number;
  private readonly links = new Map<string, Link>();
  /** Terminals that were opened for somebody who has not come yet. */
  private readonly unattended = new Set<string>();
  private watch: InitConnection | null = null;
  private gate: Promise<void> = Promise.resolve();
  private open_: (() => void) | null = null;
  private ended = false;
  private abandoned: (InitConnection | null)[] = [];
  private foreseen: Foreseen | null = null;
  /** Connections that nobody uses yet. */
  private readonly spare: { connection: InitConnection; heard: Heard }[] = [];
  private pong: Promise<void> = Promise.resolve();
  private readonly leaving = new Set<Promise<void>>();
  private readonly underWay = new Set<Promise<unknown>>();
  /** The last of those who attach, by session. */
  private readonly attaching = new Map<string, Promise<unknown>>();
  /** The branch ended by itself. */
  onEnd: (() => void) | undefined;
  /** A session began, or was heard of. */
  onActivity: (() => void) | undefined;
  private asked: ((ask: Ask) => void) | undefined;
  private askEnded: ((number: number) => void) | undefined;
  /** Came before anybody listened: a standby's, as it wakes. */
  private early: Ask[] = [];

  constructor(pid: number) {
    this.pid = pid;
  }

  /** Resolves when PID 1 answers. */
  async start(): Promise<void> {
    await this.connectAhead();
    await this.pong;
  }

  /** Of a branch that still stands still: its PID 1 finds the question when it wakes. */
  async connectAhead(): Promise<void> {
    if (this.watch) return;
    this.watch = await this.openWatch();
    this.pong = this.watch.ping();
    this.pong.catch(() => {}); // told by `start`
    this.watch.hearAsks();
  }

  /** Of a branch that stands still: connections for so many sessions, which need not be made then when it wakes. */
  async connectFor(sessions: number): Promise<void> {
    while (this.spare.length < sessions && !this.ended) {
      const heard: Heard = {};
      this.spare.push({ connection: await InitConnection.open(this.pid, heard), heard });
    }
  }

  private openWatch(): Promise<InitConnection> {
    return InitConnection.open(this.pid, {
      closed: () => this.watchClosed(),
      asked: (ask) => (this.asked ? this.asked(ask) : this.early.push(ask)),
      askEnded: (number) => {
        this.early = this.early.filter((ask) => ask.number !== number);
        this.askEnded?.(number);
      },
    });
  }

  /** What processes inside ask for, and when they wait no longer. */
  hearAsks(asked: (ask: Ask) => void, ended: (number: number) => void): void {
    this.asked = asked;
    this.askEnded = ended;
    for (const ask of this.early.splice(0)) asked(ask);
  }

  /** Waits while the branch is captured. */
  answer(number: number, answer: Answer): Promise<void> {
    return this.passing(async () => this.watch?.answer(number, answer));
  }

  private watchClosed(): void {
    if (this.open_ || this.ended) return; // quiesced, or given up by us
    this.ended = true;
    for (const link of this.links.values()) this.exited(link, 137);
    this.onEnd?.();
  }

  private exited(link: Link, code: number): void {
    if (link.exitCode !== null) return;
    link.exitCode = code;
    for (const listener of [...link.listeners]) listener.exit(code);
    if (link.connection) this.release(link.connection);
    link.connection = null;
    this.links.delete(link.id);
  }

  private newLink(id: string, kind: Link['kind'], listeners: Iterable<Listener> = []): Link {
    return {
      id,
      kind,
      connection: null,
      listeners: new Set(listeners),
      input: [],
      exitCode: null,
      inTurn: Promise.resolve(),
    };
  }

  /** What makes a connection waits while the branch is captured, and a capture waits for it. */
  private async passing<T>(work: () => Promise<T>): Promise<T> {
    for (let gate: Promise<void> | null = null; gate !== this.gate; ) {
      gate = this.gate;
      await gate;
    }
    const done = work();
    this.underWay.add(done);
    try {
      return await done;
    } finally {
      this.underWay.delete(done);
    }
  }

  /** A connection not needed any more. PID 1 must have seen its end before a dump: half of it can't be carried. */
  private release(connection: InitConnection): void {
    this.leave(connection.detach());
  }

  private leave(ending: Promise<void>): void {
    const gone: Promise<void> = ending.finally(() => this.leaving.delete(gone));
    this.leaving.add(gone);
  }

  /** @param after what it says is told only then */
  private hear(link: Link, after: Promise<unknown> | null): { heard: Heard; belongs(c: InitConnection): void } {
    let mine: InitConnection | null = null;
    let early: (() => void)[] | null = after ? [] : null;
    if (after)
      link.inTurn = Promise.all([after, link.inTurn]).then(() => {
        const all = early ?? [];
        early = null;
        for (const tell of all) tell();
      });
    const inTurn = (tell: () => void): void => void (early ? early.push(tell) : tell());
    const heard: Heard = {
      output: (stream, data) => inTurn(() => this.spread(link, stream, data, mine)),
      exit: (code) => inTurn(() => this.exited(link, code)),
    };
    return { heard, belongs: (c) => (mine = c) };
  }

  private spread(link: Link, stream: 'stdout' | 'stderr', data: Buffer, from: InitConnection | null): void {
    const slow: Promise<void>[] = [];
    if (link.kind !== 'dial') this.onActivity?.();
    for (const listener of link.listeners) {
      const wait = listener.output(stream, data);
      if (wait) slow.push(wait);
    }
    if (!slow.length || !from) return;
    from.pause();
    void Promise.allSettled(slow).then(() => from.resume());
  }

  private async connect(link: Link, after: Promise<unknown> | null = null): Promise<InitConnection> {
    const { heard, belongs } = this.hear(link, after);
    const spare = this.spare.pop();
    if (spare) Object.assign(spare.heard, heard);
    const connection = spare?.connection ?? (await InitConnection.open(this.pid, heard));
    belongs(connection);
    return connection;
  }

  /** @throws TeleportError `unknownPath` where the program or folder is not there */
  open(opening: Opening, listener?: Listener): Promise<void> {
    return this.passing(async () => {
      const link = this.newLink(opening.id, opening.kind, listener ? [listener] : []);
      this.links.set(link.id, link);
      try {
        link.connection = await this.connect(link);
        if (link.kind === 'terminal' && !listener) {
          // PID 1 keeps what a terminal says, and its end, for who attaches later: heard here it would be lost.
          await link.connection.openUnattended(opening);
          this.links.delete(link.id);
          this.unattended.add(link.id);
        } else await link.connection.openSession(opening);
        if (link.kind !== 'dial') this.onActivity?.();
      } catch (error) {
        this.links.delete(link.id);
        if (link.connection) this.release(link.connection);
        if (error instanceof InitRefusal && opening.kind === 'dial')
          throw new TeleportError(
            'nothingListens',
            `nothing listens on port ${opening.cols} in there: ${error.message}`,
            {
              cause: error,
            },
          );
        if (error instanceof InitRefusal)
          throw new TeleportError(error.missing ? 'unknownPath' : 'invalidRequest', `cannot start: ${error.message}`, {
            cause: error,
          });
        throw error;
      }
    });
  }

  /** Adds a listener; answers what a terminal has shown. @throws TeleportError `unknownSession` */
  attach(id: string, listener: Listener, behind?: Behind): Promise<Buffer> {
    return this.oneByOne(id, () => this.attachNow(id, listener, behind));
  }

  /** Two at once would each make a link of their own, and who has the one that is not kept would hear nothing more. */
  private async oneByOne<T>(id: string, work: () => Promise<T>): Promise<T> {
    const turn = (this.attaching.get(id) ?? Promise.resolve()).then(work, work);
    this.attaching.set(id, turn);
    try {
      return await turn;
    } finally {
      if (this.attaching.get(id) === turn) this.attaching.delete(id);
    }
  }

  private attachNow(id: string, listener: Listener, behind?: Behind): Promise<Buffer> {
    return this.passing(async () => {
      const link = this.links.get(id) ?? this.newLink(id, 'process');
      const older = link.connection;
      let listens = (): void => {};
      const listening = new Promise<void>((resolve) => {
        listens = resolve;
      });
      // PID 1 ends the older connection after sending all that belongs to it. What comes here may come along with the answer, and
      // even before the last of that.
      const fresh = await this.connect(link, Promise.all([listening, older?.done]));
      try {
        const answered = fresh.attach(id, 'all');
        behind?.goesTo(fresh);
        const scrollback = await answered;
        this.unattended.delete(id);
        const { exitCode } = link;
        if (exitCode !== null) {
          this.release(fresh); // the older connection told of its end meanwhile
          setImmediate(() => listener.exit(exitCode));
          return scrollback;
        }
        if (older) this.leave(older.superseded());
        link.connection = fresh;
        link.listeners.add(listener);
        this.links.set(id, link);
        return scrollback;
      } catch (error) {
        this.release(fresh);
        if (error instanceof InitRefusal)
          throw new TeleportError('unknownSession', `there is no session ${id} in this branch`);
        throw error;
      } finally {
        setImmediate(listens);
      }
    });
  }

  detachListener(listener: Listener): void {
    for (const link of [...this.links.values()]) {
      // A connection that nobody is at the other end of any more.
      const left = link.listeners.delete(listener) && !link.listeners.size;
      if (left && link.kind === 'dial') void this.close(link.id).catch(() => undefined);
    }
  }

  /** @throws TeleportError `unknownSession` */
  private link(id: string): Link {
    const link = this.links.get(id);
    if (!link) throw new TeleportError('unknownSession', `there is no session ${id} in this branch`);
    return link;
  }

  /** One that nobody attached to yet: what it showed is still shown to who does. Where it has ended, it goes on waiting for them. */
  private async reach(id: string): Promise<void> {
    if (!this.unattended.has(id) || !(await this.list()).some((one) => one.id === id && one.running)) return;
    await this.oneByOne(id, async () => {
      if (this.unattended.has(id)) await this.attachNow(id, { output: () => {}, exit: () => {}, stays: true });
    });
  }

  has(id: string): boolean {
    return this.links.has(id);
  }

  /** Waits while the other side is full. @throws TeleportError `unknownSession` */
  async write(id: string, data: Buffer | 'end'): Promise<void> {
    if (this.unattended.has(id)) await this.reach(id);
    const link = this.link(id);
    if (!link.connection) {
      link.input.push(data);
      return;
    }
    if (data === 'end') link.connection.endInput();
    else if (!link.connection.write(data)) await link.connection.drained();
  }

  async resize(id: string, cols: number, rows: number): Promise<void> {
    await this.gate;
    await this.reach(id);
    this.link(id).connection?.resize(cols, rows);
  }

  async signal(id: string, number: number): Promise<void> {
    await this.gate;
    await this.reach(id);
    this.link(id).connection?.signal(number);
  }

  /** Hangs up; the session is forgotten at once. */
  async close(id: string): Promise<void> {
    await this.gate;
    await this.reach(id);
    const link = this.link(id);
    link.connection?.hangUp();
    this.links.delete(id);
    for (const listener of link.listeners) listener.exit(129);
    link.listeners.clear();
    void link.connection?.detach();
  }

  list(): Promise<ListedSession[]> {
    return this.passing(async () => {
      const connection = await InitConnection.open(this.pid);
      try {
        return await connection.list();
      } finally {
        this.release(connection);
      }
    });
  }

  /** Clients that listen, by session, for the branch that takes this one's place. */
  get listeners(): Map<string, Set<Listener>> {
    const found = new Map<string, Set<Listener>>();
    for (const [id, link] of this.links) {
      const clients = [...link.listeners].filter((listener) => !listener.stays);
      if (clients.length) found.set(id, new Set(clients));
    }
    return found;
  }

  /** What clients wrote to sessions of a branch that this one replaced, while no connection was there. */
  takeInput(from: Sessions): void {
    for (const [id, { input }] of from.links)
      for (const data of input.splice(0)) {
        const link = this.links.get(id);
        if (!link?.connection) link?.input.push(data);
        else if (data === 'end') link.connection.endInput();
        else link.connection.write(data);
      }
  }

  /** Lets go of every connection; all output so far has been heard when this resolves. Connections to ports are cut. */
  async quiesce(): Promise<void> {
    await this.gate;
    this.gate = new Promise((resolve) => {
      this.open_ = resolve;
    });
    await Promise.allSettled(this.underWay);
    const goodbyes: Promise<void>[] = [...this.leaving];
    for (const link of this.links.values()) {
      if (link.kind === 'dial') link.connection?.hangUp();
      if (link.connection) goodbyes.push(link.connection.detach());
      link.connection = null;
    }
    for (const { connection } of this.spare.splice(0)) goodbyes.push(connection.detach());
    if (this.watch) goodbyes.push(this.watch.detach());
    this.watch = null;
    await Promise.all(goodbyes);
  }

  /** Takes up what `quiesce` let go of. */
  async resume(): Promise<void> {
    this.watch = await this.openWatch();
    this.watch.hearAsks();
    await Promise.all([...this.links.values()].map((link) => this.takeUp(link, 'missed')));
    this.open_?.();
    this.open_ = null;
  }

  /** @param heirs resolves when it is known who listens: until then what it says is held back */
  private async takeUp(link: Link, what: 'all' | 'missed', heirs?: Promise<void>): Promise<Buffer | null> {
    if (link.kind === 'dial') {
      this.exited(link, 0);
      return null;
    }
    let shown = (): void => {};
    // What comes along with the answer comes after what the answer brings.
    const before = new Promise<void>((resolve) => {
      shown = resolve;
    });
    const connection = await this.connect(link, Promise.all([before, heirs]));
    try {
      const text = await connection.attach(link.id, what);
      if (what === 'missed' && text.length) this.spread(link, 'stdout', text, connection);
      link.connection = connection;
      for (const data of link.input.splice(0))
        if (data === 'end') connection.endInput();
        else connection.write(data);
      return text;
    } catch {
      this.release(connection);
      this.exited(link, 0);
      return null;
    } finally {
      setImmediate(shown); // who asked for it has told it by then
    }
  }

  /**
   * Of a branch that wakes, to take the place of one: PID 1 is asked at once for the sessions that are listened to there, and not
   * only when it has answered. `inherit` says then who listens.
   */
  foresee(sessions: Iterable<string>): void {
    const ids = [...sessions].filter((id) => !this.links.has(id) && !this.attaching.has(id));
    if (!ids.length || !this.watch) return;
    const listed = this.watch.list();
    listed.catch(() => {}); // told by `inherit`
    let known = (): void => {};
    const heirs = new Promise<void>((resolve) => {
      known = resolve;
    });
    const taken: Foreseen['taken'] = new Map();
    for (const id of ids) {
      const link = this.newLink(id, 'process');
      const scrollback = this.passing(() => this.takeUp(link, 'all', heirs));
      scrollback.catch(() => {}); // told by `inherit`
      taken.set(id, { link, scrollback });
    }
    this.foreseen = { listed, taken, known };
  }

  /** The listeners of a branch that this one replaces, where the session is here too. Answers what each terminal showed. */
  async inherit(
    from: Map<string, Set<Listener>>,
    what: 'all' | 'missed',
  ): Promise<Map<string, { scrollback: Buffer; running: boolean }>> {
    const found = new Map<string, { scrollback: Buffer; running: boolean }>();
    const { foreseen } = this;
    this.foreseen = null;
    const wanted = new Map([...from].filter(([id, listeners]) => listeners.size && !this.links.has(id)));
    if (!wanted.size && !foreseen) return found;
    const links: Promise<void>[] = [];
    for (const { id, kind, running } of await (foreseen?.listed ?? this.list())) {
      const listeners = wanted.get(id);
      if (!listeners) continue;
      const early = foreseen?.taken.get(id);
      foreseen?.taken.delete(id);
      const link = early?.link ?? this.newLink(id, kind);
      link.kind = kind;
      for (const listener of listeners) link.listeners.add(listener);
      this.links.set(id, link);
      const take = async (): Promise<void> => {
        const scrollback = await (early?.scrollback ?? this.takeUp(link, what));
        if (scrollback) found.set(id, { scrollback, running });
        else this.links.delete(id);
      };
      links.push(take());
    }
    // Not there any more, or nobody listens any more.
    for (const { link, scrollback } of foreseen?.taken.values() ?? [])
      scrollback.then(
        () => link.connection && this.release(link.connection),
        () => {}, // it could not even be asked for
      );
    await Promise.all(links);
    setImmediate(() => foreseen?.known());
    return found;
  }

  /** The branch is being ended by us: nobody is told. */
  abandon(): void {
    this.ended = true;
    const early = [...(this.foreseen?.taken.values() ?? [])].map(({ link }) => link);
    const used = [...this.links.values(), ...early].map((link) => link.connection);
    this.abandoned = [this.watch, ...used, ...this.spare.splice(0).map(({ connection }) => connection)];
    for (const link of this.links.values()) link.listeners.clear();
    this.links.clear();
    this.open_?.();
    // It wakes the old PID 1, and takes longer than all else of a rollback's last steps: the new branch answers first.
    setTimeout(() => this.letGo(), CLOSE_MS);
  }

  /** What was abandoned is closed now: of a branch that ends nothing is left. */
  letGo(): void {
    for (const connection of this.abandoned.splice(0)) connection?.destroy();
  }
}

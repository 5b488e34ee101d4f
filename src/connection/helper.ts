import { type CancellationToken, type Disposable, EventEmitter, type LogOutputChannel, type Progress } from 'vscode';
import type { BridgeMethod, BridgeParams, BridgeResult } from '../../helper/protocol/bridge.ts';
import type { Method, NotificationName, NotificationParams, Params, Result } from '../../helper/protocol/methods.ts';
import { t } from '../l10n.ts';
import { HelperError } from './errors.ts';
import type { Place } from './place.ts';
import { type ConnectionEvent, type ConnectionState, next, type Problem } from './state.ts';
import { needsTrust } from './trust.ts';
import type { Wire, WireEvents } from './wire.ts';

export type Asked = Exclude<Method, 'initialize' | 'shutdown'> | BridgeMethod;
export type AskParams<M extends Asked> = M extends Method
  ? Params<M>
  : M extends BridgeMethod
    ? BridgeParams<M>
    : never;
export type AskResult<M extends Asked> = M extends Method
  ? Result<M>
  : M extends BridgeMethod
    ? BridgeResult<M>
    : never;

export interface AskOptions {
  /** Cancelling here cancels in the helper. */
  readonly token?: CancellationToken;
  /** Where the helper's progress notifications about this request go. */
  readonly progress?: Progress<{ message?: string; increment?: number }>;
  /** Give up after that; 0: never, somebody can cancel it. */
  readonly timeoutMs?: number;
}

/** What most of the extension sees of the helper: one question, one answer. */
export type Ask = <M extends Asked>(method: M, params: AskParams<M>, options?: AskOptions) => Promise<AskResult<M>>;

const ANSWER_MS = 60_000;
const HANDSHAKE_MS = 20_000;
/** Starting a daemon takes a second or two. Who waits longer for an answer is told so. */
const SLOW_MS = 3_000;
/** An answer that takes longer makes one ask whether the helper answers anything at all, and again after as long. */
const PATIENCE_MS = 10_000;
const SIGN_OF_LIFE_MS = 5_000;
/** Answers like others: what was asked about is not there, or not any more. Who asked says so where it matters. */
const ORDINARY: ReadonlySet<HelperError['code']> = new Set<HelperError['code']>([
  'unknownPath',
  'unknownBranch',
  'unknownCheckpoint',
  'cancelled',
]);

/** The connection: starts it, starts it again, and says how it stands. */
export class Helper implements Disposable {
  private current: ConnectionState = { kind: 'idle' };
  private wire: Wire | undefined;
  private timer: NodeJS.Timeout | undefined;
  private tokens = 0;
  private attempts = 0;
  private disposed = false;
  private probing = false;
  private readonly stateEmitter = new EventEmitter<ConnectionState>();
  private readonly openedEmitter = new EventEmitter<void>();
  private readonly notificationEmitter = new EventEmitter<Notified>();
  private readonly progresses = new Map<string, Progress<{ message?: string; increment?: number }>>();

  readonly onDidChangeState = this.stateEmitter.event;

  constructor(
    readonly place: Place,
    private readonly log: LogOutputChannel,
    private readonly client: string,
    private readonly mayStart: () => boolean,
    private readonly trusted: () => boolean,
  ) {}

  get state(): ConnectionState {
    return this.current;
  }

  /** Asks for a connection. Comes back when there is one, or with what stands in the way. */
  async connect(): Promise<ConnectionState> {
    if (this.current.kind === 'ready') return this.current;
    if (this.current.kind !== 'connecting') this.begin(true);
    return this.settled();
  }

  /** For a view that is shown: connects, but starts no machine that somebody stopped. */
  glance(): void {
    if (!this.atRest) void this.connect();
  }

  /** The place that rested was seen to be up again: somebody else wanted it, and starting it is nothing that this would do. */
  seenUp(): void {
    if (this.atRest) this.begin(false);
  }

  private get atRest(): boolean {
    return this.current.kind === 'blocked' && this.current.problem.reason === 'atRest';
  }

  /** Lets go of the connection, until somebody asks for one. */
  async rest(message: string): Promise<void> {
    if (this.current.kind === 'connecting') await this.settled();
    clearTimeout(this.timer);
    this.attempts++;
    this.drop();
    this.move({ type: 'failed', problem: { reason: 'atRest', message } });
  }

  /** Anew, whatever the state. */
  async reconnect(): Promise<ConnectionState> {
    // What is under way may be on its way to another place. Only a handshake, that perhaps nobody answers, is not waited for.
    if (this.current.kind === 'connecting' && !this.wire?.alive) await Promise.race([this.settled(), this.opened()]);
    clearTimeout(this.timer);
    this.attempts++;
    this.drop();
    this.current = { kind: 'idle' };
    return this.connect();
  }

  readonly ask: Ask = async (method, params, options = {}) => {
    if (needsTrust(method) && !this.trusted())
      throw new HelperError(
        'untrusted',
        t('This folder is not trusted: sandboxes can be looked at, but nothing is started or changed.'),
      );
    // A view that is drawn anew asks, too: that starts no machine.
    if (this.current.kind !== 'ready' && !this.atRest) await this.connect();
    const state = this.state;
    if (state.kind !== 'ready' || !this.wire) throw notConnected(state);
    return this.over(this.wire, method, params, options);
  };

  onNotification<N extends NotificationName>(name: N, listener: (params: NotificationParams<N>) => void): Disposable {
    return this.notificationEmitter.event((n) => {
      if (n.name === name) listener(n.params as NotificationParams<N>);
    });
  }

  dispose(): void {
    this.disposed = true;
    clearTimeout(this.timer);
    this.drop();
    this.stateEmitter.dispose();
    this.openedEmitter.dispose();
    this.notificationEmitter.dispose();
  }

  private async over<M extends Asked>(
    wire: Wire,
    method: M,
    params: AskParams<M>,
    options: AskOptions,
  ): Promise<AskResult<M>> {
    const { token, progress, timeoutMs = progress ? 0 : ANSWER_MS } = options;
    let sent: object = params as object;
    let mark: string | undefined;
    if (progress) {
      mark = `p${++this.tokens}`;
      this.progresses.set(mark, progress);
      sent = { ...sent, progress: mark };
    }
    // Work may be long, and is waited for: but not on a helper that stands still.
    const doubt = setInterval(() => void this.probe(wire), PATIENCE_MS);
    try {
      return (await wire.request(method, sent, token, timeoutMs)) as AskResult<M>;
    } catch (error) {
      const words = `${method}: ${error instanceof Error ? error.message : String(error)}`;
      if (error instanceof HelperError && ORDINARY.has(error.code)) this.log.debug(words);
      else this.log.warn(words);
      // It was there when we asked: to set one up would mend nothing.
      if (error instanceof HelperError && error.code === 'noHelper')
        throw new HelperError('lost', t('The connection to the helper was lost.'), undefined, undefined, undefined, {
          cause: error,
        });
      throw error;
    } finally {
      clearInterval(doubt);
      if (mark) this.progresses.delete(mark);
    }
  }

  /** Lets go of a helper that gives no sign of life: whatever was asked of it ends, and a new connection is tried. */
  private async probe(wire: Wire): Promise<void> {
    if (this.probing) return;
    this.probing = true;
    try {
      await wire.request('sandbox/list', {}, undefined, SIGN_OF_LIFE_MS);
    } catch (error) {
      if (!(error instanceof HelperError) || error.code !== 'unanswered') return;
      if (this.wire !== wire || this.current.kind !== 'ready') return;
      this.log.warn(`no sign of life: ${error.message}`);
      this.drop();
      const message = t('The helper does not answer.');
      this.move({ type: 'failed', problem: { reason: 'hanging', message } });
    } finally {
      this.probing = false;
    }
  }

  private begin(asked: boolean): void {
    clearTimeout(this.timer);
    this.move({ type: 'connect' });
    void this.attempt(++this.attempts, asked);
  }

  /** One that was overtaken by another changes nothing any more. */
  private async attempt(number: number, asked: boolean): Promise<void> {
    const unsupported = this.place.unsupported();
    if (unsupported) return this.move({ type: 'failed', problem: { reason: 'unsupported', message: unsupported } });
    // The client library and the schemas are loaded when they are needed, not when the window opens.
    const { openWire, problemOfHandshake } = await import('./wire.ts');
    let slow: NodeJS.Timeout | undefined;
    try {
      if (!this.wire?.alive) await this.place.prepare?.(asked);
      slow = setTimeout(() => number === this.attempts && this.move({ type: 'slow' }), SLOW_MS);
      if (!this.wire?.alive) {
        const events: WireEvents = {
          notified: (name, params) => this.notified(name, params),
          closed: (message) => this.lose(message),
        };
        const wire = await openWire(this.place.connect(), this.log, events);
        this.wire = this.place.wrap?.(wire, events) ?? wire;
        this.openedEmitter.fire();
      }
      const params = { client: this.client, start: this.mayStart() && this.trusted() };
      const handshake = await this.wire.request('teleport/handshake', params, undefined, HANDSHAKE_MS);
      if (number === this.attempts)
        this.move({ type: 'ready', handshake: handshake as AskResult<'teleport/handshake'> });
    } catch (error) {
      if (number !== this.attempts) return;
      const problem = problemOfHandshake(error);
      this.log.warn(`no connection: ${problem.message}`);
      if (problem.reason === 'hanging') this.drop();
      this.move({ type: 'failed', problem });
    } finally {
      clearTimeout(slow);
    }
  }

  private notified(name: string, params: unknown): void {
    if (name === 'teleport/lost') {
      // The client process lives on; only its way to the daemon is gone.
      this.lose((params as { message: string }).message);
    } else if (name === 'progress') {
      const { token, message, done, total } = params as NotificationParams<'progress'>;
      const amount = done !== undefined && total ? ` ${Math.floor((100 * done) / total)} %` : '';
      this.progresses.get(token)?.report({ message: `${message}${amount}` });
    } else {
      this.notificationEmitter.fire({ name: name as NotificationName, params });
    }
  }

  private lose(message: string): void {
    if (this.disposed || this.current.kind !== 'ready') return;
    this.log.warn(`connection lost: ${message}`);
    this.move({ type: 'failed', problem: { reason: 'lost', message } satisfies Problem });
  }

  private move(event: ConnectionEvent): void {
    if (this.disposed) return;
    const before = this.current;
    this.current = next(before, event);
    if (this.current === before) return;
    this.log.debug(`connection: ${before.kind} → ${this.current.kind}`);
    if (this.current.kind === 'waiting') this.timer = setTimeout(() => this.begin(false), this.current.delayMs);
    this.stateEmitter.fire(this.current);
  }

  private drop(): void {
    const wire = this.wire;
    this.wire = undefined;
    wire?.dispose();
  }

  private opened(): Promise<void> {
    return new Promise((resolve) => {
      const listening = this.openedEmitter.event(() => {
        listening.dispose();
        resolve();
      });
    });
  }

  private settled(): Promise<ConnectionState> {
    if (this.current.kind !== 'connecting') return Promise.resolve(this.current);
    return new Promise((resolve) => {
      const listening = this.onDidChangeState((state) => {
        if (state.kind === 'connecting') return;
        listening.dispose();
        resolve(state);
      });
    });
  }
}

interface Notified {
  readonly name: NotificationName;
  readonly params: unknown;
}

function notConnected(state: ConnectionState): HelperError {
  const problem = 'problem' in state ? state.problem : undefined;
  return new HelperError(codeOf(problem?.reason), problem?.message ?? t('The helper is not running.'), problem?.hint);
}

function codeOf(reason: Problem['reason'] | undefined): HelperError['code'] {
  switch (reason) {
    case 'atRest':
    case 'lost':
      return reason;
    case 'hanging':
      return 'unanswered';
    default:
      return 'noHelper';
  }
}

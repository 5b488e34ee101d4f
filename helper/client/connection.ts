import { randomUUID } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { connect, type Socket } from 'node:net';
import { ErrorCodes, ResponseError } from 'vscode-jsonrpc';
import { TeleportError } from '../protocol/errors.ts';
import {
  type Method,
  type NotificationName,
  type NotificationParams,
  type Params,
  PROTOCOL_VERSION,
  type Result,
} from '../protocol/methods.ts';
import { Closed, Endpoint } from '../wire/endpoint.ts';
import { fromWire } from './errors.ts';

export interface RequestOptions {
  /** Aborting cancels the request in the helper. */
  signal?: AbortSignal;
  /** For requests that take a `progress` token. */
  onProgress?: (progress: NotificationParams<'progress'>) => void;
}

/** Asks the helper; what commands are written against, so that tests need no socket. */
export interface Requester {
  request<M extends Method>(method: M, params: Params<M>, options?: RequestOptions): Promise<Result<M>>;
}

type Unsubscribe = () => void;

/** A connection to the daemon's socket, hands shaken. Every failure is a {@link TeleportError}. */
export class Connection implements Requester {
  /** What the daemon said of itself. */
  helper!: Result<'initialize'>;
  readonly #socket: Socket;
  readonly #endpoint: Endpoint;
  readonly #events = new EventEmitter().setMaxListeners(0);
  readonly #lost = new AbortController();
  #holds = 0;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#endpoint = new Endpoint(socket, {
      request: (method) => Promise.reject(new ResponseError(ErrorCodes.MethodNotFound, `there is no method ${method}`)),
      notification: (method, params) => {
        this.#events.emit(`on:${method}`, params);
        this.#events.emit('any', method, params);
      },
      closed: () => this.#lost.abort(),
    });
  }

  /**
   * Connects and shakes hands.
   * @throws the socket's own error (ENOENT, ECONNREFUSED, EACCES), so that the caller can tell whether to start a daemon;
   * TeleportError `protocolMismatch` where the daemon is too old or too new.
   */
  static async open(socketPath: string, client: string): Promise<Connection> {
    const connection = new Connection(await dial(socketPath));
    try {
      connection.helper = await connection.request('initialize', { protocolVersion: PROTOCOL_VERSION, client });
    } catch (error) {
      connection.close();
      throw error;
    }
    return connection;
  }

  request<M extends Method>(method: M, params: Params<M>, options: RequestOptions = {}): Promise<Result<M>> {
    return this.forward(method, params, options) as Promise<Result<M>>;
  }

  /** A request by a name that only the wire knows, for a bridge. */
  async forward(method: string, params: unknown, { signal, onProgress }: RequestOptions = {}): Promise<unknown> {
    if (signal?.aborted) throw new TeleportError('cancelled', 'cancelled');
    let stopProgress: Unsubscribe | undefined;
    if (onProgress) {
      const token = randomUUID();
      params = { ...(params as object), progress: token };
      stopProgress = this.on('progress', (progress) => progress.token === token && onProgress(progress));
    }
    try {
      return await this.#endpoint.request(method, params, signal);
    } catch (error) {
      throw error instanceof Closed ? ended(method) : fromWire(error, method);
    } finally {
      stopProgress?.();
    }
  }

  on<N extends NotificationName>(name: N, handler: (params: NotificationParams<N>) => void): Unsubscribe {
    this.#events.on(`on:${name}`, handler);
    return () => this.#events.off(`on:${name}`, handler);
  }

  /** Every notification, for a bridge. */
  onAny(handler: (method: string, params: unknown) => void): Unsubscribe {
    this.#events.on('any', handler);
    return () => this.#events.off('any', handler);
  }

  /** Aborted once the connection is gone, whoever ended it. */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /** Reads no more until then. What comes waits in the daemon, which slows down whoever writes it. */
  async holdUntil(settled: Promise<unknown>): Promise<void> {
    this.#holds++;
    this.#socket.pause();
    await Promise.allSettled([settled]);
    if (--this.#holds === 0) this.#socket.resume();
  }

  close(): void {
    this.#endpoint.close();
  }
}

function ended(method: string): TeleportError {
  return new TeleportError('noHelper', `the helper ended during ${method}`, {
    hint: 'try again: it is started anew, and finds the sandboxes',
  });
}

function dial(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve(socket);
    });
  });
}

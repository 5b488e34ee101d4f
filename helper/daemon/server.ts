/** The unix socket: admits by the kernel's word for who is there, validates every message, dispatches, turns errors into answers. */
import { once } from 'node:events';
import { closeSync, lstatSync, openSync, unlinkSync } from 'node:fs';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { ErrorCodes, ResponseError } from 'vscode-jsonrpc';
import { makeFolder } from '../engine/make-folder.ts';
import { peerCredentials } from '../engine/syscalls.ts';
import { type ErrorData, TeleportError } from '../protocol/errors.ts';
import { METHODS, type Method } from '../protocol/methods.ts';
import { Endpoint } from '../wire/endpoint.ts';
import { Client } from './client.ts';
import { ownerOf } from './owner.ts';
import type { Service } from './service.ts';

const SERVER_ERROR = -32000;

export interface ServerOptions {
  socket: string;
  admits(uid: number): boolean;
  log(text: string): void;
}

/** What a `sockaddr_un` has room for, the NUL at its end not counted (unix(7)). */
const LONGEST = 107;

/**
 * Makes its folder, and looks whether a socket can be there: before anything else is begun.
 * @throws TeleportError `invalidRequest`
 */
export function prepareSocket(path: string): void {
  const hint = 'name another --socket';
  const refuse = (why: string, cause?: unknown): never => {
    throw new TeleportError('invalidRequest', `the helper cannot listen on ${path}: ${why}`, { hint, cause });
  };
  if (Buffer.byteLength(path) > LONGEST) refuse(`a socket's path has ${LONGEST} bytes at most`);
  try {
    makeFolder(dirname(path), 0o755);
    const there = lstatSync(path, { throwIfNoEntry: false });
    // A socket of a helper that ended is replaced. Anything else is somebody's.
    if (there && !there.isSocket()) refuse('something else is there');
    const trial = `${path}-${process.pid}`;
    closeSync(openSync(trial, 'wx', 0o600));
    unlinkSync(trial);
  } catch (cause) {
    if (cause instanceof TeleportError) throw cause;
    refuse((cause as Error).message, cause);
  }
}

/** @throws TeleportError `sandboxBusy`… where another daemon listens there already */
export async function listen(service: Service, options: ServerOptions): Promise<Server> {
  prepareSocket(options.socket);
  if (await answersAt(options.socket))
    throw new TeleportError('sandboxBusy', `a helper listens on ${options.socket} already`);
  try {
    unlinkSync(options.socket);
  } catch {
    // there was none
  }
  const server = createServer((socket) => serve(socket, service, options));
  // Who may is decided by uid, below. It is born open to all: one that came before a chmod would be turned away.
  const usual = process.umask(0o111);
  const listening = once(server, 'listening');
  server.listen(options.socket); // binds before it returns
  process.umask(usual);
  await listening;
  return server;
}

/** Whether somebody listens there. */
export function answersAt(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createConnection(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', () => resolve(false));
  });
}

function serve(socket: Socket, service: Service, options: ServerOptions): void {
  const fd = (socket as unknown as { _handle?: { fd: number } })._handle?.fd ?? -1;
  const owner = ownerOf(peerCredentials(fd));
  const welcome = options.admits(owner.uid);
  const endpoint: Endpoint = new Endpoint(socket, {
    async request(method, params, signal): Promise<unknown> {
      if (!Object.hasOwn(METHODS, method))
        throw new ResponseError(ErrorCodes.MethodNotFound, `there is no method ${method}`);
      if (!welcome)
        throw toResponse(
          new TeleportError('notAllowed', `uid ${owner.uid} is not admitted to this helper`, {
            hint: 'run npm run setup as that user',
          }),
        );
      return await dispatch(service, method as Method, params, client, signal, options);
    },
    closed: () => client.leave(),
  });
  const client = new Client(endpoint, owner);
  if (welcome) service.join(client);
}

async function dispatch(
  service: Service,
  method: Method,
  raw: unknown,
  client: Client,
  signal: AbortSignal,
  options: ServerOptions,
): Promise<unknown> {
  try {
    const parsed = METHODS[method].params.safeParse(raw ?? {});
    if (!parsed.success) {
      const issue = parsed.error.issues[0];
      throw new TeleportError(
        'invalidRequest',
        `${method}: ${issue?.path.join('.') || 'parameters'}: ${issue?.message}`,
      );
    }
    const handler = service.handlers[method] as (p: unknown, c: Client, s: AbortSignal) => Promise<unknown>;
    return await handler(parsed.data, client, signal);
  } catch (error) {
    if (!(error instanceof TeleportError) || error.fault === 'internal')
      options.log(`${method}: ${(error as Error).stack ?? error}`);
    throw toResponse(error);
  }
}

function toResponse(error: unknown): ResponseError<ErrorData> {
  if (!(error instanceof TeleportError)) {
    const { message, stack } = error as Error;
    const full = (error as NodeJS.ErrnoException).code === 'ENOSPC';
    if (full)
      return new ResponseError(SERVER_ERROR, 'the state volume is full', {
        code: 'volumeFull',
        hint: 'delete checkpoints (teleport-env gc --keep 10), or files inside the sandboxes',
        stack,
      });
    return new ResponseError(SERVER_ERROR, message, { code: 'internal', stack });
  }
  const { code, hint, process, resource, protocolVersion, stack } = error;
  return new ResponseError(code === 'invalidRequest' ? ErrorCodes.InvalidParams : SERVER_ERROR, error.message, {
    code,
    hint,
    process,
    resource,
    protocolVersion,
    stack,
  });
}

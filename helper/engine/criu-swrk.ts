/**
 * One conversation with one `criu swrk` process: the request goes in over a SOCK_SEQPACKET socket, notifications come
 * out and are answered, the response ends it. Knows nothing of what is asked.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { Socket } from 'node:net';
import koffi from 'koffi';
import { decodeResponse, encodeRequest, type Request, RequestType, type Response } from './criu-rpc.ts';

/** How to start CRIU. */
export interface CriuLaunch {
  /** Path of the executable. */
  binary: string;
  /**
   * A command that enters the right namespaces and then *replaces itself* by CRIU (exec, no fork), whose words are
   * put before CRIU's: `[init, 'enter', …, '--']`. It must leave descriptor 3 open.
   */
  prefix?: string[];
  /** Default: an empty environment, so that nothing of ours configures CRIU. */
  env?: Record<string, string>;
}

export interface Conversation {
  response: Response;
  /** What the process wrote to stderr, at most 64 KiB: CRIU's log goes to a file, so usually nothing. */
  stderr: string;
}

export interface Talk {
  /** Answers a notification: true = go on. Never rejects. */
  onNotify(script: string, pid: number | undefined): Promise<boolean>;
  /** Fires when the process is to be killed at once; see `abandon`. */
  kill?: AbortSignal;
  /** The descendants that CRIU has by then are killed with it (a restore that would otherwise be left half-done). */
  killChildren?: boolean;
}

/** The process ended, or could not be started, before it answered. */
export class NoAnswer extends Error {
  readonly stderr: string;
  /** True when we killed it. */
  readonly killed: boolean;
  constructor(message: string, more: { stderr: string; killed: boolean; cause?: unknown }) {
    super(message, { cause: more.cause });
    this.name = 'NoAnswer';
    this.stderr = more.stderr;
    this.killed = more.killed;
  }
}

/**
 * Asks `request` and resolves with the response once the process is gone, so that it holds no mount and no file any
 * more (waiting for that takes 1-2 ms). Rejects with `NoAnswer`.
 */
export async function converse(launch: CriuLaunch, request: Request, talk: Talk): Promise<Conversation> {
  const [ours, theirs] = seqpacketPair();
  const [command, ...args] = [...(launch.prefix ?? []), launch.binary, 'swrk', '3'];
  let child: ChildProcess;
  try {
    child = spawn(command!, args, { stdio: ['ignore', 'ignore', 'pipe', theirs], env: launch.env ?? {} });
  } catch (cause) {
    ours.destroy();
    throw new NoAnswer(`${command} could not be started`, { stderr: '', killed: false, cause });
  } finally {
    closeFd(theirs);
  }

  let stderr = '';
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    if (stderr.length < 65536) stderr += text;
  });

  let killed = false;
  const kill = () => {
    killed = true;
    abandon(child, talk.killChildren ?? false);
  };
  if (talk.kill?.aborted) kill();
  talk.kill?.addEventListener('abort', kill, { once: true });

  try {
    // 'exit', not 'close': restored processes could in theory keep the stderr pipe open.
    const ended = new Promise<string>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code, signal) => resolve(signal ? `was ended by ${signal}` : `ended with exit code ${code}`));
    });
    // A process that CRIU had begun to restore may hold the other end open when CRIU itself is gone.
    const hangUp = (): void => void setTimeout(() => ours.destroy(), 20);
    ended.then(hangUp, hangUp);
    const response = await exchange(ours, request, talk);
    const end = await ended.catch((cause: unknown) => {
      throw new NoAnswer(`${command} could not be started`, { stderr, killed, cause });
    });
    if (!response) throw new NoAnswer(`${command} ${end} without an answer`, { stderr, killed });
    return { response, stderr };
  } finally {
    talk.kill?.removeEventListener('abort', kill);
    ours.destroy();
  }
}

/** Sends the request, answers notifications, resolves with the response or, when the other side hung up, nothing. */
function exchange(socket: Socket, request: Request, talk: Talk): Promise<Response | undefined> {
  return new Promise((resolve, reject) => {
    // One packet is one read: libuv reads at most 64 KiB at a time and CRIU's messages are far below that.
    socket.on('data', (packet: Buffer) => {
      let message: Response;
      try {
        message = decodeResponse(packet);
      } catch (error) {
        reject(error);
        return;
      }
      if (message.type !== RequestType.notify) return resolve(message);
      talk.onNotify(message.notify?.script ?? '', message.notify?.pid).then((notifySuccess) => {
        if (!socket.destroyed) socket.write(encodeRequest({ type: RequestType.notify, notifySuccess }));
      }, reject);
    });
    socket.on('close', () => resolve(undefined));
    socket.on('end', () => resolve(undefined));
    socket.on('error', () => resolve(undefined)); // the exit code, which the caller waits for, tells more
    socket.write(encodeRequest(request));
  });
}

/** SIGKILL for CRIU, and for its children too where they are nothing without it. */
function abandon(child: ChildProcess, withChildren: boolean): void {
  if (child.pid === undefined) return;
  let children: number[] = [];
  if (withChildren) {
    try {
      children = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8')
        .split(' ')
        .filter(Boolean)
        .map(Number);
    } catch {} // gone already
  }
  child.kill('SIGKILL');
  for (const pid of children) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {}
  }
}

const libc = koffi.load(null);
const c = {
  socketpair: libc.func('int socketpair(int domain, int type, int protocol, _Out_ int *sockets)'),
  dup3: libc.func('int dup3(int from, int to, int flags)'),
  fcntl: libc.func('int fcntl(int fd, int command, ...)'),
  close: libc.func('int close(int fd)'),
};
const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_SEQPACKET = 5;
const CLOEXEC = 0o2000000; // SOCK_CLOEXEC and O_CLOEXEC alike
const F_SETFL = 4;
const O_NONBLOCK = 0o4000;

function pair(type: number): [number, number] {
  const fds = [-1, -1];
  if (c.socketpair(AF_UNIX, type | CLOEXEC, 0, fds) < 0) throw systemError('socketpair');
  return [fds[0]!, fds[1]!];
}

function closeFd(fd: number): void {
  c.close(fd);
}

function systemError(call: string): Error {
  return new Error(`${call} failed with errno ${koffi.errno()}`);
}

/**
 * A SOCK_SEQPACKET pair: our end as a Node socket, the other as a descriptor.
 *
 * Node makes sockets of stream descriptors only, because it looks at their type. libuv itself just polls, reads and
 * writes, so we give Node one end of a stream pair and then put the seqpacket end in that descriptor's place, before
 * anything has polled it. (Blocking reads through koffi's async calls work too, but each would hold one of the four threads
 * that all file access of Node shares, for as long as CRIU takes.)
 */
function seqpacketPair(): [Socket, number] {
  const [ours, theirs] = pair(SOCK_SEQPACKET);
  const [place, spare] = pair(SOCK_STREAM);
  const socket = new Socket({ fd: place, readable: true, writable: true });
  try {
    if (c.dup3(ours, place, CLOEXEC) < 0) throw systemError('dup3');
    if (c.fcntl(place, F_SETFL, 'int', O_NONBLOCK) < 0) throw systemError('fcntl');
  } catch (error) {
    socket.destroy();
    closeFd(theirs);
    throw error;
  } finally {
    closeFd(ours);
    closeFd(spare);
  }
  return [socket, theirs];
}

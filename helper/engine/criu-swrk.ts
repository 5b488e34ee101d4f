/**
 * One conversation with one `criu swrk` process: the request goes in over a SOCK_SEQPACKET socket, notifications come
 * out and are answered, the response ends it. Knows nothing of what is asked.
 */
import type { Socket } from 'node:net';
import { type CriuLaunch, CriuProcess, NoAnswer } from './criu-process.ts';
import { decodeResponse, encodeRequest, type Request, RequestType, type Response } from './criu-rpc.ts';

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

/**
 * Asks `request` and resolves with the response once the process is gone, so that it holds no mount and no file any
 * more (waiting for that takes 1-2 ms). Rejects with `NoAnswer`.
 */
export async function converse(criu: CriuLaunch | CriuProcess, request: Request, talk: Talk): Promise<Conversation> {
  const running = criu instanceof CriuProcess ? criu : new CriuProcess(criu);
  const { command, socket } = running;
  let killed = false;
  const kill = () => {
    killed = true;
    running.kill(talk.killChildren ?? false);
  };
  if (talk.kill?.aborted) kill();
  talk.kill?.addEventListener('abort', kill, { once: true });
  try {
    const response = await exchange(socket, request, talk);
    const end = await running.ended;
    if (!response) {
      const { stderr, signalled } = running;
      throw new NoAnswer(`${signalled ? 'CRIU' : command} ${end} without an answer`, { stderr, killed, signalled });
    }
    return { response, stderr: running.stderr };
  } finally {
    talk.kill?.removeEventListener('abort', kill);
    socket.destroy();
  }
}

/** Sends the request, answers notifications, resolves with the response or, when the other side hung up, nothing. */
function exchange(socket: Socket, request: Request, talk: Talk): Promise<Response | undefined> {
  return new Promise((resolve, reject) => {
    if (socket.destroyed) return resolve(undefined); // its end was seen already, and would not be told again
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

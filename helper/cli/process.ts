import { AttachedSession } from '../client/session.ts';
import { TeleportError } from '../protocol/errors.ts';
import type { Context } from './context.ts';

export interface ProcessParams {
  sandbox: string;
  branch?: string;
  argv: string[];
  cwd?: string;
  env?: Record<string, string>;
  timeoutMs?: number;
  /** Passed on until its end; left out: the process reads nothing. */
  stdin?: NodeJS.ReadableStream;
  output?: (stream: 'stdout' | 'stderr', data: Buffer) => void;
}

/** Signals that are the command's and not ours. */
const FORWARDED = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1, SIGQUIT: 3 } as const;
const SIGPIPE = 13;
const KILLED = 128 + 9;

/** Runs one process inside to its end. */
export async function runProcess(
  ctx: Context,
  params: ProcessParams,
): Promise<{ exitCode: number; timedOut: boolean }> {
  const helper = await ctx.helper();
  const { stdin, output, ...rest } = params;
  const started = performance.now();
  const ending = deferred<number>();
  let session: AttachedSession | undefined;
  // Listened to before there is a process: its first output may be what makes somebody send us one.
  const early = new Set<number>();
  const pass = (signal: number) => {
    if (session) void session.signal(signal).catch(() => {});
    else if (early.has(signal)) ending.reject(new TeleportError('cancelled', 'cancelled before the command ran'));
    else early.add(signal);
  };
  const stops = Object.entries(FORWARDED).map(([name, number]) =>
    ctx.io.onSignal(name as keyof typeof FORWARDED, () => pass(number)),
  );
  const lost = () => ending.reject(new TeleportError('noHelper', 'the helper ended while the command ran'));
  helper.lost.addEventListener('abort', lost);
  const unread = () => pass(SIGPIPE);
  ctx.unread.signal.addEventListener('abort', unread);
  let stopInput = () => {};
  try {
    const opening = AttachedSession.open(
      helper,
      { ...rest, kind: 'process' },
      {
        output: (stream, data) => output?.(stream, data),
        exit: ending.resolve,
        gone: (reason) => ending.reject(new TeleportError('unknownSession', `the command is gone: ${reason}`)),
      },
    );
    // Its end may be here before the answer that names it.
    session = await Promise.race([opening, ending.promise.then(() => opening)]);
    for (const signal of early) pass(signal);
    stopInput = forward(stdin, session);
    const exitCode = await ending.promise;
    const late = params.timeoutMs !== undefined && performance.now() - started >= params.timeoutMs;
    return { exitCode, timedOut: late && exitCode === KILLED };
  } finally {
    stopInput();
    for (const stop of stops) stop();
    helper.lost.removeEventListener('abort', lost);
    ctx.unread.signal.removeEventListener('abort', unread);
    session?.detach();
  }
}

/** A promise and its ends (`Promise.withResolvers` came with Node 22). */
export function deferred<T>() {
  let resolve!: (value: T) => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

/** Passes input on, a part at a time, so that a slow reader inside slows down who writes to us. */
function forward(stdin: NodeJS.ReadableStream | undefined, session: AttachedSession): () => void {
  if (!stdin) {
    session.write(Buffer.alloc(0), true).catch(() => {});
    return () => {};
  }
  // A process that has ended reads no more: that is its affair.
  let last = Promise.resolve();
  const send = (data: Uint8Array, eof: boolean) => {
    last = last.then(() => session.write(data, eof)).catch(() => {});
    return last;
  };
  const onData = (data: Buffer | string) => {
    stdin.pause();
    void send(Buffer.from(data), false).then(() => !stopped && stdin.resume());
  };
  const onEnd = () => void send(Buffer.alloc(0), true);
  let stopped = false;
  stdin.on('data', onData).once('end', onEnd).once('error', onEnd);
  return () => {
    stopped = true;
    stdin.off('data', onData).off('end', onEnd).off('error', onEnd);
    stdin.pause();
    // A terminal or pipe that nobody reads must not keep us alive.
    (stdin as { unref?: () => void }).unref?.();
  };
}

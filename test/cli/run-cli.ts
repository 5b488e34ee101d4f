import { PassThrough, Readable, Writable } from 'node:stream';
import type { Io } from '../../helper/cli/io.ts';
import { run } from '../../helper/cli/main.ts';
import type { FakeHelper } from '../client/fake-helper.ts';

export interface Ran {
  code: number;
  stdout: string;
  stderr: string;
  /** For binary output. */
  bytes: Buffer;
}

export interface CliOptions {
  cwd?: string;
  stdin?: string | Readable;
  tty?: { columns: number; rows: number };
  env?: NodeJS.ProcessEnv;
  /** What it writes to standard output, as it comes. */
  onOutput?: (data: Buffer) => void;
  /** Gets the means to send signals, once the command listens to them. */
  signals?: (send: (signal: string) => void) => void;
}

class Sink extends Writable {
  readonly parts: Buffer[] = [];
  isTTY?: boolean;
  columns?: number;
  rows?: number;
  onData?: (data: Buffer) => void;
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.parts.push(Buffer.from(chunk));
    this.onData?.(Buffer.from(chunk));
    done();
  }
}

/** The command line in this process, talking to a fake helper. */
export async function cli(fake: FakeHelper | null, argv: string[], options: CliOptions = {}): Promise<Ran> {
  const [stdout, stderr] = [new Sink(), new Sink()];
  stdout.onData = options.onOutput;
  const handlers = new Map<string, Set<() => void>>();
  const stdin =
    typeof options.stdin === 'string' ? Readable.from([Buffer.from(options.stdin)]) : (options.stdin ?? ended());
  if (options.tty) {
    Object.assign(stdout, { isTTY: true, ...options.tty });
    Object.assign(stderr, { isTTY: true });
    Object.assign(stdin, { isTTY: true });
  }
  const io: Io = {
    stdin,
    stdout,
    stderr,
    env: { TELEPORT_ENV_SOCKET: fake?.socketPath ?? '/nowhere/daemon.sock', NO_COLOR: '1', ...options.env },
    cwd: options.cwd ?? '/work/api',
    onSignal(signal, handler) {
      const set = handlers.get(signal) ?? new Set();
      handlers.set(signal, set.add(handler));
      return () => set.delete(handler);
    },
  };
  options.signals?.((signal) => {
    for (const handler of handlers.get(signal) ?? []) handler();
  });
  const code = await run(argv, io);
  const bytes = Buffer.concat(stdout.parts);
  return { code, stdout: bytes.toString(), stderr: Buffer.concat(stderr.parts).toString(), bytes };
}

function ended(): Readable {
  const stream = new PassThrough();
  stream.end();
  return stream;
}

/** The one JSON object that stdout holds. */
// biome-ignore lint/suspicious/noExplicitAny: each test knows what it asked for
export function json(ran: Ran): any {
  if (!ran.stdout.endsWith('}\n') || ran.stdout.trim().includes('\n'))
    throw new Error(`not one JSON line: ${ran.stdout}`);
  return JSON.parse(ran.stdout);
}

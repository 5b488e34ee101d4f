/**
 * The persistent shell of a branch: one bash that reads lines to run, so that cwd, variables, functions and jobs carry over,
 * and, being a process of the branch, goes back with it. Its stdout carries output, its stderr our bookkeeping.
 */
import { readFileSync } from 'node:fs';
import { kill } from '../engine/syscalls.ts';
import { TeleportError } from '../protocol/errors.ts';
import { Mutex } from './mutex.ts';
import { Behind, type Listener, type Sessions } from './sessions.ts';

/** The shell's session in every branch. */
export const SHELL_SESSION = 'x0';
/** Exit codes as timeout(1) and a shell's SIGINT have them. */
const TIMED_OUT = 124;
const CANCELLED = 130;
const LARGEST_OUTPUT = 10 << 20;
const LARGEST_LEFTOVER = 64 << 10;

/**
 * Reads `number NUL line NUL`, evaluates, answers `number exit-code\n`. The descriptors are high so that a script's own 3 and 4
 * do not meet them.
 */
const DRIVER = `
exec 251<&0 0</dev/null 252>&2 2>&1
shopt -s expand_aliases
__teleport_status=0
__teleport_last() { return "$__teleport_status"; }
while IFS= read -r -u 251 -d '' __teleport_number && IFS= read -r -u 251 -d '' __teleport_line; do
  __teleport_last
  eval "$__teleport_line"
  __teleport_status=$?
  printf '%s %s\\n' "$__teleport_number" "$__teleport_status" >&252
done`;

export interface Ran {
  exitCode: number;
  output: Buffer;
  truncated: boolean;
  durationMs: number;
}

/** A line under way. */
interface Current {
  number: string;
  output: Buffer[];
  size: number;
  truncated: boolean;
  /** Answers what to wait for, where whoever hears it is behind. */
  stream?: (data: Buffer) => void | Promise<void>;
  done(exitCode: number): void;
  fail(error: Error): void;
  begun: number;
  earlier: Earlier;
  /** The shell that hears of it, as long as it is under way. */
  holder: Shell;
  over: Promise<unknown>;
}

/** A line that takes longer can be interrupted sooner than it looks for what ran before it. */
const LOOK_MS = 10;

/** What ran before a line, by the pids inside, which stay the same when the branch is replaced. */
class Earlier {
  private readonly here: Pid[];
  private found: ReadonlySet<number> | undefined;

  constructor(here: Pid[]) {
    this.here = here;
  }

  /** Looked up at the first call: that takes as long as a short line does, which never needs it. */
  get pids(): ReadonlySet<number> {
    this.found ??= new Set(this.here.map(({ inner }) => inner));
    return this.found;
  }
}

/** A process of the branch: its pid on the host, and inside, where it is the same after a restore. */
export interface Pid {
  readonly host: number;
  /** Looked up when it is asked for; 0 where the process has ended. */
  readonly inner: number;
}

export class Shell {
  private readonly sessions: Sessions;
  private readonly start: () => Promise<{ cwd: string; env: string[] }>;
  private readonly queue = new Mutex();
  private current: Current | null = null;
  private leftover: Buffer[] = [];
  private bookkeeping = '';
  private attached = false;
  /** `done`: whether there is one. */
  private attaching: { behind: Behind; done: Promise<boolean> } | null = null;
  private count = 0;

  /** What the shell was told of them last; undefined: nothing is known, it comes out of an image. */
  private exported: Record<string, string> | undefined;
  private readonly exports: () => Record<string, string>;

  /** @param exports variables that come and go while the shell runs */
  constructor(
    sessions: Sessions,
    start: () => Promise<{ cwd: string; env: string[] }>,
    exports: () => Record<string, string>,
  ) {
    this.sessions = sessions;
    this.start = start;
    this.exports = exports;
  }

  private readonly listener: Listener = {
    stays: true,
    output: (stream, data) => (stream === 'stdout' ? this.heard(data) : this.reported(data)),
    exit: (code) => {
      this.attached = false;
      this.current?.done(code); // the line was `exit`, or the shell was killed
    },
  };

  private heard(data: Buffer): void | Promise<void> {
    if (!this.current) {
      this.leftover.push(data);
      while (this.leftover.reduce((n, b) => n + b.length, 0) > LARGEST_LEFTOVER) this.leftover.shift();
      return;
    }
    const { output } = this.current;
    output.push(data);
    this.current.size += data.length;
    const behind = this.current.stream?.(data);
    while (this.current.size > LARGEST_OUTPUT && output.length > 1) {
      this.current.size -= output.shift()!.length;
      this.current.truncated = true;
    }
    return behind;
  }

  private reported(data: Buffer): void {
    this.bookkeeping += data.toString('latin1');
    for (let end = this.bookkeeping.indexOf('\n'); end >= 0; end = this.bookkeeping.indexOf('\n')) {
      const [number, code] = this.bookkeeping.slice(0, end).split(' ');
      this.bookkeeping = this.bookkeeping.slice(end + 1);
      // A shell restored in the middle of a line answers that line's number, which nobody waits for any more.
      if (number === this.current?.number) this.current?.done(Number(code));
    }
  }

  /** Of a branch that stands by or just woke: its shell, if it has one, is likely to be wanted at once. */
  attachAhead(): void {
    if (!this.attached && !this.attaching) this.attach().done.catch(() => {}); // tried again, and told, when it is wanted
  }

  private attach(): { behind: Behind; done: Promise<boolean> } {
    this.bookkeeping = '';
    const behind = new Behind();
    const attached = async (): Promise<boolean> => {
      try {
        await this.sessions.attach(SHELL_SESSION, this.listener, behind);
        this.attached = true;
        return true;
      } catch (error) {
        if (error instanceof TeleportError && error.code === 'unknownSession') return false;
        throw error;
      } finally {
        this.attaching = null;
      }
    };
    this.attaching = { behind, done: attached() };
    return this.attaching;
  }

  private async begin(): Promise<void> {
    const { cwd, env } = await this.start();
    const argv = ['bash', '-c', DRIVER, 'teleport-env'];
    this.exported = this.exports();
    await this.sessions.open({ kind: 'process', id: SHELL_SESSION, cwd, cols: 0, rows: 0, argv, env }, this.listener);
    this.attached = true;
  }

  /** To the shell, which is begun where there is none. Of one that is only being attached to, PID 1 finds request and line at once. */
  private async hand(text: Buffer, begun: () => void): Promise<void> {
    if (!(this.attached && this.sessions.has(SHELL_SESSION))) {
      const { behind, done } = this.attaching ?? this.attach();
      behind.write(text);
      if (await done) return;
      await this.begin();
      begun();
    }
    await this.sessions.write(SHELL_SESSION, text);
  }

  /** Lines wait for each other. @throws TeleportError `cancelled` when the branch ends meanwhile */
  run(
    line: string,
    options: { timeoutMs?: number; signal?: AbortSignal; stream?: Current['stream']; processes: () => Pid[] },
  ): Promise<Ran> {
    if (line.includes('\0')) throw new TeleportError('invalidRequest', 'a shell line holds no NUL');
    return this.queue.run(async () => {
      const number = `${process.pid}.${Date.now()}.${++this.count}`;
      let timer: NodeJS.Timeout | undefined;
      let stopped: number | null = null;
      const output = this.leftover;
      this.leftover = [];
      const size = output.reduce((n, b) => n + b.length, 0);
      for (const data of output) options.stream?.(data);
      const { promise, resolve: done, reject: fail } = withResolvers<number>();
      const over = promise.catch(() => undefined);
      const current: Current = {
        number,
        output,
        size,
        truncated: false,
        stream: options.stream,
        done,
        fail,
        begun: performance.now(),
        earlier: new Earlier(options.processes()),
        holder: this,
        over,
      };
      const stop = (code: number): void => {
        stopped = code;
        killNew(current.earlier.pids, options.processes());
      };
      const cancel = (): void => stop(CANCELLED);
      const look = setTimeout(() => current.earlier.pids, LOOK_MS);
      try {
        this.current = current;
        const first = this.exporting();
        const told = first ? `${number}.env\0${first}\0` : '';
        const handed = this.hand(Buffer.from(`${told}${number}\0${line}\0`), () => {
          current.begun = performance.now();
          current.earlier = new Earlier(options.processes());
        });
        void handed.then(() => {
          if (current.holder.current !== current) return;
          if (options.timeoutMs) timer = setTimeout(() => stop(TIMED_OUT), options.timeoutMs);
          options.signal?.addEventListener('abort', cancel);
          if (options.signal?.aborted) cancel();
        }, fail);
        const exitCode = await promise;
        const durationMs = Math.round((performance.now() - current.begun) * 100) / 100;
        const { truncated } = current;
        return { exitCode: stopped ?? exitCode, output: Buffer.concat(output), truncated, durationMs };
      } finally {
        clearTimeout(timer);
        clearTimeout(look);
        options.signal?.removeEventListener('abort', cancel);
        current.holder.current = null;
      }
    });
  }

  /** The branch's successor after a rotation has the same shell, in the middle of the same line: it hears of its end. */
  async passOn(heir: Shell): Promise<void> {
    const { current } = this;
    if (!current) return;
    void current.earlier.pids; // as long as they can be looked up
    this.current = null;
    heir.current = current;
    heir.bookkeeping = this.bookkeeping;
    current.holder = heir;
    void heir.queue.run(() => current.over); // lines that come now wait for it
    try {
      await heir.sessions.attach(SHELL_SESSION, heir.listener);
      heir.attached = true;
    } catch (error) {
      current.fail(error as Error);
    }
  }

  /** What brings the shell's variables up to date, `$?` untouched; empty where they are. */
  private exporting(): string {
    const wanted = this.exports();
    const before = this.exported ?? {};
    if (wanted === this.exported || (!Object.keys(wanted).length && !Object.keys(before).length)) return '';
    this.exported = wanted;
    const gone = Object.keys(before).filter((name) => !(name in wanted));
    const lines = Object.entries(wanted).map(([name, value]) => `export ${name}='${value.replaceAll("'", "'\\''")}'`);
    return [...(gone.length ? [`unset ${gone.join(' ')}`] : []), ...lines, '__teleport_last'].join('\n');
  }

  /** The branch is replaced: a line under way will never answer here. */
  abandon(reason: string): void {
    this.current?.fail(new TeleportError('cancelled', reason));
  }
}

/** What the line started is killed; the shell, and what it had started before, live on. */
function killNew(before: ReadonlySet<number>, now: Pid[]): void {
  for (const { host, inner } of now) {
    if (before.has(inner) || readComm(host) === 'teleport-init') continue;
    try {
      kill(host, 9);
    } catch {
      // it ended by itself
    }
  }
}

/** Whether that process is the persistent shell of a branch. */
export function isShell(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')[2] === DRIVER;
  } catch {
    return false; // it ended meanwhile
  }
}

function readComm(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return '';
  }
}

/** As `Promise.withResolvers`, which came with Node 22. */
function withResolvers<T>(): { promise: Promise<T>; resolve(value: T): void; reject(error: Error): void } {
  let resolve!: (value: T) => void;
  let reject!: (error: Error) => void;
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

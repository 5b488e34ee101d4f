/**
 * A process that is, or is to become, `criu swrk`: its socket, what it says on stderr, how it ends. It can be started ahead and
 * left waiting in `teleport-init enter --wait`, which has then done all that takes long: joining a cgroup (of v1) alone takes 5-35 ms
 * (the kernel waits for an RCU grace period).
 */
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { closeFd, pipe, seqpacketPair } from './seqpacket.ts';
import { type End, spawnProgram } from './spawn.ts';

/** How to start CRIU. */
export interface CriuLaunch {
  /** Path of the executable. */
  binary: string;
  /**
   * A command that enters the right namespaces and then *replaces itself* by CRIU (exec, no fork), whose words are
   * put before CRIU's: `[init, 'enter', …, '--']`. It must leave descriptor 3 open.
   */
  prefix?: string[];
  /** The prefix stops half-way (`enter --wait`) for more words, see `CriuProcess.proceed`. */
  waits?: boolean;
  /** Default: an empty environment, so that nothing of ours configures CRIU. */
  env?: Record<string, string>;
}

/** The process ended, or could not be started, before it answered. */
export class NoAnswer extends Error {
  readonly stderr: string;
  /** True when we killed it. */
  readonly killed: boolean;
  /** It did not end by itself. */
  readonly signalled: boolean;
  constructor(message: string, more: { stderr: string; killed: boolean; signalled?: boolean; cause?: unknown }) {
    super(message, { cause: more.cause });
    this.name = 'NoAnswer';
    this.stderr = more.stderr;
    this.killed = more.killed;
    this.signalled = more.signalled ?? false;
  }
}

export class CriuProcess {
  /** Of the executable that was started. */
  readonly command: string;
  readonly socket: Socket;
  /** How it ended. Restored processes could keep its stderr open. */
  readonly ended: Promise<string>;
  readonly pid: number;
  /** Where `enter --wait` reads on. */
  private readonly words: Socket | null;
  private said = '';
  private over = false;
  /** Ended by a signal. */
  signalled = false;

  /** @throws NoAnswer where there is no such program */
  constructor(launch: CriuLaunch) {
    const [command, ...args] = [...(launch.prefix ?? []), launch.binary, 'swrk', '3'];
    this.command = command!;
    const [ours, theirs] = seqpacketPair();
    const [stderr, theirStderr] = pipe('reads');
    const [words, theirWords] = launch.waits ? pipe('writes') : [null, null];
    const theirEnds = [theirStderr, theirs, ...(theirWords === null ? [] : [theirWords])];
    this.socket = ours;
    this.words = words;
    let ended: Promise<End>;
    try {
      ({ pid: this.pid, ended } = spawnProgram([command!, ...args], launch.env ?? {}, ['none', 'none', ...theirEnds]));
    } catch (cause) {
      for (const one of [ours, stderr, words]) one?.destroy();
      throw new NoAnswer(`${this.command} could not be started`, { stderr: '', killed: false, cause });
    } finally {
      for (const fd of theirEnds) closeFd(fd);
    }
    words?.on('error', () => {}); // it has ended: the exit code, which the caller waits for, tells more
    stderr.on('error', () => {});
    stderr.setEncoding('utf8').on('data', (text: string) => {
      if (this.said.length < 65536) this.said += text;
    });
    this.ended = ended.then(({ code, signal }) => {
      this.signalled = signal !== null;
      return signal ? `was ended by ${signal}` : `ended with exit code ${code}`;
    });
    // A process that CRIU had begun to restore may hold the other end open when CRIU itself is gone. Where the loop is late, its end
    // is heard of before its answer is read, which the poll between a timer and an immediate does.
    const hangUp = (): void => {
      this.over = true;
      words?.destroy();
      setTimeout(() => setImmediate(() => ours.destroy()), 20);
    };
    void this.ended.then(hangUp);
  }

  get stderr(): string {
    return this.said;
  }

  /** It still waits, for all that is known: one that was just killed may not have been heard of. */
  get waiting(): boolean {
    return !this.over && !this.socket.destroyed;
  }

  /** Ends the wait of `enter --wait`: it goes on with these words as well. */
  proceed(words: string[]): void {
    this.words?.end([...words, ''].map((word) => `${word}\0`).join(''));
  }

  /** SIGKILL for CRIU, and for its children too where they are nothing without it. */
  kill(withChildren = false): void {
    if (this.over) return; // the pid may be another's
    let children: number[] = [];
    if (withChildren) {
      try {
        children = readFileSync(`/proc/${this.pid}/task/${this.pid}/children`, 'utf8')
          .split(' ')
          .filter(Boolean)
          .map(Number);
      } catch {} // gone already
    }
    for (const pid of [this.pid, ...children]) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {}
    }
  }
}

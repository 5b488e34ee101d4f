/**
 * A process that is, or is to become, `criu swrk`: its socket, what it says on stderr, how it ends. It can be started ahead and
 * left waiting in `teleport-init enter --wait`, which has then done all that takes long: joining a cgroup alone takes 5-35 ms
 * (the kernel waits for an RCU grace period), node's spawn 3.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { closeFd, seqpacketPair } from './seqpacket.ts';

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
  /** How it ended. Rejects where it could not be started. 'exit', not 'close': restored processes could keep stderr open. */
  readonly ended: Promise<string>;
  private readonly child: ChildProcess;
  private said = '';
  private over = false;
  /** Ended by a signal. */
  signalled = false;

  /** @throws NoAnswer where there is no such program */
  constructor(launch: CriuLaunch) {
    const [ours, theirs] = seqpacketPair();
    const [command, ...args] = [...(launch.prefix ?? []), launch.binary, 'swrk', '3'];
    this.command = command!;
    this.socket = ours;
    try {
      const stdio = ['ignore', 'ignore', 'pipe', theirs, ...(launch.waits ? ['pipe' as const] : [])] as const;
      this.child = spawn(this.command, args, { stdio: [...stdio], env: launch.env ?? {} });
    } catch (cause) {
      ours.destroy();
      throw new NoAnswer(`${command} could not be started`, { stderr: '', killed: false, cause });
    } finally {
      closeFd(theirs);
    }
    this.child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      if (this.said.length < 65536) this.said += text;
    });
    this.ended = new Promise<string>((resolve, reject) => {
      this.child.once('error', reject);
      this.child.once('exit', (code, signal) => {
        this.signalled = signal !== null;
        resolve(signal ? `was ended by ${signal}` : `ended with exit code ${code}`);
      });
    });
    // A process that CRIU had begun to restore may hold the other end open when CRIU itself is gone. Where the loop is late, its end
    // is heard of before its answer is read, which the poll between a timer and an immediate does.
    const hangUp = (): void => {
      this.over = true;
      setTimeout(() => setImmediate(() => ours.destroy()), 20);
    };
    this.ended.then(hangUp, hangUp);
  }

  get pid(): number | undefined {
    return this.child.pid;
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
    const pipe = this.child.stdio[4] as Writable;
    pipe.on('error', () => {}); // it has ended: the exit code, which the caller waits for, tells more
    pipe.end([...words, ''].map((word) => `${word}\0`).join(''));
  }

  /** SIGKILL for CRIU, and for its children too where they are nothing without it. */
  kill(withChildren = false): void {
    if (this.pid === undefined) return;
    let children: number[] = [];
    if (withChildren) {
      try {
        children = readFileSync(`/proc/${this.pid}/task/${this.pid}/children`, 'utf8')
          .split(' ')
          .filter(Boolean)
          .map(Number);
      } catch {} // gone already
    }
    this.child.kill('SIGKILL');
    for (const pid of children) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {}
    }
  }
}

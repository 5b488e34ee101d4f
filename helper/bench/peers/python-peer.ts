/**
 * A peer driven by a Python program that stays up and answers each line with milliseconds. Python, since the original is; and
 * since a peer needs its killed processes reaped at once, to restore them under the same pid, which node does not do.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** Reaps processes whose pids are in `watched`, which become ours when their parents end. */
const REAPER = `
import ctypes, os, sys, threading, time
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
watched = []
def reap():
    while True:
        for pid in list(watched):
            try: os.waitpid(pid, os.WNOHANG)
            except ChildProcessError: pass
        time.sleep(0.001)
threading.Thread(target=reap, daemon=True).start()
`;

export class PythonPeer {
  private static readonly alive = new Set<PythonPeer>();
  private readonly child: ChildProcess;
  private readonly dir = mkdtempSync(join(tmpdir(), 'teleport-peer-'));
  private readonly lines: AsyncIterator<string>;
  private readonly name: string;
  private said = '';
  /** It ended, and all that it said is here. */
  private readonly over: Promise<unknown>;

  /**
   * @param program gets its own folder as argv[1], then `args`; prints `ready`, then numbers for each line it reads
   * @param criuDir a folder with a `criu` that works: put first on PATH
   */
  constructor(name: string, program: string, args: string[], criuDir: string) {
    this.name = name;
    const env = { ...process.env, PATH: `${criuDir}:${process.env.PATH}` };
    // A process group of its own: Ctrl-C in a terminal must not end its CRIU or its containers half-way.
    const options = { env, stdio: 'pipe', detached: true } as const;
    this.child = spawn('python3', ['-c', REAPER + program, this.dir, ...args], options);
    PythonPeer.alive.add(this);
    this.over = new Promise((resolve) => this.child.once('close', resolve));
    // It may end before it reads what it is told.
    this.child.stdin!.on('error', () => {});
    this.child.stderr!.on('data', (data: Buffer) => {
      this.said = (this.said + data.toString()).slice(-2000);
    });
    // Keeps lines that come before anybody asks: one peer is ready while another is still measured.
    this.lines = createInterface({ input: this.child.stdout! })[Symbol.asyncIterator]();
  }

  /** All finish what they are at, undo what they made and end; whoever waits for them is told. */
  static breakOff(): void {
    for (const { child } of PythonPeer.alive) child.stdin!.end();
  }

  private async next(line?: string): Promise<string> {
    if (line && this.child.exitCode === null && !this.child.stdin!.writableEnded) this.child.stdin!.write(`${line}\n`);
    const { value: said } = await this.lines.next();
    if (!said) {
      await this.over;
      throw new Error(`${this.name} failed: ${this.said.trim().split('\n').slice(-4).join(' ')}`);
    }
    return said;
  }

  async begin(): Promise<void> {
    await this.next();
  }

  /** Milliseconds that it took, and, of a checkpoint where it is known, those in which the payload stood still. */
  async ask(line: string): Promise<[ms: number, stoppedMs?: number]> {
    return (await this.next(line)).split(' ').map(Number) as [number, number?];
  }

  async end(): Promise<void> {
    this.child.stdin!.end();
    await this.over;
    PythonPeer.alive.delete(this);
    // Its mounts, where it failed before it could undo them itself.
    for (const path of ['sandbox/merged', 'sandbox']) spawnSync('umount', ['-q', '-l', join(this.dir, path)]);
    rmSync(this.dir, { recursive: true, force: true });
  }
}

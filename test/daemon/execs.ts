/** Every program that a process, or one below it, becomes: told by the kernel itself, so that none is too short-lived to be seen. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  constants,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';

const BUFFER_KB = 8192;

export interface Exec {
  program: string;
  /** Of the process that became it. */
  pid: number;
}

/** Tracepoints, in an instance of their own. A tracer by ptrace would stand in CRIU's way. */
export class Execs {
  private readonly mount = mkdtempSync(join(tmpdir(), 'teleport-trace-'));
  private readonly instance: string;
  private readonly pipe: number;
  private readonly parents = new Map<number, number>();

  constructor() {
    execFileSync('mount', ['-t', 'tracefs', 'none', this.mount]);
    this.instance = join(this.mount, 'instances', `teleport-${process.pid}`);
    mkdirSync(this.instance);
    this.set('buffer_size_kb', BUFFER_KB);
    for (const event of ['fork', 'exec']) this.set(`events/sched/sched_process_${event}/enable`, 1);
    this.pipe = openSync(join(this.instance, 'trace_pipe'), constants.O_RDONLY | constants.O_NONBLOCK);
  }

  private set(file: string, value: number): void {
    writeFileSync(join(this.instance, file), `${value}`);
  }

  /**
   * Programs that were run since it was last asked, in order, each by the name that it was called by.
   * @param pid of a process that began after this
   */
  below(pid: number): Exec[] {
    const programs: Exec[] = [];
    for (const line of this.read().split('\n')) {
      const fork = / sched_process_fork: .* pid=(\d+) child_comm=.* child_pid=(\d+)$/.exec(line);
      if (fork) this.parents.set(Number(fork[2]), Number(fork[1]));
      const exec = / sched_process_exec: filename=(.*) pid=(\d+) old_pid=(\d+)$/.exec(line);
      if (exec && this.isBelow(Number(exec[3]), pid))
        programs.push({ program: basename(exec[1]!), pid: Number(exec[2]) });
    }
    for (const cpu of readdirSync(join(this.instance, 'per_cpu')))
      assert.match(readFileSync(join(this.instance, 'per_cpu', cpu, 'stats'), 'utf8'), /^overrun: 0$/m, 'all was kept');
    return programs;
  }

  private isBelow(one: number | undefined, pid: number): boolean {
    for (let at = one; at !== undefined; at = this.parents.get(at)) if (at === pid) return true;
    return false;
  }

  private read(): string {
    const parts: Buffer[] = [];
    const part = Buffer.alloc(1 << 16);
    try {
      for (let n = readSync(this.pipe, part); n > 0; n = readSync(this.pipe, part))
        parts.push(Buffer.from(part.subarray(0, n)));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error; // that is its end
    }
    return Buffer.concat(parts).toString();
  }

  end(): void {
    closeSync(this.pipe);
    rmdirSync(this.instance);
    execFileSync('umount', [this.mount]);
    rmdirSync(this.mount);
  }
}

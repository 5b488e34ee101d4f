/**
 * A cgroup v2 folder per branch: stops and goes on with all its processes at once, ends them in one call, lists them.
 * The freezer is part of cgroup v2's core, so no controller need be enabled; the payload can't notice being frozen
 * (unlike SIGSTOP). Source: Documentation/admin-guide/cgroup-v2.rst, "Core Interface Files".
 */
import { createHash } from 'node:crypto';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmdirSync, writeFileSync, writeSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { TeleportError } from '../protocol/errors.ts';
import { removeTwins } from './limits.ts';
import { processesIn } from './processes.ts';

/** Where cgroup v2 is mounted, or null. */
export function findCgroup2(mountinfo = readFileSync('/proc/self/mountinfo', 'utf8')): string | null {
  for (const line of mountinfo.split('\n')) {
    const [before, after] = line.split(' - ');
    if (after?.startsWith('cgroup2 ')) return before!.split(' ')[4]!;
  }
  return null;
}

/** Folder of a daemon's groups, one per state folder, so that two daemons never meet: the installed one's has the plain name. */
export function groupName(state: string, installed: string): string {
  if (state === installed) return 'teleport-env';
  return `teleport-env-${createHash('sha256').update(state).digest('hex').slice(0, 24)}`;
}

/** Whoever waits for what was thawed has its answer by then. */
const LET_GO_MS = 10;
/** Those that wake first have gone on by then, and whoever waits for them has the answer. */
const OTHERS_MS = 3;
/** The group, inside a branch's, of those that wake after the others. */
const OTHERS = 'others';

export class Cgroup {
  readonly path: string;
  private freezer: number | null = null;
  /** Of the group of those that wake later, where they have not yet. */
  private others: number | null = null;

  constructor(path: string) {
    this.path = path;
  }

  /** @throws TeleportError `noCgroup` where the folder can't be made. */
  static make(path: string): Cgroup {
    try {
      mkdirSync(path, { recursive: true });
    } catch (cause) {
      throw new TeleportError('noCgroup', `cannot make the control group ${path}: ${(cause as Error).message}`, {
        hint: 'teleport-env doctor says what is missing',
        cause,
      });
    }
    return new Cgroup(path);
  }

  private write(file: string, text: string): void {
    writeFileSync(join(this.path, file), text);
  }

  /** Takes effect within microseconds for processes that run in user space; the caller need not wait for a thaw. */
  freeze(): void {
    this.thawOthers();
    this.write('cgroup.freeze', '1');
  }

  thaw(): void {
    if (this.freezer === null) this.write('cgroup.freeze', '0');
    else {
      writeSync(this.freezer, '0');
      setTimeout(() => this.letGo(), LET_GO_MS).unref();
    }
    if (this.others !== null) setTimeout(() => this.thawOthers(), OTHERS_MS);
    // Of an earlier helper, which may have ended in between.
    else if (this.freezer === null && existsSync(join(this.path, OTHERS))) this.write(`${OTHERS}/cgroup.freeze`, '0');
  }

  /**
   * Of a group that stands still: at its thaw all but these wait for a moment more, so that who is waited for need not share the
   * processors with them. Takes some 10 ms for the kernel, so it is for groups that nobody is in a hurry for.
   */
  async wakeFirst(first: ReadonlySet<number>): Promise<void> {
    const inside = join(this.path, OTHERS);
    mkdirSync(inside, { recursive: true });
    this.others = openSync(join(inside, 'cgroup.freeze'), 'r+');
    writeSync(this.others, '1');
    for (const pid of this.pids()) {
      if (first.has(pid)) continue;
      if (this.others === null) return; // they go on
      await writeFile(join(inside, 'cgroup.procs'), String(pid)).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ESRCH' && error.code !== 'ENOENT') throw error; // it ended
      });
    }
  }

  /** Those that wait for a moment more go on now: all of it can be looked at, stopped or dumped as one. */
  thawOthers(): void {
    const others = this.others;
    if (others === null) return;
    this.others = null;
    try {
      writeSync(others, '0');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENODEV') throw error; // the group is gone
    } finally {
      closeSync(others);
    }
  }

  /** To thaw later in one call, by a file that is open already: a path that nobody walked for a while costs more than the thaw. */
  hold(): void {
    this.freezer ??= openSync(join(this.path, 'cgroup.freeze'), 'r+');
  }

  private letGo(): void {
    if (this.freezer !== null) closeSync(this.freezer);
    this.freezer = null;
  }

  /** Until every process stands still. @throws Error after `timeoutMs` (a process stuck in the kernel). */
  async frozen(timeoutMs = 2000): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    while (!this.event('frozen')) {
      if (Date.now() > deadline) throw new Error(`processes in ${this.path} did not freeze within ${timeoutMs} ms`);
      await sleep(1);
    }
  }

  /** As asked for; `frozen()` waits until it is so. */
  get isFrozen(): boolean {
    return readFileSync(join(this.path, 'cgroup.freeze'), 'utf8').trim() === '1';
  }

  /** SIGKILL to all, forks in flight included. */
  kill(): void {
    if (existsSync(this.path)) this.write('cgroup.kill', '1');
  }

  /** Host pids, threads not apart. Empty where the group is gone. */
  pids(): number[] {
    return [this.path, join(this.path, OTHERS)].flatMap(processesIn);
  }

  /** Moves a process in, from wherever it is. The kernel waits for a grace period of its RCU, 5-35 ms: not in the way of all else. */
  async take(pid: number): Promise<void> {
    await writeFile(join(this.path, 'cgroup.procs'), String(pid));
  }

  private event(name: 'populated' | 'frozen'): boolean {
    return readFileSync(join(this.path, 'cgroup.events'), 'utf8').includes(`${name} 1`);
  }

  /** Kills what is inside, waits until it is gone, removes the group. @throws Error after `timeoutMs`. */
  async end(timeoutMs = 10_000): Promise<void> {
    this.letGo();
    if (this.others !== null) closeSync(this.others);
    this.others = null;
    await this.clear(timeoutMs);
    await removeTwins(this.path, timeoutMs);
  }

  private async clear(timeoutMs: number): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    for (let wait = 1; existsSync(this.path); wait = Math.min(wait * 2, 50)) {
      if (this.event('populated')) this.kill();
      else {
        try {
          if (existsSync(join(this.path, OTHERS))) rmdirSync(join(this.path, OTHERS));
          rmdirSync(this.path);
          return;
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
        }
      }
      if (Date.now() > deadline) throw new Error(`processes in ${this.path} did not end within ${timeoutMs} ms`);
      await sleep(wait);
    }
  }
}

/** A live branch in the daemon: its record, its sessions, its shell. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Live } from '../engine/branch.ts';
import { payloadOf, retire } from '../engine/branch.ts';
import { beginDump } from '../engine/criu-ahead.ts';
import type { CriuProcess } from '../engine/criu-process.ts';
import type { BranchLayout } from '../engine/layout.ts';
import type { Machine } from '../engine/machine.ts';
import type { NetworkMode } from '../engine/network.ts';
import type { Steps } from '../engine/steps.ts';
import type { Branch as BranchInfo, Process } from '../protocol/model.ts';
import type { BranchRecord } from '../sandbox/records.ts';
import type { Door } from './gateway.ts';
import { Sessions } from './sessions.ts';
import { isShell, type Pid, Shell } from './shell.ts';
import { writeRecord } from './store.ts';

/** For more sessions, connections are made when they are wanted. */
const MOST_CONNECTIONS = 8;

export class Branch {
  record: BranchRecord;
  readonly live: Live;
  readonly layout: BranchLayout;
  readonly sessions: Sessions;
  readonly shell: Shell;
  /** Agents that run in it, by the request that stays open while they do. */
  readonly agents = new Map<number, string>();
  /** Nothing was asked of it since its checkpoint. */
  unasked = false;
  /** It was to be the head, and never answered. */
  lost = false;
  /** Host pids of one that stands still. */
  private asleep: number[] | null = null;
  private retired: Promise<Steps> | null = null;
  private successor: Branch | null = null;
  /** What its network was made for; null where nobody knows. */
  mode: NetworkMode | null = null;
  /** The model gateway's listener, where there is one. */
  gateway: Door | null = null;
  private dump: CriuProcess | null = null;

  constructor(
    record: BranchRecord,
    live: Live,
    layout: BranchLayout,
    shellStart: () => Promise<{ cwd: string; env: string[] }>,
    shellExports: () => Record<string, string>,
  ) {
    this.record = record;
    this.live = live;
    this.layout = layout;
    this.sessions = new Sessions(live.pid);
    this.shell = new Shell(this.sessions, shellStart, shellExports);
  }

  get id(): string {
    return this.record.id;
  }

  update(change: Partial<BranchRecord>): void {
    this.record = { ...this.record, ...change };
    if (!this.retired) writeRecord(this.layout.file, this.record, { transient: true });
  }

  info(): BranchInfo {
    const { id, role, checkpoint, createdAt } = this.record;
    const agents = [...new Set(this.agents.values())];
    const processes = payloadOf(this.live).length;
    return { id, role, checkpoint, createdAt, processes, ...(agents.length ? { agents } : {}) };
  }

  /** A rotation made this branch's upper directory a layer: `next` goes on with the same processes. */
  async succeededBy(next: Branch): Promise<void> {
    this.successor = next;
    await this.shell.passOn(next.shell);
  }

  /** The one that lives in its place. */
  get latest(): Branch {
    return this.successor?.latest ?? this;
  }

  /** A standby: frozen, its processes stay the same ones until `wake`. */
  standsStill(): void {
    this.asleep = this.live.cgroup.pids();
    this.live.cgroup.hold();
  }

  /**
   * It will be waited for, by way of its PID 1 and its shell: all else wakes a moment later. Nobody waits for it yet.
   * @param listened how many sessions somebody listens to who will then want to hear this branch's
   */
  async expect(listened: number): Promise<void> {
    await this.sessions.connectFor(Math.min(listened, MOST_CONNECTIONS));
    const first = this.live.cgroup.pids().filter((pid) => pid === this.live.pid || isShell(pid));
    await this.live.cgroup.wakeFirst(new Set(first));
  }

  wake(): void {
    this.live.cgroup.thaw();
    this.asleep = null;
  }

  pids(): Pid[] {
    return (this.asleep ?? this.live.cgroup.pids()).map((host) => ({
      host,
      get inner() {
        return innerPid(host) ?? 0;
      },
    }));
  }

  get over(): boolean {
    return this.retired !== null;
  }

  /** Nobody hears of it any more; a shell line under way fails with the reason. */
  silence(reason: string): void {
    this.sessions.abandon();
    this.shell.abandon(reason);
    this.gateway?.close();
    this.gateway = null;
  }

  /** The next checkpoint then begins some 5 ms sooner. Takes about 4 ms: not while anybody waits for an answer. */
  beginDump(machine: Machine): void {
    if (!this.retired && !this.dump?.waiting) this.dump = beginDump(machine, this.live.pid);
  }

  /** A dump of it that was begun, to be used up. */
  takeDump(): CriuProcess | undefined {
    const begun = this.dump ?? undefined;
    this.dump = null;
    return begun;
  }

  /** Ends it in the background; the promise says when nothing of it is left. */
  async end(reason: string): Promise<void> {
    await this.gone(reason);
  }

  /** The same, answering how it went. */
  gone(reason: string): Promise<Steps> {
    this.silence(reason);
    this.sessions.letGo();
    this.takeDump()?.kill();
    this.retired ??= retire(this.layout, this.live);
    return this.retired;
  }

  /** It is what its checkpoint is: nothing was asked of it since, and nothing runs but the shell, which waits. */
  get isAsCaptured(): boolean {
    return this.unasked && payloadOf(this.live).length <= 1;
  }

  /** Processor time that it has used: in every cgroup v2, whether or not the controller is enabled. */
  processorTime(): string {
    try {
      return /^usage_usec (\d+)/m.exec(readFileSync(join(this.live.cgroup.path, 'cpu.stat'), 'utf8'))?.[1] ?? '';
    } catch {
      return '';
    }
  }

  /** Processes of the payload, pids as they are inside. */
  processes(): Process[] {
    const found: Process[] = [];
    const inside = new Map<number, number>();
    for (const pid of this.live.cgroup.pids()) inside.set(pid, innerPid(pid) ?? 0);
    for (const pid of payloadOf(this.live)) {
      const one = readProcess(pid, inside);
      if (one) found.push(one);
    }
    return found.sort((a, b) => a.pid - b.pid);
  }
}

function field(status: string, name: string): string {
  return new RegExp(`^${name}:[ \\t]*(.*)$`, 'm').exec(status)?.[1] ?? '';
}

/** A process's pid as it is inside; null where it has ended. */
export function innerPid(pid: number): number | null {
  try {
    return Number(
      field(readFileSync(`/proc/${pid}/status`, 'utf8'), 'NSpid')
        .split('\t')
        .at(-1),
    );
  } catch {
    return null; // it ended meanwhile
  }
}

function readProcess(pid: number, inside: ReadonlyMap<number, number>): Process | null {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').filter(Boolean);
    return {
      pid: inside.get(pid) ?? 0,
      ppid: inside.get(Number(field(status, 'PPid'))) ?? 0,
      state: field(status, 'State').slice(0, 1),
      command: words.length ? words.join(' ') : `[${field(status, 'Name')}]`,
      rss: Number.parseInt(field(status, 'VmRSS'), 10) * 1024 || 0,
      uid: Number(field(status, 'Uid').split('\t')[0]),
    };
  } catch {
    return null; // it ended meanwhile
  }
}

/** A live branch in the daemon: its record, its sessions, its shell. */
import { readFileSync } from 'node:fs';
import type { Live } from '../engine/branch.ts';
import { payloadOf, retire } from '../engine/branch.ts';
import type { BranchLayout } from '../engine/layout.ts';
import type { Branch as BranchInfo, Process } from '../protocol/model.ts';
import type { BranchRecord } from '../sandbox/records.ts';
import { Sessions } from './sessions.ts';
import { Shell } from './shell.ts';
import { writeRecord } from './store.ts';

export class Branch {
  record: BranchRecord;
  readonly live: Live;
  readonly layout: BranchLayout;
  readonly sessions: Sessions;
  readonly shell: Shell;
  private retired: Promise<void> | null = null;

  constructor(
    record: BranchRecord,
    live: Live,
    layout: BranchLayout,
    shellStart: () => Promise<{ cwd: string; env: string[] }>,
  ) {
    this.record = record;
    this.live = live;
    this.layout = layout;
    this.sessions = new Sessions(live.pid);
    this.shell = new Shell(this.sessions, shellStart);
  }

  get id(): string {
    return this.record.id;
  }

  update(change: Partial<BranchRecord>): void {
    this.record = { ...this.record, ...change };
    if (!this.retired) writeRecord(this.layout.file, this.record);
  }

  info(): BranchInfo {
    const { id, role, checkpoint, createdAt } = this.record;
    return { id, role, checkpoint, createdAt, processes: payloadOf(this.live).length };
  }

  get over(): boolean {
    return this.retired !== null;
  }

  /** Nobody hears of it any more; a shell line under way fails with the reason. */
  silence(reason: string): void {
    this.sessions.abandon();
    this.shell.abandon(reason);
  }

  /** Ends it in the background; the promise says when nothing of it is left. */
  end(reason: string): Promise<void> {
    this.silence(reason);
    this.retired ??= retire(this.layout, this.live.cgroup);
    return this.retired;
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

/** What the parts of a sandbox share: its record, its numbers, where it lies, whom to tell, and what it does in the background. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { SandboxLayout } from '../engine/layout.ts';
import { defaultLimits } from '../engine/limits.ts';
import type { LinkedNames } from '../engine/linked-names.ts';
import type { Machine } from '../engine/machine.ts';
import type { NetworkMode, Networks } from '../engine/network.ts';
import { TeleportError } from '../protocol/errors.ts';
import type { NotificationName, NotificationParams } from '../protocol/methods.ts';
import type { Limits } from '../protocol/model.ts';
import type { SandboxRecord } from '../sandbox/records.ts';
import type { Base } from './bases.ts';
import { Mutex } from './mutex.ts';
import type { StandbyBudget } from './standby-budget.ts';
import { writeRecord } from './store.ts';

/** Numbers are written ahead by that much, so that a crash gives none twice. People type those of checkpoints: no gaps. */
const STRIDE = { checkpoint: 1, branch: 20, session: 20 };
/** That long an answer takes to be written. */
export const REPLY_MS = 2;
/** By then an answer is on its way, and whoever asked has read it. */
export const AFTER_REPLY_MS = 10;

export interface Surroundings {
  machine: Machine;
  base: Base;
  networks: Networks;
  linked: LinkedNames;
  standbys: StandbyBudget;
  notify<N extends NotificationName>(owner: number, name: N, params: NotificationParams<N>): void;
  /** Whether a client is there that would be notified. */
  heard(owner: number): boolean;
  log(text: string): void;
}

export class SandboxState {
  record: SandboxRecord;
  /** Variables that sessions have while a model gateway serves. */
  gatewayEnv: Record<string, string> = {};
  readonly layout: SandboxLayout;
  readonly around: Surroundings;
  /** Why it does not run, where that is nobody's wish. */
  problem: string | undefined;
  restoring = false;
  removed = false;
  /** Not a sandbox yet: its record is written last. */
  beginning = false;
  /** What changes the tree, the head or a branch's files, one after the other. */
  readonly work = new Mutex();
  private readonly background = new Set<Promise<void>>();

  constructor(record: SandboxRecord, layout: SandboxLayout, around: Surroundings) {
    this.record = record;
    this.layout = layout;
    this.around = around;
  }

  /** @throws TeleportError `unknownSandbox` where it is being removed */
  checkThere(): void {
    if (this.removed) throw new TeleportError('unknownSandbox', `there is no sandbox ${this.record.id} any more`);
  }

  number(kind: 'checkpoint' | 'branch' | 'session'): number {
    const n = this.counters[kind]++;
    if (n >= this.record.next[kind]) this.save({ next: { ...this.record.next, [kind]: n + STRIDE[kind] } });
    return n;
  }

  counters = { checkpoint: 0, branch: 0, session: 1 };

  nextSession(): string {
    return `x${this.number('session')}`;
  }

  save(change: Partial<SandboxRecord>): void {
    this.record = { ...this.record, ...change };
    if (!this.removed && !this.beginning) writeRecord(this.layout.file, this.record);
  }

  tell<N extends NotificationName>(name: N, params: NotificationParams<N>): void {
    this.around.notify(this.record.owner.uid, name, params);
  }

  environment(more: Record<string, string> = {}): string[] {
    return Object.entries({ ...this.record.env, ...this.gatewayEnv, ...more }).map(
      ([name, value]) => `${name}=${value}`,
    );
  }

  async shellStart(): Promise<{ cwd: string; env: string[] }> {
    return { cwd: this.record.workspace, env: this.environment() };
  }

  get limits(): Limits {
    return this.record.limits ?? { ...defaultLimits(), disk: null };
  }

  get mode(): NetworkMode {
    return { network: this.record.network, lan: this.record.lan ?? false };
  }

  inBackground(work: () => Promise<void>): void {
    const done: Promise<void> = work()
      .catch((error) => this.around.log(`${this.record.id}: ${(error as Error).stack ?? error}`))
      .finally(() => this.background.delete(done));
    this.background.add(done);
  }

  /** Resolves when nothing is under way any more. */
  async idle(): Promise<void> {
    while (this.background.size) await Promise.all(this.background);
  }

  /** When the caller has its answer: cleaning up must not stand in its way. */
  later(work: () => Promise<void>): void {
    this.inBackground(async () => {
      await sleep(AFTER_REPLY_MS);
      await work();
    });
  }
}

/** A sandbox's live branches and its standbys: made, found again after a restart, taken, ended. */

import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { activate, type Ground, type Live, launch, startTimeOf } from '../engine/branch.ts';
import { Cgroup } from '../engine/cgroup.ts';
import { faultPoint } from '../engine/fault.ts';
import type { BranchLayout } from '../engine/layout.ts';
import { memory } from '../engine/memory.ts';
import type { NetworkMode } from '../engine/network.ts';
import { Steps } from '../engine/steps.ts';
import { removeTree } from '../engine/trees.ts';
import { WriteTracking } from '../engine/write-tracking.ts';
import { TeleportError } from '../protocol/errors.ts';
import { shellWord } from '../protocol/shell-word.ts';
import { type Access, standbyBytes, wishes } from '../sandbox/policy.ts';
import { BranchRecord, FORMAT, type Manifest } from '../sandbox/records.ts';
import { chainOf, layersOf } from '../sandbox/tree.ts';
import { Branch } from './branch.ts';
import type { Catalogue } from './catalogue.ts';
import type { Gateway } from './gateway.ts';
import { payloadOf } from './owner.ts';
import { PortWatch } from './ports.ts';
import { RestoresAhead } from './restores-ahead.ts';
import { AFTER_REPLY_MS, REPLY_MS, type SandboxState } from './sandbox-state.ts';
import { Standbys } from './standbys.ts';
import { readRecord, writeRecord } from './store.ts';

/** Rollbacks and forks remembered, to tell which checkpoints will be wanted. */
const ACCESSES = 200;
/** Who goes from one moment to the next has left it by then. */
const SETTLED_MS = 100;
const STANDBY_LIMITS = { count: Number(process.env.TELEPORT_ENV_STANDBYS ?? 3), bytes: 2 ** 30 };

export class Branches {
  private readonly state: SandboxState;
  private readonly catalogue: Catalogue;
  private readonly changed: () => void;
  private readonly served: (branch: Branch, adopted: boolean) => void;
  readonly live = new Map<string, Branch>();
  gateway: Gateway | null = null;
  private accesses: Access[] = [];
  private hints: string[] = [];
  /** Those, and what was told since: they count from the next `refill` on. */
  private told: string[] = [];
  /** Branches under way, with the checkpoints whose layers they stand on. */
  private readonly making = new Set<{ role: BranchRecord['role']; base: string; layers: string[] }>();
  /** Forks under way: their checkpoints must stay. */
  private readonly leases = new Set<{ checkpoint: string; made: Promise<unknown> }>();
  readonly ports = new PortWatch(
    () => this.state.around.heard(this.state.record.owner.uid),
    (branch, ports) => this.state.tell('ports/changed', { sandbox: this.state.record.id, branch, ports }),
  );
  private readonly standbys: Standbys;
  private readonly ahead: RestoresAhead;

  /**
   * @param changed the sandbox's own state is another now
   * @param served is given each branch that lives; `adopted`: it did before this helper
   */
  constructor(
    state: SandboxState,
    catalogue: Catalogue,
    changed: () => void,
    served: (branch: Branch, adopted: boolean) => void,
  ) {
    this.state = state;
    this.catalogue = catalogue;
    this.changed = changed;
    this.served = served;
    this.standbys = new Standbys(
      {
        make: (checkpoint) => this.make(checkpoint, 'standby', new Steps()),
        proven: (checkpoint, problem) => this.proven(checkpoint, problem),
        bytesOf: (checkpoint) => this.bytesOf(checkpoint),
        unproven: () => (STANDBY_LIMITS.count > 0 ? this.catalogue.unproven() : []),
        isBusy: () => this.state.work.busy || this.leases.size > 0,
        end: (branch, reason) => this.state.later(() => branch.end(reason)),
        rested: (branch) => {
          const listened = this.live.get(this.state.record.head ?? '')?.sessions.listeners.size ?? 0;
          branch.expect(listened).catch((error) => this.state.around.log(`${branch.id}: ${(error as Error).message}`));
        },
      },
      () => memory(this.state.around.machine.cgroups),
      this.state.around.standbys,
    );
    this.ahead = new RestoresAhead(
      state.around.machine,
      () => `b${state.number('branch')}`,
      (id) => this.cgroupOf(id),
      (work) => state.inBackground(work),
    );
  }

  /** @throws TeleportError `notRunning`, `unknownBranch` */
  get(id?: string): Branch {
    const wanted = id ?? this.state.record.head;
    if (wanted === null)
      throw new TeleportError('notRunning', `${this.state.record.name} is stopped`, {
        hint: `teleport-env start ${shellWord(this.state.record.name)}`,
      });
    const branch = this.live.get(wanted);
    if (branch) return branch;
    throw new TeleportError('unknownBranch', `${this.state.record.name} has no branch ${wanted}`);
  }

  ground(branch: string, checkpoint: string): Ground {
    const layers = layersOf(this.catalogue.tree, checkpoint).map(({ id, kind }) => `checkpoints/${id}/${kind}`);
    return {
      layout: this.state.layout.branch(branch),
      cgroup: this.cgroupOf(branch),
      limits: this.state.limits,
      lowers: [...layers, 'skeleton', ...this.catalogue.pinPaths(checkpoint), this.state.around.base.root()],
      from: this.state.layout.dir,
    };
  }

  /** The record of a branch whose processes are alive. */
  survivor(id: string): BranchRecord | null {
    try {
      const record = readRecord(BranchRecord, this.state.layout.branch(id).file);
      const alive = record.bootId === this.state.around.machine.bootId && startTimeOf(record.pid) === record.startTime;
      const known = this.catalogue.tree.has(record.base) || this.catalogue.damaged.has(record.base);
      return alive && known && record.cgroup === this.cgroupOf(id) ? record : null;
    } catch {
      return null; // it was being made or unmade
    }
  }

  private cgroupOf(branch: string): string {
    return join(this.state.around.machine.cgroups, `${this.state.record.id}-${branch}`);
  }

  async endRemains(id: string): Promise<void> {
    await new Cgroup(this.cgroupOf(id)).end();
    await removeTree(this.state.layout.branch(id).dir);
  }

  async adopt(record: BranchRecord, head: string | null): Promise<void> {
    const { id } = record;
    const cgroup = new Cgroup(record.cgroup);
    const live: Live = { pid: record.pid, startTime: record.startTime, cgroup, writes: new WriteTracking() };
    const branch = this.branch(record, live, this.state.layout.branch(id));
    try {
      this.connect(live.pid, { adopted: true });
      await rm(branch.layout.taken, { recursive: true, force: true }); // of what was written since then nothing is known
      if (record.role === 'standby' && id !== head) {
        this.standbys.adopt(branch);
        return;
      }
      if (id === head) branch.update({ role: 'head', activated: true });
      cgroup.thaw(); // the helper may have ended in the middle of a capture
      await branch.sessions.start();
      this.enlist(branch, { adopted: true });
    } catch (error) {
      this.state.around.log(`${this.state.record.id}/${id}: not adopted: ${(error as Error).message}`);
      await branch.end('it did not answer');
    }
  }

  private branch(record: BranchRecord, live: Live, layout: BranchLayout): Branch {
    const { state } = this;
    return new Branch(
      record,
      live,
      layout,
      () => state.shellStart(),
      () => state.gatewayEnv,
    );
  }

  enlist(branch: Branch, { adopted = false } = {}): void {
    this.live.set(branch.id, branch);
    this.gateway?.listen(branch);
    this.served(branch, adopted);
    branch.sessions.onEnd = () => this.died(branch);
    this.ports.add(branch);
  }

  /** PID 1 ended by itself: killed from outside, or out of memory. */
  died(branch: Branch): void {
    if (!this.live.delete(branch.id)) return;
    this.state.inBackground(() => branch.end('the branch ended'));
    if (this.state.record.head === branch.id) {
      this.state.problem = 'its processes were ended from outside';
      this.state.save({ head: null });
    }
    this.changed();
  }

  private branchRecord(
    id: string,
    role: BranchRecord['role'],
    base: string,
    layers: string[],
    live: Live,
  ): BranchRecord {
    const now = new Date().toISOString();
    const { pid, startTime, cgroup } = live;
    const { bootId } = this.state.around.machine;
    return {
      format: FORMAT,
      id,
      role,
      base,
      checkpoint: base,
      pid,
      startTime,
      cgroup: cgroup.path,
      createdAt: now,
      bootId,
      activated: role !== 'standby',
      layers,
    };
  }

  /** A branch without its network is better than none: the sandbox can still be gone back to. */
  connect(pid: number, { adopted = false } = {}): void {
    try {
      if (adopted) this.state.around.networks.adopt(pid);
      this.state.around.networks.apply(pid, this.state.mode);
    } catch (error) {
      this.state.around.log(`${this.state.record.id}: ${(error as Error).message}`);
    }
  }

  /** @throws TeleportError `noNetwork`; then all is as it was */
  async setNetwork(mode: NetworkMode): Promise<void> {
    const { networks } = this.state.around;
    await networks.prepare(mode);
    const before = this.state.mode;
    const pids = [...this.live.values(), ...this.standbys.all].map((branch) => branch.live.pid);
    try {
      for (const pid of pids) {
        if (mode.lan !== before.lan) networks.detach(pid);
        networks.apply(pid, mode);
      }
    } catch (error) {
      for (const pid of pids) networks.detach(pid);
      for (const pid of pids) this.connect(pid);
      throw error;
    }
    this.state.save({ network: mode.network, lan: mode.lan });
    this.changed();
  }

  /** A fresh branch of a checkpoint. A standby is left frozen. @throws TeleportError `restoreFailed` */
  async make(checkpoint: string, role: BranchRecord['role'], steps: Steps): Promise<Branch> {
    const layers: string[] = [];
    const making = { role, base: checkpoint, layers };
    this.making.add(making);
    try {
      return await this.makeOn(layers, checkpoint, role, steps);
    } finally {
      this.making.delete(making);
    }
  }

  /** @param layers is told the checkpoints whose layers are mounted */
  private async makeOn(
    layers: string[],
    checkpoint: string,
    role: BranchRecord['role'],
    steps: Steps,
  ): Promise<Branch> {
    const { machine } = this.state.around;
    const manifest = this.catalogue.get(checkpoint);
    const { mode } = this.state;
    await this.state.around.networks.ready(mode).catch((error) => this.state.around.log((error as Error).message));
    layers.push(...layersOf(this.catalogue.tree, checkpoint).map((layer) => layer.id));
    const begun = manifest.filesOnly || role === 'standby' ? null : this.ahead.take();
    const id = begun?.id ?? `b${this.state.number('branch')}`;
    const ground = this.ground(id, checkpoint);
    const live = manifest.filesOnly
      ? await launch(machine, ground, payloadOf(this.state.record), this.state.record.hostname)
      : await activate(
          machine,
          ground,
          this.state.layout.checkpoint(checkpoint).image,
          {
            frozen: role === 'standby',
            network: (pid) => this.connect(pid),
            check: this.catalogue.checkOf(manifest, role !== 'standby'),
            ahead: begun?.criu,
          },
          steps,
        ).catch((error) => {
          throw this.ofAnotherMachine(manifest, error);
        });
    if (manifest.filesOnly) this.connect(live.pid);
    if (role === 'standby' && manifest.filesOnly) live.cgroup.freeze();
    const branch = this.branch(this.branchRecord(id, role, checkpoint, layers, live), live, ground.layout);
    branch.mode = mode;
    branch.unasked = true;
    try {
      writeRecord(ground.layout.file, branch.record, { transient: true });
      faultPoint('branch:recorded', live.pid);
      if (role !== 'standby') {
        const answered = branch.sessions.start();
        answered.catch(() => {}); // told below
        branch.shell.attachAhead();
        await answered;
        faultPoint('branch:answers', live.pid);
        steps.done('init answers');
        this.enlist(branch);
      } else {
        await branch.sessions.connectAhead();
        branch.shell.attachAhead();
        branch.standsStill();
      }
      return branch;
    } catch (cause) {
      await branch.end('it could not be started');
      if ((cause as NodeJS.ErrnoException).code === 'ENOSPC' || cause instanceof TeleportError) throw cause;
      const text = `the processes of ${checkpoint} ended as soon as they had been restored: ${(cause as Error).message}`;
      throw new TeleportError('restoreFailed', text, { hint: 'try again', cause });
    }
  }

  /** An image of another CRIU or kernel is tried all the same: as a rule it works, upwards. Where not, that is the first thing to know. */
  private ofAnotherMachine({ criu, kernel }: Manifest, error: unknown): unknown {
    const { criuVersion, kernel: here } = this.state.around.machine;
    if (
      !(error instanceof TeleportError) ||
      error.code !== 'restoreFailed' ||
      (criu === criuVersion && kernel === here)
    )
      return error;
    const text = `${error.message} (it was made by CRIU ${criu} on kernel ${kernel}; here are CRIU ${criuVersion} and kernel ${here})`;
    return new TeleportError('restoreFailed', text, { cause: error });
  }

  /**
   * A standby if there is one (about a millisecond), else a restore.
   * @param waking is told of a standby before it is thawed: what is written to it until then, it finds when it wakes
   * @param listened sessions for whose listeners it will be asked
   */
  async obtain(
    checkpoint: string,
    role: 'head' | 'fork',
    steps: Steps,
    { waking, listened = [] }: { waking?: (branch: Branch) => void; listened?: Iterable<string> } = {},
  ): Promise<{ branch: Branch; path: 'warm' | 'cold' }> {
    const manifest = this.catalogue.get(checkpoint);
    if (manifest.broken)
      throw new TeleportError('restoreFailed', `${checkpoint} can't be gone back to: ${manifest.broken}`, {
        hint: 'choose another checkpoint',
      });
    this.accesses = [...this.accesses, { checkpoint, at: performance.now() }].slice(-ACCESSES);
    const standby = await this.standbys.take(checkpoint);
    if (standby) {
      try {
        // The sandbox's network may have changed while this one was made.
        if (!isDeepStrictEqual(standby.mode, this.state.mode)) this.connect(standby.live.pid);
        // Else a running standby means, to the next helper, that the head went there.
        if (role === 'fork') standby.update({ role });
        this.gateway?.listen(standby);
        standby.sessions.foresee(listened);
        if (waking) {
          waking(standby);
          await new Promise<void>((written) => process.nextTick(written));
        }
        standby.wake();
        faultPoint('head:thawed', standby.live.pid);
        const answered = standby.sessions.start();
        answered.catch(() => {}); // told below
        // While it wakes:
        standby.record = { ...standby.record, role, activated: true };
        this.enlist(standby);
        standby.shell.attachAhead();
        await answered;
        steps.done('standby thawed, init answers');
        if (role === 'fork') this.state.later(async () => standby.update({}));
        return { branch: standby, path: 'warm' };
      } catch (error) {
        this.live.delete(standby.id);
        standby.lost = true;
        this.state.around.log(`${this.state.record.id}/${standby.id}: standby lost: ${(error as Error).message}`);
        this.state.later(() => standby.end('standby lost'));
      }
    }
    const branch = await this.make(checkpoint, role, steps);
    if (!manifest.verified) this.state.later(async () => this.proven(checkpoint, null));
    return { branch, path: 'cold' };
  }

  /** A restore of it succeeded, or did not. Throws nothing. */
  private proven(checkpoint: string, problem: string | null): void {
    try {
      this.catalogue.proven(checkpoint, problem);
    } catch (error) {
      // It is known, and only not written: what was made of it is as good.
      this.state.around.log(`${this.state.record.id}/${checkpoint}: ${(error as Error).message}`);
    }
    // It may have stood in the place of one that was hinted at.
    if (this.hints.length && !this.state.removed && this.state.record.head) this.wish();
  }

  /** Changes neither the tree nor the head, so many can be made side by side. */
  async fork(checkpoint: string): Promise<{ branch: string; path: 'warm' | 'cold'; ms: number; steps: Steps }> {
    const steps = new Steps();
    this.state.checkThere();
    this.catalogue.get(checkpoint);
    const made = this.obtain(checkpoint, 'fork', steps);
    const lease = { checkpoint, made };
    this.leases.add(lease);
    try {
      const { branch, path } = await made;
      const ms = steps.total;
      setTimeout(() => {
        this.changed();
        this.refill();
      }, REPLY_MS);
      return { branch: branch.id, path, ms, steps };
    } finally {
      this.leases.delete(lease);
    }
  }

  /** A checkpoint is to be deleted: those of it go, and those that stand on it only because they were made before a `flat` was. */
  async dropStandby(checkpoint: string): Promise<void> {
    await this.standbys.drop(checkpoint);
    const stale = (of: Pick<BranchRecord, 'base' | 'layers'>): boolean =>
      this.mountedIn(of).includes(checkpoint) &&
      !layersOf(this.catalogue.tree, of.base).some(({ id }) => id === checkpoint);
    if ([...this.making].some((one) => one.role === 'standby' && stale(one))) await this.standbys.made();
    this.standbys.dropThose(({ record }) => stale(record));
  }

  private mountedIn({ base, layers }: Pick<BranchRecord, 'base' | 'layers'>): string[] {
    // Of an earlier helper, which deleted nothing that lay below.
    return layers ?? (this.catalogue.tree.has(base) ? chainOf(this.catalogue.tree, base) : [base]);
  }

  async endAll(reason: string): Promise<void> {
    await Promise.allSettled([...this.leases].map(({ made }) => made));
    const all = [...this.live.values()];
    this.live.clear();
    await this.ahead.close();
    await this.standbys.close(reason);
    await Promise.all(all.map((branch) => branch.end(reason)));
  }

  /** Checkpoints that a live branch or another checkpoint needs. */
  needed(): Set<string> {
    const needed = new Set<string>([
      this.state.record.current,
      ...[...this.leases].map(({ checkpoint }) => checkpoint),
    ]);
    for (const branch of this.live.values()) {
      needed.add(branch.record.base);
      needed.add(branch.record.checkpoint);
      for (const id of this.mountedIn(branch.record)) needed.add(id);
    }
    for (const { role, layers } of this.making) if (role !== 'standby') for (const id of layers) needed.add(id);
    return needed;
  }

  /** After a restart, when nobody knows what was asked for lately: what stands by is what is wanted, until something is asked for. */
  resume(): void {
    if (!this.state.record.head) return;
    this.standbys.want(
      this.standbys.all.map(({ record }) => record.base),
      AFTER_REPLY_MS,
    );
  }

  /** Standbys for what is likely to be wanted next. */
  refill(): void {
    this.hints = this.told;
    if (this.state.removed || !this.state.record.head) return;
    this.standbys.open();
    this.wish();
    this.state.later(async () => {
      const head = this.live.get(this.state.record.head ?? '');
      if (this.state.removed || !head) return;
      head.beginDump(this.state.around.machine);
      this.ahead.fill();
      await this.takeAhead(head);
    });
  }

  private wish(): void {
    const { current } = this.state.record;
    const now = performance.now();
    const size = (id: string): number => this.bytesOf(id);
    const wanted = wishes(this.catalogue.usable, current, this.accesses, this.hints, now, STANDBY_LIMITS, size).map(
      (w) => w.checkpoint,
    );
    // Whatever else is hinted at: it is what a slip wants back, and whether it can be had is not known yet.
    const first = this.catalogue.unproven().includes(current) ? [current] : [];
    this.standbys.want(
      [...first, ...wanted.filter((id) => !first.includes(id))].slice(0, STANDBY_LIMITS.count),
      AFTER_REPLY_MS,
      this.hints,
    );
  }

  /** When it is on the disk what the head comes from, and that is still the head: whoever goes from one moment to the next needs none. */
  private async takeAhead(head: Branch): Promise<void> {
    const { checkpoint } = head.record;
    if (head.live.writes.since === null) return;
    await Promise.all([sleep(SETTLED_MS), this.catalogue.makeDurable(checkpoint).catch(() => {})]); // told by whoever asked for it
    if (this.state.removed || this.live.get(this.state.record.head ?? '') !== head) return;
    if (head.record.checkpoint === checkpoint) await head.live.writes.takeAhead(head.layout.taken);
  }

  /** Memory that a standby takes. */
  private bytesOf(checkpoint: string): number {
    const manifest = this.catalogue.tree.get(checkpoint);
    return manifest ? standbyBytes(manifest) : 0;
  }

  /** The helper is about to end: branches go on, what was only begun does not. */
  async letGo(): Promise<void> {
    for (const branch of this.live.values()) branch.takeDump()?.kill();
    await this.ahead.close();
  }

  /**
   * What callers say they will go to next. Holds until they say otherwise; one that is deleted meanwhile is passed over. Counts from the
   * next `refill` on: a rollback that tells of others must find its own standby still there.
   * @throws TeleportError `unknownCheckpoint`, `checkpointDamaged`; then what was said before holds
   */
  expect(checkpoints: string[] | undefined): void {
    if (!checkpoints) return;
    for (const id of checkpoints) this.catalogue.get(id);
    this.told = checkpoints;
  }
}

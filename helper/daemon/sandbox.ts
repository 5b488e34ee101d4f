/**
 * One sandbox at work: its tree of checkpoints, its branches, and the operations on them. All that the helper does with a
 * sandbox is made of `capture` and `activate`; what changes the tree or the head runs one at a time.
 */
import { existsSync, readdirSync, renameSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { activate, type Ground, type Live, launch, startTimeOf } from '../engine/branch.ts';
import { capture, captureFiles, undoRotation } from '../engine/capture.ts';
import { Cgroup } from '../engine/cgroup.ts';
import { countChanges, inSlices } from '../engine/diff.ts';
import { faultPoint } from '../engine/fault.ts';
import { completeHardLinks } from '../engine/hard-links.ts';
import { filesOf } from '../engine/image-files.ts';
import { checkImage, sumImage } from '../engine/image-sums.ts';
import type { CheckpointLayout, SandboxLayout } from '../engine/layout.ts';
import { defaultLimits } from '../engine/limits.ts';
import type { Machine } from '../engine/machine.ts';
import type { NetworkMode, Networks } from '../engine/network.ts';
import { refillReserve } from '../engine/reserve.ts';
import { rotationDone, rotationOf } from '../engine/rotation.ts';
import { LayerStack } from '../engine/stack.ts';
import { Steps } from '../engine/steps.ts';
import { syncfsAsync } from '../engine/syscalls.ts';
import { removeTree } from '../engine/trees.ts';
import { TeleportError } from '../protocol/errors.ts';
import type { HeadMoved, NotificationName, NotificationParams } from '../protocol/methods.ts';
import type { Checkpoint, Limits, Sandbox as SandboxInfo } from '../protocol/model.ts';
import { type Access, wishes } from '../sandbox/policy.ts';
import { BranchRecord, FORMAT, Manifest, type SandboxRecord } from '../sandbox/records.ts';
import { type Rotation, recover } from '../sandbox/recovery.ts';
import { builtOn, layersOf, numberOf, reparented } from '../sandbox/tree.ts';
import type { Base } from './bases.ts';
import { Branch } from './branch.ts';
import { Mutex } from './mutex.ts';
import { PortWatch } from './ports.ts';
import type { Listener } from './sessions.ts';
import { Standbys } from './standbys.ts';
import { readRecord, writeRecord } from './store.ts';

/** Numbers are written ahead by that much, so that a crash gives none twice. People type those of checkpoints: no gaps. */
const STRIDE = { checkpoint: 1, branch: 20, session: 20 };

/** Rollbacks and forks remembered, to tell which checkpoints will be wanted. */
const ACCESSES = 200;
const STANDBY_LIMITS = { count: Number(process.env.TELEPORT_ENV_STANDBYS ?? 3), bytes: 2 ** 30 };
/** So long PID 1 may take to answer after a capture, on the busiest of machines. */
const ANSWER_MS = 30_000;
/** That long an answer takes to be written. */
const REPLY_MS = 2;
/** By then an answer is on its way, and whoever asked has read it. */
const AFTER_REPLY_MS = 10;

export interface Surroundings {
  machine: Machine;
  base: Base;
  networks: Networks;
  notify<N extends NotificationName>(owner: number, name: N, params: NotificationParams<N>): void;
  /** Whether a client is there that would be notified. */
  heard(owner: number): boolean;
  log(text: string): void;
}

/** What a checkpoint is to say about itself. */
export interface Words {
  kind: Checkpoint['kind'];
  label?: string | null;
  command?: string | null;
  exitCode?: number | null;
  durationMs?: number | null;
  note?: string | null;
  hint?: string;
  filesOnly?: boolean;
  /** For tests and measurements: how the layer is made. */
  way?: 'auto' | 'copy' | 'rotate';
}

export class Sandbox {
  record: SandboxRecord;
  readonly layout: SandboxLayout;
  private readonly around: Surroundings;
  private readonly manifests = new Map<string, Manifest>();
  /** On disk, but not to be used: why. */
  private readonly damaged = new Map<string, string>();
  private readonly branches = new Map<string, Branch>();
  private readonly work = new Mutex();
  private restoring = false;
  private problem: string | undefined;
  private removed = false;
  /** Not a sandbox yet: its record is written last. */
  private beginning = false;
  private background = new Set<Promise<void>>();
  private readonly ports = new PortWatch(
    () => this.around.heard(this.record.owner.uid),
    (branch, ports) => this.tell('ports/changed', { sandbox: this.record.id, branch, ports }),
  );
  private accesses: Access[] = [];
  private hints: string[] = [];
  /** Forks under way: their checkpoints must stay. */
  private readonly leases = new Set<{ checkpoint: string; made: Promise<unknown> }>();
  private readonly standbys = new Standbys({
    make: (checkpoint) => this.make(checkpoint, 'standby', new Steps()),
    proven: (checkpoint, problem) => this.proven(checkpoint, problem),
    end: (branch, reason) => this.later(() => branch.end(reason)),
  });

  constructor(record: SandboxRecord, layout: SandboxLayout, around: Surroundings) {
    this.record = record;
    this.layout = layout;
    this.around = around;
  }

  // ---- what it is ----

  info(): SandboxInfo {
    const { id, name, workspace, owner, network, lan, createdAt, head, current } = this.record;
    const state = this.restoring ? 'restoring' : this.problem ? 'failed' : head ? 'running' : 'stopped';
    return {
      id,
      name,
      workspace,
      owner: owner.uid,
      state,
      ...(this.problem && !head ? { problem: this.problem } : {}),
      network,
      lan: lan ?? false,
      limits: this.limits,
      createdAt,
      head,
      current,
      branches: [...this.branches.values()].map((b) => b.info()),
      checkpoints: this.manifests.size,
      canUndo: this.record.undo.length > 0,
    };
  }

  checkpoints(): Checkpoint[] {
    return [...this.manifests.values()].sort((a, b) => numberOf(b.id) - numberOf(a.id)).map(toCheckpoint);
  }

  checkpoint(id: string): Checkpoint {
    return toCheckpoint(this.manifest(id));
  }

  get tree(): ReadonlyMap<string, Manifest> {
    return this.manifests;
  }

  private manifest(id: string): Manifest {
    const manifest = this.manifests.get(id);
    if (manifest) return manifest;
    const damage = this.damaged.get(id);
    if (damage)
      throw new TeleportError('checkpointDamaged', `${id} is damaged: ${damage}`, {
        hint: 'choose another checkpoint',
      });
    throw new TeleportError('unknownCheckpoint', `${this.record.name} has no checkpoint ${id}`, {
      hint: `teleport-env log ${this.record.name} lists them`,
    });
  }

  /** @throws TeleportError `notRunning`, `unknownBranch` */
  branch(id?: string): Branch {
    const wanted = id ?? this.record.head;
    if (wanted === null)
      throw new TeleportError('notRunning', `${this.record.name} is stopped`, {
        hint: `teleport-env start ${this.record.name}`,
      });
    const branch = this.branches.get(wanted);
    if (branch) return branch;
    throw new TeleportError('unknownBranch', `${this.record.name} has no branch ${wanted}`);
  }

  /** The files of a checkpoint or, live, of a branch, down to the base. */
  stack(at: string): LayerStack {
    if (at.startsWith('k')) return new LayerStack(this.layerPaths(at));
    const branch = this.branch(at);
    return new LayerStack([branch.layout.upper, ...this.layerPaths(branch.record.base)]);
  }

  /**
   * The same for reading contents and names. The helper reads as root, so what lies in the base is only for root: others see
   * what their sandbox holds, and read the host's own files with their own rights.
   */
  readable(at: string, uid: number): LayerStack {
    const whole = this.stack(at);
    if (uid === 0) return whole;
    return new LayerStack(whole.paths.slice(0, whole.paths.indexOf(this.layout.skeleton)));
  }

  private layerPaths(checkpoint: string): string[] {
    const layers = layersOf(this.manifests, this.manifest(checkpoint).id).map((id) => this.layout.checkpoint(id).layer);
    return [...layers, this.layout.skeleton, ...this.pinPaths(checkpoint), this.around.base.root()];
  }

  private pinPaths(checkpoint: string): string[] {
    return this.manifest(checkpoint).pins.map((name) => this.around.base.pins.layerPath(name));
  }

  private ground(branch: string, checkpoint: string): Ground {
    const layers = layersOf(this.manifests, checkpoint).map((id) => `checkpoints/${id}/layer`);
    return {
      layout: this.layout.branch(branch),
      cgroup: this.cgroupOf(branch),
      limits: this.limits,
      lowers: [...layers, 'skeleton', ...this.pinPaths(checkpoint), this.around.base.root()],
      from: this.layout.dir,
    };
  }

  // ---- numbers and records ----

  private number(kind: 'checkpoint' | 'branch' | 'session'): number {
    const n = this.counters[kind]++;
    if (n >= this.record.next[kind]) this.save({ next: { ...this.record.next, [kind]: n + STRIDE[kind] } });
    return n;
  }
  private counters = { checkpoint: 0, branch: 0, session: 1 };

  nextSession(): string {
    return `x${this.number('session')}`;
  }

  save(change: Partial<SandboxRecord>): void {
    this.record = { ...this.record, ...change };
    if (!this.removed && !this.beginning) writeRecord(this.layout.file, this.record);
  }

  changed(): void {
    if (!this.removed) this.tell('sandbox/changed', { sandbox: this.info() });
  }

  private tell<N extends NotificationName>(name: N, params: NotificationParams<N>): void {
    this.around.notify(this.record.owner.uid, name, params);
  }

  // ---- beginning ----

  /** The root checkpoint (its layer is filled already) and the first branch. */
  async begin(steps: Steps): Promise<{ head: string; checkpoint: string }> {
    this.beginning = true;
    this.counters = { checkpoint: 1, branch: 1, session: 1 };
    const root = this.blank('k0', { kind: 'root' });
    root.filesOnly = true;
    root.verified = true;
    this.manifests.set('k0', root);
    writeRecord(this.layout.checkpoint('k0').manifest, root);
    const branch = await this.make('k0', 'head', steps);
    faultPoint('create:begun');
    this.beginning = false;
    this.save({ head: branch.id, current: 'k0' });
    this.settleSoon('k0');
    return { head: branch.id, checkpoint: 'k0' };
  }

  private blank(id: string, words: Words): Manifest {
    const { machine } = this.around;
    return {
      format: FORMAT,
      id,
      parent: null,
      base: null,
      kind: words.kind,
      label: words.label ?? null,
      command: words.command ?? null,
      exitCode: words.exitCode ?? null,
      durationMs: words.durationMs ?? null,
      createdAt: new Date().toISOString(),
      filesChanged: 0,
      bytes: 0,
      processes: 0,
      stoppedMs: 0,
      totalMs: 0,
      note: words.note ?? null,
      ...(words.hint ? { hint: words.hint } : {}),
      filesOnly: words.filesOnly ?? false,
      rotated: false,
      verified: false,
      durable: false,
      bootId: machine.bootId,
      criu: machine.criuVersion,
      kernel: machine.kernel,
      pins: [],
    };
  }

  /** What is on disk after a restart: manifests, and branches that are still alive. */
  async load(): Promise<void> {
    const rotations = this.loadManifests();
    // All below `next` may have been given.
    this.counters = { ...this.record.next };
    const found = readdirSync(this.layout.branches).map((id) => ({ id, record: this.survivor(id) }));
    const survivors = found.flatMap(({ record }) =>
      record ? [{ ...record, frozen: new Cgroup(record.cgroup).isFrozen }] : [],
    );
    const plan = recover(survivors, rotations, this.record.head);
    for (const { checkpoint, branch } of plan.undo) {
      this.around.log(`${this.record.id}/${checkpoint}: taken back, nobody had succeeded ${branch} yet`);
      undoRotation(this.layout.branch(branch), this.layout.checkpoint(checkpoint));
      this.manifests.delete(checkpoint);
      await removeTree(this.layout.checkpoint(checkpoint).dir);
    }
    for (const rotation of rotations) {
      if (plan.undo.includes(rotation)) continue;
      if (this.manifests.has(rotation.checkpoint)) rotationDone(this.layout.checkpoint(rotation.checkpoint));
      else if (!this.damaged.has(rotation.checkpoint)) this.discardUnfinished(rotation.checkpoint);
    }
    const keep = new Set([plan.head, ...plan.forks, ...plan.standbys]);
    for (const { id, record } of found) if (!record || !keep.has(id)) await this.endRemains(id);
    for (const { id, record } of found) if (record && keep.has(id)) await this.adopt(record, plan.head);
    const head = this.branches.get(plan.head ?? '');
    let { current } = this.record;
    if (head) current = head.record.checkpoint;
    else if (!this.manifests.has(current)) current = this.checkpoints()[0]?.id ?? 'k0';
    if (this.manifests.size === 0) this.problem = 'its checkpoints are lost or damaged';
    this.save({ head: head?.id ?? null, current, undo: this.record.undo.filter((id) => this.manifests.has(id)) });
  }

  /** Checkpoints that were never finished go; damaged ones, and what lies on them, stay but are not used. */
  private loadManifests(): Rotation[] {
    const rotations: Rotation[] = [];
    const unfinished: string[] = [];
    for (const id of readdirSync(this.layout.checkpoints)) {
      const place = this.layout.checkpoint(id);
      const branch = rotationOf(place);
      if (branch) rotations.push({ checkpoint: id, branch });
      if (!existsSync(place.manifest)) {
        unfinished.push(id);
        continue;
      }
      try {
        const manifest = readRecord(Manifest, place.manifest);
        // Written but not synced when the machine went down: nobody knows what of it is there.
        if (!manifest.durable && manifest.bootId !== this.around.machine.bootId) unfinished.push(id);
        else this.manifests.set(id, manifest);
      } catch (error) {
        this.damaged.set(id, (error as Error).message);
      }
    }
    for (const id of [...this.manifests.keys()]) {
      try {
        for (const below of layersOf(this.manifests, id))
          if (!existsSync(this.layout.checkpoint(below).layer)) throw new Error(`the layer of ${below} is missing`);
      } catch (error) {
        this.damaged.set(id, (error as Error).message);
      }
    }
    for (const [id, why] of this.damaged) {
      this.around.log(`${this.record.id}/${id}: damaged: ${why}`);
      this.manifests.delete(id);
    }
    for (const id of unfinished) {
      // A folder whose manifest was lost may still be what others lie on.
      if (this.damaged.size) this.damaged.set(id, 'its manifest is missing');
      else if (!rotations.some((r) => r.checkpoint === id)) this.discardUnfinished(id);
    }
    return rotations;
  }

  private discardUnfinished(id: string): void {
    this.around.log(`${this.record.id}/${id}: removed, it was never finished`);
    this.inBackground(() => removeTree(this.layout.checkpoint(id).dir));
  }

  /** The record of a branch whose processes are alive. */
  private survivor(id: string): BranchRecord | null {
    try {
      const record = readRecord(BranchRecord, this.layout.branch(id).file);
      const alive = record.bootId === this.around.machine.bootId && startTimeOf(record.pid) === record.startTime;
      const known = this.manifests.has(record.base) || this.damaged.has(record.base);
      return alive && known && record.cgroup === this.cgroupOf(id) ? record : null;
    } catch {
      return null; // it was being made or unmade
    }
  }

  private cgroupOf(branch: string): string {
    return join(this.around.machine.cgroups, `${this.record.id}-${branch}`);
  }

  private async endRemains(id: string): Promise<void> {
    await new Cgroup(this.cgroupOf(id)).end();
    await removeTree(this.layout.branch(id).dir);
  }

  private async adopt(record: BranchRecord, head: string | null): Promise<void> {
    const { id } = record;
    const cgroup = new Cgroup(record.cgroup);
    const live: Live = { pid: record.pid, startTime: record.startTime, cgroup };
    const branch = new Branch(record, live, this.layout.branch(id), () => this.shellStart());
    try {
      this.connect(live.pid, { adopted: true });
      if (record.role === 'standby' && id !== head) {
        this.standbys.adopt(branch);
        return;
      }
      if (id === head) branch.update({ role: 'head', activated: true });
      cgroup.thaw(); // the helper may have ended in the middle of a capture
      await branch.sessions.start();
      this.enlist(branch);
    } catch (error) {
      this.around.log(`${this.record.id}/${id}: not adopted: ${(error as Error).message}`);
      await branch.end('it did not answer');
    }
  }

  private enlist(branch: Branch): void {
    this.branches.set(branch.id, branch);
    branch.sessions.onEnd = () => this.died(branch);
    this.ports.add(branch);
  }

  /** PID 1 ended by itself: killed from outside, or out of memory. */
  private died(branch: Branch): void {
    if (!this.branches.delete(branch.id)) return;
    this.inBackground(() => branch.end('the branch ended'));
    if (this.record.head === branch.id) {
      this.problem = 'its processes were ended from outside';
      this.save({ head: null });
    }
    this.changed();
  }

  // ---- capture and activate ----

  async shellStart(): Promise<{ cwd: string; env: string[] }> {
    return { cwd: this.record.workspace, env: this.environment() };
  }

  environment(more: Record<string, string> = {}): string[] {
    return Object.entries({ ...this.record.env, ...more }).map(([name, value]) => `${name}=${value}`);
  }

  private branchRecord(id: string, role: BranchRecord['role'], base: string, live: Live): BranchRecord {
    const now = new Date().toISOString();
    const { pid, startTime, cgroup } = live;
    const { bootId } = this.around.machine;
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
    };
  }

  private get limits(): Limits {
    return this.record.limits ?? { ...defaultLimits(), disk: null };
  }

  /** What is saved so that nothing is lost may go beyond: it is what frees people from a sandbox that is full. */
  private checkDisk(kind: Words['kind']): void {
    const { disk } = this.limits;
    if (disk === null || kind === 'saved') return;
    const used = [...this.manifests.values()].reduce((sum, manifest) => sum + manifest.bytes, 0);
    if (used < disk) return;
    throw new TeleportError(
      'limitReached',
      `the checkpoints of ${this.record.name} take ${used} bytes, more than the ${disk} that they may`,
      { hint: `teleport-env gc ${this.record.name} deletes some` },
    );
  }

  private get mode(): NetworkMode {
    return { network: this.record.network, lan: this.record.lan ?? false };
  }

  /** A branch without its network is better than none: the sandbox can still be gone back to. */
  private connect(pid: number, { adopted = false } = {}): void {
    try {
      if (adopted) this.around.networks.adopt(pid);
      this.around.networks.apply(pid, this.mode);
    } catch (error) {
      this.around.log(`${this.record.id}: ${(error as Error).message}`);
    }
  }

  /** @throws TeleportError `noNetwork`; then all is as it was */
  setNetwork(mode: NetworkMode): Promise<void> {
    return this.work.run(async () => {
      const { networks } = this.around;
      await networks.prepare(mode);
      const before = this.mode;
      const pids = [...this.branches.values(), ...this.standbys.all].map((branch) => branch.live.pid);
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
      this.save({ network: mode.network, lan: mode.lan });
      this.changed();
    });
  }

  /** A fresh branch of a checkpoint. A standby is left frozen. @throws TeleportError `restoreFailed` */
  private async make(checkpoint: string, role: BranchRecord['role'], steps: Steps): Promise<Branch> {
    const { machine } = this.around;
    const manifest = this.manifest(checkpoint);
    await this.around.networks.ready(this.mode).catch((error) => this.around.log((error as Error).message));
    const id = `b${this.number('branch')}`;
    const ground = this.ground(id, checkpoint);
    const live = manifest.filesOnly
      ? await launch(machine, ground, this.record.owner, this.record.hostname)
      : await activate(
          machine,
          ground,
          this.layout.checkpoint(checkpoint).image,
          { frozen: role === 'standby', network: (pid) => this.connect(pid), check: this.checkOf(manifest) },
          steps,
        ).catch((error) => {
          throw this.ofAnotherMachine(manifest, error);
        });
    if (manifest.filesOnly) this.connect(live.pid);
    if (role === 'standby' && manifest.filesOnly) live.cgroup.freeze();
    const branch = new Branch(this.branchRecord(id, role, checkpoint, live), live, ground.layout, () =>
      this.shellStart(),
    );
    try {
      writeRecord(ground.layout.file, branch.record);
      faultPoint('branch:recorded');
      if (role !== 'standby') {
        await branch.sessions.start();
        faultPoint('branch:answers');
        steps.done('init answers');
        this.enlist(branch);
      } else await branch.sessions.connectAhead();
      return branch;
    } catch (error) {
      await branch.end('it could not be started');
      throw error;
    }
  }

  /** An image of another CRIU or kernel is tried all the same: as a rule it works, upwards. Where not, that is the first thing to know. */
  private ofAnotherMachine({ criu, kernel }: Manifest, error: unknown): unknown {
    const { criuVersion, kernel: here } = this.around.machine;
    if (
      !(error instanceof TeleportError) ||
      error.code !== 'restoreFailed' ||
      (criu === criuVersion && kernel === here)
    )
      return error;
    const text = `${error.message} (it was made by CRIU ${criu} on kernel ${kernel}; here are CRIU ${criuVersion} and kernel ${here})`;
    return new TeleportError('restoreFailed', text, { cause: error });
  }

  /** Its memory image is what was written, as far as that is known. */
  private checkOf({ id, sums }: Manifest): (() => Promise<void>) | undefined {
    return sums && (() => checkImage(this.layout.checkpoint(id).image, sums));
  }

  /** A standby if there is one (about a millisecond), else a restore. */
  private async obtain(
    checkpoint: string,
    role: 'head' | 'fork',
    steps: Steps,
  ): Promise<{ branch: Branch; path: 'warm' | 'cold' }> {
    const manifest = this.manifest(checkpoint);
    if (manifest.broken)
      throw new TeleportError('restoreFailed', `${checkpoint} can't be gone back to: ${manifest.broken}`, {
        hint: 'choose another checkpoint',
      });
    this.accesses = [...this.accesses, { checkpoint, at: performance.now() }].slice(-ACCESSES);
    const standby = await this.standbys.take(checkpoint);
    if (standby) {
      try {
        this.connect(standby.live.pid); // the sandbox's network may have changed while this one was made
        // Else a running standby means, to the next helper, that the head went there.
        if (role === 'fork') standby.update({ role });
        standby.live.cgroup.thaw();
        faultPoint('head:thawed');
        await standby.sessions.start();
        steps.done('standby thawed, init answers');
        standby.record = { ...standby.record, role, activated: true };
        this.enlist(standby);
        standby.shell.attachAhead();
        this.later(async () => standby.update({}));
        return { branch: standby, path: 'warm' };
      } catch (error) {
        this.around.log(`${this.record.id}/${standby.id}: standby lost: ${(error as Error).message}`);
        this.later(() => standby.end('standby lost'));
      }
    }
    return { branch: await this.make(checkpoint, role, steps), path: 'cold' };
  }

  /**
   * A checkpoint of a live branch. Where its layer was rotated the branch is replaced by a successor, unless `leaving`: then it
   * stays frozen, to be retired or taken back (`takeBack`).
   */
  private async take(
    branch: Branch,
    words: Words,
    steps: Steps,
    leaving = false,
  ): Promise<{ manifest: Manifest; branch: Branch; takeBack: () => Promise<void> }> {
    const { machine } = this.around;
    this.checkDisk(words.kind);
    const id = `k${this.number('checkpoint')}`;
    const place = this.layout.checkpoint(id);
    const manifest = this.blank(id, words);
    manifest.parent = branch.record.checkpoint;
    manifest.base = branch.record.base;
    manifest.processes = branch.info().processes;
    await branch.sessions.quiesce();
    faultPoint('take:quiesced');
    steps.done('connections let go');
    let successor = branch;
    let rotated = false;
    let connected = false;
    const giveBack = async (): Promise<void> => {
      this.manifests.delete(id);
      if (rotated) {
        undoRotation(branch.layout, place);
        branch.live.cgroup.thaw();
      }
      await removeTree(place.dir);
      if (!connected) await this.takeUp(branch);
    };
    try {
      const captured = words.filesOnly
        ? await captureFiles(branch.live, branch.layout, place, steps)
        : await capture(machine, branch.live, branch.layout, place, words.way ?? 'auto', steps);
      rotated = captured.rotated;
      faultPoint('take:captured');
      manifest.pins = await this.pin(branch, place);
      faultPoint('take:pinned');
      manifest.rotated = rotated;
      manifest.stoppedMs = captured.stoppedMs;
      this.manifests.set(id, manifest);
      if (captured.indexed) {
        const below = new LayerStack(this.layerPaths(branch.record.base));
        await inSlices(completeHardLinks(place.layer, below, existsSync(place.index) ? place.index : undefined));
        await removeTree(place.index);
        steps.done('hard links completed');
      }
      if (!rotated) {
        connected = true;
        await this.takeUp(branch);
      } else if (!leaving) {
        // Whole before anybody stands on it. What follows can still take it back.
        writeRecord(place.manifest, manifest);
        successor = await this.replace(branch, id, steps);
        manifest.verified = true;
        rotated = false; // its files are the successor's now
      }
      if (!(leaving && rotated)) steps.done('connections taken up');
      await this.measure(manifest, place);
      manifest.totalMs = steps.total;
      writeRecord(place.manifest, manifest);
      faultPoint('take:written');
    } catch (error) {
      if (successor === branch) {
        await giveBack();
        throw error;
      }
      // The successor lives: what is missing is a note of sizes.
      this.around.log(`${this.record.id}/${id}: ${(error as Error).message}`);
    }
    steps.done('changes counted, manifest written');
    successor.record = { ...successor.record, checkpoint: id };
    if (!(leaving && rotated)) successor.update({});
    faultPoint('take:done');
    this.tell('checkpoint/added', { sandbox: this.record.id, checkpoint: toCheckpoint(manifest) });
    const takeBack = async (): Promise<void> => {
      if (rotated) {
        branch.record = { ...branch.record, checkpoint: manifest.parent! };
        await giveBack();
        this.tell('checkpoint/removed', { sandbox: this.record.id, checkpoint: id });
      }
    };
    return { manifest, branch: successor, takeBack };
  }

  /** Connections again, after a capture. Processes that did not survive it (nor anything else) are a head that died. */
  private async takeUp(branch: Branch): Promise<void> {
    try {
      // CRIU that was killed at the wrong moment leaves processes that are neither alive nor dead.
      const limit = new AbortController();
      const never = sleep(ANSWER_MS, undefined, { signal: limit.signal }).then(() => {
        throw new Error(`PID 1 did not answer within ${ANSWER_MS / 1000} s`);
      });
      await Promise.race([branch.sessions.resume(), never]).finally(() => limit.abort());
    } catch (error) {
      this.around.log(`${this.record.id}/${branch.id}: ${(error as Error).message}`);
      this.died(branch);
      throw new TeleportError('notRunning', `the processes of ${this.record.name} ended meanwhile`, {
        hint: `teleport-env start ${this.record.name}`,
        cause: error,
      });
    }
  }

  private async measure(manifest: Manifest, place: CheckpointLayout): Promise<void> {
    const [filesChanged, image, layer] = await Promise.all([
      countChanges(new LayerStack(this.layerPaths(manifest.parent!)), new LayerStack(this.layerPaths(manifest.id))),
      sizeOf(place.image),
      sizeOf(place.layer),
    ]);
    manifest.filesChanged = filesChanged;
    manifest.bytes = image + layer;
  }

  /** Keeps what the image needs of the base. @returns generations of pins, newest first */
  private async pin(branch: Branch, place: CheckpointLayout): Promise<string[]> {
    const { base } = branch.record;
    const layers = this.manifest(base).pins;
    if (!existsSync(join(place.image, 'files.img'))) return layers; // of files only
    const own = layersOf(this.manifests, base).map((id) => this.layout.checkpoint(id).layer);
    return await this.around.base.pins.pin({
      files: filesOf(place.image),
      own: new LayerStack([place.layer, ...own, this.layout.skeleton]),
      layers,
      live: `/proc/${branch.live.pid}/root`,
      upper: branch.layout.upper,
    });
  }

  /** After a rotation: a branch of the new checkpoint takes the place of the one whose upperdir it took. */
  private async replace(branch: Branch, checkpoint: string, steps: Steps): Promise<Branch> {
    const role = branch.record.role;
    const successor = await this.make(checkpoint, role, steps);
    await successor.sessions.inherit(branch.sessions.listeners, 'missed');
    faultPoint('take:replaced');
    this.branches.delete(branch.id);
    if (this.record.head === branch.id) this.save({ head: successor.id, current: checkpoint });
    rotationDone(this.layout.checkpoint(checkpoint));
    this.inBackground(() => branch.end('it was replaced'));
    return successor;
  }

  // ---- operations ----

  /** An explicit checkpoint always makes one. */
  createCheckpoint(words: Words, branchId?: string): Promise<{ checkpoint: Checkpoint; steps: Steps }> {
    return this.work.run(async () => {
      const steps = new Steps();
      const before = this.branch(branchId);
      const isHead = before.id === this.record.head;
      const { manifest, branch } = await this.take(before, words, steps);
      if (isHead) this.save({ current: manifest.id });
      if (branch !== before && isHead)
        this.tell('head/moved', {
          sandbox: this.record.id,
          head: branch.id,
          checkpoint: manifest.id,
          cause: 'rotate',
          ms: steps.total,
          saved: null,
        });
      this.changed();
      this.settleSoon(manifest.id);
      return { checkpoint: toCheckpoint(manifest), steps };
    });
  }

  rollback(
    checkpoint: string,
    options: { discard: boolean },
    cause: 'rollback' | 'undo' = 'rollback',
  ): Promise<HeadMoved> {
    const steps = new Steps();
    return this.work.run(async () => {
      this.manifest(checkpoint);
      return await this.moveHead(steps, cause, options.discard, () => this.obtain(checkpoint, 'head', steps));
    });
  }

  async undo(): Promise<HeadMoved> {
    const target = this.record.undo.at(-1);
    if (!target) throw new TeleportError('nothingToUndo', `${this.record.name} has no rollback to undo`);
    const moved = await this.rollback(target, { discard: false }, 'undo');
    return moved;
  }

  promote(branchId: string, options: { discard: boolean }): Promise<HeadMoved> {
    const steps = new Steps();
    return this.work.run(async () => {
      const fork = this.branch(branchId);
      if (fork.id === this.record.head)
        throw new TeleportError('invalidRequest', `${branchId} is the current branch already`);
      return await this.moveHead(steps, 'promote', options.discard, async () => ({
        branch: fork,
        path: 'warm' as const,
      }));
    });
  }

  /** Saves the old head, gets the new one, moves listeners over, retires the old. The old one is untouched until the new one answers. */
  private async moveHead(
    steps: Steps,
    cause: 'rollback' | 'undo' | 'promote',
    discard: boolean,
    obtain: () => Promise<{ branch: Branch; path: 'warm' | 'cold' }>,
  ): Promise<HeadMoved> {
    const old = this.record.head ? this.branches.get(this.record.head) : undefined;
    let saved: string | null = null;
    let takeBack = async (): Promise<void> => {};
    if (old && !discard) {
      const taken = await this.take(old, { kind: 'saved', label: null }, steps, true);
      saved = taken.manifest.id;
      takeBack = taken.takeBack;
      faultPoint('head:saved');
    }
    let next: { branch: Branch; path: 'warm' | 'cold' };
    try {
      next = await obtain();
    } catch (error) {
      await takeBack();
      this.changed();
      throw error;
    }
    faultPoint('head:obtained');
    const { branch, path } = next;
    const rollbackMs = steps.total;
    const undo = this.record.undo.filter((id) => cause !== 'undo' || id !== this.record.undo.at(-1));
    const { checkpoint } = branch.record;
    branch.record = { ...branch.record, role: 'head' };
    this.problem = undefined;
    this.record = {
      ...this.record,
      head: branch.id,
      current: checkpoint,
      undo: saved ? [...undo, saved].slice(-100) : undo,
    };
    if (old) {
      this.branches.delete(old.id);
      const { listeners } = old.sessions;
      if (listeners.size) {
        await this.passOn(listeners, branch, rollbackMs);
        steps.done('terminals attached again');
      }
      // Whoever listened hears the new head now; the old one's death is nobody's news.
      old.silence(`${this.record.name} was rolled back`);
    }
    // A standby that runs tells the next helper where the head went; of others the record must.
    if (path === 'cold' || cause === 'promote') this.save({});
    faultPoint('head:recorded');
    const moved = { head: branch.id, checkpoint, rollbackMs, path, saved, steps: steps.all };
    // Nothing that the caller waits for: the answer goes out first (the connection takes a few turns of the event loop for it).
    setTimeout(() => {
      old?.live.cgroup.kill();
      this.inBackground(async () => {
        this.save({});
        if (saved) rotationDone(this.layout.checkpoint(saved));
      });
      this.tell('head/moved', { sandbox: this.record.id, head: branch.id, checkpoint, cause, ms: rollbackMs, saved });
      this.changed();
      this.refillSoon();
      this.later(async () => branch.update({}));
      if (old) this.later(() => old.end('it was rolled back'));
      if (saved) this.later(() => this.makeDurable(saved));
    }, REPLY_MS);
    return moved;
  }

  /** Whoever listened to the old head's sessions hears the new head's, or that they are no more. */
  private async passOn(listeners: Map<string, Set<Listener>>, to: Branch, ms: number): Promise<void> {
    const found = await to.sessions.inherit(listeners, 'all');
    const { createdAt } = this.manifest(to.record.checkpoint);
    for (const [session, set] of listeners) {
      const back = found.get(session);
      for (const listener of set) {
        const client = listener as Listener & Partial<SessionClient>;
        if (back)
          client.restored?.({ branch: to.id, running: back.running, scrollback: back.scrollback, at: createdAt, ms });
        else client.gone?.('the sandbox went back to a moment at which it did not exist');
      }
    }
  }

  /** Changes neither the tree nor the head, so many can be made side by side. */
  async fork(checkpoint: string): Promise<{ branch: string; path: 'warm' | 'cold'; ms: number; steps: Steps }> {
    const steps = new Steps();
    this.manifest(checkpoint);
    const made = this.obtain(checkpoint, 'fork', steps);
    const lease = { checkpoint, made };
    this.leases.add(lease);
    try {
      const { branch, path } = await made;
      const ms = steps.total;
      setTimeout(() => {
        this.changed();
        this.refillSoon();
      }, REPLY_MS);
      return { branch: branch.id, path, ms, steps };
    } finally {
      this.leases.delete(lease);
    }
  }

  async discard(branchId: string): Promise<void> {
    const branch = this.branch(branchId);
    if (branch.id === this.record.head)
      throw new TeleportError('invalidRequest', `${branchId} is the current branch`, {
        hint: 'stop the sandbox, or roll back',
      });
    this.branches.delete(branch.id);
    branch.live.cgroup.kill();
    this.later(() => branch.end('the fork was discarded'));
    setTimeout(() => this.changed(), REPLY_MS);
  }

  start(): Promise<void> {
    return this.work.run(async () => {
      if (this.record.head) return;
      this.restoring = true;
      this.changed();
      try {
        const steps = new Steps();
        const { branch } = await this.obtain(this.record.current, 'head', steps);
        this.problem = undefined;
        this.save({ head: branch.id });
        this.refillSoon();
        const { id: sandbox, current: checkpoint } = this.record;
        this.tell('head/moved', { sandbox, head: branch.id, checkpoint, cause: 'start', ms: steps.total, saved: null });
      } finally {
        this.restoring = false;
        this.changed();
      }
    });
  }

  stop(options: { discard: boolean }): Promise<string | null> {
    return this.work.run(async () => {
      let saved: string | null = null;
      const head = this.record.head ? this.branches.get(this.record.head) : undefined;
      if (head && !options.discard) {
        saved = (await this.take(head, { kind: 'saved' }, new Steps(), true)).manifest.id;
        this.save({ current: saved });
      }
      this.save({ head: null });
      await this.endBranches('the sandbox was stopped');
      if (saved) rotationDone(this.layout.checkpoint(saved));
      if (saved) await this.makeDurable(saved);
      this.changed();
      return saved;
    });
  }

  private async endBranches(reason: string): Promise<void> {
    await Promise.allSettled([...this.leases].map(({ made }) => made));
    const all = [...this.branches.values()];
    this.branches.clear();
    await this.standbys.close(reason);
    await Promise.all(all.map((branch) => branch.end(reason)));
  }

  async remove(): Promise<void> {
    this.removed = true;
    this.ports.stop();
    await this.work.run(() => this.endBranches('the sandbox was removed'));
    // Not within `work`: what is under way in the background waits for its turn there, and then sees `removed`.
    await this.idle();
    faultPoint('remove:ended');
    // From one moment to the next it is no sandbox any more, whatever of it is still to be removed.
    const trash = join(this.around.machine.layout.trash, `${this.record.id}-${Date.now()}`);
    renameSync(this.layout.dir, trash);
    faultPoint('remove:renamed');
    await removeTree(trash);
    this.tell('sandbox/removed', { sandbox: this.record.id });
  }

  label(checkpoint: string, label: string | null): Checkpoint {
    const manifest = this.manifest(checkpoint);
    manifest.label = label;
    writeRecord(this.layout.checkpoint(checkpoint).manifest, manifest, { sync: manifest.durable });
    this.tell('checkpoint/changed', { sandbox: this.record.id, checkpoint: toCheckpoint(manifest) });
    return toCheckpoint(manifest);
  }

  /** Checkpoints that a live branch or another checkpoint needs. */
  needed(): Set<string> {
    const needed = new Set<string>([this.record.current, ...[...this.leases].map(({ checkpoint }) => checkpoint)]);
    for (const branch of this.branches.values()) {
      needed.add(branch.record.base);
      needed.add(branch.record.checkpoint);
    }
    return needed;
  }

  delete(checkpoint: string): Promise<number> {
    return this.work.run(async () => {
      const manifest = this.manifest(checkpoint);
      await this.standbys.drop(checkpoint);
      const above = builtOn(this.manifests, checkpoint);
      if (manifest.parent === null || above.length || this.needed().has(checkpoint))
        throw new TeleportError(
          'checkpointInUse',
          `${checkpoint} is in use: ${manifest.parent === null ? 'it is the root of the sandbox' : above.length ? `${above.join(', ')} lie on it` : 'the current state or a live fork comes from it'}`,
          { hint: 'delete those first, or roll back to another one' },
        );
      for (const child of reparented(this.manifests, checkpoint)) {
        const other = this.manifests.get(child.id)!;
        other.parent = child.parent;
        writeRecord(this.layout.checkpoint(child.id).manifest, other);
        this.tell('checkpoint/changed', { sandbox: this.record.id, checkpoint: toCheckpoint(other) });
      }
      faultPoint('delete:reparented');
      // Without its manifest the checkpoint does not exist, whatever is left of the folder.
      await removeTree(this.layout.checkpoint(checkpoint).manifest);
      faultPoint('delete:manifest');
      this.manifests.delete(checkpoint);
      await removeTree(this.layout.checkpoint(checkpoint).dir);
      refillReserve();
      this.save({ undo: this.record.undo.filter((id) => id !== checkpoint) });
      this.tell('checkpoint/removed', { sandbox: this.record.id, checkpoint });
      return manifest.bytes;
    });
  }

  // ---- in the background ----

  private inBackground(work: () => Promise<void>): void {
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
  private later(work: () => Promise<void>): void {
    this.inBackground(async () => {
      await sleep(AFTER_REPLY_MS);
      await work();
    });
  }

  /** After a capture: proven by a restore that then stands by, and on disk. */
  private settleSoon(checkpoint: string): void {
    this.refillSoon();
    this.later(() => this.makeDurable(checkpoint));
  }

  private refillSoon(): void {
    if (this.removed || !this.record.head) return;
    this.standbys.open();
    const usable = new Map([...this.manifests].filter(([, m]) => !m.broken));
    const memoryOf = (id: string): number => this.manifests.get(id)?.bytes ?? 0;
    const now = performance.now();
    const wanted = wishes(usable, this.record.current, this.accesses, this.hints, now, STANDBY_LIMITS, memoryOf);
    this.standbys.want(
      wanted.map((w) => w.checkpoint),
      AFTER_REPLY_MS,
    );
  }

  /** What callers say they will go to next. Holds until they say otherwise. */
  expect(checkpoints: string[] | undefined): void {
    if (!checkpoints) return;
    this.hints = checkpoints;
    this.refillSoon();
  }

  /** A restore of it succeeded, or did not. */
  private proven(checkpoint: string, problem: string | null): void {
    const manifest = this.manifests.get(checkpoint);
    if (!manifest || this.removed || (problem === null && manifest.verified)) return;
    if (problem === null) manifest.verified = true;
    else manifest.broken = problem;
    writeRecord(this.layout.checkpoint(checkpoint).manifest, manifest);
    this.tell('checkpoint/changed', { sandbox: this.record.id, checkpoint: toCheckpoint(manifest) });
  }

  private async makeDurable(checkpoint: string): Promise<void> {
    const manifest = this.manifests.get(checkpoint);
    if (!manifest || manifest.durable || this.removed) return;
    const { image, dir } = this.layout.checkpoint(checkpoint);
    const sums = manifest.filesOnly ? undefined : await sumImage(image);
    await syncfsAsync(dir);
    if (!this.manifests.has(checkpoint) || this.removed) return;
    manifest.sums = sums;
    manifest.durable = true;
    writeRecord(this.layout.checkpoint(checkpoint).manifest, manifest, { sync: true });
    this.tell('checkpoint/changed', { sandbox: this.record.id, checkpoint: toCheckpoint(manifest) });
  }
}

/** What a listener that belongs to a client can hear besides output. */
export interface SessionClient {
  restored(back: { branch: string; running: boolean; scrollback: Buffer; at: string; ms: number }): void;
  gone(reason: string): void;
}

export function toCheckpoint(m: Manifest): Checkpoint {
  const {
    id,
    parent,
    kind,
    label,
    command,
    exitCode,
    durationMs,
    createdAt,
    filesChanged,
    bytes,
    processes,
    stoppedMs,
    totalMs,
    note,
  } = m;
  const state = {
    durable: m.durable,
    verified: m.verified,
    filesOnly: m.filesOnly,
    ...(m.broken ? { broken: m.broken } : {}),
  };
  return {
    id,
    parent,
    kind,
    label,
    command,
    exitCode,
    durationMs,
    createdAt,
    filesChanged,
    bytes,
    processes,
    stoppedMs,
    totalMs,
    ...(m.hint ? { hint: m.hint } : {}),
    note,
    state,
  };
}

/** Bytes that a folder's files take, by blocks; extents shared with other layers count in each. */
async function sizeOf(dir: string): Promise<number> {
  let sum = 0;
  const names = await readdir(dir, { withFileTypes: true, recursive: true });
  for (let at = 0; at < names.length; at += 64) {
    const part = names.slice(at, at + 64).filter((e) => e.isFile());
    const stats = await Promise.all(part.map((e) => stat(join(e.parentPath, e.name)).catch(() => null)));
    for (const s of stats) sum += (s?.blocks ?? 0) * 512;
  }
  return sum;
}

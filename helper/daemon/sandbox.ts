/**
 * One sandbox at work: the operations on it. All that the helper does with a sandbox is made of `capture` and `activate`; what
 * changes the tree or the head runs one at a time.
 */
import { readdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { cutLoose } from '../engine/branch.ts';
import { undoRotation } from '../engine/capture.ts';
import { Cgroup } from '../engine/cgroup.ts';
import { faultPoint } from '../engine/fault.ts';
import type { SandboxLayout } from '../engine/layout.ts';
import type { NetworkMode } from '../engine/network.ts';
import { rotationDone } from '../engine/rotation.ts';
import { LayerStack } from '../engine/stack.ts';
import { Steps } from '../engine/steps.ts';
import { removeTree } from '../engine/trees.ts';
import { TeleportError } from '../protocol/errors.ts';
import type { HeadMoved } from '../protocol/methods.ts';
import type { Checkpoint, Sandbox as SandboxInfo } from '../protocol/model.ts';
import { addUsage, type ModelUsage, NO_USAGE } from '../protocol/usage.ts';
import type { SandboxRecord } from '../sandbox/records.ts';
import { recover } from '../sandbox/recovery.ts';
import { newestOf } from '../sandbox/tree.ts';
import type { Branch } from './branch.ts';
import { Branches } from './branches.ts';
import { Catalogue, toCheckpoint, type Words } from './catalogue.ts';
import { Checkpointer } from './checkpointer.ts';
import type { Client } from './client.ts';
import { Gateway, takenError } from './gateway.ts';
import { Inside } from './inside/inside.ts';
import { REPLY_MS, SandboxState, type Surroundings } from './sandbox-state.ts';
import type { Listener } from './sessions.ts';
import { writeRecord } from './store.ts';

/** Whoever looks sees that much as one moment. */
const TELL_MS = 30;

export class Sandbox {
  readonly state: SandboxState;
  readonly catalogue: Catalogue;
  readonly branches: Branches;
  private readonly checkpointer: Checkpointer;
  private readonly inside = new Inside(this);
  /** Settles when the head is no longer being replaced. */
  private moving: Promise<unknown> = Promise.resolve();
  /** The standby that is to be the head, null where it is none. */
  private waking: Promise<Branch | null> = Promise.resolve(null);
  private toldAt = -TELL_MS;
  private tellingSoon: NodeJS.Timeout | undefined;

  constructor(record: SandboxRecord, layout: SandboxLayout, around: Surroundings) {
    this.state = new SandboxState(record, layout, around);
    this.catalogue = new Catalogue(this.state);
    this.branches = new Branches(
      this.state,
      this.catalogue,
      () => this.changed(),
      (branch, adopted) => this.inside.serve(branch, adopted),
    );
    this.checkpointer = new Checkpointer(this.state, this.catalogue, this.branches);
  }

  get record(): SandboxRecord {
    return this.state.record;
  }

  info(): SandboxInfo {
    const { id, name, workspace, exclude, owner, network, lan, createdAt, head, current } = this.state.record;
    const state = this.state.restoring ? 'restoring' : this.state.problem ? 'failed' : head ? 'running' : 'stopped';
    return {
      id,
      name,
      workspace,
      ...(exclude?.length ? { exclude } : {}),
      owner: owner.uid,
      state,
      ...(this.state.problem && !head ? { problem: this.state.problem } : {}),
      network,
      lan: lan ?? false,
      ...(this.state.record.root ? { root: true } : {}),
      limits: this.state.limits,
      createdAt,
      head,
      current,
      branches: [...this.branches.live.values()].map((b) => b.info()),
      checkpoints: this.catalogue.tree.size,
      canUndo: this.state.record.undo.length > 0,
      ...(this.branches.gateway ? { gateway: { variables: Object.keys(this.state.gatewayEnv) } } : {}),
      ...(this.state.record.used ? { usage: this.state.record.used } : {}),
    };
  }

  /** The files of a checkpoint or, live, of a branch (of the head by that word), down to the base. */
  stack(place: string): LayerStack {
    const at = place === 'head' ? (this.record.head ?? this.record.current) : place;
    if (at.startsWith('k')) return this.catalogue.stack(at);
    const branch = this.branches.get(at);
    return new LayerStack([branch.layout.upper, ...this.catalogue.layerPaths(branch.record.base)]);
  }

  /**
   * The same for reading contents and names. The helper reads as root, so what lies in the base is only for root: others see
   * what their sandbox holds, and read the host's own files with their own rights.
   */
  readable(at: string, uid: number): LayerStack {
    const whole = this.stack(at);
    if (uid === 0) return whole;
    return new LayerStack(whole.paths.slice(0, whole.paths.indexOf(this.state.layout.skeleton)));
  }

  /** Told at once, and of what follows closely (a search changes it hundreds of times a second) only how it is in the end. */
  changed(): void {
    if (this.tellingSoon) return;
    const rest = this.toldAt + TELL_MS - performance.now();
    if (rest <= 0) this.tellChanged();
    else this.tellingSoon = setTimeout(() => this.tellChanged(), rest).unref();
  }

  private tellChanged(): void {
    clearTimeout(this.tellingSoon);
    this.tellingSoon = undefined;
    this.toldAt = performance.now();
    if (!this.state.removed) this.state.tell('sandbox/changed', { sandbox: this.info() });
  }

  /** The root checkpoint (its layer is filled already) and the first branch. */
  async begin(steps: Steps): Promise<{ head: string; checkpoint: string }> {
    this.state.beginning = true;
    this.state.counters = { checkpoint: 1, branch: 1, session: 1 };
    const root = this.catalogue.blank('k0', { kind: 'root' });
    root.filesOnly = true;
    root.verified = true;
    this.catalogue.add(root);
    writeRecord(this.state.layout.checkpoint('k0').manifest, root);
    const branch = await this.branches.make('k0', 'head', steps);
    faultPoint('create:begun');
    this.state.beginning = false;
    this.state.save({ head: branch.id, current: 'k0' });
    this.settleSoon('k0');
    return { head: branch.id, checkpoint: 'k0' };
  }

  /** What is on disk after a restart: manifests, and branches that are still alive. */
  async load(): Promise<void> {
    const rotations = this.catalogue.load();
    // All below `next` may have been given.
    this.state.counters = { ...this.state.record.next };
    const found = readdirSync(this.state.layout.branches).map((id) => ({ id, record: this.branches.survivor(id) }));
    const survivors = found.flatMap(({ record }) =>
      record ? [{ ...record, frozen: new Cgroup(record.cgroup).isFrozen }] : [],
    );
    const plan = recover(survivors, rotations, this.state.record.head);
    for (const { checkpoint, branch } of plan.undo) {
      this.state.around.log(`${this.state.record.id}/${checkpoint}: taken back, nobody had succeeded ${branch} yet`);
      undoRotation(this.state.layout.branch(branch), this.state.layout.checkpoint(checkpoint));
      this.catalogue.forget(checkpoint);
      await removeTree(this.state.layout.checkpoint(checkpoint).dir);
    }
    for (const rotation of rotations) {
      if (plan.undo.includes(rotation)) continue;
      if (this.catalogue.tree.has(rotation.checkpoint)) rotationDone(this.state.layout.checkpoint(rotation.checkpoint));
      else if (!this.catalogue.damaged.has(rotation.checkpoint)) this.catalogue.discardUnfinished(rotation.checkpoint);
    }
    const keep = new Set([plan.head, ...plan.forks, ...plan.standbys]);
    for (const { id, record } of found) if (!record || !keep.has(id)) await this.branches.endRemains(id);
    for (const { id, record } of found) if (record && keep.has(id)) await this.branches.adopt(record, plan.head);
    const head = this.branches.live.get(plan.head ?? '');
    let { current } = this.state.record;
    if (head) current = head.record.checkpoint;
    else if (!this.catalogue.tree.has(current)) current = newestOf(this.catalogue.tree) ?? 'k0';
    if (this.catalogue.tree.size === 0) this.state.problem = 'its checkpoints are lost or damaged';
    this.state.save({
      head: head?.id ?? null,
      current,
      undo: this.state.record.undo.filter((id) => this.catalogue.tree.has(id)),
    });
    this.branches.resume();
  }

  /**
   * The branch that work is for. What comes for the current one while it is being replaced is for the one that takes its place: a
   * client may send a rollback and what is to be done then at once. @throws TeleportError `notRunning`, `unknownBranch`
   */
  async branch(id?: string): Promise<Branch> {
    if (id === undefined) await this.moving;
    return this.branches.get(id);
  }

  /**
   * The same for a line of the persistent shell: that of a standby has it before it wakes. Should the standby be lost (it never
   * answered), the line goes to the branch that is made in its place.
   */
  async inShell<T>(work: (branch: Branch) => Promise<T>): Promise<T> {
    const standby = await this.waking;
    if (!standby) return await work(await this.branch());
    try {
      return await work(standby);
    } catch (error) {
      await this.moving; // by then it is known
      if (!standby.lost) throw error;
      return await work(await this.branch());
    }
  }

  /** Work that waits for its turn, unless the sandbox is removed before that comes. @throws TeleportError `unknownSandbox` */
  private turn<T>(work: () => Promise<T>): Promise<T> {
    return this.state.work.run(() => {
      this.state.checkThere();
      return work();
    });
  }

  /** Something of ours in the files of a branch: never in the middle of a checkpoint, which has all of it or nothing. */
  edit<T>(branch: string | undefined, work: (branch: Branch) => Promise<T>): Promise<T> {
    return this.turn(() => {
      const found = this.branches.get(branch);
      found.unasked = false;
      return work(found);
    });
  }

  /** @throws TeleportError `noNetwork`; then all is as it was */
  setNetwork(mode: NetworkMode): Promise<void> {
    return this.turn(() => this.branches.setNetwork(mode));
  }

  /** @throws TeleportError `gatewayTaken` */
  openGateway(client: Client, env: Record<string, string>): void {
    const { gateway } = this.branches;
    if (gateway && gateway.client !== client) throw takenError(this.record.name);
    this.state.gatewayEnv = env;
    if (!gateway) {
      const { id } = this.record;
      this.branches.gateway = new Gateway(id, client, () => this.branches.live.values(), this.state.around.log);
      client.onLeave(() => this.closeGateway(client));
    }
    this.changed();
  }

  /** Where that client serves as one. */
  closeGateway(client: Client): void {
    const { gateway } = this.branches;
    if (gateway?.client !== client) return;
    this.branches.gateway = null;
    this.state.gatewayEnv = {};
    gateway.close();
    this.changed();
  }

  /** @throws TeleportError `notAllowed`. @returns all that the sandbox ever used */
  addUsage(client: Client, branchId: string, usage: ModelUsage): ModelUsage {
    if (this.branches.gateway?.client !== client)
      throw new TeleportError('notAllowed', `this client is not the model gateway of ${this.record.name}`);
    // A branch that ended meanwhile leaves no checkpoint that this could be told in.
    const branch = this.branches.live.get(branchId);
    branch?.update({ used: addUsage(branch.record.used ?? NO_USAGE, usage) });
    const used = addUsage(this.record.used ?? NO_USAGE, usage);
    this.state.save({ used });
    this.changed();
    return used;
  }

  /** An explicit checkpoint always makes one. */
  createCheckpoint(words: Words, branchId?: string): Promise<{ checkpoint: Checkpoint; steps: Steps }> {
    return this.turn(() => this.takeCheckpoint(words, branchId));
  }

  /** None, and null, where another was made of the branch while this one waited for its turn. */
  createCheckpointAfter(last: string, words: Words, branchId: string): Promise<{ checkpoint: Checkpoint } | null> {
    return this.turn(async () =>
      this.branches.get(branchId).record.checkpoint === last ? await this.takeCheckpoint(words, branchId) : null,
    );
  }

  private async takeCheckpoint(words: Words, branchId?: string): Promise<{ checkpoint: Checkpoint; steps: Steps }> {
    const steps = new Steps();
    const before = this.branches.get(branchId);
    const isHead = before.id === this.state.record.head;
    const { manifest, branch } = await this.checkpointer.take(before, words, steps);
    if (isHead) this.state.save({ current: manifest.id });
    if (branch !== before && isHead)
      this.state.tell('head/moved', {
        sandbox: this.state.record.id,
        head: branch.id,
        checkpoint: manifest.id,
        cause: 'rotate',
        ms: steps.total,
        saved: null,
      });
    this.changed();
    this.settleSoon(manifest.id);
    return { checkpoint: toCheckpoint(manifest), steps };
  }

  /** The checkpoint to go back to should a line fail: one is made where the branch went on from its last. */
  async before(line: string, branch: Branch): Promise<string> {
    if (branch.isAsCaptured) return branch.record.checkpoint;
    const note = `before: ${line.slice(0, 1000)}`;
    return (await this.createCheckpoint({ kind: 'auto', note }, branch.id)).checkpoint.id;
  }

  rollback(
    checkpoint: string,
    options: { discard: boolean },
    cause: 'rollback' | 'undo' = 'rollback',
  ): Promise<HeadMoved> {
    const steps = new Steps();
    return this.move(async (waking) => {
      this.catalogue.get(checkpoint);
      return await this.moveHead(steps, cause, options.discard, (listened) =>
        this.branches.obtain(checkpoint, 'head', steps, { waking, listened }),
      );
    });
  }

  async undo(): Promise<HeadMoved> {
    const target = this.state.record.undo.at(-1);
    if (!target) throw new TeleportError('nothingToUndo', `${this.state.record.name} has no rollback to undo`);
    const moved = await this.rollback(target, { discard: false }, 'undo');
    return moved;
  }

  promote(branchId: string, options: { discard: boolean }): Promise<HeadMoved> {
    const steps = new Steps();
    return this.move(async () => {
      const fork = this.branches.get(branchId);
      if (fork.id === this.state.record.head)
        throw new TeleportError('invalidRequest', `${branchId} is the current branch already`);
      return await this.moveHead(steps, 'promote', options.discard, async () => ({
        branch: fork,
        path: 'warm' as const,
      }));
    });
  }

  private move<T>(work: (waking: (branch: Branch) => void) => Promise<T>): Promise<T> {
    let waking!: (branch: Branch | null) => void;
    this.waking = new Promise((resolve) => {
      waking = resolve;
    });
    const own = this.waking;
    const moved = this.turn(() => work(waking));
    const over = (): void => {
      waking(null);
      if (this.waking === own) this.waking = Promise.resolve(null);
    };
    this.moving = moved.then(over, over); // a failure is told to whoever asked for it
    return moved;
  }

  /** Saves the old head, gets the new one, moves listeners over, retires the old. The old one is untouched until the new one answers. */
  private async moveHead(
    steps: Steps,
    cause: 'rollback' | 'undo' | 'promote',
    discard: boolean,
    obtain: (listened: Iterable<string>) => Promise<{ branch: Branch; path: 'warm' | 'cold' }>,
  ): Promise<HeadMoved> {
    const old = this.state.record.head ? this.branches.live.get(this.state.record.head) : undefined;
    let saved: string | null = null;
    let takeBack = async (): Promise<void> => {};
    if (old && !discard) {
      const taken = await this.checkpointer.take(old, { kind: 'saved', label: null }, steps, true);
      saved = taken.manifest.id;
      takeBack = taken.takeBack;
      faultPoint('head:saved', old.live.pid);
    }
    let next: { branch: Branch; path: 'warm' | 'cold' };
    try {
      next = await obtain(old?.sessions.listeners.keys() ?? []);
    } catch (error) {
      await takeBack();
      this.changed();
      throw error;
    }
    faultPoint('head:obtained', next.branch.live.pid);
    const { branch, path } = next;
    const rollbackMs = steps.total;
    const undo = this.state.record.undo.filter((id) => cause !== 'undo' || id !== this.state.record.undo.at(-1));
    const { checkpoint } = branch.record;
    branch.record = { ...branch.record, role: 'head' };
    this.state.problem = undefined;
    this.state.record = {
      ...this.state.record,
      head: branch.id,
      current: checkpoint,
      undo: saved ? [...undo, saved].slice(-100) : undo,
    };
    if (old) {
      this.branches.live.delete(old.id);
      const { listeners } = old.sessions;
      await this.passOn(listeners, branch, rollbackMs);
      if (listeners.size) steps.done('terminals attached again');
      // Whoever listened hears the new head now; the old one's death is nobody's news.
      old.silence(`${this.state.record.name} was rolled back`);
    }
    // A standby that runs tells the next helper where the head went; of others the record must.
    if (path === 'cold' || cause === 'promote') this.state.save({});
    faultPoint('head:recorded', branch.live.pid);
    const moved = { head: branch.id, checkpoint, rollbackMs, path, saved, steps: steps.all };
    // Nothing that the caller waits for, nor for the answer to what it asks next.
    this.state.later(async () => {
      // It stops now; taking it down, which costs more, waits a little longer.
      if (old) cutLoose(old.live);
      this.state.save({});
      if (saved) rotationDone(this.state.layout.checkpoint(saved));
      this.state.tell('head/moved', {
        sandbox: this.state.record.id,
        head: branch.id,
        checkpoint,
        cause,
        ms: rollbackMs,
        saved,
      });
      this.changed();
      this.branches.refill();
      branch.update({});
      if (old) this.state.later(() => old.end('it was rolled back'));
      if (!saved) return;
      this.state.later(() => this.catalogue.makeDurable(saved));
      this.state.later(() => this.catalogue.flattenBelow(saved));
    });
    return moved;
  }

  /** Whoever listened to the old head's sessions hears the new head's, or that they are no more. */
  private async passOn(listeners: Map<string, Set<Listener>>, to: Branch, ms: number): Promise<void> {
    const found = await to.sessions.inherit(listeners, 'all');
    const { createdAt } = this.catalogue.get(to.record.checkpoint);
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

  async discard(branchId: string): Promise<void> {
    const branch = this.branches.get(branchId);
    if (branch.id === this.state.record.head)
      throw new TeleportError('invalidRequest', `${branchId} is the current branch`, {
        hint: 'stop the sandbox, or roll back',
      });
    this.branches.live.delete(branch.id);
    branch.live.cgroup.kill();
    this.state.later(() => branch.end('the fork was discarded'));
    setTimeout(() => this.changed(), REPLY_MS);
  }

  start(): Promise<void> {
    return this.move(async () => {
      if (this.state.record.head) return;
      this.state.restoring = true;
      this.changed();
      try {
        const steps = new Steps();
        const { branch } = await this.branches.obtain(this.state.record.current, 'head', steps);
        this.state.problem = undefined;
        this.state.save({ head: branch.id });
        this.branches.refill();
        const { id: sandbox, current: checkpoint } = this.state.record;
        this.state.tell('head/moved', {
          sandbox,
          head: branch.id,
          checkpoint,
          cause: 'start',
          ms: steps.total,
          saved: null,
        });
      } finally {
        this.state.restoring = false;
        this.changed();
      }
    });
  }

  stop(options: { discard: boolean }): Promise<string | null> {
    return this.turn(async () => {
      let saved: string | null = null;
      const head = this.state.record.head ? this.branches.live.get(this.state.record.head) : undefined;
      if (head && !options.discard) {
        saved = (await this.checkpointer.take(head, { kind: 'saved' }, new Steps(), true)).manifest.id;
        this.state.save({ current: saved });
      }
      this.state.save({ head: null });
      await this.branches.endAll('the sandbox was stopped');
      if (saved) rotationDone(this.state.layout.checkpoint(saved));
      if (saved) await this.catalogue.makeDurable(saved);
      this.changed();
      return saved;
    });
  }

  /** @returns bytes freed. @throws TeleportError `checkpointInUse` */
  delete(checkpoint: string): Promise<number> {
    return this.turn(() =>
      this.catalogue.remove(
        checkpoint,
        () => this.branches.needed(),
        () => this.branches.dropStandby(checkpoint),
      ),
    );
  }

  /** `gone`: called once it is no sandbox any more. What it took up, thousands of layers perhaps, is free when this comes back. */
  async remove(gone: () => void): Promise<void> {
    this.state.removed = true;
    this.branches.ports.stop();
    this.inside.close();
    await this.state.work.run(() => this.branches.endAll('the sandbox was removed'));
    // Not within `work`: what is under way in the background waits for its turn there, and then sees `removed`.
    await this.state.idle();
    faultPoint('remove:ended');
    // From one moment to the next it is no sandbox any more, whatever of it is still to be removed.
    const trash = join(this.state.around.machine.layout.trash, `${this.state.record.id}-${Date.now()}`);
    renameSync(this.state.layout.dir, trash);
    gone();
    this.state.tell('sandbox/removed', { sandbox: this.state.record.id });
    faultPoint('remove:renamed');
    await removeTree(trash);
  }

  /** After a capture: proven by a restore that then stands by, and on disk. */
  private settleSoon(checkpoint: string): void {
    this.branches.refill();
    this.state.later(() => this.catalogue.makeDurable(checkpoint));
    this.state.later(() => this.catalogue.flattenBelow(checkpoint));
  }
}

/** What a listener that belongs to a client can hear besides output. */
export interface SessionClient {
  restored(back: { branch: string; running: boolean; scrollback: Buffer; at: string; ms: number }): void;
  gone(reason: string): void;
}

/**
 * Branches restored ahead of time and left frozen. Made one after the other, when nobody waits for anything else; taken by whoever
 * goes to their checkpoint, each by one. One that is still being made is waited for, by one: that is sooner than beginning another.
 * Whoever asks for one moment over and over then need not wait for the next as long again: that is made beside it.
 */
import { CriuError, type Reason } from '../engine/criu.ts';
import type { Memory } from '../engine/memory.ts';
import { TeleportError } from '../protocol/errors.ts';
import { dismissed, hasRoom } from '../sandbox/policy.ts';
import type { Branch } from './branch.ts';
import type { StandbyBudget } from './standby-budget.ts';

export interface Workshop {
  /** A frozen branch of the checkpoint. Rejects where the checkpoint can't be restored. */
  make(checkpoint: string): Promise<Branch>;
  /** The restore failed, or succeeded: what that says of the checkpoint. Throws nothing. */
  proven(checkpoint: string, problem: string | null): void;
  end(branch: Branch, reason: string): void;
  /** It has stood by for a while: nobody is in a hurry for it. */
  rested(branch: Branch): void;
  /** Bytes of memory that a standby of it takes. */
  bytesOf(checkpoint: string): number;
  /** Checkpoints of which nobody knows yet whether they can be restored, the first to be tried first. */
  unproven(): string[];
  /** Somebody waits for a checkpoint or a restore. */
  isBusy(): boolean;
}

/** Of a checkpoint that is fanned out, while somebody waits for the first of them. */
const AT_ONCE = 2;

/** Whoever takes one after another has taken it by then. */
const RESTED_MS = 60;

/** What the machine lacked at that moment, or nobody knows, says nothing of the checkpoint. */
const OF_THE_MACHINE: ReadonlySet<Reason> = new Set(['noSpace', 'noMemory', 'limit', 'unsaid']);

/** CRIU looked at the image and said no, or the image is damaged. All else (a full volume, CRIU killed) says nothing of the checkpoint. */
function isBroken(error: unknown): boolean {
  if (error instanceof TeleportError && error.code !== 'restoreFailed') return error.code === 'checkpointDamaged';
  if (error instanceof CriuError) return error.code === 'refused' && !OF_THE_MACHINE.has(error.reason);
  return error instanceof Error && error.cause !== undefined && isBroken(error.cause);
}

/** When nobody has asked for anything for so long, and all that is wanted stands by, one checkpoint is proven, and after as long another. */
const IDLE_MS = 400;

/** So often it is looked whether programs leave time for the next, and whether somebody still waits for something else. */
const PACE_MS = 100;
const BUSY_MS = 20;

/** So often it is looked whether one is too old or memory scarce, while there are any; and whether it still is, where that forbade any. */
const LOOK_MS = 5000;

interface Ready {
  checkpoint: string;
  branch: Branch;
  since: number;
  bytes: number;
}

interface Making {
  checkpoint: string;
  bytes: number;
  made: Promise<Branch | null>;
  /** Somebody waits for it, whose it is then. */
  claimed: boolean;
  /** It is made to see that it can be, and need not stand by. */
  proof: boolean;
}

export class Standbys {
  private readonly shop: Workshop;
  private readonly left: () => Memory;
  private ready: Ready[] = [];
  private making: Making[] = [];
  private wanted: string[] = [];
  /** Of those that are wanted, what a caller said it will go to. */
  private asked: ReadonlySet<string> = new Set();
  /** Times that somebody went to a checkpoint, for which none was made yet: whoever does needs the next. Counted from the next wish on. */
  private owed = 0;
  private taken = 0;
  private timer: NodeJS.Timeout | null = null;
  private look: NodeJS.Timeout | null = null;
  private closed = false;
  private readonly lookMs: number;
  private readonly idleMs: number;
  private readonly now: () => number;
  private readonly together: StandbyBudget;
  /** None was made, or tried, since the last wish. */
  private untried = false;
  /** Tried since the last wish, in vain, but nothing that speaks against the checkpoint. */
  private readonly inVain = new Set<string>();

  /**
   * @param left tells what memory the machine has left
   * @param together those of all sandboxes
   */
  constructor(
    shop: Workshop,
    left: () => Memory,
    together: StandbyBudget,
    { lookMs = LOOK_MS, idleMs = IDLE_MS, now = () => performance.now() } = {},
  ) {
    this.shop = shop;
    this.left = left;
    this.together = together;
    this.lookMs = lookMs;
    this.idleMs = idleMs;
    this.now = now;
  }

  /** Of memory, of those that stand by and those that are being made. */
  get bytes(): number {
    return [...this.ready, ...this.making].reduce((sum, { bytes }) => sum + bytes, 0);
  }

  get all(): Branch[] {
    return this.ready.map(({ branch }) => branch);
  }

  /** One that an earlier daemon made. */
  adopt(branch: Branch): void {
    const { base } = branch.record;
    if (this.count(base)) this.shop.end(branch, 'one of it stands by already');
    else this.stand(base, branch);
  }

  private count(checkpoint: string): number {
    return this.ready.filter((one) => one.checkpoint === checkpoint).length;
  }

  private stand(checkpoint: string, branch: Branch): void {
    this.together.add(this);
    this.ready.push({ checkpoint, branch, since: this.now(), bytes: this.shop.bytesOf(checkpoint) });
    const { id } = branch; // one that is taken is to be forgotten
    setTimeout(() => {
      const rested = this.ready.find((one) => one.branch.id === id);
      if (rested) this.shop.rested(rested.branch);
    }, RESTED_MS).unref();
    this.look ??= setInterval(() => this.dismiss(), this.lookMs).unref();
  }

  private dismiss(): void {
    const going = new Set(dismissed(this.ready, this.wanted, this.now(), this.left()));
    this.ready = this.ready.filter((one) => !going.has(one));
    for (const { branch } of going)
      this.shop.end(branch, 'it is not likely to be wanted, too old, or memory is scarce');
    if (this.ready.length || !this.look) return;
    clearInterval(this.look);
    this.look = null;
  }

  /** Resolves with null where there is none. Who takes it owns it. */
  async take(checkpoint: string): Promise<Branch | null> {
    const making = this.making.find((one) => one.checkpoint === checkpoint && !one.claimed);
    if (!this.count(checkpoint) && making) {
      making.claimed = true;
      this.owed++;
      void this.work();
      return await making.made;
    }
    this.taken++;
    const at = this.ready.findIndex((one) => one.checkpoint === checkpoint);
    return at < 0 ? null : this.ready.splice(at, 1)[0]!.branch;
  }

  /**
   * What should stand by, best first, a checkpoint as often as standbys of it are wanted. Begins after `delayMs` in which nothing else
   * was wanted; where programs need all processors, at the pace of what is left, but for those `asked` for.
   */
  want(checkpoints: string[], delayMs: number, asked: Iterable<string> = []): void {
    this.wanted = checkpoints;
    this.asked = new Set(asked);
    this.owed = Math.min(this.owed + this.taken, checkpoints.length);
    this.taken = 0;
    this.untried = true;
    this.inVain.clear();
    if (this.timer) clearTimeout(this.timer);
    this.timer = null;
    if (this.closed || this.making.length) return; // when that one is made, it goes on with these
    this.workIn(delayMs);
  }

  private workIn(delayMs: number, idle = false): void {
    this.timer ??= setTimeout(() => void this.work(idle), delayMs).unref();
  }

  /**
   * A loop: were each to call the next, none would be over, nor its branch let go, as long as there is always one to make.
   * @param idle nobody asked for anything for a while
   */
  private async work(idle = false): Promise<void> {
    if (this.timer) clearTimeout(this.timer);
    this.timer = null;
    for (;;) {
      this.dismiss();
      if (this.closed) return;
      const missing = this.missing();
      // What was ended, or had no room beside another, is not made only because nobody asks for anything.
      const wanted = idle && !this.untried ? [] : missing;
      const unproven = this.unproven();
      // One that is too large is in the way of none that is not.
      const [taken, left] = [this.together.bytes, this.left()];
      const possible = [...wanted, ...(idle ? unproven : [])];
      const hasRoomFor = (checkpoint: string): boolean => hasRoom(this.shop.bytesOf(checkpoint), taken, left);
      let next = possible.find(hasRoomFor);
      if (!next) {
        if (this.making.length) return;
        // The first also proves the checkpoint, for which nobody would ask again. Further ones can do without.
        if ((wanted.length && this.untried) || (idle && unproven.length)) this.workIn(this.lookMs, idle);
        else if (unproven.length) this.workIn(this.idleMs, true);
        return;
      }
      const restMs = this.owed ? 0 : this.restMs();
      // What was asked for waits for none that was not.
      if (restMs && !this.asked.has(next)) next = possible.find((one) => this.asked.has(one) && hasRoomFor(one));
      if (!next) {
        if (!this.making.length) this.workIn(restMs, idle);
        return;
      }
      // Another is under way: when it is made, its loop goes on.
      if (!this.isTurnOf(next)) return;
      const proof = !wanted.includes(next);
      if (!proof) this.untried = false;
      const end = this.asked.has(next) || this.owed ? null : this.together.begin();
      if (this.owed && !this.asked.has(next)) this.owed--;
      const making: Making = {
        checkpoint: next,
        bytes: this.shop.bytesOf(next),
        made: Promise.resolve(null),
        claimed: false,
        proof,
      };
      this.together.add(this);
      making.made = this.build(making);
      this.making.push(making);
      await making.made;
      end?.();
      this.making.splice(this.making.indexOf(making), 1);
      idle = false;
    }
  }

  /** How long one that nobody asked for waits at least until it is looked again. */
  private restMs(): number {
    return this.shop.isBusy() ? BUSY_MS : Math.min(this.together.restMs(), PACE_MS);
  }

  private unproven(): string[] {
    return this.shop.unproven().filter((checkpoint) => !this.inVain.has(checkpoint));
  }

  private isTurnOf(checkpoint: string): boolean {
    return this.making.length < AT_ONCE && this.making.every((one) => one.claimed && one.checkpoint === checkpoint);
  }

  private missing(): string[] {
    const standing = new Map<string, number>();
    for (const { checkpoint } of [...this.ready, ...this.making])
      standing.set(checkpoint, (standing.get(checkpoint) ?? 0) + 1);
    return this.wanted.filter((checkpoint) => {
      const left = standing.get(checkpoint) ?? 0;
      standing.set(checkpoint, left - 1);
      return left <= 0;
    });
  }

  private async build(making: Making): Promise<Branch | null> {
    const { checkpoint } = making;
    let branch: Branch;
    try {
      branch = await this.shop.make(checkpoint);
    } catch (error) {
      this.wanted = this.wanted.filter((id) => id !== checkpoint);
      this.inVain.add(checkpoint);
      if (isBroken(error)) this.shop.proven(checkpoint, (error as Error).message);
      return null;
    }
    this.shop.proven(checkpoint, null);
    if (this.closed) this.shop.end(branch, 'the sandbox stopped');
    else if (making.claimed) return branch;
    else if (!making.proof || this.wanted.includes(checkpoint)) this.stand(checkpoint, branch);
    else this.shop.end(branch, 'it was made to see that it can be');
    return null; // nobody waits for it
  }

  /** What is under way is there, or failed. */
  async made(): Promise<void> {
    await Promise.all(this.making.map((one) => one.made));
  }

  /** Ends those that stand in the way of a deletion, and could as well be made anew. */
  dropThose(stale: (branch: Branch) => boolean): void {
    for (const { branch } of this.pick((one) => stale(one.branch)))
      this.shop.end(branch, 'it stands on layers that are to be deleted');
  }

  private pick(which: (one: Ready) => boolean): Ready[] {
    const picked = this.ready.filter(which);
    this.ready = this.ready.filter((one) => !picked.includes(one));
    return picked;
  }

  /** Ends those of a checkpoint that is to be deleted. */
  async drop(checkpoint: string): Promise<void> {
    this.wanted = this.wanted.filter((id) => id !== checkpoint);
    await Promise.all(this.making.filter((one) => one.checkpoint === checkpoint).map((one) => one.made));
    for (const { branch } of this.pick((one) => one.checkpoint === checkpoint))
      this.shop.end(branch, 'its checkpoint was deleted');
  }

  /** Ends all, and makes none any more until `want`ed again by a sandbox that started. */
  async close(reason: string): Promise<void> {
    this.closed = true;
    if (this.timer) clearTimeout(this.timer);
    this.timer = null;
    this.wanted = [];
    this.owed = this.taken = 0;
    await this.made();
    for (const { branch } of this.ready.splice(0)) this.shop.end(branch, reason);
    this.together.delete(this);
    this.dismiss();
  }

  open(): void {
    this.closed = false;
  }
}

/**
 * Branches restored ahead of time and left frozen. Made one after the other, when nobody waits for anything else; taken by whoever
 * goes to their checkpoint. One that is still being made is waited for: that is sooner than beginning another.
 */
import { CriuError } from '../engine/criu.ts';
import { memory } from '../engine/memory.ts';
import { TeleportError } from '../protocol/errors.ts';
import { dismissed, isScarce } from '../sandbox/policy.ts';
import type { Branch } from './branch.ts';

export interface Workshop {
  /** A frozen branch of the checkpoint. Rejects where the checkpoint can't be restored. */
  make(checkpoint: string): Promise<Branch>;
  /** The restore failed, or succeeded: what that says of the checkpoint. */
  proven(checkpoint: string, problem: string | null): void;
  end(branch: Branch, reason: string): void;
}

/** CRIU looked at the image and said no, or the image is damaged. All else (a full volume, CRIU killed) says nothing of the checkpoint. */
function isBroken(error: unknown): boolean {
  if (error instanceof TeleportError && error.code !== 'restoreFailed') return error.code === 'checkpointDamaged';
  if (error instanceof CriuError) return error.code === 'refused';
  return error instanceof Error && error.cause !== undefined && isBroken(error.cause);
}

/** So often it is looked whether one is too old or memory scarce, while there are any. */
const LOOK_MS = 5000;

export class Standbys {
  private readonly shop: Workshop;
  private readonly ready = new Map<string, { branch: Branch; since: number }>();
  private readonly making = new Map<string, Promise<Branch | null>>();
  private wanted: string[] = [];
  private timer: NodeJS.Timeout | null = null;
  private look: NodeJS.Timeout | null = null;
  private closed = false;

  constructor(shop: Workshop) {
    this.shop = shop;
  }

  get all(): Branch[] {
    return [...this.ready.values()].map(({ branch }) => branch);
  }

  has(checkpoint: string): boolean {
    return this.ready.has(checkpoint) || this.making.has(checkpoint);
  }

  /** One that an earlier daemon made. */
  adopt(branch: Branch): void {
    const { base } = branch.record;
    if (this.ready.has(base)) this.shop.end(branch, 'one of it stands by already');
    else this.stand(base, branch);
  }

  private stand(checkpoint: string, branch: Branch): void {
    this.ready.set(checkpoint, { branch, since: performance.now() });
    this.look ??= setInterval(() => this.dismiss(), LOOK_MS).unref();
  }

  private dismiss(): void {
    const standing = [...this.ready].map(([checkpoint, { since }]) => ({ checkpoint, since }));
    for (const checkpoint of dismissed(standing, this.wanted, performance.now(), memory())) {
      this.shop.end(this.ready.get(checkpoint)!.branch, 'it is not likely to be wanted, too old, or memory is scarce');
      this.ready.delete(checkpoint);
    }
    if (this.ready.size || !this.look) return;
    clearInterval(this.look);
    this.look = null;
  }

  /** Resolves with null where there is none. Who takes it owns it. */
  async take(checkpoint: string): Promise<Branch | null> {
    const making = this.making.get(checkpoint);
    if (making) await making;
    const branch = this.ready.get(checkpoint)?.branch ?? null;
    this.ready.delete(checkpoint);
    return branch;
  }

  /** What should stand by, best first. Begins after `delayMs` in which nothing else was wanted. */
  want(checkpoints: string[], delayMs: number): void {
    this.wanted = checkpoints;
    if (this.timer) clearTimeout(this.timer);
    if (this.closed) return;
    this.timer = setTimeout(() => void this.work(), delayMs);
  }

  private async work(): Promise<void> {
    this.timer = null;
    this.dismiss();
    if (this.making.size) return; // goes on by itself when that one is made
    const next = this.wanted.find((checkpoint) => !this.ready.has(checkpoint));
    if (!next || this.closed || isScarce(memory())) return;
    const made = this.build(next);
    this.making.set(next, made);
    await made;
    this.making.delete(next);
    if (!this.timer) await this.work();
  }

  private async build(checkpoint: string): Promise<Branch | null> {
    try {
      const branch = await this.shop.make(checkpoint);
      this.shop.proven(checkpoint, null);
      if (this.closed) this.shop.end(branch, 'the sandbox stopped');
      else this.stand(checkpoint, branch);
      return branch;
    } catch (error) {
      this.wanted = this.wanted.filter((id) => id !== checkpoint);
      if (isBroken(error)) this.shop.proven(checkpoint, (error as Error).message);
      return null;
    }
  }

  /** Ends those of a checkpoint that is to be deleted. */
  async drop(checkpoint: string): Promise<void> {
    this.wanted = this.wanted.filter((id) => id !== checkpoint);
    const branch = await this.take(checkpoint);
    if (branch) this.shop.end(branch, 'its checkpoint was deleted');
  }

  /** Ends all, and makes none any more until `want`ed again by a sandbox that started. */
  async close(reason: string): Promise<void> {
    this.closed = true;
    if (this.timer) clearTimeout(this.timer);
    this.timer = null;
    this.wanted = [];
    await Promise.all(this.making.values());
    for (const branch of this.all) this.shop.end(branch, reason);
    this.ready.clear();
    this.dismiss();
  }

  open(): void {
    this.closed = false;
  }
}

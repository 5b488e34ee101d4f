/** A recording played against a policy of standbys: how many of those asked for would have stood by, or been under way? */
import { AFTER_REPLY_MS, REPLY_MS } from '../../helper/daemon/sandbox-state.ts';
import { type Access, dismissed, type Standing, type Wish } from '../../helper/sandbox/policy.ts';
import type { Node, Tree } from '../../helper/sandbox/tree.ts';
import type { Recording } from './recording.ts';

/** What the policy is told, and may be told otherwise. */
export interface Seen {
  tree: Tree;
  current: string;
  accesses: readonly Access[];
  hints: readonly string[];
  now: number;
  bytesOf: (checkpoint: string) => number;
}

export type Policy = (seen: Seen) => Pick<Wish, 'checkpoint'>[];

interface Making {
  checkpoint: string;
  until: number;
  claimed: boolean;
}

/** What making one takes. Between 15 and 35 the recordings' rates are the same but for half a percent. */
const STANDBY_MS = 25;
/** As helper/daemon/standbys.ts has it: of one that somebody waits for, the next is made beside it. */
const AT_ONCE = 2;
/** So many are remembered (helper/daemon/branches.ts). */
const ACCESSES = 200;
const PLENTY = { available: 2 ** 33, total: 2 ** 34, stalled: 0 };

export class Replay {
  private readonly policy: Policy;
  private readonly tree = new Map<string, Node>();
  private readonly bytes = new Map<string, number>();
  private current = '';
  private accesses: Access[] = [];
  private hints: string[] = [];
  private wanted: string[] = [];
  private ready: Standing[] = [];
  private making: Making[] = [];
  private beginAt = Infinity;
  /** `current`: the head was at the moment that was asked for. */
  readonly asked: { current: boolean; warm: boolean }[] = [];
  /** Of those that stood by, or were to, at once. */
  mostBytes = 0;

  constructor(recording: Recording, policy: Policy) {
    this.policy = policy;
    for (const [at, happens] of this.timeline(recording)) {
      this.advance(at);
      happens(at);
    }
  }

  /** Share of the rollbacks and forks, or of some of them, that were from a standby. */
  rate(asked = this.asked): number {
    return asked.filter(({ warm }) => warm).length / asked.length;
  }

  private timeline({ happened }: Recording): [number, (now: number) => void][] {
    const all: [number, (now: number) => void][] = [];
    for (const one of happened) {
      if ('made' in one) {
        const { made: id, parent, base, bytes } = one;
        all.push([
          one.at,
          (now) => {
            this.tree.set(id, { id, parent, base });
            this.bytes.set(id, bytes);
            this.current = id;
            this.refill(now);
          },
        ]);
      } else if ('hints' in one) {
        all.push([
          one.at,
          (now) => {
            this.hints = one.hints;
            this.refill(now);
          },
        ]);
      } else {
        const checkpoint = 'moved' in one ? one.moved : one.forked;
        all.push([one.at, (now) => this.take(checkpoint, now)]);
        if ('moved' in one) all.push([one.at + one.ms, () => (this.current = one.moved)]);
        const answered = one.at + one.ms;
        all.push([answered + ('moved' in one ? AFTER_REPLY_MS : REPLY_MS), (now) => this.refill(now)]);
      }
    }
    return all.sort(([a], [b]) => a - b);
  }

  private refill(now: number): void {
    const { tree, current, accesses, hints } = this;
    const bytesOf = (id: string): number => this.bytes.get(id) ?? 0;
    this.wanted = this.policy({ tree, current, accesses, hints, now, bytesOf }).map(({ checkpoint }) => checkpoint);
    if (!this.making.length) this.beginAt = now + AFTER_REPLY_MS;
  }

  private take(checkpoint: string, now: number): void {
    this.accesses = [...this.accesses, { checkpoint, at: now }].slice(-ACCESSES);
    const at = this.ready.findIndex((one) => one.checkpoint === checkpoint);
    const making = this.making.find((one) => one.checkpoint === checkpoint && !one.claimed);
    this.asked.push({ current: checkpoint === this.current, warm: at >= 0 || making !== undefined });
    if (at >= 0) this.ready.splice(at, 1);
    else if (making) {
      making.claimed = true;
      this.begin(now);
    }
  }

  private advance(to: number): void {
    for (;;) {
      const done = this.making.reduce<Making | null>(
        (first, one) => (first && first.until <= one.until ? first : one),
        null,
      );
      const next = Math.min(this.beginAt, done?.until ?? Infinity);
      if (next > to) return;
      if (done && next === done.until) {
        this.making.splice(this.making.indexOf(done), 1);
        if (!done.claimed) this.ready.push({ checkpoint: done.checkpoint, since: next });
      }
      this.begin(next);
    }
  }

  private begin(now: number): void {
    this.beginAt = Infinity;
    const going = new Set(dismissed(this.ready, this.wanted, now, PLENTY));
    this.ready = this.ready.filter((one) => !going.has(one));
    const there = [...this.ready, ...this.making].map((one) => one.checkpoint);
    const checkpoint = this.wanted.find((id) => {
      const at = there.indexOf(id);
      if (at >= 0) there.splice(at, 1);
      return at < 0;
    });
    if (checkpoint === undefined || this.making.length === AT_ONCE) return;
    if (this.making.some((one) => !one.claimed || one.checkpoint !== checkpoint)) return;
    this.making.push({ checkpoint, until: now + STANDBY_MS, claimed: false });
    const standing = [...this.ready, ...this.making.filter((one) => !one.claimed)];
    const bytes = standing.reduce((sum, one) => sum + this.bytes.get(one.checkpoint)!, 0);
    this.mostBytes = Math.max(this.mostBytes, bytes);
  }
}

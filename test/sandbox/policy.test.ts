import assert from 'node:assert/strict';
import { type Access, dismissed, isScarce, STANDBY_AGE_MS, wishes } from '../../helper/sandbox/policy.ts';
import type { Node } from '../../helper/sandbox/tree.ts';

const MIB = 2 ** 20;

/** Plays a pattern of use against the policy: how often was what is wanted next standing by? */
class Play {
  private readonly tree = new Map<string, Node>([['k0', { id: 'k0', parent: null, base: null }]]);
  private accesses: Access[] = [];
  private clock = 0;
  private hits = 0;
  private asked = 0;
  current = 'k0';
  /** What the searcher says that it expects. */
  hints: string[] = [];
  readonly count: number;
  constructor(count = 3) {
    this.count = count;
  }

  private get standing(): string[] {
    const limits = { count: this.count, bytes: 1024 * MIB };
    return wishes(this.tree, this.current, this.accesses, this.hints, this.clock, limits, () => 10 * MIB).map(
      (w) => w.checkpoint,
    );
  }

  step(): string {
    this.clock += 1000;
    const id = `k${this.tree.size}`;
    this.tree.set(id, { id, parent: this.current, base: this.current });
    this.current = id;
    return id;
  }

  go(checkpoint: string, move = true): void {
    this.clock += 1000;
    this.asked++;
    if (this.standing.includes(checkpoint)) this.hits++;
    this.accesses.push({ checkpoint, at: this.clock });
    if (move) this.current = checkpoint;
  }

  get rate(): number {
    return this.hits / this.asked;
  }
}

function randomFrom(seed: number): (n: number) => number {
  let state = seed;
  return (n) => {
    state = (state * 1103515245 + 12345) & 0x7fffffff;
    return (state >> 8) % n;
  };
}

describe('the policy of standbys', () => {
  it('has what a linear undo wants: try, fail, go back one', () => {
    const play = new Play();
    for (let i = 0; i < 100; i++) {
      const good = play.step();
      play.step();
      play.go(good);
    }
    assert.equal(play.rate, 1);
  });

  it('has the branching point of a wide fan-out', () => {
    const play = new Play(1);
    const point = play.step();
    for (let i = 0; i < 1000; i++) play.go(point, false);
    assert.equal(play.rate, 1);
  });

  it('has several of a moment that is fanned out by several at once, and one again when that is over', () => {
    const tree = new Map<string, Node>([['k0', { id: 'k0', parent: null, base: null }]]);
    for (const id of ['k1', 'k2', 'k3', 'k4']) tree.set(id, { id, parent: `k${Number(id[1]) - 1}`, base: null });
    const accesses: Access[] = [];
    const standing = (now: number) =>
      wishes(tree, 'k4', accesses, [], now, { count: 3, bytes: 1024 * MIB }, () => 10 * MIB).map((w) => w.checkpoint);
    let clock = 0;
    let hits = 0;
    const bursts = 300;
    for (let burst = 0; burst < bursts; burst++) {
      clock += 200; // time enough to make three, as wished after the last burst
      hits += Math.min(3, standing(clock).filter((id) => id === 'k1').length);
      for (let i = 0; i < 3; i++) accesses.push({ checkpoint: 'k1', at: clock });
    }
    assert.ok(hits / (3 * bursts) > 0.98, `hit rate ${hits / (3 * bursts)}`);
    assert.equal(standing(clock + 3000).filter((id) => id === 'k1').length, 1);
    // Undoing step by step, however fast, is none.
    accesses.splice(0, accesses.length, ...[1, 2, 3].map((n) => ({ checkpoint: `k${n}`, at: clock })));
    assert.equal(new Set(standing(clock)).size, 3);
  });

  it('keeps within memory when it wants several of one', () => {
    const tree = new Map<string, Node>([['k0', { id: 'k0', parent: null, base: null }]]);
    const accesses = Array.from({ length: 50 }, () => ({ checkpoint: 'k0', at: 0 }));
    const wanted = wishes(tree, 'k0', accesses, [], 0, { count: 8, bytes: 100 * MIB }, () => 45 * MIB);
    assert.equal(wanted.length, 2);
  });

  it('follows a depth-first search', () => {
    const play = new Play();
    const search = (at: string, depth: number): void => {
      for (let child = 0; child < 3; child++) {
        if (child > 0) play.go(at);
        const next = play.step();
        if (depth > 1) search(next, depth - 1);
      }
    };
    search(play.step(), 5);
    assert.ok(play.rate > 0.6, `hit rate ${play.rate}`);
  });

  /** What a search by UCT asks for next depends on rewards, which the policy does not see: it can only be told. */
  function uct(told: boolean): number {
    const play = new Play();
    const random = randomFrom(7);
    interface N {
      id: string;
      visits: number;
      value: number;
      children: N[];
    }
    const root: N = { id: play.step(), visits: 0, value: 0, children: [] };
    const choose = (): N[] => {
      const path = [root];
      for (let at = root; at.children.length >= 4; path.push(at)) {
        const score = (c: N): number => c.value / c.visits + 1.4 * Math.sqrt(Math.log(at.visits) / c.visits);
        at = [...at.children].sort((a, b) => score(b) - score(a))[0]!;
      }
      return path;
    };
    for (let i = 0; i < 300; i++) {
      const path = choose();
      const leaf = path.at(-1)!;
      play.go(leaf.id);
      const child: N = { id: play.step(), visits: 0, value: 0, children: [] };
      leaf.children.push(child);
      const reward = random(100) / 100;
      for (const n of [...path, child]) {
        n.visits++;
        n.value += reward;
      }
      // The choice after this one is settled as soon as the reward is known, while the model is still asked.
      if (told) play.hints = [choose().at(-1)!.id];
    }
    return play.rate;
  }

  it('follows a tree search by UCT that says what it expects, and misses without', () => {
    assert.ok(uct(true) > 0.99, `told: ${uct(true)}`);
    assert.ok(uct(false) < 0.5, `not told: ${uct(false)}; if this is good now, the documents say otherwise`);
  });

  it('puts hints first, and keeps within count and memory', () => {
    const tree = new Map<string, Node>();
    for (let i = 0; i < 10; i++) tree.set(`k${i}`, { id: `k${i}`, parent: i ? `k${i - 1}` : null, base: null });
    const limits = { count: 3, bytes: 100 * MIB };
    const wanted = wishes(tree, 'k9', [], ['k2', 'nothing'], 0, limits, () => 45 * MIB).map((w) => w.checkpoint);
    assert.deepEqual(wanted, ['k2', 'k9']);
    const large = wishes(tree, 'k9', [], [], 0, limits, () => 4096 * MIB).map((w) => w.checkpoint);
    assert.deepEqual(large, ['k9'], 'one is made whatever its size');
  });

  const plenty = { available: 8192 * MIB, total: 16384 * MIB, stalled: 0 };
  const ids = (standing: { checkpoint: string }[]) => standing.map(({ checkpoint }) => checkpoint);

  it('lets those go that nobody wants or that are old, and all where memory is scarce', () => {
    const now = STANDBY_AGE_MS + 1000;
    const standing = [
      { checkpoint: 'k1', since: 500 },
      { checkpoint: 'k2', since: 2000 },
      { checkpoint: 'k3', since: 2000 },
    ];
    assert.deepEqual(ids(dismissed(standing, ['k1', 'k2'], now, plenty)), ['k1', 'k3']);
    assert.deepEqual(dismissed(standing, ['k1', 'k2', 'k3'], 2000, plenty), []);
    const scarce = { ...plenty, available: 1024 * MIB };
    assert.deepEqual(ids(dismissed(standing, ['k1', 'k2', 'k3'], 2000, scarce)), ['k1', 'k2', 'k3']);
    assert.ok(isScarce(scarce) && !isScarce(plenty));
  });

  it('lets all go where programs stall for memory, whatever is said to be left', () => {
    const standing = [{ checkpoint: 'k1', since: 0 }];
    const stalling = { ...plenty, stalled: 12.5 };
    assert.deepEqual(dismissed(standing, ['k1'], 0, stalling), standing);
    assert.ok(isScarce(stalling) && !isScarce({ ...plenty, stalled: 3 }));
  });

  it('lets go of several of one moment those that are too many', () => {
    const standing = [1, 2, 3].map((since) => ({ checkpoint: 'k1', since }));
    assert.deepEqual(dismissed(standing, ['k1', 'k1'], 10, plenty), [standing[2]]);
    assert.deepEqual(dismissed(standing, ['k1', 'k1', 'k1'], 10, plenty), []);
  });
});

import assert from 'node:assert/strict';
import { type Access, dismissed, isScarce, restMs, STANDBY_AGE_MS, wishes } from '../../helper/sandbox/policy.ts';
import type { Node } from '../../helper/sandbox/tree.ts';
import { recorded, warmShare } from './recording.ts';
import { type Policy, Replay } from './replay.ts';

const MIB = 2 ** 20;

const LIMITS = { count: 3, bytes: 1024 * MIB };

const whole: Policy = ({ tree, current, accesses, hints, now, bytesOf }) =>
  wishes(tree, current, accesses, hints, now, LIMITS, bytesOf);
/** The policy without one of its parts, by what it is not told. */
const WITHOUT = {
  line: (seen) =>
    whole({ ...seen, tree: new Map([...seen.tree].map(([id, node]) => [id, { ...node, parent: null }])) }),
  accesses: (seen) => whole({ ...seen, accesses: [] }),
  memory: (seen) => whole({ ...seen, accesses: seen.accesses.filter(({ at }) => seen.now - at < 2000) }),
  fan: (seen) => whole({ ...seen, accesses: seen.accesses.map((one) => ({ ...one, at: one.at - 2001 })) }),
  hints: (seen) => whole({ ...seen, hints: [] }),
} satisfies Record<string, Policy>;
/** The current moment and the one before. */
const naive: Policy = ({ tree, current }) =>
  [current, tree.get(current)!.parent].flatMap((checkpoint) => (checkpoint === null ? [] : [{ checkpoint }]));

function rate(name: string, policy = whole): number {
  return new Replay(recorded(name), policy).rate();
}

/** A line of moments, k0 to k4, and one beside it. */
function lineAndSide(): Map<string, Node> {
  const tree = new Map<string, Node>();
  for (let i = 0; i < 5; i++) tree.set(`k${i}`, { id: `k${i}`, parent: i ? `k${i - 1}` : null, base: null });
  return tree.set('side', { id: 'side', parent: 'k0', base: null });
}

/** @param times how often each was gone to, at 0 */
function wanted(count: number, times: Record<string, number> = {}, now = 0): string[] {
  const accesses = Object.entries(times).flatMap(([checkpoint, n]) =>
    Array.from({ length: n }, () => ({ checkpoint, at: 0 })),
  );
  return wishes(lineAndSide(), 'k4', accesses, [], now, { ...LIMITS, count }, () => MIB).map((w) => w.checkpoint);
}

describe('the policy of standbys', () => {
  // The bounds are just below, or above, what comes out: 1, 0.949, 1 and 0.987.
  const LEAST = { undo: 0.99, 'depth-first': 0.93, mcts: 0.99, wide: 0.97 };
  const NAIVE = { undo: 0.88, 'depth-first': 0.83, mcts: 0.06, wide: 0.36 };
  for (const name of ['undo', 'depth-first', 'mcts', 'wide'] as const)
    it(`has what was asked for next in a recording: ${name}`, () => {
      const replayed = rate(name);
      const real = warmShare(recorded(name));
      assert.ok(replayed > LEAST[name], `rate ${replayed}`);
      assert.ok(Math.abs(replayed - real) < 0.02, `it was ${real} in the real sandbox; the replay says ${replayed}`);
      const simple = rate(name, naive);
      assert.ok(simple < NAIVE[name], `with the last two moments alone: ${simple}`);
    });

  it('needs the line of moments, for undo and for depth-first search', () => {
    for (const name of ['undo', 'depth-first'])
      assert.ok(rate(name, WITHOUT.line) < 0.1, `${rate(name, WITHOUT.line)}`);
  });

  it('needs what was asked for lately, for a fan-out, and several of that', () => {
    assert.ok(rate('wide', WITHOUT.accesses) < 0.36, `${rate('wide', WITHOUT.accesses)}`);
    assert.ok(rate('wide', WITHOUT.fan) < 0.8, `${rate('wide', WITHOUT.fan)}`);
  });

  it('needs to remember for longer than a burst lasts, where a model is slow', () => {
    assert.ok(rate('wide', WITHOUT.memory) < 0.9, `${rate('wide', WITHOUT.memory)}`);
  });

  it('needs to be told by a tree search by UCT, which goes by rewards', () => {
    const untold = rate('mcts', WITHOUT.hints);
    assert.ok(untold < 0.1, `not told: ${untold}; if this is good now, the documents say otherwise`);
  });

  it('has a moment that is fanned out while the head is elsewhere', () => {
    const replay = new Replay(recorded('wide'), whole);
    const elsewhere = replay.asked.filter(({ current }) => !current);
    assert.equal(elsewhere.length, 125);
    assert.ok(replay.rate(elsewhere) > 0.97, `rate ${replay.rate(elsewhere)}`);
    const last = new Replay(recorded('wide'), naive);
    assert.equal(last.rate(last.asked.filter(({ current }) => !current)), 0);
  });

  it('keeps within memory all the time', () => {
    for (const name of ['undo', 'depth-first', 'mcts', 'wide']) {
      const limits = { count: 3, bytes: 1.2 * MIB }; // two, as they were on that day
      const bounded = new Replay(recorded(name), ({ tree, current, accesses, hints, now, bytesOf }) =>
        wishes(tree, current, accesses, hints, now, limits, bytesOf),
      );
      assert.ok(
        bounded.mostBytes > MIB / 2 && bounded.mostBytes <= limits.bytes,
        `${name}: ${bounded.mostBytes} bytes`,
      );
    }
  });

  it('has the current moment first, then the ones before it', () => {
    assert.deepEqual(wanted(4), ['k4', 'k3', 'k2', 'k1']);
  });

  it('gives the place of the moment before the last to one that was gone to five times, not four', () => {
    assert.deepEqual(new Set(wanted(3, { side: 4 })), new Set(['k4', 'k3', 'k2']));
    assert.deepEqual(new Set(wanted(3, { side: 5 })), new Set(['k4', 'k3', 'side']));
  });

  it('gives the place of the one before that to one that was gone to twice, not once', () => {
    assert.deepEqual(wanted(4, { side: 1 }), ['k4', 'k3', 'k2', 'k1']);
    assert.deepEqual(wanted(4, { side: 2 }), ['k4', 'k3', 'k2', 'side']);
  });

  it('forgets in some ten seconds what was gone to but a few times', () => {
    const six = { side: 6 };
    assert.ok(wanted(3, six, 4000).includes('side'));
    assert.ok(!wanted(3, six, 9000).includes('side'));
  });

  it('takes three within two seconds for a fan-out, and fewer or slower ones for none', () => {
    const sides = (times: number, now: number) => wanted(6, { side: times }, now).filter((id) => id === 'side').length;
    assert.deepEqual([sides(2, 0), sides(3, 0), sides(3, 1900), sides(3, 2100)], [1, 2, 2, 1]);
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

describe('the rest until the next standby', () => {
  const begun = { at: 1000, idle: 50_000, processors: 4 };
  const later = (ms: number, idle: number): typeof begun => ({ ...begun, at: begun.at + ms, idle: begun.idle + idle });

  it('is none where programs left half a processor idle', () => {
    assert.equal(restMs(begun, 30, later(30, 15)), 0);
    assert.equal(restMs(begun, 30, later(30, 14)), 120);
    assert.equal(restMs(begun, 30, later(100, 60)), 0, 'they did later');
    assert.equal(restMs(begun, Number.POSITIVE_INFINITY, later(100, 60)), 0, 'beside one that is made');
  });

  it('is, where they need all, until making took a twentieth of the time of all processors', () => {
    assert.equal(restMs(begun, 30, later(149, 0)), 1);
    assert.equal(restMs(begun, 30, later(150, 0)), 0, 'a fifth of one of four');
    assert.equal(restMs({ ...begun, processors: 1 }, 30, { ...later(599, 0), processors: 1 }), 1);
    assert.equal(
      restMs(begun, Number.POSITIVE_INFINITY, later(0, 0)),
      Number.POSITIVE_INFINITY,
      'one is begun just now',
    );
  });
});

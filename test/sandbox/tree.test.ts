import assert from 'node:assert/strict';
import {
  bequeath,
  builtOn,
  type Collectable,
  chainOf,
  collect,
  layersOf,
  leftAlone,
  lineOf,
  reparented,
  unsound,
} from '../../helper/sandbox/tree.ts';

/** `id<parent/base` */
function tree(...lines: string[]): Map<string, Collectable> {
  return new Map(
    lines.map((line, i) => {
      const [id, parent, base] = line.split(/[</]/);
      const node = {
        id: id!,
        parent: parent || null,
        base: base || null,
        createdAt: new Date(i * 1000).toISOString(),
        bytes: 10,
        label: null,
      };
      return [id!, node];
    }),
  );
}

describe('the tree of checkpoints', () => {
  // k1 and k2 were made by one branch of k0, k3 by a branch of k2.
  const some = tree('k0', 'k1<k0/k0', 'k2<k1/k0', 'k3<k2/k2');

  it('lays layers on the base of the branch, not on the moment before', () => {
    assert.deepEqual(chainOf(some, 'k2'), ['k2', 'k0']);
    assert.deepEqual(chainOf(some, 'k3'), ['k3', 'k2', 'k0']);
    assert.deepEqual(lineOf(some, 'k3'), ['k0', 'k1', 'k2', 'k3']);
  });

  it('mounts one that stands for many in their place, down to the root', () => {
    const deep = tree('k0', 'k1<k0/k0', 'k2<k1/k1', 'k3<k2/k2', 'k4<k3/k3');
    const names = (id: string) => layersOf(deep, id).map((layer) => `${layer.id}/${layer.kind}`);
    assert.deepEqual(names('k4'), ['k4/layer', 'k3/layer', 'k2/layer', 'k1/layer', 'k0/layer']);
    deep.set('k2', { ...deep.get('k2')!, flat: true });
    assert.deepEqual(names('k4'), ['k4/layer', 'k3/layer', 'k2/flat', 'k0/layer']);
    assert.deepEqual(names('k2'), ['k2/flat', 'k0/layer']);
    assert.deepEqual(names('k1'), ['k1/layer', 'k0/layer']);
    assert.deepEqual(names('k0'), ['k0/layer']);
    assert.deepEqual(chainOf(deep, 'k4'), ['k4', 'k3', 'k2', 'k1', 'k0']);
    // It needs none of them any more, but for the root.
    assert.deepEqual([builtOn(deep, 'k1'), builtOn(deep, 'k2')], [[], ['k3']]);
    assert.deepEqual(leftAlone(deep, 'k1'), [{ id: 'k2', base: 'k0' }]);
    assert.deepEqual(leftAlone(deep, 'k2'), []);
  });

  it('tells a missing layer and a circle instead of going on for ever', () => {
    assert.throws(() => chainOf(tree('k1<k0/k0'), 'k1'), /k0, in need by k1, is missing/);
    assert.throws(() => chainOf(tree('k1<k2/k2', 'k2<k1/k1'), 'k1'), /lies below itself/);
    assert.ok(lineOf(tree('k1<k2/k2', 'k2<k1/k1'), 'k1').length <= 3);
  });

  it('tells which are of no use, as their layers one by one would', () => {
    const oneByOne = (of: Map<string, Collectable>, gone: ReadonlySet<string>): [string, string][] =>
      [...of.keys()].flatMap((id): [string, string][] => {
        try {
          const missing = layersOf(of, id).find((layer) => gone.has(`${layer.id}/${layer.kind}`));
          return missing ? [[id, `the layer of ${missing.id} is missing`]] : [];
        } catch (error) {
          return [[id, (error as Error).message]];
        }
      });
    let state = 1;
    const below = (n: number): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * n);
    };
    const seen = { sound: 0, gap: 0, missing: 0, circle: 0 };
    for (let round = 0; round < 300; round++) {
      const of = tree('k0', ...Array.from({ length: 12 }, (_, i) => `k${i + 1}</k${below(i + 1)}`));
      for (const node of of.values()) node.flat = below(4) === 0;
      const gone = new Set([...of.keys()].flatMap((id) => [`${id}/layer`, `${id}/flat`]).filter(() => below(12) === 0));
      if (below(3) === 0) of.delete(`k${below(13)}`);
      const turned = of.get(`k${1 + below(12)}`);
      if (turned && below(3) === 0) turned.base = `k${1 + below(12)}`;
      const wrong = unsound(of, ({ id, kind }) => !gone.has(`${id}/${kind}`));
      assert.deepEqual([...wrong].sort(), oneByOne(of, gone).sort());
      for (const id of of.keys()) {
        const [, kind] = /(layer|in need|itself)/.exec(wrong.get(id) ?? '') ?? [];
        seen[kind === undefined ? 'sound' : kind === 'layer' ? 'gap' : kind === 'itself' ? 'circle' : 'missing']++;
      }
    }
    for (const [kind, count] of Object.entries(seen)) assert.ok(count > 50, `${kind}: ${count}`);
  });

  it('looks at each layer once, and at each moment a few times, however deep they lie', () => {
    const deep = tree('k0', ...Array.from({ length: 3000 }, (_, i) => `k${i + 1}<k${i}/k${i}`));
    for (let n = 32; n < 3000; n += 32) deep.get(`k${n}`)!.flat = true;
    let asked = 0;
    const counted = new Map(deep);
    counted.get = (id) => {
      asked++;
      return deep.get(id);
    };
    const layers: string[] = [];
    assert.deepEqual([...unsound(counted, ({ id }) => layers.push(id) > 0)], []);
    assert.deepEqual(layers, [...deep.keys()]);
    assert.ok(asked <= 3 * deep.size, `${asked} times for ${deep.size}`);
  });

  it('knows what is built on what, and who inherits a deleted moment', () => {
    assert.deepEqual(builtOn(some, 'k0'), ['k1', 'k2']);
    assert.deepEqual(builtOn(some, 'k1'), []);
    assert.deepEqual(reparented(some, 'k1'), [{ id: 'k2', parent: 'k0' }]);
    const lost = new Map([...some].filter(([id]) => id !== 'k1'));
    assert.deepEqual(reparented(lost, 'k1'), [{ id: 'k2', parent: some.get('k2')!.base }]);
  });

  it('collects the oldest first, and never what is in need, labelled or the root', () => {
    const nodes = [...tree('k0', 'k1<k0/k0', 'k2<k1/k0', 'k3<k2/k2', 'k4<k3/k2', 'k5<k4/k2').values()];
    assert.deepEqual(collect(nodes, new Set(['k5']), { keep: 3 }, 0), ['k1', 'k3', 'k4']);
    nodes[3]!.label = 'keep me';
    assert.deepEqual(collect(nodes, new Set(['k5']), { keep: 3 }, 0), ['k1', 'k4']);
    assert.deepEqual(collect(nodes, new Set(['k5']), {}, 0), []);
    assert.deepEqual(collect(nodes, new Set(['k5']), { maxBytes: 50 }, 0), ['k1']);
    assert.deepEqual(collect(nodes, new Set(['k5']), { maxAgeMs: 2500 }, 4000), ['k1']);
  });

  it('holds every limit, and several at once, as far as need allows, and stops there', () => {
    const tally = { held: 0, stuck: 0, gone: 0 };
    for (let seed = 1; seed <= 700; seed++) {
      let state = seed * 7919;
      const random = (n: number): number => {
        state = (state * 1103515245 + 12345) & 0x7fffffff;
        return Math.floor((state / 0x80000000) * n);
      };
      const lines = ['k0'];
      for (let i = 1; i < 30; i++) {
        // A branch lies on its base and goes on from its newest moment: a base is never newer than the parent.
        const parent = random(i);
        lines.push(`k${i}<k${parent}/k${random(parent + 1)}`);
      }
      const nodes = tree(...lines);
      for (const node of nodes.values()) {
        node.bytes = random(100);
        if (random(8) === 0) node.label = 'mine';
        if (node.base !== null && random(6) === 0) node.flat = true;
        if (node.parent !== null && random(3) === 0) node.took = { from: node.parent, bytes: random(80) };
      }
      // What is current or live needs all that is mounted for it.
      const needed = new Set(
        [`k${random(30)}`, `k${random(30)}`].flatMap((id) => layersOf(nodes, id).map((l) => l.id)),
      );
      const which = (seed % 7) + 1; // any of the three, and all together
      const limits: Parameters<typeof collect>[2] = {
        ...(which & 1 ? { keep: random(30) + 1 } : {}),
        ...(which & 2 ? { maxBytes: random(1500) } : {}),
        ...(which & 4 ? { maxAgeMs: random(30) * 1000 } : {}),
      };
      const now = 29_000;
      const left = new Map([...nodes].map(([id, node]) => [id, { ...node }]));
      let bytes = [...left.values()].reduce((sum, node) => sum + node.bytes, 0);
      const held = (node: Collectable): boolean =>
        left.size <= (limits.keep ?? Infinity) &&
        bytes <= (limits.maxBytes ?? Infinity) &&
        now - Date.parse(node.createdAt) <= (limits.maxAgeMs ?? Infinity);
      const collected = collect([...nodes.values()], needed, limits, now);
      for (const id of collected) {
        const node = left.get(id)!;
        assert.ok(node.parent !== null && node.label === null && !needed.has(id), `seed ${seed}: ${id} must stay`);
        assert.deepEqual(builtOn(left, id), [], `seed ${seed}: ${id} goes before what lies on it`);
        assert.ok(!held(node), `seed ${seed}: ${id} breaks no limit`);
        for (const { id: other, base } of leftAlone(left, id)) left.get(other)!.base = base;
        left.delete(id);
        // Bytes that it alone had.
        bytes -= node.bytes - bequeath(left.values(), node);
      }
      assert.equal(
        bytes,
        [...left.values()].reduce((sum, node) => sum + node.bytes, 0),
      );
      for (const id of left.keys()) assert.doesNotThrow(() => chainOf(left, id));
      // Whatever could still go lies within the limits.
      for (const node of left.values())
        if (node.parent !== null && node.label === null && !needed.has(node.id) && builtOn(left, node.id).length === 0)
          assert.ok(held(node), `seed ${seed}: ${node.id} is left over`);
      tally.gone += collected.length;
      tally[[...left.values()].every(held) ? 'held' : 'stuck']++;
    }
    // Neither is rare among them, or the above would say little.
    assert.ok(tally.held > 100 && tally.stuck > 100 && tally.gone > 1000, JSON.stringify(tally));
  });

  it('counts as freed only what no other has taken over, and collects on until the bytes hold', () => {
    const sized = (id: string, bytes: number, from?: string) => ({
      ...tree('k0', 'k1<k0/k0', 'k2<k1/k0', 'k3<k2/k0', 'k4<k3/k0').get(id)!,
      bytes,
      ...(from ? { took: { from, bytes: 990 } } : {}),
    });
    const nodes = [sized('k0', 0), sized('k1', 1000), sized('k2', 10, 'k1'), sized('k3', 10, 'k2'), sized('k4', 5)];
    assert.deepEqual(collect(nodes, new Set(['k4']), { maxBytes: 100 }, 0), ['k1', 'k2', 'k3']);
    assert.deepEqual(
      nodes.map(({ bytes }) => bytes),
      [0, 1000, 10, 10, 5],
      'they are as they were',
    );
    const both = [sized('k2', 10, 'k1'), sized('k3', 10, 'k1')];
    assert.equal(bequeath(both, sized('k1', 1000)), 990);
    assert.deepEqual(
      both.map(({ bytes, took }) => [bytes, took]),
      [
        [1000, undefined],
        [10, { from: 'k2', bytes: 990 }],
      ],
    );
  });

  it('collects what lies below one that stands for many, and nothing that another lies on', () => {
    const deep = tree('k0', 'k1<k0/k0', 'k2<k1/k1', 'k3<k2/k2', 'k4<k3/k3', 'k5<k4/k4', 'k6<k2/k2');
    deep.set('k4', { ...deep.get('k4')!, flat: true });
    const collected = (needed: string[]) => collect([...deep.values()], new Set(needed), { keep: 1 }, 0);
    // k6 lies on k2 and that on k1; k4 goes on without k3.
    assert.deepEqual(collected(['k5', 'k6']), ['k3']);
    assert.deepEqual(collected(['k5']), ['k3', 'k6', 'k2', 'k1']);
    assert.deepEqual(collected(['k5', 'k2']), ['k3', 'k6']);
  });

  it('keeps every chain whole, whatever it collects', () => {
    for (let seed = 1; seed <= 200; seed++) {
      let state = seed;
      const random = (n: number): number => {
        state = (state * 1103515245 + 12345) & 0x7fffffff;
        return state % n;
      };
      const lines = ['k0'];
      for (let i = 1; i < 20; i++) lines.push(`k${i}<k${random(i)}/k${random(i)}`);
      const nodes = tree(...lines);
      for (const node of nodes.values()) if (node.base !== null && random(5) === 0) node.flat = true;
      const shown = (id: string) => layersOf(nodes, id).map((layer) => `${layer.id}/${layer.kind}`);
      const before = new Map([...nodes.keys()].map((id) => [id, shown(id)]));
      const needed = new Set([`k${random(20)}`, `k${random(20)}`]);
      for (const id of collect([...nodes.values()], needed, { keep: random(20) + 1 }, 0)) {
        assert.ok(!needed.has(id) && id !== 'k0');
        for (const { id: other, base } of leftAlone(nodes, id)) nodes.get(other)!.base = base;
        nodes.delete(id);
      }
      for (const id of nodes.keys()) assert.deepEqual(shown(id), before.get(id), `seed ${seed}: ${id} is what it was`);
    }
  });
});

/** What each further sandbox costs the helper and the machine; and all of it is given back. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { SANDBOXES } from '../../../scripts/soak/plan.ts';
import { type Census, census, grown, residentMb, type Stock, steady, stock } from '../census.ts';
import { needsMachine } from '../helper-process.ts';
import { note } from './counts.ts';
import { World } from './world.ts';

/** What as many sandboxes once more may leave of the helper's memory, and what all may of its heap: 3.5 MB and 0.9 were measured. */
const STAYS_MB = { resident: 10, heap: 2 };

describe('many sandboxes', function () {
  this.timeout(60_000 + SANDBOXES * 15_000);
  let world: World;
  let atFirst: Stock;
  before(async function () {
    needsMachine(this);
    world = await World.start({ measured: true, apart: true });
    // Its first operations load what it needs from then on, and what it keeps of the base it keeps.
    await world.remove(await alive());
    await world.nothingLeft();
    atFirst = await steady(world.helper);
  });
  after(() => world?.stop());
  afterEach(async function () {
    await world.clear(this.currentTest?.state === 'failed');
  });

  /** One with a background process, two checkpoints and what stands by of them. */
  async function alive(): Promise<string> {
    const sandbox = await world.create({ network: 'nat' });
    const told = await world.begin(sandbox);
    await world.grow(sandbox, told, 1);
    await world.helper.standsBy(sandbox, [...told.checkpoints.keys()].at(-1)!);
    return sandbox;
  }

  type All = Census & Stock & { 'MB resident': number; 'MB of heap': number };
  /** All that there is, once it stays the same: what goes on in the background is done by then. */
  async function rest(): Promise<All> {
    const { helper } = world;
    const same = 8;
    for (let before = '', times = 0, tries = 0; times < same; tries++, await sleep(250)) {
      assert.ok(tries < 400, `it never rests: ${before}`);
      const now = JSON.stringify(census(helper));
      times = now === before ? times + 1 : 0;
      before = now;
    }
    const heap = await helper.liveHeapMb();
    return { ...census(helper), ...stock(helper), 'MB of heap': heap, 'MB resident': residentMb(helper.pid) };
  }

  /** Each has what one has: where it had not, this would tell nothing of what is given back. */
  async function many(made: string[], none: All): Promise<All> {
    while (made.length <= SANDBOXES) made.push(await alive());
    const all = await rest();
    assert.deepEqual(
      [all.sandboxes, all.checkpoints, all.links],
      [SANDBOXES + 1, 3 * (SANDBOXES + 1), none.links + all.branches],
    );
    return all;
  }

  async function away(made: string[]): Promise<All> {
    for (const sandbox of made) await world.remove(sandbox);
    await world.nothingLeft();
    assert.deepEqual(await grown(world.helper, atFirst), {}, 'what there is more of');
    return await rest();
  }

  it(`${SANDBOXES} at once beside one, and all that they took is given back`, async () => {
    const begun = performance.now();
    const none = await rest();
    const made = [await alive()];
    const one = await rest();
    const all = await many(made, none);
    const gone = await away(made);
    // What the first ones made it grow by is room that the next ones use.
    const again: string[] = [];
    await many(again, none);
    const left = await away(again);
    const stays = left['MB resident'] - gone['MB resident'];
    assert.ok(stays < STAYS_MB.resident, `it had ${gone['MB resident']} MB, and has ${left['MB resident']}`);
    const heap = left['MB of heap'] - none['MB of heap'];
    assert.ok(heap < STAYS_MB.heap, `the heap was ${none['MB of heap']} MB, and is ${left['MB of heap']}`);
    const each = (what: keyof All): number => round((all[what] - one[what]) / SANDBOXES);
    const told: (keyof All)[] = [
      ...(['MB resident', 'MB of heap', 'descriptors', 'processes', 'branches', 'groups'] as const),
      ...(['namespaces', 'mounts', 'links', 'files', 'MB'] as const),
    ];
    note('further sandboxes', {
      sandboxes: SANDBOXES,
      ...Object.fromEntries(told.map((what) => [`${what} each`, each(what)])),
      'MB resident without any': round(none['MB resident']),
      'with the first': round(one['MB resident']),
      'with all': round(all['MB resident']),
      'when they are gone': round(gone['MB resident']),
      'and once more': round(left['MB resident']),
      'MB of heap before': round(none['MB of heap']),
      'more after': round(heap),
      seconds: Math.round((performance.now() - begun) / 1000),
    });
  });
});

function round(n: number): number {
  return Math.round(n * 10) / 10;
}

/**
 * Going back and forking again and again leaks nothing: all that the helper holds is counted before and after. Rollbacks are of every
 * way that there is, each often enough that what it lost would be seen.
 */
import assert from 'node:assert/strict';
import { SHARES, tooFew } from '../../../scripts/soak/shares.ts';
import { descriptors, grown, residentMb, type Stock, settled, steady, stock } from '../census.ts';
import { needsMachine } from '../helper-process.ts';
import { note, ROLLBACKS } from './counts.ts';
import { type Told, World } from './world.ts';

/** Every so many, one looks whether all is of one moment: of no kind of step alone. */
const LOOK = 7;
/** Among rollbacks, so many are followed by a fork. */
const FORK = 20;
/** By then what it does has been compiled. */
const STRIDE = 200;
/** What is compiled anew, better, comes to 2 MB after thousands. A branch that is kept is 4 kB: of 10,000 rollbacks 40 MB. */
const HEAP_MB = 4;
/** Of memory in all, how much garbage there may be being up to the collector: over 500 rollbacks it grew by 8 MB. */
const RESIDENT_MB = 24;
/** Forks that live at once. */
const SIDE_BY_SIDE = 8;

/**
 * Ten rollbacks, over and over: one that saves what it leaves; back to that, which saves again; back to that one in turn, as who undoes
 * and undoes the undoing; to one of two moments that are asked for all the time; to one of many that seldom are, the deepest in between.
 */
const ROUND = ['save', 'undo', 'undo', 'near', 'near', 'near', 'far', 'deep', 'near', 'far'] as const;
/** From there on a checkpoint is called deep: most of the layers that may lie one on the other lie below it. */
const DEEP = 20;

describe('many rollbacks', function () {
  // The deep line and what is done first take as long as some hundred rollbacks.
  this.timeout(300_000 + ROLLBACKS * 500);
  let world: World;
  /** With no sandbox, after the first ones. */
  let atFirst: Stock;
  before(async function () {
    needsMachine(this);
    world = await World.start({ measured: true, apart: true });
    // What it keeps of the base it keeps until it starts anew.
    const sandbox = await world.create({ network: 'nat' });
    await world.grow(sandbox, await world.begin(sandbox), 1);
    await world.remove(sandbox);
    await world.nothingLeft();
    atFirst = await steady(world.helper);
  });
  after(() => world?.stop());
  afterEach(async function () {
    await world.clear(this.currentTest?.state === 'failed');
  });

  /**
   * What the helper holds is the same before and after `work`, of which some is done first to get into its stride.
   * @param work tells how many it did of each kind
   */
  async function leaksNothing(
    what: string,
    count: number,
    sandbox: string,
    work: (count: number) => Promise<Record<string, number>>,
  ): Promise<Record<string, number>> {
    const { helper } = world;
    await work(Math.min(STRIDE, count));
    const heap = await helper.liveHeapMb();
    const resident = residentMb(helper.pid);
    // Counted with the sandbox stopped: how many stand by, or are begun ahead, varies while it runs.
    const stop = { sandbox, discard: true };
    await world.connection.request('sandbox/stop', stop);
    const before = await settled(helper, { trash: 0, branches: 0, processes: 0, groups: 0 });
    const held = await steady(helper);
    await world.connection.request('sandbox/start', { sandbox });
    const kinds = descriptors(helper.pid).sort();
    const begun = performance.now();
    const done = await work(count);
    // While all is under way: what work that goes on without a pause holds on to may be let go of in a pause.
    const growth = (await helper.liveHeapMb()) - heap;
    assert.ok(growth < HEAP_MB, `the heap was ${heap} MB, and is ${heap + growth}`);
    const more = residentMb(helper.pid) - resident;
    assert.ok(more < RESIDENT_MB, `it had ${resident} MB, and has ${resident + more}`);
    await world.tidy(1);
    await world.connection.request('sandbox/stop', stop);
    const after = await settled(helper, before);
    assert.deepEqual(after, before, `descriptors were ${kinds}, are ${descriptors(helper.pid).sort()}`);
    assert.deepEqual(await grown(helper, held), {}, 'what there is more of');
    const holds = stock(helper);
    const seconds = Math.round((performance.now() - begun) / 1000);
    await world.remove(sandbox);
    await world.nothingLeft();
    assert.deepEqual(await grown(helper, atFirst), {}, 'what there is more of than before the first sandbox');
    const by = (now: Stock): string =>
      Object.entries(now)
        .map(([name, n]) => `${name} ${n - held[name as keyof Stock]}`)
        .join(' ');
    note(what, {
      [what]: count,
      ...done,
      seconds,
      ...after,
      'more of': by(holds),
      'MB of heap before': round(heap),
      'more after': round(growth),
      'MB before': round(resident),
      'MB after': round(resident + more),
    });
    return done;
  }

  async function fork(
    sandbox: string,
    checkpoint: string,
    use?: (branch: string) => Promise<void>,
  ): Promise<'warm' | 'cold'> {
    const { branch, path } = await world.connection.request('branch/fork', { sandbox, checkpoint });
    await use?.(branch);
    await world.connection.request('branch/discard', { sandbox, branch });
    return path;
  }

  it(`leak nothing, ${ROLLBACKS} of them`, async () => {
    const sandbox = await world.create({ network: 'nat' });
    const told = await world.begin(sandbox);
    await world.grow(sandbox, told, 1);
    const near = [...told.checkpoints.keys()];
    const line = await deepLine(sandbox, told);
    const work = new Mix(world, sandbox, told, { near, far: line.slice(0, DEEP), deep: line.slice(DEEP) });
    const done = await leaksNothing('rollbacks', ROLLBACKS, sandbox, async (count) => {
      const ways = await work.run(count, async (n) => {
        if (n % FORK === 0) await fork(sandbox, told.target);
      });
      return { ...ways };
    });
    assert.deepEqual(tooFew(done, ROLLBACKS), [], `of ${Object.keys(SHARES)}`);
  });

  /** As many layers as may lie one on the other, and those of the last made one. @returns them, the deepest last */
  async function deepLine(sandbox: string, told: Told): Promise<string[]> {
    const before = new Set(told.checkpoints.keys());
    await world.deepen(sandbox, told);
    const line = [...told.checkpoints.keys()].filter((id) => !before.has(id));
    assert.ok(line.length > DEEP, `${line.length} checkpoints`);
    const { checkpoint } = await world.checkpoint(sandbox);
    await world.flattened(sandbox, line.at(-1)!);
    await world.rollback(sandbox, line[0]!);
    await world.connection.request('checkpoint/delete', { sandbox, checkpoint: checkpoint.id });
    return line;
  }

  it(`nor do forks, ${ROLLBACKS} of them and ${SIDE_BY_SIDE} at a time`, async () => {
    const sandbox = await world.create();
    const told = await world.begin(sandbox);
    await world.grow(sandbox, told, 1);
    const value = told.checkpoints.get(told.target)!;
    await leaksNothing('forks', ROLLBACKS, sandbox, async (count) => {
      let from = 0;
      const ways = { warm: 0, cold: 0 };
      const one = async (): Promise<void> => {
        while (from < count) {
          const looks = from++ % LOOK === 0;
          const path = await fork(sandbox, told.target, async (branch) => {
            if (looks) assert.equal((await world.run(sandbox, 'echo "$X"', { branch })).trim(), value);
          });
          ways[path]++;
        }
      };
      await Promise.all(Array.from({ length: SIDE_BY_SIDE }, one));
      return ways;
    });
  });
});

type Places = Record<'near' | 'far' | 'deep', string[]>;

/** Rollbacks of every way, counted by what came of them. */
class Mix {
  private readonly world: World;
  private readonly sandbox: string;
  private readonly told: Told;
  private readonly places: Places;
  private readonly turns = { near: 0, far: 0, deep: 0 };
  /** Made by rollbacks that saved, the newest last; deleted when the head stands on none of them. */
  private saved: string[] = [];
  /** What the last of them is of. */
  private left = '';
  private serial = 0;

  constructor(world: World, sandbox: string, told: Told, places: Places) {
    this.world = world;
    this.sandbox = sandbox;
    this.told = told;
    this.places = places;
  }

  /** @param between after each, by its number */
  async run(count: number, between: (n: number) => Promise<void>): Promise<Record<keyof typeof SHARES, number>> {
    const ways = { warm: 0, cold: 0, saving: 0, undo: 0, deep: 0 };
    const { world, sandbox } = this;
    // The head may stand on whatever was there before.
    let value = await this.to('near', ways, false);
    ways.warm = ways.cold = 0;
    for (let n = 0; n < count; n++) {
      const step = ROUND[n % ROUND.length]!;
      if (step === 'save') {
        this.left = `s${++this.serial}`;
        await world.set(sandbox, this.left);
        value = await this.to('near', ways, true);
      } else if (step === 'undo') {
        const back = this.left;
        this.left = value;
        value = back;
        this.count(await world.connection.request('checkpoint/undo', { sandbox }), ways);
        ways.undo++;
      } else value = await this.to(step, ways, false);
      if (n % LOOK === 0) assert.equal(await world.moment(sandbox), value, `number ${n}: ${step}`);
      await between(n);
    }
    if (this.saved.length) await this.to('near', { ...ways }, false);
    return ways;
  }

  /** @returns the value there */
  private async to(kind: keyof Places, ways: Record<string, number>, saves: boolean): Promise<string> {
    const places = this.places[kind];
    const id = places[this.turns[kind]++ % places.length]!;
    this.count(await this.world.rollback(this.sandbox, id, !saves), ways);
    if (kind === 'deep') ways.deep!++;
    if (!saves) await this.forget();
    return this.told.checkpoints.get(id)!;
  }

  private count({ path, saved }: Moved, ways: Record<string, number>): void {
    ways[path]!++;
    if (!saved) return;
    ways.saving!++;
    this.saved.push(saved);
  }

  private async forget(): Promise<void> {
    for (const checkpoint of this.saved.splice(0).reverse())
      await this.world.connection.request('checkpoint/delete', { sandbox: this.sandbox, checkpoint });
  }
}

type Moved = Awaited<ReturnType<World['rollback']>>;

function round(mb: number): number {
  return Math.round(mb * 10) / 10;
}

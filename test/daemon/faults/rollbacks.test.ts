/** Going back and forking again and again leaks nothing: all that the helper holds is counted before and after. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { descriptors, settled } from '../census.ts';
import { needsMachine } from '../helper-process.ts';
import { note, ROLLBACKS } from './counts.ts';
import { World } from './world.ts';

/** Every so many, one looks whether all is of one moment (and, among rollbacks, forks as well). */
const LOOK = 20;
/** By then what it does has been compiled. */
const STRIDE = 200;
/** What is compiled anew, better, comes to 2 MB after thousands. A branch that is kept is 4 kB: of 10,000 rollbacks 40 MB. */
const HEAP_MB = 4;
/** Forks that live at once. */
const SIDE_BY_SIDE = 8;

describe('many rollbacks', function () {
  this.timeout(60_000 + ROLLBACKS * 500);
  let world: World;
  before(async function () {
    needsMachine(this);
    world = await World.start({ measured: true });
  });
  after(() => world?.stop());

  /** What the helper holds is the same before and after `work`, of which some is done first to get into its stride. */
  async function leaksNothing(
    what: string,
    count: number,
    sandbox: string,
    work: (from: number, to: number) => Promise<void>,
  ): Promise<void> {
    await work(0, Math.min(STRIDE, count));
    const heap = await world.helper.liveHeapMb();
    // Counted with the sandbox stopped: how many stand by, or are begun ahead, varies while it runs.
    const stop = { sandbox, discard: true };
    await world.connection.request('sandbox/stop', stop);
    const before = await settled(world.helper, { trash: 0, branches: 0, processes: 0 });
    await world.connection.request('sandbox/start', { sandbox });
    const memory = residentMb(world.helper.pid);
    const kinds = descriptors(world.helper.pid).sort();
    const begun = performance.now();
    await work(0, count);
    // While all is under way: what work that goes on without a pause holds on to may be let go of in a pause.
    const growth = (await world.helper.liveHeapMb()) - heap;
    assert.ok(growth < HEAP_MB, `the heap was ${heap} MB, and is ${heap + growth}`);
    await world.tidy(1);
    await world.connection.request('sandbox/stop', stop);
    const after = await settled(world.helper, before);
    assert.deepEqual(after, before, `descriptors were ${kinds}, are ${descriptors(world.helper.pid).sort()}`);
    const seconds = Math.round((performance.now() - begun) / 1000);
    await world.remove(sandbox);
    await world.nothingLeft();
    note(what, {
      [what]: count,
      seconds,
      ...after,
      'MB of heap before': Math.round(heap * 10) / 10,
      'more after': Math.round(growth * 10) / 10,
      'MB before': memory,
      'MB after': residentMb(world.helper.pid),
    });
  }

  async function fork(sandbox: string, checkpoint: string, use?: (branch: string) => Promise<void>): Promise<void> {
    const { branch } = await world.connection.request('branch/fork', { sandbox, checkpoint });
    await use?.(branch);
    await world.connection.request('branch/discard', { sandbox, branch });
  }

  it(`leak nothing, ${ROLLBACKS} of them`, async () => {
    const sandbox = await world.create();
    const told = await world.begin(sandbox);
    await world.grow(sandbox, told, 1);
    const ids = [...told.checkpoints.keys()];
    await leaksNothing('rollbacks', ROLLBACKS, sandbox, async (from, to) => {
      for (let n = from; n < to; n++) {
        const id = ids[n % ids.length]!;
        await world.rollback(sandbox, id);
        if (n % LOOK !== 0) continue;
        assert.equal(await world.moment(sandbox), told.checkpoints.get(id));
        await fork(sandbox, told.target);
      }
    });
  });

  it(`nor do forks, ${ROLLBACKS} of them and ${SIDE_BY_SIDE} at a time`, async () => {
    const sandbox = await world.create();
    const told = await world.begin(sandbox);
    await world.grow(sandbox, told, 1);
    const value = told.checkpoints.get(told.target)!;
    await leaksNothing('forks', ROLLBACKS, sandbox, async (from, to) => {
      const one = async (): Promise<void> => {
        while (from < to) {
          const looks = from++ % LOOK === 0;
          await fork(sandbox, told.target, async (branch) => {
            if (looks) assert.equal((await world.run(sandbox, 'echo "$X"', { branch })).trim(), value);
          });
        }
      };
      await Promise.all(Array.from({ length: SIDE_BY_SIDE }, one));
    });
  });
});

/** For the record: how much garbage there may be is up to the collector. */
function residentMb(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024);
}

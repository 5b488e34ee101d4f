/** Going back again and again leaks nothing: all that the helper holds is counted before and after. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { descriptors, settled } from '../census.ts';
import { needsMachine } from '../helper-process.ts';
import { note, ROLLBACKS } from './counts.ts';
import { World } from './world.ts';

/** Every so many, one forks as well and looks whether all is of one moment. */
const LOOK = 20;

describe('many rollbacks', function () {
  this.timeout(60_000 + ROLLBACKS * 500);
  let world: World;
  before(async function () {
    needsMachine(this);
    world = await World.start();
  });
  after(() => world?.stop());

  it(`leak nothing, ${ROLLBACKS} of them`, async () => {
    const sandbox = await world.create();
    const told = await world.begin(sandbox);
    await world.grow(sandbox, told, 1);
    const ids = [...told.checkpoints.keys()];
    const round = async (n: number): Promise<void> => {
      const id = ids[n % ids.length]!;
      await world.rollback(sandbox, id);
      if (n % LOOK !== 0) return;
      assert.equal(await world.moment(sandbox), told.checkpoints.get(id));
      const { branch } = await world.connection.request('branch/fork', { sandbox, checkpoint: told.target });
      await world.connection.request('branch/discard', { sandbox, branch });
    };
    for (let n = 0; n < 2 * LOOK; n++) await round(n);
    // Counted with the sandbox stopped: how many stand by, or are begun ahead, varies while it runs.
    const stop = { sandbox, discard: true };
    await world.connection.request('sandbox/stop', stop);
    const before = await settled(world.helper, { trash: 0, branches: 0, processes: 0 });
    await world.connection.request('sandbox/start', { sandbox });
    const memory = residentMb(world.helper.pid);
    const kinds = descriptors(world.helper.pid).sort();
    const begun = Date.now();
    for (let n = 0; n < ROLLBACKS; n++) await round(n);
    await world.tidy(1);
    await world.connection.request('sandbox/stop', stop);
    const after = await settled(world.helper, before);
    assert.deepEqual(after, before, `descriptors were ${kinds}, are ${descriptors(world.helper.pid).sort()}`);
    const seconds = Math.round((Date.now() - begun) / 1000);
    await world.remove(sandbox);
    await world.nothingLeft();
    note('rollbacks', {
      rollbacks: ROLLBACKS,
      seconds,
      ...after,
      'MB before': memory,
      'MB after': residentMb(world.helper.pid),
    });
  });
});

/** For the record: a garbage-collected heap has no exact size to assert. */
function residentMb(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024);
}

/**
 * Time in a branch. A cold activation goes on where the checkpoint was: what passed meanwhile counts for no clock but that of the
 * wall. A standby has been there since shortly after its checkpoint, standing still: its clocks went on.
 */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { needsMachine } from '../daemon/helper-process.ts';
import { Rig } from './rig.ts';

const SLEEPS = 2;
const PASSES = 3;
/** Prints how long its sleep took: by the monotonic clock, by the wall's, by the sum of a clock that ticks. */
const SLEEPER = `
import time
began, wall = time.monotonic(), time.time()
open("begun", "w").close()
time.sleep(${SLEEPS})
print(time.monotonic() - began, time.time() - wall, flush=True)`;
const CLOCKS = `python3 -c '
import time
print(time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME), time.time())'`;

describe('clocks', function () {
  this.timeout(60_000);
  let rig: Rig;
  let checkpoint: string;
  let start: number[];
  const clocks = async (): Promise<number[]> => (await rig.run(CLOCKS)).split(' ').map(Number);
  /** What the sleeper says, and how long it took until it did. */
  const slept = async (): Promise<{ monotonic: number; wall: number; waited: number }> => {
    const began = performance.now();
    const [monotonic, wall] = (await rig.run('while [ ! -s slept ]; do sleep 0.02; done; cat slept')).split(' ');
    return { monotonic: Number(monotonic), wall: Number(wall), waited: (performance.now() - began) / 1000 };
  };
  /** Since `start`, by each clock. */
  const passed = async (): Promise<{ monotonic: number; boot: number; wall: number }> => {
    const [monotonic, boot, wall] = (await clocks()).map((now, i) => now - start[i]!);
    return { monotonic: monotonic!, boot: boot!, wall: wall! };
  };

  before(async function () {
    needsMachine(this);
    rig = await Rig.make();
    await rig.run(
      `echo '${SLEEPER}' > sleeper.py; python3 sleeper.py > slept &\nwhile [ ! -e begun ]; do :; done; sleep 0.1`,
    );
    start = await clocks();
    checkpoint = await rig.checkpoint();
    await rig.verified(checkpoint);
    await sleep(PASSES * 1000);
  });
  after(() => rig?.end());

  it('a checkpoint makes no sleep shorter or longer', async () => {
    const { monotonic, wall } = await slept();
    for (const took of [monotonic, wall]) assert.ok(took >= SLEEPS && took < SLEEPS + 1, `${took}`);
  });

  it('warm: the time that the standby stood counts, and a sleep is over', async () => {
    await rig.rollback(checkpoint, 'warm');
    const { monotonic, wall, waited } = await slept();
    assert.ok(waited < 1, `it ended ${waited} s after`);
    assert.ok(monotonic > PASSES, `${monotonic} s by the monotonic clock`);
    assert.ok(wall > PASSES, `${wall} s by the wall's`);
    const now = await passed();
    for (const clock of ['monotonic', 'boot'] as const)
      assert.ok(now[clock] > PASSES && now[clock] <= now.wall, `${clock}: ${JSON.stringify(now)}`);
  });

  // A CRIU that was begun ahead waited in namespaces that are older than the restore.
  for (const begun of ['ahead', 'on demand'] as const)
    it(`cold, by a CRIU begun ${begun}: it does not, and a sleep takes what was left of it`, async () => {
      await rig.coldRollback(checkpoint, begun);
      const now = await passed();
      const { monotonic, wall } = await slept();
      assert.ok(now.wall > PASSES, JSON.stringify(now));
      for (const clock of ['monotonic', 'boot'] as const)
        assert.ok(now[clock] > 0 && now[clock] < PASSES - 0.5, `${clock}: ${JSON.stringify(now)}`);
      assert.ok(monotonic >= SLEEPS && monotonic < SLEEPS + 1, `${monotonic} s by the monotonic clock`);
      assert.ok(wall > PASSES, `${wall} s by the wall's`);
    });
});

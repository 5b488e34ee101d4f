/** What programs in a branch write out, and a branch that ends, wait for no disk: nothing of a branch outlives a power failure anyway. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Rig } from '../states/rig.ts';
import { loopsOf } from './census.ts';
import { needsMachine } from './helper-process.ts';

describe('the upper directory of a branch', function () {
  this.timeout(60_000);
  let rig: Rig;

  before(async function () {
    needsMachine(this);
    rig = await Rig.make(0, () => {}, 0);
  });
  after(() => rig?.end());

  /** Times that the volume's log was written out because somebody waited for it. */
  function forced(): number {
    const [loop] = loopsOf(rig.helper.dir);
    return Number(/^log (?:\d+ ){3}(\d+) /m.exec(readFileSync(`/sys/fs/xfs/${loop}/stats/stats`, 'utf8'))![1]);
  }

  async function durable(checkpoint: string): Promise<void> {
    for (let tries = 0; ; tries++) {
      const { checkpoints } = await rig.connection.request('checkpoint/list', { sandbox: rig.sandbox });
      if (checkpoints.find(({ id }) => id === checkpoint)!.state.durable) return;
      assert.ok(tries < 500);
      await sleep(20);
    }
  }

  it('is written out when the kernel likes, whatever programs ask for; a checkpoint is when that is asked for', async () => {
    const checkpoint = await rig.checkpoint();
    await durable(checkpoint);
    const before = forced();
    const program =
      'import os\nfor n in range(100):\n f = open(str(n), "w"); f.write("x"); f.flush(); os.fsync(f.fileno())\n';
    assert.equal(await rig.run(`mkdir w; (cd w; python3 -c '${program}'; sync; sync -f .; ls | wc -l)`), '100\n');
    for (let n = 0; n < 10; n++) {
      const branch = await rig.fork(checkpoint);
      await rig.connection.request('branch/discard', { sandbox: rig.sandbox, branch });
    }
    await rig.coldRollback(checkpoint);
    assert.ok(
      forced() - before < 20,
      `${forced() - before} times, of 100 files, two calls of sync and 11 branches that ended`,
    );
    const written = forced();
    await durable(await rig.checkpoint());
    assert.ok(forced() > written);
  });
});

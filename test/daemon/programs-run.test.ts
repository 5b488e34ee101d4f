/** What the helper runs while somebody waits: CRIU and the program that makes its surroundings, no shell, no archiver, no tool. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Rig } from '../states/rig.ts';
import { Execs } from './execs.ts';
import { needsMachine } from './helper-process.ts';

describe('programs that the helper runs', function () {
  this.timeout(120_000);
  const MEANT = ['criu', 'teleport-init'];
  let execs: Execs;
  let rig: Rig;

  before(function () {
    needsMachine(this);
    execs = new Execs();
  });
  after(() => execs?.end());
  afterEach(() => rig?.end());

  /** Programs run below the helper while that is done; what runs in the branches, too. */
  async function during(work: () => Promise<unknown>): Promise<string[]> {
    execs.below(rig.helper.pid);
    await work();
    await sleep(300); // what is done after the answer, too
    return execs.below(rig.helper.pid).map(({ program }) => program);
  }
  const others = (programs: string[]): string[] => programs.filter((one) => !MEANT.includes(one));
  const count = (programs: string[], program: string): number => programs.filter((one) => one === program).length;

  it('for a checkpoint, a cold rollback and a cold fork are CRIU and its way in', async () => {
    rig = await Rig.make(0, () => {}, 0);
    await rig.run('X=kept; sleep 1000 & exec 7> gone; rm gone; for i in {1..50}; do echo $i > a$i; done');
    let checkpoint = '';
    const taken = await during(async () => {
      checkpoint = await rig.checkpoint();
    });
    assert.deepEqual([others(taken), count(taken, 'criu')], [[], 1]);
    await rig.run('for i in {1..700}; do echo $i > b$i; done');
    const moved = await during(() => rig.checkpoint());
    assert.deepEqual([others(moved), count(moved, 'criu')], [[], 2], 'files moved, a successor restored');
    const back = await during(() => rig.coldRollback(checkpoint));
    assert.deepEqual([others(back), count(back, 'criu')], [[], 1]);
    const forked = await during(() => rig.fork(checkpoint));
    assert.deepEqual([others(forked), count(forked, 'criu')], [[], 1]);
    assert.equal(await rig.run('echo $X'), 'kept\n');
  });

  it('for a standby, and to go to it, are no others', async () => {
    rig = await Rig.make();
    await rig.run('X=kept');
    let checkpoint = '';
    const made = await during(async () => {
      checkpoint = await rig.checkpoint();
      await rig.standsBy(checkpoint);
    });
    assert.deepEqual(others(made), []);
    assert.ok(count(made, 'criu') >= 2, 'one dumped, another restored');
    const taken = await during(async () => {
      await rig.warmRollback(checkpoint);
      await rig.standsBy(checkpoint); // another
    });
    assert.deepEqual(others(taken), []);
    assert.ok(count(taken, 'criu') >= 1, 'another was restored');
    assert.equal(await rig.run('echo $X'), 'kept\n');
  });

  it('to find out what the kernel can do are run once: CRIU keeps the answer, until the machine or CRIU is another', async () => {
    rig = await Rig.make(0, () => {}, 0);
    const { helper } = rig;
    // CRIU asks by a shell whether iptables waits for its lock.
    const asked = (programs: string[]): number => count(programs, 'sh');
    const first = execs.below(helper.pid).map(({ program }) => program);
    assert.equal(asked(first), 1, `${first}`);
    const again = async (): Promise<number> => {
      await helper.restart();
      return asked(execs.below(helper.pid).map(({ program }) => program));
    };
    assert.equal(await again(), 0, 'by a second helper');

    const kept = join(helper.dir, 'run/criu/teleport-env/criu.kdat');
    const answer = readFileSync(kept);
    answer[4]! ^= 1; // the second number of its head tells which CRIU wrote it
    writeFileSync(kept, answer);
    assert.equal(await again(), 1, 'that of another CRIU is not taken');
    assert.equal(await again(), 0);

    rmSync(kept);
    writeFileSync(`${kept}.tmp`, '');
    assert.equal(await again(), 1);
    assert.ok(existsSync(kept), 'though one was killed when it wrote it');
    assert.equal(await again(), 0);

    await helper.powerOff();
    assert.equal(await again(), 1, 'after the machine has started anew');
    assert.equal(await again(), 0);
  });
});

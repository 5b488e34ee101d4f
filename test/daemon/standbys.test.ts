/** Which standbys are made, taken and ended, without branches: what those do is tested where they are real. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Branch } from '../../helper/daemon/branch.ts';
import { StandbyBudget } from '../../helper/daemon/standby-budget.ts';
import { Standbys } from '../../helper/daemon/standbys.ts';
import { type Memory, memory, readMemory } from '../../helper/engine/memory.ts';
import { processors, readProcessors } from '../../helper/engine/processors.ts';
import { STANDBY_AGE_MS } from '../../helper/sandbox/policy.ts';

describe('standbys', () => {
  const plenty: Memory = { available: 8e9, total: 16e9, stalled: 0 };
  let left: Memory;
  let made: string[];
  let ended: string[];
  let finish: (() => void)[];
  let proven: Set<string>;
  let unproven: string[];
  let bytes: number;
  /** A checkpoint for which there is no room. */
  let large: string;
  /** Time goes on by as much as a standby may age. */
  let later: boolean;
  /** Processors that have nothing to do. */
  let idle: number;
  let busy: boolean;
  let together: StandbyBudget;
  let standbys: Standbys;

  beforeEach(() => {
    left = plenty;
    made = [];
    ended = [];
    finish = [];
    proven = new Set();
    unproven = [];
    bytes = 1e6;
    large = '';
    later = false;
    idle = 2;
    busy = false;
    const looked = { at: performance.now(), idle: 0 };
    together = new StandbyBudget(() => {
      const at = performance.now();
      looked.idle += (at - looked.at) * idle;
      looked.at = at;
      return { ...looked, processors: 2 };
    });
    standbys = new Standbys(
      {
        make: (checkpoint) => {
          const id = `b${made.push(checkpoint)}`;
          return new Promise((resolve) => finish.push(() => resolve({ id, record: { base: checkpoint } } as Branch)));
        },
        proven: (checkpoint) => proven.add(checkpoint),
        rested: () => {},
        end: ({ id }, reason) => ended.push(`${id}: ${reason}`),
        bytesOf: (checkpoint) => (checkpoint === large ? 9e9 : bytes),
        unproven: () => unproven.filter((one) => !proven.has(one)),
        isBusy: () => busy,
      },
      () => left,
      together,
      { lookMs: 50, idleMs: 30, now: () => performance.now() + (later ? STANDBY_AGE_MS : 0) },
    );
  });
  afterEach(async () => {
    const closed = standbys.close('the test is over');
    for (const one of finish) one();
    await closed;
  });
  const until = async (true_: () => boolean): Promise<void> => {
    for (const deadline = Date.now() + 10_000; !true_(); ) {
      assert.ok(Date.now() < deadline);
      await sleep(1);
    }
  };
  const makeAll = async (count: number): Promise<void> => {
    for (let n = 1; n <= count; n++) {
      await until(() => finish.length === n);
      finish[n - 1]!();
    }
    await until(() => standbys.all.length === count);
  };

  it('are as many of a checkpoint as are wanted, one after the other, and each is taken once', async () => {
    standbys.want(['k1', 'k2', 'k1'], 0);
    await makeAll(3);
    assert.deepEqual(made, ['k1', 'k2', 'k1']);
    const taken = [await standbys.take('k1'), await standbys.take('k1'), await standbys.take('k1')];
    assert.deepEqual(
      taken.map((branch) => branch?.id),
      ['b1', 'b3', undefined],
    );
    assert.equal((await standbys.take('k2'))?.id, 'b2');
  });

  it('one that is being made is waited for by one, and others do not wait in vain', async () => {
    standbys.want(['k1'], 0);
    await until(() => made.length === 1);
    const first = standbys.take('k1');
    assert.equal(await standbys.take('k1'), null);
    finish[0]!();
    assert.equal((await first)?.id, 'b1');
  });

  it('the next of a checkpoint is made beside the one that somebody waits for; of another, after it', async () => {
    standbys.want(['k1', 'k1', 'k1'], 0);
    await until(() => made.length === 1);
    await sleep(20);
    assert.equal(made.length, 1, 'nobody waits: one after the other');
    const first = standbys.take('k1');
    await until(() => made.length === 2);
    const second = standbys.take('k1');
    await sleep(20);
    assert.equal(made.length, 2, 'no more than two at once');
    finish[1]!();
    assert.equal((await second)?.id, 'b2');
    finish[0]!();
    assert.equal((await first)?.id, 'b1');
    await until(() => made.length === 3);
  });

  it('of another checkpoint none is made beside it', async () => {
    standbys.want(['k1', 'k2'], 0);
    await until(() => made.length === 1);
    const first = standbys.take('k1');
    await sleep(20);
    assert.deepEqual(made, ['k1']);
    standbys.want(['k2'], 0);
    finish[0]!();
    assert.equal((await first)?.id, 'b1');
    await until(() => made.length === 2);
    assert.deepEqual(made, ['k1', 'k2']);
  });

  it('are ended, and none is made, when programs stall for memory', async () => {
    standbys.want(['k1', 'k2'], 0);
    await makeAll(2);
    left = { ...plenty, stalled: 40 };
    standbys.want(['k1', 'k2', 'k3'], 0);
    await until(() => ended.length === 2);
    assert.match(ended[0]!, /memory is scarce/);
    assert.deepEqual(standbys.all, []);
    await sleep(20);
    assert.equal(made.length, 2);
    left = plenty;
    standbys.want(['k3'], 0);
    await until(() => made.length === 3);
  });

  it('that memory forbade: the first is made when there is some again, and none in place of those that it ended', async () => {
    left = { ...plenty, stalled: 40 };
    standbys.want(['k1', 'k2'], 0);
    await sleep(120);
    assert.deepEqual(made, []);
    left = plenty;
    await until(() => made.length === 1);
    left = { ...plenty, stalled: 40 };
    finish[0]!();
    await until(() => ended.length === 1);
    left = plenty;
    await sleep(120);
    assert.deepEqual(made, ['k1']);
  });

  it('none is begun before nothing was wanted for as long as was said', async () => {
    const begun = performance.now();
    standbys.want(['k1'], 200);
    await sleep(50);
    standbys.want(['k2'], 200);
    await until(() => made.length === 1);
    assert.deepEqual(made, ['k2'], 'the first wish was taken back in time');
    assert.ok(performance.now() - begun >= 248, `${performance.now() - begun} ms`);
  });

  it('are looked at now and then, though nobody wants anything: memory that is scarce, and age', async () => {
    standbys.want(['k1', 'k2'], 0);
    await makeAll(2);
    left = { ...plenty, stalled: 40 };
    await until(() => ended.length === 2);
    left = plenty;
    standbys.want(['k3'], 0);
    await until(() => finish.length === 3);
    finish[2]!();
    await until(() => standbys.all.length === 1);
    await sleep(120);
    assert.equal(ended.length, 2, 'it is not old');
    later = true;
    await until(() => ended.length === 3);
    assert.match(ended[2]!, /^b3: .*too old/);
  });

  it('none is made that would make memory scarce, nor beyond what those of all sandboxes may take together', async () => {
    bytes = 7e9; // of 8 GB that are left, and of 16 there are
    standbys.want(['k1'], 0);
    await sleep(100);
    assert.deepEqual(made, [], 'one would be left of 16');
    left = { available: 15e9, total: 16e9, stalled: 0 };
    await sleep(100);
    assert.deepEqual(made, [], 'more than a quarter of it');
    bytes = 3e9;
    await until(() => made.length === 1);
    assert.equal(together.bytes, 3e9, 'while it is made, too');
    const other = new Standbys(
      {
        make: async (checkpoint) => ({ id: `other ${made.push(checkpoint)}`, record: { base: checkpoint } }) as Branch,
        proven: () => {},
        rested: () => {},
        end: () => {},
        bytesOf: () => 2e9,
        unproven: () => [],
        isBusy: () => false,
      },
      () => left,
      together,
      { lookMs: 50 },
    );
    other.want(['k9'], 0);
    await sleep(100);
    assert.deepEqual(made, ['k1'], "another sandbox's has no room beside it");
    finish[0]!();
    await until(() => standbys.all.length === 1);
    await standbys.take('k1');
    await until(() => other.all.length === 1);
    assert.deepEqual(made, ['k1', 'k9'], 'what was taken is no standby any more');
    await other.close('the test is over');
    assert.equal(together.bytes, 0);
  });

  it('one for which there is no room is in the way of none that has some, wanted or to be proven', async () => {
    large = 'k3';
    unproven = ['k3', 'k2', 'k1'];
    standbys.want(['k3', 'k2'], 0);
    await until(() => made.length === 1);
    finish[0]!();
    await until(() => made.length === 2);
    finish[1]!();
    await until(() => proven.has('k1'));
    assert.deepEqual([made, ended], [['k2', 'k1'], ['b2: it was made to see that it can be']]);
    await sleep(100);
    assert.equal(made.length, 2);
    left = { available: 60e9, total: 64e9, stalled: 0 };
    await until(() => made.length === 3);
    finish[2]!();
    await until(() => standbys.all.length === 2);
    assert.deepEqual([made[2], [...proven].sort()], ['k3', ['k1', 'k2', 'k3']]);
  });

  it('one that was too old is not made again because others are still to be proven', async () => {
    large = 'k9';
    unproven = ['k9'];
    standbys.want(['k1'], 0);
    await makeAll(1);
    await sleep(100);
    later = true;
    await until(() => ended.length === 1);
    later = false;
    await sleep(150);
    assert.deepEqual(made, ['k1']);
  });

  it('what nothing proved is proven when nobody wants anything, one after the other, and does not stand by', async () => {
    unproven = ['k3', 'k2', 'k1'];
    standbys.want(['k3'], 0);
    await makeAll(1);
    assert.deepEqual(made, ['k3']);
    await until(() => made.length === 2);
    // Somebody wants something after all: that comes first.
    standbys.want(['k3', 'k7'], 0);
    finish[1]!();
    await until(() => made.length === 3);
    assert.deepEqual([made, ended], [['k3', 'k2', 'k7'], ['b2: it was made to see that it can be']]);
    finish[2]!();
    await until(() => made.length === 4);
    finish[3]!();
    await until(() => ended.length === 2);
    assert.deepEqual([made[3], [...proven].sort()], ['k1', ['k1', 'k2', 'k3', 'k7']]);
    assert.deepEqual(
      standbys.all.map(({ id }) => id),
      ['b1', 'b3'],
    );
    await sleep(100);
    assert.equal(made.length, 4);
  });

  it('whoever goes to a checkpoint while it is proven has the branch', async () => {
    unproven = ['k1'];
    standbys.want([], 0);
    await until(() => made.length === 1);
    const taken = standbys.take('k1');
    finish[0]!();
    assert.equal((await taken)?.id, 'b1');
    assert.deepEqual(ended, []);
  });

  it('what could not be restored, for a reason that is not its own, is not tried again and again', async () => {
    unproven = ['k1'];
    standbys = new Standbys(
      {
        make: (checkpoint) => {
          made.push(checkpoint);
          return Promise.reject(new Error('the volume is full'));
        },
        proven: (checkpoint) => proven.add(checkpoint),
        rested: () => {},
        end: () => {},
        bytesOf: () => 1,
        unproven: () => unproven.filter((one) => !proven.has(one)),
        isBusy: () => busy,
      },
      () => left,
      together,
      { lookMs: 20, idleMs: 10 },
    );
    standbys.want([], 0);
    await until(() => made.length === 1);
    await sleep(100);
    assert.deepEqual(made, ['k1']);
    standbys.want([], 0);
    await until(() => made.length === 2);
    await sleep(100);
    assert.deepEqual([made, [...proven]], [['k1', 'k1'], []], 'when something was asked for, once more');
  });

  it('are forgotten once taken, though there was always one more to make', async () => {
    standbys.want(['k1', 'k1'], 0);
    const taken: WeakRef<Branch>[] = [];
    for (let n = 0; n < 10; n++) {
      await until(() => finish.length === n + 1);
      finish[n]!();
      finish[n] = () => {}; // it knows what it resolved
      await until(() => standbys.all.length === 1);
      taken.push(new WeakRef((await standbys.take('k1'))!));
    }
    setFlagsFromString('--expose-gc');
    const collect: () => void = runInNewContext('gc');
    await sleep(1); // what a WeakRef was made of lives until the end of its turn
    collect();
    // Of the last one the work knows until the next is made.
    assert.deepEqual(
      taken.slice(0, -1).filter((one) => one.deref()),
      [],
    );
  });

  describe('while programs need all processors', () => {
    beforeEach(() => {
      idle = 0;
    });
    /** Takes 20 ms, of two processors: a twentieth of 200 ms. */
    const makeOne = async (n: number): Promise<number> => {
      await until(() => made.length === n);
      const begun = performance.now();
      await sleep(20);
      finish[n - 1]!();
      return begun;
    };

    it('are made for a small share of the time', async () => {
      standbys.want(['k1', 'k2', 'k3'], 0);
      const begun = [await makeOne(1), await makeOne(2), await makeOne(3)];
      for (const n of [1, 2]) assert.ok(begun[n]! - begun[n - 1]! >= 190, `${begun}`);
    });

    it('what only proves a checkpoint, too', async () => {
      unproven = ['k7'];
      standbys.want(['k1'], 0);
      const begun = await makeOne(1);
      await until(() => made.length === 2);
      assert.ok(performance.now() - begun >= 190);
      assert.deepEqual(made, ['k1', 'k7']);
    });

    it('those of all sandboxes together: while one is made, and after it', async () => {
      const begun: number[] = [];
      const others = Array.from(
        { length: 6 },
        () =>
          new Standbys(
            {
              make: async (checkpoint) => {
                begun.push(performance.now());
                await sleep(20);
                return { id: `other ${begun.length}`, record: { base: checkpoint } } as Branch;
              },
              proven: () => {},
              rested: () => {},
              end: () => {},
              bytesOf: () => 1,
              unproven: () => [],
              isBusy: () => false,
            },
            () => left,
            together,
          ),
      );
      for (const other of others) other.want(['k9'], 0);
      await sleep(700);
      assert.ok(begun.length >= 2 && begun.length <= 4, `${begun.length} of 6 in 0.7 s`);
      for (const n of begun.keys()) assert.ok(n === 0 || begun[n]! - begun[n - 1]! >= 190, `${begun}`);
      idle = 2;
      await until(() => begun.length === 6);
      await Promise.all(others.map((other) => other.close('the test is over')));
    });

    it('go on at once when there is time again', async () => {
      standbys.want(['k1', 'k2'], 0);
      await until(() => made.length === 1);
      await sleep(200); // 2 s of rest
      finish[0]!();
      await sleep(60);
      assert.equal(made.length, 1);
      idle = 1;
      const begun = performance.now();
      await until(() => made.length === 2);
      assert.ok(performance.now() - begun < 1200, 'when half a processor was idle on the mean since it began');
    });

    /** Two seconds of rest are due. */
    const rest = async (): Promise<void> => {
      await until(() => made.length === 1);
      await sleep(200);
      finish[0]!();
      await until(() => standbys.all.length === 1);
    };

    it('one who goes to a checkpoint has the next made at once, as often', async () => {
      standbys.want(['k1', 'k2'], 0);
      await rest();
      assert.equal((await standbys.take('k1'))?.id, 'b1');
      assert.equal(await standbys.take('k3'), null);
      await sleep(150); // a restore that somebody waits for
      assert.deepEqual(made, ['k1'], 'what is wanted now is not known yet');
      standbys.want(['k3', 'k1', 'k2'], 0);
      await until(() => made.length === 2);
      finish[1]!();
      await until(() => made.length === 3);
      finish[2]!();
      await sleep(150);
      assert.deepEqual(made, ['k1', 'k3', 'k1'], 'two for two');
    });

    it('what a caller asked for waits neither for the pace nor for what nobody asked for', async () => {
      standbys.want(['k1'], 0);
      await rest();
      standbys.want(['k2', 'k3', 'k4', 'k5'], 0, ['k3', 'k5']);
      for (const n of [2, 3]) {
        await until(() => made.length === n);
        finish[n - 1]!();
      }
      await sleep(150);
      assert.deepEqual(made, ['k1', 'k3', 'k5']);
    });
  });

  it('none that nobody asked for is begun while somebody waits for a checkpoint or a restore', async () => {
    busy = true;
    standbys.want(['k1', 'k2'], 0, ['k2']);
    await until(() => made.length === 1);
    finish[0]!();
    await sleep(100);
    assert.deepEqual(made, ['k2']);
    busy = false;
    await until(() => made.length === 2);
    assert.deepEqual(made, ['k2', 'k1']);
  });

  it('all of a checkpoint that is deleted are ended', async () => {
    standbys.want(['k1', 'k1', 'k2'], 0);
    await makeAll(3);
    await standbys.drop('k1');
    assert.equal(ended.length, 2);
    assert.equal(standbys.all.length, 1);
  });
});

describe('the memory that is left', () => {
  const info = 'MemTotal:       24731748 kB\nMemFree:        17000000 kB\nMemAvailable:   22000000 kB\n';

  it('is read from the kernel, with the time that programs stall for it', () => {
    const pressure =
      'some avg10=12.34 avg60=1.00 avg300=0.00 total=155\nfull avg10=3.00 avg60=0.00 avg300=0.00 total=495\n';
    assert.deepEqual(readMemory(info, [pressure]), {
      available: 22000000 * 1024,
      total: 24731748 * 1024,
      stalled: 12.34,
    });
    assert.equal(readMemory(info, ['']).stalled, 0, 'a kernel without it');
    const own = 'some avg10=40.00 avg60=1.00 avg300=0.00 total=155\n';
    assert.equal(readMemory(info, [pressure, own]).stalled, 40, 'a container that is short of it');
    const here = memory();
    assert.deepEqual(Object.keys(memory('/sys/fs/cgroup/unified/teleport-env')), Object.keys(here));
    assert.ok(here.available > 0 && here.total >= here.available && here.stalled >= 0);
  });
});

describe('the time that processors have left', () => {
  it('is read from the kernel', () => {
    const text =
      'cpu  100 5 50 7000 30 0 2 0 0 0\ncpu0 50 2 25 3500 15 0 1 0 0 0\ncpu1 50 3 25 3500 15 0 1 0 0 0\nintr 5 0 0\nctxt 9\n';
    assert.deepEqual(readProcessors(text, 7), { at: 7, idle: 70_300, processors: 2 });
    const here = processors();
    assert.ok(here.processors >= 1 && here.idle >= 0 && here.at > 0);
  });
});

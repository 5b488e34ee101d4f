/** The CRIU that is begun before anybody waits for a checkpoint: used, done without when it is lost, and left by nobody. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Rig } from '../states/rig.ts';
import { Execs } from './execs.ts';
import { needsMachine } from './helper-process.ts';

describe('a CRIU that is begun ahead of a checkpoint', function () {
  this.timeout(60_000);
  let execs: Execs;
  let rig: Rig;

  before(function () {
    needsMachine(this);
    execs = new Execs();
  });
  after(() => execs?.end());
  beforeEach(async () => {
    rig = await Rig.make(0, () => {}, 0, true);
    await rig.run('X=kept; sleep 1000 & :');
  });
  afterEach(() => rig?.end());

  /** Those that wait in the network of that branch, or of any: pids. */
  function waiting(branch?: string | null): number[] {
    const { pid } = rig.helper;
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ');
    return children.map(Number).filter((child) => {
      const net = /enter\0--wait\0.*\0--net\0(\d+)\0/.exec(commandOf(child))?.[1];
      return net !== undefined && (branch === undefined || groupOf(net).endsWith(`/${rig.sandbox}-${branch}`));
    });
  }
  /** Of the head. */
  async function one(): Promise<number> {
    const { head } = await rig.get();
    await until(() => waiting(head).length > 0, 'one that waits');
    const found = waiting(head);
    assert.equal(found.length, 1, `${found}`);
    return found[0]!;
  }
  /** Takes a checkpoint. @returns the pids of the processes that became CRIU meanwhile */
  async function taken(): Promise<number[]> {
    execs.below(rig.helper.pid);
    const checkpoint = await rig.checkpoint();
    const dumped = execs.below(rig.helper.pid).flatMap(({ program, pid }) => (program === 'criu' ? [pid] : []));
    await rig.run('X=other; kill %1');
    await rig.rollback(checkpoint);
    assert.equal(await rig.run('echo $X; jobs -r | wc -l'), 'kept\n1\n');
    return dumped;
  }
  const gone = (pid: number): Promise<void> => until(() => !existsSync(`/proc/${pid}`), `the end of ${pid}`);

  it('takes it, and another is begun', async () => {
    for (let n = 0; n < 3; n++) {
      const begun = await one();
      assert.deepEqual(await taken(), [begun]);
      await gone(begun);
    }
  });

  it('killed while it waits, is known to be gone: another takes it', async () => {
    const begun = await one();
    process.kill(begun, 'SIGKILL');
    await gone(begun);
    const dumped = await taken();
    assert.ok(dumped.length === 1 && dumped[0] !== begun, `${dumped}`);
  });

  it('killed while it waits, is asked all the same when nobody has heard: another takes it in its place', async () => {
    for (let n = 0; n < 3; n++) {
      const begun = await one();
      writeFileSync(rig.helper.fault, 'capture:begun=ahead');
      const dumped = await taken();
      assert.ok(dumped.length === 1 && dumped[0] !== begun, `${dumped}`);
      assert.ok(!existsSync(rig.helper.fault), 'it was killed just then');
    }
  });

  it('ends with its branch: gone back from, stopped, or removed with the sandbox', async () => {
    const checkpoint = await rig.checkpoint();
    const { sandbox } = rig;
    const ways = [
      () => rig.rollback(checkpoint),
      () => rig.connection.request('sandbox/stop', { sandbox }),
      () => rig.connection.request('sandbox/remove', { sandbox }),
    ];
    for (const way of ways) {
      const begun = await one();
      await way();
      await gone(begun);
      if (way === ways[1]) await rig.connection.request('sandbox/start', { sandbox });
    }
    assert.deepEqual(waiting(), []);
    assert.deepEqual(rig.helper.liveBranches(), []);
  });

  for (const signal of ['SIGTERM', 'SIGKILL'] as const)
    it(`ends with the helper, by ${signal}; the next begins another`, async () => {
      const begun = await one();
      await rig.helper.kill(signal);
      await gone(begun);
      await rig.restart();
      await rig.run(':');
      await taken();
    });
});

/** Its cgroup v2. */
function groupOf(pid: string): string {
  return /^0::(.*)$/m.exec(readFileSync(`/proc/${pid}/cgroup`, 'utf8'))?.[1] ?? '';
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return ''; // it ended meanwhile
  }
}

async function until(isSo: () => boolean, what: string): Promise<void> {
  for (const end = Date.now() + 30_000; !isSo(); await sleep(20))
    assert.ok(Date.now() < end, `${what}: not within 30 s`);
}

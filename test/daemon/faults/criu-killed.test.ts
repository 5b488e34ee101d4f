/** CRIU or PID 1 is killed at every step of a checkpoint, a rollback and a fork: the helper says so, and all that was committed is usable. */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FaultPoint } from '../../../helper/engine/fault.ts';
import { needsMachine } from '../helper-process.ts';
import { FAULTS, note, SEED } from './counts.ts';
import { type Failure, failure, random, type Told, World } from './world.ts';

const DUMPING: FaultPoint[] = [
  'criu:pre-dump',
  'criu:query-ext-files',
  'capture:stopped',
  'capture:copied',
  'criu:post-dump',
];
const RESTORING: FaultPoint[] = [
  'criu:pre-restore',
  'criu:setup-namespaces',
  'criu:post-restore',
  'criu:pre-resume',
  'branch:restoring',
  'criu:post-resume',
];
const AROUND_DUMP: FaultPoint[] = [
  'take:quiesced',
  'capture:begun',
  'capture:dumped',
  'take:captured',
  'take:pinned',
  'take:written',
  'take:done',
];
const AROUND_RESTORE: FaultPoint[] = [
  'branch:live',
  'branch:recorded',
  'branch:answers',
  'head:obtained',
  'head:recorded',
];
const TOLD = ['cannotCapture', 'restoreFailed', 'notRunning'];

describe('killed while nothing stands by', function () {
  this.timeout(120_000 + FAULTS * 10_000);
  let world: World;
  let sandbox: string;
  let told: Told;

  before(async function () {
    needsMachine(this);
    world = await World.start({ standbys: 0 });
  });
  after(() => world?.stop());
  beforeEach(async () => {
    sandbox = await world.create();
    told = await world.begin(sandbox);
    await world.grow(sandbox, told, 1);
  });
  afterEach(async function () {
    await world.clear(this.currentTest?.state === 'failed');
  });

  const act: Record<string, () => Promise<unknown>> = {
    checkpoint: () => world.checkpoint(sandbox),
    rollback: () => world.rollback(sandbox, told.target),
    fork: () => world.connection.request('branch/fork', { sandbox, checkpoint: told.target }),
  };
  /** How the sandbox is afterwards: the head goes on, or has ended with a word of why, and the failure said which. */
  async function look(error: Failure, what: string): Promise<'on' | 'ended'> {
    assert.ok(error.code === 'no error' || TOLD.includes(error.code), `${what}: ${JSON.stringify(error)}`);
    // The death of a PID 1 is heard of a moment later.
    if (error.code === 'no error') await sleep(100);
    const { state, problem } = await world.get(sandbox);
    if (state === 'running') return 'on';
    assert.equal(state, 'failed', what);
    assert.match(problem ?? '', /ended/, what);
    return 'ended';
  }
  async function sound(error: Failure, what: string, moved: boolean, after: 'on' | 'ended'): Promise<void> {
    const old = told.checkpoints.get(told.target)!;
    const { current } = await world.get(sandbox);
    const there = told.checkpoints.get(current) ?? told.head;
    const heads =
      after === 'ended' ? [there, told.head, old] : moved && error.code === 'no error' ? [old] : [told.head];
    try {
      await world.sound(sandbox, told, { heads });
    } catch (cause) {
      throw new Error(`${what} (${JSON.stringify(error)}): ${(cause as Error).message}`, { cause });
    }
  }

  it('CRIU, at each of its steps: the checkpoint, the rollback or the fork fails by name, the head goes on', async () => {
    const leftOf = (dir: string): string[] => readdirSync(dir).filter((name) => name.startsWith('.criu.mntns.'));
    const inTmp = leftOf('/tmp');
    let failed = 0;
    const moments = [
      ...DUMPING.map((point) => ['checkpoint', point] as const),
      ...RESTORING.flatMap((point) => [['rollback', point] as const, ['fork', point] as const]),
    ];
    for (const [what, point] of moments) {
      world.arm(point, 'criu');
      const error = await failure(act[what]!());
      assert.ok(world.disarm(), `${point} was met`);
      if (error.code !== 'no error') failed++;
      const name = `${what}, CRIU killed at ${point}`;
      const after = await look(error, name);
      assert.equal(after, 'on', `${name}: ${JSON.stringify(error)}`);
      await sound(error, name, what === 'rollback', after);
    }
    assert.ok(failed >= moments.length * 0.7, `${failed} of ${moments.length} were in time`);
    note('CRIU killed at its steps', { faults: moments.length, failed });

    const own = join(world.helper.dir, 'run/criu/teleport-env');
    const left = leftOf(own);
    assert.ok(left.length > 0, 'one that is killed while it restores leaves a folder');
    assert.deepEqual(
      leftOf('/tmp').filter((name) => !inTmp.includes(name)),
      [],
    );
    for (const name of left) utimesSync(join(own, name), Date.now() / 1000 - 7200, Date.now() / 1000 - 7200);
    const restoring = '.criu.mntns.is in use';
    mkdirSync(join(own, restoring));
    await world.restart();
    assert.deepEqual(leftOf(own), [restoring], 'a helper that starts removes what nobody can be restoring in');
  });

  it('CRIU, between its steps: what ended along with it is named, and the checkpoints hold', async () => {
    const next = random(SEED);
    const rounds = Math.max(8, FAULTS / 5);
    const counts = { failed: 0, damaged: 0, ended: 0 };
    for (let n = 0; n < rounds; n++) {
      const what = n % 2 ? 'rollback' : 'checkpoint';
      const ms = next(12);
      world.arm(n % 2 ? 'criu:pre-restore' : 'criu:pre-dump', `criu+${ms}`);
      const error = await failure(act[what]!());
      world.disarm();
      const name = `${what}, CRIU killed after ${ms} ms (round ${n + 1}, seed ${SEED})`;
      if (error.code !== 'no error') counts.failed++;
      const after = await look(error, name);
      if (after === 'ended') counts.ended++;
      // Killed while its own code ran in a process, CRIU takes that one along. Then this is said, and one goes back.
      if (error.code === 'cannotCapture' && /ended with it/.test(error.message)) {
        counts.damaged++;
        assert.match(error.message, /(\w+ \(pid \d+\))+ ended with it/, name);
        assert.match(error.hint ?? '', /roll back/, name);
        told.head = told.checkpoints.get(told.target)!;
        await world.rollback(sandbox, told.target);
      }
      await sound(error, name, what === 'rollback', after);
    }
    note('CRIU killed between its steps', { faults: rounds, ...counts, seed: SEED });
    assert.ok(counts.failed > 0, 'CRIU was killed in time at least once');
  });

  it('PID 1, at every step: the head ends with a word of why or another takes its place, and all can be gone back to', async () => {
    const moments = [
      ...[...DUMPING, ...AROUND_DUMP].map((point) => ['checkpoint', point] as const),
      ...[...RESTORING, ...AROUND_RESTORE].map((point) => ['rollback', point] as const),
    ];
    for (const [what, point] of moments) {
      world.arm(point, 'init');
      const error = await failure(act[what]!());
      const met = world.disarm();
      const name = `${what}, PID 1 killed at ${point}`;
      assert.ok(met, `${name}: not met`);
      await sound(error, name, what === 'rollback', await look(error, name));
    }
    note('PID 1 killed at every step', { faults: moments.length });
  });

  it('PID 1, at rest: the sandbox says that it was ended from outside, and starts again where it was saved', async () => {
    const { current } = await world.get(sandbox);
    process.kill(await world.pidOfHead(sandbox), 'SIGKILL');
    for (let i = 0; i < 200 && (await world.get(sandbox)).state === 'running'; i++) await sleep(25);
    const { state, problem } = await world.get(sandbox);
    assert.equal(state, 'failed');
    assert.match(problem ?? '', /ended from outside/);
    assert.equal((await failure(world.run(sandbox, 'true'))).code, 'notRunning');
    await world.connection.request('sandbox/start', { sandbox });
    assert.equal(await world.moment(sandbox), told.checkpoints.get(current));
    await world.tidy(1);
  });

  it('a successor that fails gives a rotation back, and a rollback that fails leaves the head as it was', async () => {
    for (const point of ['branch:prepared', 'branch:restoring', 'branch:recorded', 'branch:answers'] as const) {
      await world.many(sandbox, told);
      const before = (await world.checkpoints(sandbox)).length;
      world.arm(point, 'throw');
      assert.notEqual((await failure(world.checkpoint(sandbox))).code, 'no error', point);
      assert.equal(await world.moment(sandbox), told.head, point);
      assert.equal((await world.checkpoints(sandbox)).length, before);
    }
    world.arm('branch:restoring', 'throw');
    assert.equal((await failure(world.rollback(sandbox, told.target, false))).code, 'restoreFailed');
    await world.sound(sandbox, told, { heads: [told.head] });
  });
});

describe('a standby that ended while it stood still', function () {
  this.timeout(120_000);
  let world: World;
  before(async function () {
    needsMachine(this);
    world = await World.start();
  });
  after(() => world?.stop());

  it('is replaced by a restored branch, which does what was sent along with the rollback, once', async () => {
    const sandbox = await world.create();
    const told = await world.begin(sandbox);
    await world.grow(sandbox, told, 1);
    for (let i = 0; i < 3; i++) {
      await world.rollback(sandbox, told.target);
      for (const pid of await world.standbysOf(sandbox, told.target)) process.kill(pid, 'SIGKILL');
      const [moved, said] = await Promise.all([
        world.rollback(sandbox, told.target),
        world.run(sandbox, 'echo "$X"; echo done >> times'),
      ]);
      assert.equal(moved.path, 'cold');
      assert.equal(said.trim(), told.checkpoints.get(told.target));
      assert.equal((await world.run(sandbox, 'cat times')).trim(), 'done');
    }
    await world.remove(sandbox);
    await world.nothingLeft();
  });
});

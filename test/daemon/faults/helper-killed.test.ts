/** The helper is killed at every step of everything it does to a sandbox; the next one finds all that was committed, and no more. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { performPrepared, prepareApply } from '../../../helper/client/apply/index.ts';
import { FAULT_POINTS, type FaultPoint } from '../../../helper/engine/fault.ts';
import { needsMachine } from '../helper-process.ts';
import { FAULTS, note, SEED } from './counts.ts';
import { ALL, STORIES } from './stories.ts';
import { failure, random, type Told, World } from './world.ts';

/** A sandbox lives through that many, then it is removed and all must be as before it. */
const PER_SANDBOX = 10;

describe('a helper that is killed', function () {
  this.timeout(120_000 + FAULTS * 15_000);
  let world: World;

  before(async function () {
    needsMachine(this);
    world = await World.start();
  });
  after(() => world?.stop());
  afterEach(async function () {
    await world.clear(this.currentTest?.state === 'failed');
  });

  /** @returns whether the fault happened */
  async function live(sandbox: string, told: Told, name: string, point: FaultPoint): Promise<boolean> {
    const { helper } = world;
    const story = STORIES[name]!;
    await story.prepare?.(world, sandbox, told);
    world.arm(point);
    await Promise.race([failure(story.act(world, sandbox, told)), helper.died(60_000)]);
    const hit = await helper.died(existsSync(helper.fault) ? 300 : 5000);
    world.disarm();
    if (!hit) await helper.kill(); // all the same: right after is a moment like any other
    await world.restart();
    const left = told.head;
    await world.sound(sandbox, told, { heads: story.heads(told), mayBeGone: story.gone?.(told), look: story.look });
    if (story.saves && !story.heads({ ...told, head: left }).includes(left)) assert.fail(`${left} can be gone back to`);
    return hit;
  }

  it(`leaves everything committed usable, at ${FAULTS} random points (seed ${SEED})`, async () => {
    const next = random(SEED);
    const all = [...ALL];
    for (let i = all.length - 1; i > 0; i--) {
      const j = next(i + 1);
      [all[i], all[j]] = [all[j]!, all[i]!];
    }
    let sandbox = await world.create();
    let told = await world.begin(sandbox);
    let hits = 0;
    const met = new Set<string>();
    for (let n = 0; n < FAULTS; n++) {
      const [name, point] = all[n % all.length]!;
      try {
        if (n % PER_SANDBOX === PER_SANDBOX - 1) {
          await world.remove(sandbox);
          await world.nothingLeft();
          sandbox = await world.create();
          told = await world.begin(sandbox);
        }
        await world.grow(sandbox, told, n);
        if (!(await live(sandbox, told, name, point))) continue;
        hits++;
        met.add(`${name}, ${point}`);
      } catch (error) {
        throw new Error(`${name}, ${point} (fault ${n + 1}): ${(error as Error).message}`, { cause: error });
      }
    }
    await world.remove(sandbox);
    const left = await world.nothingLeft();
    note('helper killed', { faults: FAULTS, hits, moments: met.size, of: ALL.length, seed: SEED, ...left });
    assert.ok(hits >= FAULTS * 0.8, `${hits} of ${FAULTS} faults happened`);
  });

  it('loses nothing of a deep line that it makes shallow, and does so the next time', async () => {
    const { points, look } = STORIES.flatten!;
    const sandbox = await world.create();
    const told = await world.begin(sandbox);
    for (const [n, point] of points.entries()) {
      await world.grow(sandbox, told, n);
      assert.ok(await live(sandbox, told, 'flatten', point), `${point} was met`);
      // What is half of one layer is in the way of nobody, and of no use.
      const base = [...told.checkpoints.keys()].at(-2)!;
      await world.rollback(sandbox, base);
      told.head = told.checkpoints.get(base)!;
      const { checkpoint } = await world.checkpoint(sandbox);
      told.checkpoints.set(checkpoint.id, told.head);
      await world.flattened(sandbox, base);
      await world.sound(sandbox, told, { heads: [told.head], look });
    }
    await world.sound(sandbox, told, { heads: [told.head], look: told.checkpoints.size });
    await world.remove(sandbox);
    await world.nothingLeft();
    note('helper killed while it flattened', { faults: points.length, checkpoints: told.checkpoints.size });
  });

  it('leaves no half sandbox while one is made or removed', async () => {
    const points: FaultPoint[] = [
      ...FAULT_POINTS.filter((point) => /^(create|remove):/.test(point)),
      'branch:prepared',
      'branch:live',
      'branch:recorded',
      'record:part',
    ];
    for (const point of points) {
      const removing = point.startsWith('remove:');
      const sandbox = removing ? await world.create() : null;
      world.arm(point);
      const acted = failure(removing ? world.remove(sandbox!) : world.create());
      await Promise.race([acted, world.helper.died(20_000)]);
      assert.ok(await world.helper.died(5000), `${point} was met`);
      await world.restart();
      if (point === 'remove:ended') {
        await world.connection.request('sandbox/start', { sandbox: sandbox! });
        await world.remove(sandbox!);
      } else assert.deepEqual((await world.connection.request('sandbox/list', {})).sandboxes, [], point);
      await world.nothingLeft();
    }
  });

  it('leaves each file of a workspace as it was or as it is to be, while they are applied', async () => {
    const sandbox = await world.create();
    const { workspace: dir } = await world.get(sandbox);
    const env = { ...process.env, XDG_STATE_HOME: join(world.helper.dir, 'xdg') };
    mkdirSync(env.XDG_STATE_HOME);
    const apply = async (): Promise<unknown> =>
      await performPrepared(await prepareApply(world.connection, { sandbox }, { env }), {}, { env });
    const files = (): string[] => readdirSync(dir).filter((name) => name !== 'a.txt');
    for (let n = 1; n <= 5; n++) {
      await world.run(sandbox, `for i in 1 2 3 4; do echo "round ${n}" > f$i; done`);
      const before = files().map((name) => readFileSync(join(dir, name), 'utf8'));
      world.arm(`fs:read#${n}` as FaultPoint);
      assert.notEqual((await failure(apply())).code, 'no error');
      assert.ok(await world.helper.died(5000));
      await world.restart();
      // What was not read whole changed nothing, and no half of it is left in the folder.
      assert.deepEqual(
        files().map((name) => readFileSync(join(dir, name), 'utf8')),
        before,
      );
      await apply();
      assert.deepEqual(files(), ['f1', 'f2', 'f3', 'f4']);
      for (const name of files()) assert.equal(readFileSync(join(dir, name), 'utf8'), `round ${n}\n`);
    }
    rmSync(env.XDG_STATE_HOME, { recursive: true });
    writeFileSync(join(dir, 'a.txt'), 'one\n');
  });
});

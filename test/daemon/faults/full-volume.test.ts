/** The state volume is full, at every step and for real: what can't be done says so, nothing committed is lost, and gc helps. */
import assert from 'node:assert/strict';
import { closeSync, openSync, rmSync, statfsSync, statSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FaultPoint } from '../../../helper/engine/fault.ts';
import { syncfsAsync } from '../../../helper/engine/syscalls.ts';
import { needsMachine } from '../helper-process.ts';
import { note, SOAK } from './counts.ts';
import { STORIES } from './stories.ts';
import { failure, type Told, World } from './world.ts';

/** Where something is written next. */
const WRITES: FaultPoint[] = [
  'capture:begun',
  'criu:pre-dump',
  'criu:query-ext-files',
  'capture:stopped',
  'capture:copied',
  'capture:dumped',
  'capture:moving',
  'capture:moved',
  'take:captured',
  'take:pinned',
  'branch:prepared',
  'branch:restoring',
  'record:part',
];
const KIB = 1024;
const VOLUME = 400 << 20;

describe('a full volume', function () {
  this.timeout(180_000);
  let world: World;
  before(async function () {
    needsMachine(this);
    world = await World.start({ volumeBytes: VOLUME, standbys: 0 });
  });
  after(() => world?.stop());
  afterEach(async function () {
    rmSync(ballast(), { force: true });
    await world.clear(this.currentTest?.state === 'failed');
  });

  const volume = (): string => join(world.helper.state, 'volume');
  const ballast = (): string => join(volume(), 'ballast');
  const free = (): number => {
    const { bavail, bsize } = statfsSync(volume());
    return bavail * bsize;
  };
  /** Fills the volume until just `left` bytes are free: for real, by data. The helper's reserve has been used up before. */
  async function fill(left: number): Promise<void> {
    truncateSync(join(volume(), 'reserve'), 0);
    await fillBeside(left);
  }
  async function fillBeside(left = 0): Promise<void> {
    const fd = openSync(ballast(), 'a');
    try {
      for (let chunk = 1 << 20; chunk >= 4 * KIB; chunk >>= 1)
        while (free() >= left + chunk) {
          try {
            writeSync(fd, Buffer.alloc(chunk, 1));
          } catch {
            break; // what is free is not all for data
          }
        }
      // What was promised to delayed writes is given up.
      await syncfsAsync(volume());
    } finally {
      closeSync(fd);
    }
  }

  for (const name of [
    'checkpoint',
    'checkpoint, rotating',
    'rollback that saves',
    'rollback, cold',
    'fork',
    'stop',
    'gc',
  ])
    it(`at each step of a ${name}`, async () => {
      const story = STORIES[name]!;
      const sandbox = await world.create();
      const told = await world.begin(sandbox);
      let full = 0;
      const points = story.points.filter((point) => WRITES.includes(point));
      for (const [n, point] of points.entries()) {
        await world.grow(sandbox, told, n);
        await story.prepare?.(world, sandbox, told);
        world.arm(point, 'full');
        const error = await failure(story.act(world, sandbox, told));
        if (!world.disarm()) continue;
        if (error.code !== 'no error') full++;
        assert.ok(['volumeFull', 'no error'].includes(error.code), `${point}: ${JSON.stringify(error)}`);
        const { code } = error;
        const heads = code === 'no error' ? story.heads(told) : [told.head];
        try {
          await world.sound(sandbox, told, { heads, mayBeGone: story.gone?.(told) });
        } catch (cause) {
          throw new Error(`${point} (${code}): ${(cause as Error).message}`, { cause });
        }
      }
      note(`volume full, ${name}`, { steps: points.length, 'told so': full });
    });

  it('with so much room and a little more: each checkpoint and rollback is whole or is told to be impossible', async () => {
    const sandbox = await world.create();
    const told = await world.begin(sandbox);
    await world.grow(sandbox, told, 1);
    for (const id of told.checkpoints.keys()) await world.durable(sandbox, id);
    const codes = { volumeFull: 0, 'no error': 0 };
    const rooms = (SOAK ? [0, 64, 128, 256, 512, 768, 1024, 1536, 2048, 3072, 4096] : [0, 256, 1024, 4096]).map(
      (kib) => kib * KIB,
    );
    for (const room of rooms)
      for (const act of [() => world.checkpoint(sandbox), () => world.rollback(sandbox, told.target)]) {
        await fill(room);
        const { code, message } = await failure(act());
        assert.ok(code in codes, `${room >> 10} KiB: ${code}: ${message}`);
        codes[code as keyof typeof codes]++;
        const value = await world.moment(sandbox);
        const old = told.checkpoints.get(told.target)!;
        assert.ok([told.head, old].includes(value), `${room >> 10} KiB: ${code}, ${value}`);
        truncateSync(ballast(), 0);
        await world.sound(sandbox, told, { heads: [value] });
      }
    assert.ok(codes.volumeFull > 0 && codes['no error'] > 0, JSON.stringify(codes));
    note('volume really full', codes);
  });

  it('the helper has kept some room back: with nothing left, a small checkpoint can still be made', async () => {
    const sandbox = await world.create();
    const told = await world.begin(sandbox);
    await world.grow(sandbox, told, 1);
    await fill(32 << 20);
    // Where there is room again, it is kept back again.
    await world.connection.request('gc', { sandbox, keep: 100 });
    assert.equal(statSync(join(volume(), 'reserve')).size, 8 << 20);
    await fillBeside();
    assert.equal((await failure(world.checkpoint(sandbox))).code, 'no error');
    assert.equal(statSync(join(volume(), 'reserve')).size, 0);
    truncateSync(ballast(), 0);
    await world.sound(sandbox, told, { heads: [told.head] });
  });

  it('a payload fills it: the sandbox goes on, can be left for an older checkpoint, and gc frees what it took', async () => {
    const sandbox = await world.create();
    const told: Told = await world.begin(sandbox);
    await world.grow(sandbox, told, 1);
    await world.run(sandbox, 'head -c 60M /dev/urandom > big1');
    const second = (await world.checkpoint(sandbox)).checkpoint.id;
    for (const { id } of await world.checkpoints(sandbox)) if (id !== 'k0') await world.durable(sandbox, id);
    writeFileSync(ballast(), '');
    await world.run(sandbox, 'for i in 1 2 3 4; do cat /dev/zero > filler$i; sync; done 2>/dev/null');
    await fill(0);
    assert.equal((await failure(world.checkpoint(sandbox))).code, 'volumeFull');
    assert.equal(await world.moment(sandbox), told.head);
    const saving = await failure(world.rollback(sandbox, told.target, false));
    assert.equal(saving.code, 'volumeFull');
    assert.match(saving.hint ?? '', /gc/);
    assert.equal(await world.moment(sandbox), told.head);
    rmSync(ballast());
    await world.rollback(sandbox, told.target);
    assert.equal(await world.moment(sandbox), told.checkpoints.get(told.target));
    const { freedBytes, deleted } = await world.connection.request('gc', { sandbox, keep: 2 });
    assert.ok(
      deleted.some(({ checkpoint }) => checkpoint === second),
      JSON.stringify(deleted),
    );
    assert.ok(freedBytes > 50 << 20, `${freedBytes}`);
    // The abandoned head is removed in the background.
    for (let i = 0; i < 400 && free() < 250 << 20; i++) await sleep(25);
    await world.run(sandbox, 'head -c 200M /dev/zero > again');
    const third = (await world.checkpoint(sandbox)).checkpoint.id;
    await world.rollback(sandbox, third);
    assert.equal(await world.run(sandbox, 'stat -c %s again'), `${200 << 20}\n`);
  });
});

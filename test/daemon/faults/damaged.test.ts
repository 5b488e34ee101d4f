/** What is on disk is cut, flipped, swapped, missing or of another machine: said by name before the head is touched; the rest works. */
import assert from 'node:assert/strict';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { needsMachine } from '../helper-process.ts';
import { failure, type Told, World } from './world.ts';

describe('on a damaged volume', function () {
  this.timeout(60_000);
  let world: World;
  let sandbox: string;
  let told: Told;
  /** Siblings: both lie on the root alone. */
  let ids: [string, string];

  before(async function () {
    needsMachine(this);
    world = await World.start({ standbys: 0 });
  });
  after(() => world?.stop());
  beforeEach(async () => {
    sandbox = await world.create();
    told = await world.begin(sandbox);
    await world.grow(sandbox, told, 1);
    ids = [...told.checkpoints.keys()] as [string, string];
    for (const id of ids) await world.durable(sandbox, id);
  });
  afterEach(async function () {
    await world.clear(this.currentTest?.state === 'failed');
  });

  const folder = (id: string): string => join(world.place(sandbox), 'checkpoints', id);
  const image = (id: string, file: string): string => join(folder(id), 'image', file);
  const pagesOf = (id: string): string =>
    image(
      id,
      readdirSync(image(id, ''))
        .filter((name) => /^pages-/.test(name))
        .sort((a, b) => statSync(image(id, b)).size - statSync(image(id, a)).size)[0]!,
    );
  function flip(file: string): void {
    const bytes = readFileSync(file);
    bytes[bytes.length >> 1]! ^= 1;
    writeFileSync(file, bytes);
  }

  /** A rollback fails by name, the head as it was; then the other checkpoint, which works. */
  async function spoilt(code: string, message: RegExp, damage: () => void): Promise<void> {
    const head = await world.moment(sandbox);
    damage();
    const error = await failure(world.rollback(sandbox, ids[0]));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, message);
    assert.equal(await world.moment(sandbox), head);
    await world.rollback(sandbox, ids[1]);
    assert.equal(await world.moment(sandbox), told.checkpoints.get(ids[1]));
  }

  it('a memory image that was cut short is told', async () => {
    await spoilt('checkpointDamaged', /pages-\d+\.img is cut short/, () => {
      const file = pagesOf(ids[0]);
      truncateSync(file, statSync(file).size - 4096);
    });
  });
  it('one flipped bit in it is told', async () => {
    await spoilt('checkpointDamaged', /pages-\d+\.img is not what was written/, () => flip(pagesOf(ids[0])));
  });
  it('a missing file of it is told', async () => {
    await spoilt('checkpointDamaged', /core-1\.img is missing/, () => rmSync(image(ids[0], 'core-1.img')));
  });
  it('two images that were swapped are told', async () => {
    const head = await world.moment(sandbox);
    const [one, two] = ids.map((id) => join(folder(id), 'image')) as [string, string];
    renameSync(one, `${one}.x`);
    renameSync(two, one);
    renameSync(`${one}.x`, two);
    for (const id of ids) assert.equal((await failure(world.rollback(sandbox, id))).code, 'checkpointDamaged');
    assert.equal(await world.moment(sandbox), head);
  });
  it('every file of an image, cut or flipped, is told', async () => {
    const head = await world.moment(sandbox);
    for (const name of readdirSync(image(ids[0], ''))) {
      const file = image(ids[0], name);
      const { size } = statSync(file);
      if (!name.endsWith('.img') || size === 0) continue;
      const good = readFileSync(file);
      for (const damage of [() => truncateSync(file, size >> 1), () => flip(file)]) {
        damage();
        assert.equal((await failure(world.rollback(sandbox, ids[0]))).code, 'checkpointDamaged', name);
        writeFileSync(file, good);
      }
    }
    assert.equal(await world.moment(sandbox), head);
    await world.rollback(sandbox, ids[0]);
    assert.equal(await world.moment(sandbox), told.checkpoints.get(ids[0]));
  });
  it('a missing layer is told, before and after a restart', async () => {
    await spoilt('restoreFailed', /layer|No such file|overlay/, () =>
      rmSync(join(folder(ids[0]), 'layer'), { recursive: true }),
    );
    await world.restart();
    const error = await failure(world.rollback(sandbox, ids[0]));
    assert.equal(error.code, 'checkpointDamaged');
    assert.match(error.message, /layer of k\d+ is missing/);
  });
  it('a garbled manifest is told; put right, it works again', async () => {
    const manifest = join(folder(ids[0]), 'manifest.json');
    const good = `${manifest}.good`;
    copyFileSync(manifest, good);
    writeFileSync(manifest, readFileSync(manifest, 'utf8').slice(0, 100));
    const head = await world.moment(sandbox);
    await world.restart();
    assert.equal(await world.moment(sandbox), head, 'the head goes on');
    const shown = (await world.checkpoints(sandbox)).map((c) => [c.id, c.state.broken !== undefined]);
    assert.deepEqual(
      shown,
      [
        [ids[1], false],
        [ids[0], true],
        ['k0', false],
      ],
      'it is listed as what it is',
    );
    assert.equal((await failure(world.rollback(sandbox, ids[0]))).code, 'checkpointDamaged');
    await world.rollback(sandbox, ids[1]);
    assert.equal(await world.moment(sandbox), told.checkpoints.get(ids[1]));
    renameSync(good, manifest);
    await world.restart();
    await world.rollback(sandbox, ids[0]);
    assert.equal(await world.moment(sandbox), told.checkpoints.get(ids[0]));
  });
  it('what is damaged can be deleted, but nothing that may be needed to put it right', async () => {
    const remove = (id: string) => world.connection.request('checkpoint/delete', { sandbox, checkpoint: id });
    const shown = async () => (await world.checkpoints(sandbox)).map(({ id }) => id);
    // With an image that is cut, by its manifest.
    truncateSync(image(ids[0], 'core-1.img'), 10);
    assert.equal((await failure(world.rollback(sandbox, ids[0]))).code, 'checkpointDamaged');
    await remove(ids[0]);
    assert.ok(!existsSync(folder(ids[0])));
    // A line: `one`, which `two` lies on, and `three`, in another line.
    await world.rollback(sandbox, ids[1]);
    await world.run(sandbox, 'echo 1 > one');
    const one = (await world.checkpoint(sandbox)).checkpoint.id;
    await world.rollback(sandbox, one);
    await world.run(sandbox, 'echo 2 > two');
    const two = (await world.checkpoint(sandbox)).checkpoint.id;
    await world.rollback(sandbox, ids[1]);
    const three = (await world.checkpoint(sandbox)).checkpoint.id;
    for (const id of [one, two, three]) await world.durable(sandbox, id);
    const head = await world.moment(sandbox);
    const manifest = join(folder(one), 'manifest.json');
    writeFileSync(manifest, readFileSync(manifest, 'utf8').slice(0, 100));
    await world.restart();
    // What `two` stands on is known, of `one` not even that: it may be anything that is older.
    const refused = async (id: string, by: string) => {
      const error = await failure(remove(id));
      assert.equal(error.code, 'checkpointInUse', error.message);
      assert.match(error.message, new RegExp(`${by}.* may lie on it`));
    };
    await refused(one, two);
    await refused(ids[1], one);
    const kept = await world.connection.request('gc', { sandbox, keep: 1 });
    assert.ok(!kept.deleted.some(({ checkpoint }) => checkpoint === ids[1]), JSON.stringify(kept));
    await remove(two);
    await remove(one);
    assert.ok(!existsSync(folder(one)) && !existsSync(folder(two)));
    assert.match((await failure(remove(ids[1]))).message, new RegExp(`: ${three} lie on it`));
    assert.deepEqual(await shown(), [three, ids[1], 'k0']);
    assert.equal(await world.moment(sandbox), head);
    await world.restart();
    assert.deepEqual(await shown(), [three, ids[1], 'k0']);
    await world.rollback(sandbox, three);
    assert.equal(await world.moment(sandbox), head);
  });
  it('what was kept of the base for others goes, but for one that can’t be read', async () => {
    const pins = () => readdirSync(join(world.place(sandbox), '../../pins/host'));
    const spare = join(world.place(sandbox), '../../pins/host/999');
    const manifest = join(folder(ids[0]), 'manifest.json');
    const { good, needed } = { good: readFileSync(manifest, 'utf8'), needed: pins() };
    mkdirSync(spare);
    writeFileSync(manifest, good.slice(0, 100));
    await world.restart();
    assert.ok(existsSync(spare), 'nobody knows what it needs');
    await world.connection.request('checkpoint/delete', { sandbox, checkpoint: ids[0] });
    await world.restart();
    assert.deepEqual(pins(), needed);
    await world.rollback(sandbox, ids[1]);
    assert.equal(await world.moment(sandbox), told.checkpoints.get(ids[1]));
    // One whose manifest can be read says what it needs.
    mkdirSync(spare);
    rmSync(join(folder(ids[1]), 'layer'), { recursive: true });
    await world.restart();
    assert.deepEqual(pins(), needed);
  });
  it('an image of another CRIU or kernel is tried, and that is said where it fails', async () => {
    const manifest = join(folder(ids[0]), 'manifest.json');
    const record = JSON.parse(readFileSync(manifest, 'utf8'));
    const foreign = JSON.stringify({ ...record, criu: '3.18', kernel: '5.4.0', sums: undefined });
    writeFileSync(manifest, foreign);
    await world.restart();
    await world.rollback(sandbox, ids[0]);
    assert.equal(await world.moment(sandbox), told.checkpoints.get(ids[0]));
    writeFileSync(manifest, foreign);
    await world.restart();
    await spoilt('restoreFailed', /CRIU 3\.18.*kernel 5\.4\.0/, () => truncateSync(image(ids[0], 'core-1.img'), 10));
  });
});

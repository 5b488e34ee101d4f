/** What a process can see of a change of branch, as docs/states.md says. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { needsMachine } from '../daemon/helper-process.ts';
import { Rig } from './rig.ts';

type Numbers = Record<'untouched' | 'changed' | 'own' | 'folder' | 'root', number>;
interface Seen {
  dev: Numbers;
  ino: Numbers;
  mtime: Numbers;
  /** Names and open descriptors agree on device and inode. */
  same: boolean;
  random: number;
  urandom: string;
  pid: number;
}

describe('what a process sees of a change of branch', function () {
  this.timeout(60_000);
  let rig: Rig;
  let first: Seen;
  /** Of the head that was asked last: a number that nobody has any more may come again. */
  let device: number;
  let checkpoint: string;
  const ask = async (n: number, branch?: string): Promise<Seen> =>
    JSON.parse(await rig.run(`touch ask.${n}; while [ ! -e told.${n} ]; do sleep 0.02; done; cat told.${n}`, branch));
  const files = ({ untouched, changed, own, folder }: Numbers): number[] => [untouched, changed, own, folder];

  before(async function () {
    needsMachine(this);
    rig = await Rig.make(0, (workspace) => writeFileSync(join(workspace, 'lower/changed'), ''));
    await rig.run('python3 -B programs/visible.py >>log 2>&1 &');
    first = await ask(0);
    checkpoint = await rig.checkpoint();
    await rig.verified(checkpoint);
  });
  after(() => rig?.end());

  it('nothing after a checkpoint', async () => {
    const now = await ask(1);
    for (const what of ['dev', 'ino', 'mtime', 'same', 'pid'] as const) assert.deepEqual(now[what], first[what], what);
    device = now.dev.own;
  });

  for (const way of ['warm', 'cold'] as const)
    it(`device and inode numbers of what it changed after a ${way} rollback, and nothing else`, async () => {
      await rig.rollbackBy(way, checkpoint);
      const now = await ask(1);
      assert.notEqual(now.dev.own, device, 'the device is another one');
      device = now.dev.own;
      assert.equal(new Set(files(now.dev)).size, 1, 'the same for all');
      assert.equal(now.ino.untouched, first.ino.untouched, 'an untouched file keeps its number');
      for (const name of ['changed', 'own', 'folder'] as const) assert.notEqual(now.ino[name], first.ino[name], name);
      assert.equal(now.same, true, 'names and open files agree');
      assert.deepEqual(now.mtime, first.mtime);
      assert.equal(now.pid, first.pid);
    });

  it('inode numbers stay where the next checkpoint finds nothing changed', async () => {
    const before = await ask(2);
    const second = await rig.checkpoint();
    for (const way of ['warm', 'cold'] as const) {
      await rig.rollbackBy(way, second);
      const now = await ask(3);
      assert.deepEqual(files(now.ino), files(before.ino), way);
      assert.notEqual(now.dev.own, device, way);
      device = now.dev.own;
    }
  });

  it('branches share the random numbers that their processes make, not those of the kernel', async () => {
    const forks = [await rig.fork(checkpoint), await rig.fork(checkpoint)];
    const [one, other] = await Promise.all(forks.map((branch) => ask(1, branch)));
    assert.equal(one!.random, other!.random);
    assert.notEqual(one!.urandom, other!.urandom);
    for (const branch of forks) await rig.connection.request('branch/discard', { sandbox: rig.sandbox, branch });
  });

  for (const [program, title, before, after] of [
    [
      'second_handle',
      'a database that is opened a second time is another one, to the locks of its process',
      'kept out',
      'let in',
    ],
    ['unread_event', 'events that were not read are gone', 'there', 'gone'],
    ['stop_told_again', 'a process that was stopped is told of to its parent once more', 'silence', 'told again'],
  ] as const)
    it(title, async () => {
      const ask = 'touch ask; while [ $(wc -l < told) -lt 2 ]; do sleep 0.02; done; tail -1 told';
      await rig.run(
        `rm -f ask told; python3 -B programs/${program}.py > told 2>&1 &\nwhile ! grep -qs ready told; do sleep 0.02; done`,
      );
      const taken = await rig.checkpoint();
      assert.equal(await rig.run(ask), `${before}\n`, 'after the checkpoint nothing is different');
      for (const way of ['warm', 'cold'] as const) {
        await rig.rollbackBy(way, taken);
        assert.equal(await rig.run(ask), `${after}\n`, way);
      }
    });
});

/** What programs in a branch write out, and a branch that ends, wait for no disk: nothing of a branch outlives a power failure anyway. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { OVERLAY_OPTIONS } from '../../helper/engine/init.ts';
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

describe('a file system that could not be written to', function () {
  this.timeout(30_000);
  const init = join(__dirname, '../../build/init/teleport-init');
  let dir: string;

  before(function () {
    needsMachine(this);
    dir = mkdtempSync(join(tmpdir(), 'teleport-volatile-'));
    // An image that is larger than what it lies in.
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'teleport-test', dir]);
    const image = join(dir, 'image');
    execFileSync('truncate', ['-s', '256M', image]);
    execFileSync('mkfs.ext4', ['-q', '-O', '^has_journal', '-E', 'lazy_itable_init=1', image]);
    mkdirSync(join(dir, 'volume'));
    execFileSync('mount', ['-o', 'loop,errors=continue', image, join(dir, 'volume')]);
    for (const name of ['root', 'upper', 'work', 'lower']) mkdirSync(join(dir, 'volume', name));
    writeFileSync(join(dir, 'volume/lower/file'), 'kept');
  });
  after(() => {
    if (!dir) return;
    execFileSync('umount', ['-R', join(dir, 'volume')]);
    execFileSync('umount', [dir]);
    rmdirSync(dir);
  });

  it('has branches mounted all the same: the kernel refuses that until somebody was told of the error', () => {
    const volume = join(dir, 'volume');
    spawnSync('dd', ['if=/dev/zero', `of=${join(volume, 'large')}`, 'bs=1M', 'count=60', 'conv=fsync']);
    const dirs = `lowerdir=${volume}/lower,upperdir=${volume}/upper,workdir=${volume}/work`;
    const plain = spawnSync('mount', ['-t', 'overlay', '-o', `${dirs},volatile`, 'overlay', join(volume, 'root')]);
    assert.notEqual(plain.status, 0, 'the kernel refuses it');
    const args = ['--net', 'host', '--chdir', volume, '--root', 'root', '--upper', 'upper', '--work', 'work'];
    const world = [...args, '--options', OVERLAY_OPTIONS, '--lower', 'lower', '--', 'cat', 'root/file'];
    const entered = spawnSync(init, ['enter', ...world], { encoding: 'utf8' });
    assert.equal(entered.stdout, 'kept', entered.stderr);
    assert.match(entered.stderr, /could not be written to/);
  });
});

/** The old head is taken down when whoever went back has the answer, and goes on: held up, it holds up nobody. */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Rig } from '../states/rig.ts';
import { needsMachine } from './helper-process.ts';

/** A file system that is frozen: who writes to it waits, and no signal ends that. */
class Frozen {
  private readonly path: string;
  private readonly writer: ChildProcess;

  constructor(dir: string) {
    this.path = mkdtempSync(join(dir, 'frozen-'));
    writeFileSync(`${this.path}.img`, '');
    truncateSync(`${this.path}.img`, 8 << 20);
    execFileSync('mkfs.ext4', ['-q', `${this.path}.img`]);
    execFileSync('mount', ['-o', 'loop', `${this.path}.img`, this.path]);
    execFileSync('fsfreeze', ['--freeze', this.path]);
    this.writer = spawn('sh', ['-c', `echo > '${this.path}/file'`], { stdio: 'inherit' });
  }

  /** A process that cannot end. */
  async stuck(): Promise<number> {
    const pid = this.writer.pid!;
    await until(() => /\) D /.test(readFileSync(`/proc/${pid}/stat`, 'utf8')), 'a process that waits for a write');
    return pid;
  }

  async end(): Promise<void> {
    const ended = new Promise((resolve) => this.writer.once('exit', resolve));
    execFileSync('fsfreeze', ['--unfreeze', this.path]);
    await ended;
    execFileSync('umount', [this.path]);
  }
}

describe('the old head', function () {
  this.timeout(60_000);
  let rig: Rig;

  before(async function () {
    needsMachine(this);
    rig = await Rig.make();
  });
  after(() => rig?.end());

  for (const way of ['warm', 'cold'] as const)
    it(`that does not end is nothing that a ${way} rollback waits for, and is gone once it can`, async () => {
      await rig.run('X=kept');
      const checkpoint = await rig.checkpoint();
      await rig.verified(checkpoint);
      const { head } = await rig.get();
      const group = rig.helper.cgroups().find((path) => path.endsWith(`/${rig.sandbox}-${head}`))!;
      const folder = join(rig.helper.state, 'volume/sandboxes', rig.sandbox, 'branches', head!);
      const frozen = new Frozen(rig.helper.dir);
      try {
        const stuck = await frozen.stuck();
        writeFileSync(join(group, 'cgroup.procs'), `${stuck}`);
        await rig.rollbackBy(way, checkpoint);
        assert.equal(await rig.run('echo $X'), 'kept\n');
        // All but that process is killed.
        const left = () => readFileSync(join(group, 'cgroup.procs'), 'utf8');
        await until(() => left() === `${stuck}\n`, 'the end of all that can end');
        assert.ok(existsSync(folder), 'its files are not taken from under it');
        assert.notEqual((await rig.get()).head, head);
      } finally {
        await frozen.end();
      }
      await until(() => !existsSync(group) && !existsSync(folder), 'the end of the old head');
    });
});

async function until(isSo: () => boolean, what: string): Promise<void> {
  for (const end = Date.now() + 30_000; !isSo(); await sleep(20))
    assert.ok(Date.now() < end, `${what}: not within 30 s`);
}

/** The CRIU that is begun before anybody waits for a restore: used, and done without when it has been killed. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { renameSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Rig } from '../states/rig.ts';
import { needsMachine } from './helper-process.ts';

describe('a CRIU that is begun ahead of a restore', function () {
  this.timeout(120_000);
  let rig: Rig;
  let checkpoint: string;

  before(async function () {
    needsMachine(this);
    // No standbys: each rollback is a restore.
    rig = await Rig.make(0, () => {}, 0);
    await rig.run('X=kept; (while :; do date +%s%N > alive; sleep 0.02; done) &');
    checkpoint = await rig.checkpoint();
  });
  after(() => rig?.end());

  async function isThere(): Promise<void> {
    const alive = 'rm -f alive; until [ -s alive ]; do sleep 0.02; done';
    assert.equal(await rig.run(`${alive}; echo $X`), 'kept\n');
  }

  it('restores the branch that it was begun for, which proves the checkpoint', async () => {
    const isProven = async (): Promise<boolean> => {
      const { checkpoints } = await rig.connection.request('checkpoint/list', { sandbox: rig.sandbox });
      return checkpoints.find(({ id }) => id === checkpoint)!.state.verified;
    };
    assert.equal(await isProven(), false, 'no standby was made of it');
    for (let n = 0; n < 3; n++) {
      await rig.coldRollback(checkpoint, 'ahead');
      await isThere();
    }
    for (let tries = 0; !(await isProven()); tries++, await sleep(20)) assert.ok(tries < 250, 'it was gone back to');
  });

  it('killed while it waits, is known to be gone: another restores, and the next is begun ahead again', async () => {
    for (let n = 0; n < 3; n++) {
      await rig.coldRollback(checkpoint, 'on demand');
      await isThere();
      await rig.coldRollback(checkpoint, 'ahead');
      await isThere();
    }
  });

  it('killed while it waits, is asked all the same when nobody has heard: another restores in its place', async () => {
    for (let n = 0; n < 3; n++) {
      const ahead = await rig.aheadOnce();
      // The helper reads the request before it hears of the death.
      process.kill(rig.helper.pid, 'SIGSTOP');
      const { sandbox } = rig;
      const moved = rig.connection.request('checkpoint/rollback', { sandbox, checkpoint, discard: true });
      let killed: number;
      try {
        await new Promise((sent) => setTimeout(sent, 50));
        killed = await rig.killAhead(false);
      } finally {
        process.kill(rig.helper.pid, 'SIGCONT');
      }
      assert.ok(killed > 0, 'one waited');
      const { head, path } = await moved;
      assert.equal(path, 'cold');
      assert.ok(ahead.includes(head), `${head} is one of ${ahead}: it was taken, and found dead`);
      await isThere();
    }
  });

  const place = (name: string): string => join(rig.helper.state, 'volume/sandboxes', rig.sandbox, name);
  const back = (): Promise<unknown> =>
    rig.connection.request('checkpoint/rollback', { sandbox: rig.sandbox, checkpoint, discard: true });
  const locked = (name: string): [() => void, () => void] => [
    () => execFileSync('chattr', ['+i', place(name)]),
    () => execFileSync('chattr', ['-i', place(name)]),
  ];
  const image = (): string => place(`checkpoints/${checkpoint}/image`);
  const cases: [string, () => Promise<unknown>, [() => void, () => void]][] = [
    ["a branch's folder cannot be made", back, locked('branches')],
    ['there is no image', back, [() => renameSync(image(), `${image()}-`), () => renameSync(`${image()}-`, image())]],
    ["a checkpoint's folder cannot be made", () => rig.checkpoint(), locked('checkpoints')],
  ];
  for (const [name, act, [spoil, mend]] of cases)
    it(`is ended where it is not come to, as is one for a dump: ${name}`, async () => {
      for (let n = 0; n < 4; n++) {
        spoil();
        try {
          await assert.rejects(act());
        } finally {
          mend();
        }
        await back();
        await rig.aheadOnce();
        await until(() => rig.waiting('dump').length > 0);
      }
      // Three, as these rollbacks come close together; and one for the head's next dump.
      await until(() => rig.waiting('restore').length <= 3 && rig.waiting('dump').length <= 1);
    });

  it('leaves no control group behind', async () => {
    await rig.killAhead();
    await rig.connection.request('sandbox/remove', { sandbox: rig.sandbox });
    assert.deepEqual(rig.ahead(), []);
    assert.deepEqual(rig.helper.liveBranches(), []);
  });
});

async function until(is: () => boolean): Promise<void> {
  for (let tries = 0; !is(); tries++, await sleep(20)) assert.ok(tries < 250, String(is));
}

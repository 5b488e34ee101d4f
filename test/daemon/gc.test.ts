/** Deleting old checkpoints for real, while others come into need. Needs root. */
import assert from 'node:assert/strict';
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Connection } from '../../helper/client/connection.ts';
import { HelperProcess, needsMachine, workspace } from './helper-process.ts';

describe('gc', function () {
  this.timeout(60_000);
  let helper: HelperProcess;
  let connection: Connection;
  let ws: string;
  let sandbox: string;

  before(async function () {
    needsMachine(this);
    helper = await HelperProcess.start();
    connection = await helper.connect();
    ws = workspace({ a: '0' });
  });
  after(async () => {
    await helper?.stop();
    if (ws) rmSync(ws, { recursive: true, force: true });
  });

  const run = async (line: string, branch?: string) => {
    const ran = await connection.request('run', { sandbox, branch, line, checkpoint: branch === undefined });
    return { text: Buffer.from(ran.output, 'base64').toString(), id: ran.checkpoint?.id ?? '' };
  };
  const list = async () => (await connection.request('checkpoint/list', { sandbox })).checkpoints;

  it('says beforehand what goes, lets stay what is needed, and what stays works', async () => {
    sandbox = (await connection.request('sandbox/create', { workspace: ws })).sandbox.id;
    const made: string[] = [];
    for (let i = 1; i <= 4; i++) made.push((await run(`echo ${i} > ${ws}/a`)).id);
    await connection.request('checkpoint/label', { sandbox, checkpoint: made[0]!, label: 'mine' });
    // Another line, which lies on the second.
    await connection.request('checkpoint/rollback', { sandbox, checkpoint: made[1]!, discard: true });
    const above = (await run(`echo other > ${ws}/b`)).id;
    const planned = await connection.request('gc', { sandbox, keep: 1, dryRun: true });
    assert.equal((await list()).length, 6);
    const { deleted, freedBytes } = await connection.request('gc', { sandbox, keep: 1 });
    assert.deepEqual([deleted, freedBytes], [planned.deleted, planned.freedBytes]);
    assert.deepEqual(
      deleted.map(({ checkpoint }) => checkpoint),
      [made[2], made[3]],
    );
    assert.ok(freedBytes > 0);
    const left = await list();
    assert.deepEqual(
      left.map(({ id }) => id),
      [above, made[1], made[0], 'k0'],
    );
    for (const { id, text } of [
      { id: made[0]!, text: '1\n' },
      { id: made[1]!, text: '2\n' },
      { id: above, text: '2\nother\n' },
    ]) {
      const { branch } = await connection.request('branch/fork', { sandbox, checkpoint: id });
      assert.equal((await run(`cat ${ws}/*`, branch)).text, text);
      await connection.request('branch/discard', { sandbox, branch });
    }
  });

  it('lets be what comes into need while it is at work', async () => {
    sandbox = (await connection.request('sandbox/create', { workspace: ws })).sandbox.id;
    const made: string[] = [];
    for (let i = 1; i <= 12; i++) made.push((await run(`echo ${i} > ${ws}/a`)).id);
    const collecting = connection.request('gc', { sandbox, keep: 1 });
    const forks = await Promise.allSettled(
      made
        .slice(4, 10)
        .reverse()
        .map(async (checkpoint) => {
          const { branch } = await connection.request('branch/fork', { sandbox, checkpoint });
          return { checkpoint, branch };
        }),
    );
    const { deleted } = await collecting;
    const gone = new Set(deleted.map(({ checkpoint }) => checkpoint));
    for (const fork of forks) {
      if (fork.status === 'rejected') {
        assert.match(String(fork.reason), /has no checkpoint/);
        continue;
      }
      const { checkpoint, branch } = fork.value;
      assert.ok(!gone.has(checkpoint), `${checkpoint} is needed by ${branch}`);
      assert.equal((await run(`cat ${ws}/a`, branch)).text, `${made.indexOf(checkpoint) + 1}\n`);
    }
    assert.equal((await list()).length, 13 - gone.size);
    assert.equal((await run(`cat ${ws}/a`)).text, '12\n');
  });

  it('what was kept of the base goes when no checkpoint needs it any more, at the next start', async () => {
    const create = async () => (await connection.request('sandbox/create', { workspace: ws })).sandbox.id;
    const pins = () => readdirSync(join(helper.state, 'volume/pins/host'));
    const kept = await create();
    sandbox = kept;
    const { id } = await run('sleep 1000 & true');
    for (const { id } of (await connection.request('sandbox/list', {})).sandboxes)
      if (id !== kept) await connection.request('sandbox/remove', { sandbox: id });
    await helper.restart();
    connection = await helper.connect();
    assert.ok(pins().length > 0, 'a checkpoint needs them');
    await connection.request('checkpoint/rollback', { sandbox: kept, checkpoint: id, discard: true });
    assert.equal((await run('jobs -r | wc -l')).text, '1\n');
    await connection.request('sandbox/remove', { sandbox: kept });
    await helper.restart();
    connection = await helper.connect();
    assert.deepEqual(pins(), []);
    // Numbers begin anew, and nothing takes harm from it.
    sandbox = await create();
    const again = await run('sleep 1000 & true');
    await connection.request('checkpoint/rollback', { sandbox, checkpoint: again.id, discard: true });
    assert.equal((await run('jobs -r | wc -l')).text, '1\n');
  });
});

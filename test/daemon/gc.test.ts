/** Deleting old checkpoints for real, while others come into need. Needs root. */
import assert from 'node:assert/strict';
import { readdirSync, rmSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Connection } from '../../helper/client/connection.ts';
import { HelperProcess, needsMachine, workspace } from './helper-process.ts';

const MB = 2 ** 20;

/** Holds 100 MB. On `touch` it writes to 2 % of them, on `renew` to all. */
const HOLDER_PY = `import os, time
block = bytearray(os.urandom(1 << 20) * 100)
open('ready', 'w').close()
n = 0
while True:
    n += 1
    if os.path.exists('touch'):
        for i in range(0, len(block), 4096 * 50): block[i] = n & 255
        os.unlink('touch')
    if os.path.exists('renew'):
        block[:] = os.urandom(1 << 20) * 100
        os.unlink('renew')
    time.sleep(0.01)
`;

describe('gc', function () {
  this.timeout(60_000);
  let helper: HelperProcess;
  let connection: Connection;
  let ws: string;
  let held: string;
  let sandbox: string;

  before(async function () {
    needsMachine(this);
    helper = await HelperProcess.start();
    connection = await helper.connect();
    ws = workspace({ a: '0' });
  });
  after(async () => {
    await helper?.stop();
    for (const folder of [ws, held]) if (folder) rmSync(folder, { recursive: true, force: true });
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

  it('deletes the oldest until the rest takes no more than it may, and frees what it says, though images share their memory', async () => {
    held = workspace({ 'holder.py': HOLDER_PY });
    sandbox = (await connection.request('sandbox/create', { workspace: held })).sandbox.id;
    const { id: begun } = await run('python3 holder.py & while [ ! -e ready ]; do sleep 0.01; done');
    const made: string[] = [];
    for (const how of ['touch', 'touch', 'renew', 'touch', 'touch', 'renew', 'touch'])
      made.push((await run(`touch ${how}; while [ -e ${how} ]; do sleep 0.01; done`)).id);
    // On disk, and each proven by a standby: nothing more is written then.
    for (let i = 0; !(await list()).every(({ state }) => state.durable && state.verified); i++) {
      assert.ok(i < 400);
      await sleep(50);
    }
    const total = async () => (await list()).reduce((sum, { bytes }) => sum + bytes, 0);
    /** Blocks are given back a little after their files are gone. */
    const used = async () => {
      const { blocks, bfree, bsize } = statfsSync(join(helper.state, 'volume'));
      return (blocks - bfree) * bsize;
    };
    const before = await total();
    // 100 MB three times, and some MB for each that changed 2 %.
    assert.ok(before > 300 * MB && before < 420 * MB, `${before / MB} MB`);
    const collect = async (limits: { maxBytes?: number; maxAgeMs?: number }) => {
      const [listed, taken] = [await total(), await used()];
      const planned = await connection.request('gc', { sandbox, ...limits, dryRun: true });
      const { deleted, freedBytes } = await connection.request('gc', { sandbox, ...limits });
      assert.deepEqual([deleted, freedBytes], [planned.deleted, planned.freedBytes]);
      assert.equal(await total(), listed - freedBytes, 'the list and the answer tell the same');
      let freed = 0;
      for (let i = 0; i < 100 && Math.abs(freed - freedBytes) > 8 * MB; i++) {
        await sleep(50);
        freed = taken - (await used());
      }
      const told = `${freedBytes / MB} MB told, ${freed / MB} MB of the volume`;
      assert.ok(Math.abs(freed - freedBytes) < 8 * MB, told);
      return { ids: deleted.map(({ checkpoint }) => checkpoint), freedMb: freedBytes / MB };
    };
    // The first is taken over from by those that follow: to delete it alone frees next to nothing.
    const first = await collect({ maxBytes: before - 1 });
    assert.ok(first.ids[0] === begun && first.freedMb < 40, JSON.stringify(first));
    const second = await collect({ maxBytes: 250 * MB });
    assert.ok((await total()) <= 250 * MB, `${(await total()) / MB} MB`);
    assert.ok(second.freedMb > 80, JSON.stringify(second));
    // Less than the current one takes: all else goes, and it stays.
    await collect({ maxBytes: 50 * MB });
    assert.deepEqual(
      (await list()).map(({ id }) => id),
      [made.at(-1), 'k0'],
    );
    await connection.request('checkpoint/rollback', { sandbox, checkpoint: made.at(-1)!, discard: true });
    assert.match((await run('jobs -r')).text, /holder.py/);
    // By age: what is older goes, what is not stays.
    const old = (await run('true')).id;
    await sleep(1500);
    const young = [(await run('true')).id, (await run('true')).id];
    const { ids } = await collect({ maxAgeMs: 1000 });
    assert.ok(ids.includes(old), JSON.stringify(ids));
    const left = (await list()).map(({ id }) => id);
    assert.deepEqual(
      young.filter((id) => !left.includes(id)),
      [],
    );
    assert.ok(!left.includes(old));
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

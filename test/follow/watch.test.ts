/** Hearing what changes in the head, without looking. Needs root. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { readEvents } from '../../helper/engine/watch.ts';
import type { NotificationParams } from '../../helper/protocol/methods.ts';
import { needsMachine } from '../daemon/helper-process.ts';
import { Rig } from '../states/rig.ts';

describe('records of the watching program', () => {
  it('are whole, in whatever parts they come', () => {
    const bytes = Buffer.from('r\0c/w/a\nb\0m/w/ü\0d/x\0o\0');
    for (let cut = 0; cut <= bytes.length; cut++) {
      const first = readEvents(Buffer.alloc(0), bytes.subarray(0, cut));
      const second = readEvents(first.rest, bytes.subarray(cut));
      assert.deepEqual(
        [...first.events, ...second.events],
        [
          { path: '/w/a\nb', kind: 'created' },
          { path: '/w/ü', kind: 'changed' },
          { path: '/x', kind: 'deleted' },
        ],
      );
      assert.ok(first.missed || second.missed);
      assert.equal(second.rest.length, 0);
    }
  });
});

describe('watching the head', function () {
  this.timeout(60_000);
  let rig: Rig;
  let told: NotificationParams<'files/changed'>[];
  let watch: string;
  let live: boolean;

  before(async function () {
    needsMachine(this);
    rig = await Rig.make();
    told = [];
    rig.connection.on('files/changed', (changed) => told.push(changed));
    const params = { sandbox: rig.sandbox, path: rig.workspace };
    ({ watch, live } = await rig.connection.request('file/watch', params));
  });
  after(() => rig?.end());

  /** Waits for all of these, in whatever order; then forgets. */
  const hear = async (...wanted: string[]) => {
    const words = () =>
      told.flatMap((t) => t.changes.map(({ path, kind }) => `${kind} ${path.slice(rig.workspace.length + 1)}`));
    for (const deadline = Date.now() + 5000; Date.now() < deadline; await sleep(10))
      if (wanted.every((one) => words().includes(one))) break;
    const heard = words();
    told.length = 0;
    for (const one of wanted) assert.ok(heard.includes(one), `${one} in ${JSON.stringify(heard)}`);
    return heard;
  };
  const watchers = () =>
    readdirSync('/proc').filter((pid) => {
      try {
        if (!/^\d+$/.test(pid)) return false;
        const [, ppid] = /^PPid:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
        return (
          Number(ppid) === rig.helper.pid && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('init\0watch\0')
        );
      } catch {
        return false;
      }
    });

  it('can be done here', () => assert.ok(live));

  it('tells what programs inside do, in folders old and new', async () => {
    await rig.run('echo 1 > f; mkdir -p n/e/w; echo 2 > n/e/w/g; mv f h; echo 3 >> h');
    await hear('created n', 'created n/e/w/g', 'deleted f', 'created h');
    await rig.run('echo more >> h; rm n/e/w/g; rmdir n/e/w; exec 8>>h; echo x >&8');
    await hear('changed h', 'deleted n/e/w');
  });

  it('says nothing of what is elsewhere', async () => {
    await rig.run('echo 1 > /tmp/elsewhere; echo 1 > here');
    assert.ok((await hear('created here')).every((one) => !one.includes('elsewhere')));
  });

  it('tells what a rollback changed, and watches on in the new head', async () => {
    await rig.run('echo a > kept; echo a > other');
    const before = await rig.checkpoint();
    await rig.run('echo b > kept; echo b > fresh; rm other');
    await hear('created fresh');
    await rig.connection.request('checkpoint/rollback', { sandbox: rig.sandbox, checkpoint: before });
    await hear('changed kept', 'deleted fresh', 'created other');
    await rig.run('echo c >> kept');
    await hear('changed kept');
    await rig.connection.request('checkpoint/rollback', { sandbox: rig.sandbox, checkpoint: before, discard: true });
    for (const deadline = Date.now() + 5000; !told.some((t) => t.more) && Date.now() < deadline; ) await sleep(10);
    assert.ok(
      told.some((t) => t.more),
      'what was discarded can only be guessed',
    );
    assert.equal(watchers().length, 1);
  });

  it('is not drowned by a flood', async () => {
    told.length = 0;
    await rig.run('mkdir many; cd many; seq 20000 | xargs touch; cd ..; echo last > last');
    const heard = () => told.some((t) => t.changes.some(({ path }) => path.endsWith('/last')) || t.more);
    for (const deadline = Date.now() + 10_000; !heard() && Date.now() < deadline; ) await sleep(10);
    const made = new Set(told.flatMap((t) => t.changes.map((c) => c.path).filter((path) => path.includes('/many/'))));
    assert.ok(told.some((t) => t.more) || made.size === 20_000, `${made.size} told, and not that there are more`);
    assert.ok(told.every((t) => t.changes.length <= 2000));
    await rig.run('rm -r many');
  });

  it('takes no time while nothing happens', async () => {
    await sleep(300);
    const used = (pid: string | number) => {
      const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
      return Number(fields[11]) + Number(fields[12]);
    };
    const [pid] = watchers();
    const before = used(pid!);
    await sleep(1000);
    assert.equal(used(pid!), before, 'ticks of the processor');
  });

  it('ends with the last who listens, by word or by leaving', async () => {
    const other = await rig.helper.connect();
    await other.request('file/watch', { sandbox: rig.sandbox, path: join(rig.workspace, 'x') });
    await assert.rejects(other.request('file/watch', { sandbox: rig.sandbox, branch: 'b999', path: '/' }));
    await rig.connection.request('file/unwatch', { watch });
    assert.equal(watchers().length, 1);
    other.close();
    for (const deadline = Date.now() + 5000; watchers().length && Date.now() < deadline; ) await sleep(10);
    assert.equal(watchers().length, 0);
  });
});

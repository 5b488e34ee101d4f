/** What the census counts, made more of by hand: whatever there is more of, it tells, by name. */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, rmdirSync, rmSync, unlinkSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Cgroup } from '../../helper/engine/cgroup.ts';
import { addPair, deleteLink, inNetworkOf } from '../../helper/engine/netlink.ts';
import { grown, MAY_GROW, type Stock, stock } from './census.ts';
import { HelperProcess, needsMachine } from './helper-process.ts';

describe('the census tells of', function () {
  this.timeout(60_000);
  let helper: HelperProcess;
  let had: Stock;
  before(async function () {
    needsMachine(this);
    helper = await HelperProcess.start(undefined, { apart: true });
  });
  after(() => helper?.stop());
  beforeEach(() => {
    had = stock(helper);
  });
  /** All that was made more is given back by now. */
  afterEach(async () => assert.deepEqual(await grown(helper, had), {}));

  const volume = (...names: string[]) => join(helper.state, 'volume', ...names);
  const tells = async (more: Partial<Stock>): Promise<void> => assert.deepEqual(await grown(helper, had, 0), more);

  it('nothing, where nothing is more', () => tells({}));

  it('a file of the volume that has no name, and what it takes', async () => {
    const fd = openSync(volume('unnamed'), 'w');
    try {
      unlinkSync(volume('unnamed'));
      await tells({ files: 1 });
      for (let mb = 0; mb < 16; mb++) writeSync(fd, Buffer.alloc(2 ** 20, 1));
      const { files, MB } = await grown(helper, had, 0);
      assert.equal(files, 1);
      assert.ok(MB! >= 16, `${MB} MB`);
    } finally {
      closeSync(fd);
    }
  });

  it('a file kept of the base', async () => {
    mkdirSync(volume('pins/of-this-test'), { recursive: true });
    writeFileSync(volume('pins/of-this-test/lib'), 'x');
    try {
      assert.equal((await grown(helper, had, 0)).pins, 1);
    } finally {
      rmSync(volume('pins/of-this-test'), { recursive: true });
    }
  });

  it('a table of the firewall, and what is in it', async () => {
    const nft = (...words: string[]) => execFileSync('nsenter', [`--net=/proc/${helper.pid}/ns/net`, 'nft', ...words]);
    nft('add table inet of_this_test; add chain inet of_this_test some; add rule inet of_this_test some accept');
    try {
      await tells({ firewall: 3 });
    } finally {
      nft('delete table inet of_this_test');
    }
  });

  it('interfaces', async () => {
    const { pid } = helper;
    inNetworkOf(pid, () => addPair('tpenvr7', 'other', pid));
    try {
      await tells({ links: 2 });
    } finally {
      inNetworkOf(pid, () => deleteLink('tpenvr7'));
    }
  });

  it('network namespaces', async () => {
    const some = spawn('sh', ['-c', 'for i in $(seq 250); do unshare --net sleep 1000 & done; wait'], {
      detached: true,
    });
    try {
      await until(() => stock(helper).networks > had.networks + MAY_GROW.networks!);
      assert.deepEqual(Object.keys(await grown(helper, had, 0)), ['networks']);
    } finally {
      await ended(some);
    }
  });

  it('control groups that are dying', async () => {
    // Whom nobody asks how it ended is in its group still, whoever removes that.
    const place = Cgroup.make(join(helper.cgroups().at(-1)!, 'of-this-test')).path;
    const groups = Array.from({ length: 120 }, (_, i) => Cgroup.make(join(place, String(i))));
    const lines = groups.map(({ path }) => `sh -c 'echo $$ > ${path}/cgroup.procs; exec sleep 1000' &`);
    const parent = spawn('sh', ['-c', `${lines.join('\n')}\nexec sleep 1000`], { detached: true });
    try {
      await until(() => groups.every((group) => group.pids().length > 0));
      for (const group of groups) group.kill();
      await until(() => groups.every((group) => group.pids().length === 0));
      for (const { path } of groups) rmdirSync(path);
      assert.deepEqual(Object.keys(await grown(helper, had, 0)), ['dying']);
    } finally {
      await ended(parent);
      rmdirSync(place);
    }
  });
});

async function until(there: () => boolean): Promise<void> {
  for (const deadline = Date.now() + 20_000; !there(); await sleep(20))
    assert.ok(Date.now() < deadline, `not so after 20 s: ${there}`);
}

async function ended(group: ChildProcess): Promise<void> {
  const closed = new Promise((done) => group.once('close', done));
  process.kill(-group.pid!, 'SIGKILL');
  await closed;
}

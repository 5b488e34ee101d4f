/** What the census counts, made more of by hand: whatever there is more of, it tells, by name. */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmdirSync,
  rmSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { v1Mount } from '../../helper/engine/limits.ts';
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

  /** One in the other, the innermost with a process that has ended and that nobody asks how: it is in there still, and holds all of them. */
  async function dying(top: string, count: number, look: () => Promise<void>): Promise<void> {
    const groups = Array.from({ length: count }, (_, i) => join(top, ...Array.from({ length: i + 1 }, () => 'd')));
    mkdirSync(groups.at(-1)!, { recursive: true });
    const procs = join(groups.at(-1)!, 'cgroup.procs');
    const line = `sh -c 'echo $$ > $0; exec sleep 1000' ${procs} & exec sleep 1000`;
    const parent = spawn('sh', ['-c', line], { detached: true });
    try {
      const inside = () => readFileSync(procs, 'utf8').trim();
      await until(() => inside() !== '');
      process.kill(Number(inside()), 'SIGKILL');
      await until(() => inside() === '');
      for (const group of groups.reverse()) rmdirSync(group);
      await look();
    } finally {
      await ended(parent);
    }
  }

  it('control groups that are dying', async () => {
    const count = MAY_GROW.dying! + 1;
    await dying(helper.cgroups().at(-1)!, count, () => tells({ dying: count }));
  });

  // Where there is none, those above are all that there are.
  const v1 = v1Mount('pids', readFileSync('/proc/self/mountinfo', 'utf8'));
  if (v1)
    it('such of cgroup v1', async () => {
      const top = join(v1, `of-this-test-${process.pid}`);
      await dying(top, 2 * MAY_GROW['dying of v1']!, async () => {
        rmdirSync(top);
        assert.deepEqual(Object.keys(await grown(helper, had, 0)), ['dying of v1']);
      });
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

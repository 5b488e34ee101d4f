import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Cgroup, findCgroup2 } from '../../helper/engine/cgroup.ts';

describe('a control group of which some wake first', () => {
  let group: Cgroup;
  let children: ChildProcess[];

  before(function () {
    if (process.geteuid?.() !== 0 || !findCgroup2()) {
      assert.ok(!process.env.TELEPORT_REQUIRE_CRIU, 'needs root and cgroup v2');
      this.skip();
    }
  });
  beforeEach(() => {
    group = Cgroup.make(join(findCgroup2()!, `teleport-env-test-${process.pid}`));
    children = [1, 2, 3].map(() => spawn('sleep', ['1000'], { stdio: 'ignore' }));
    for (const { pid } of children) writeFileSync(join(group.path, 'cgroup.procs'), String(pid));
    group.freeze();
  });
  afterEach(async () => {
    await group.end();
    assert.ok(!existsSync(group.path));
  });

  const pids = (): number[] => children.map(({ pid }) => pid!);
  const events = (name: string): string => readFileSync(join(group.path, name, 'cgroup.events'), 'utf8');
  const asked = (name: string): string => readFileSync(join(group.path, name, 'cgroup.freeze'), 'utf8').trim();
  const until = async (holds: () => boolean): Promise<void> => {
    while (!holds()) await sleep(1);
  };
  const ordered = async (): Promise<void> => {
    await group.frozen();
    group.hold();
    await group.wakeFirst(new Set([pids()[0]!]));
  };

  it('has all its processes still, and ends with them', async () => {
    await ordered();
    assert.deepEqual(
      group.pids().sort((a, b) => a - b),
      pids(),
    );
    await group.frozen();
  });

  it('lets the others go on a moment later', async () => {
    await ordered();
    group.thaw();
    assert.equal(asked('.'), '0');
    assert.equal(asked('others'), '1');
    await until(() => events('.').includes('frozen 0') && events('others').includes('frozen 0'));
  });

  it('is stopped as one, however soon', async () => {
    await ordered();
    group.thaw();
    group.freeze();
    await group.frozen();
    group.thaw();
    assert.equal(asked('others'), '0', 'nobody waits any more');
    await until(() => events('others').includes('frozen 0'));
  });

  it('goes on as a whole where it is thawed while they are being set apart', async () => {
    await group.frozen();
    const setApart = group.wakeFirst(new Set());
    group.thaw();
    await setApart;
    await until(() => events('.').includes('frozen 0') && !events('others').includes('frozen 1'));
    await sleep(20);
    assert.ok(!events('others').includes('frozen 1'));
  });

  it('goes on as a whole by whoever finds it like that', async () => {
    await ordered();
    new Cgroup(group.path).thaw();
    assert.equal(asked('others'), '0');
  });
});

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Connection } from '../../helper/client/connection.ts';
import { groupName } from '../../helper/engine/cgroup.ts';
import { findMeans, Limiter, v1Mount } from '../../helper/engine/limits.ts';
import type { TeleportError } from '../../helper/protocol/errors.ts';
import type { Params, Result } from '../../helper/protocol/methods.ts';
import { HelperProcess, needsMachine, workspace } from '../daemon/helper-process.ts';

const MIB = 1 << 20;
const HYBRID = `30 1 0:26 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory
31 1 0:27 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
32 1 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw`;

describe('limits', () => {
  it('go by cgroup v2 where its controllers are, v1 where those are there, else by rlimits', () => {
    const root = mkdtempSync(join(tmpdir(), 'teleport-cgroup-'));
    try {
      const group = join(root, 'teleport-env');
      mkdirSync(group);
      assert.deepEqual(findMeans(group, HYBRID), {
        pids: { way: 'v1', mount: '/sys/fs/cgroup/pids' },
        memory: { way: 'v1', mount: '/sys/fs/cgroup/memory' },
      });
      assert.equal(findMeans(group, '').memory.way, 'rlimit');
      for (const dir of [root, group]) {
        writeFileSync(join(dir, 'cgroup.controllers'), 'cpu pids\n');
        writeFileSync(join(dir, 'cgroup.subtree_control'), '\n');
      }
      // With a memory controller that is switched off, as on a Raspberry Pi.
      assert.deepEqual(findMeans(group, ''), { pids: { way: 'v2' }, memory: { way: 'rlimit' } });
      assert.equal(v1Mount('cpu', HYBRID), null);
    } finally {
      rmSync(root, { recursive: true });
    }
  });

  it('are set where the means are', () => {
    const child = spawn('sleep', ['60'], { stdio: 'ignore' });
    const dir = mkdtempSync(join(tmpdir(), 'teleport-cgroup-'));
    try {
      const limits = { processes: 100, memory: 64 * MIB };
      new Limiter(dir, { pids: { way: 'rlimit' }, memory: { way: 'rlimit' } }).apply(dir, child.pid!, limits);
      const told = readFileSync(`/proc/${child.pid}/limits`, 'utf8');
      assert.match(told, /^Max processes +116 +116/m);
      assert.match(told, new RegExp(`^Max data size +${112 * MIB} +${112 * MIB}`, 'm'));
      const two = new Limiter(dir, { pids: { way: 'v2' }, memory: { way: 'v2' } });
      writeFileSync(join(dir, 'memory.swap.max'), 'max');
      two.apply(dir, child.pid!, limits);
      const read = (file: string): string => readFileSync(join(dir, file), 'utf8');
      assert.deepEqual(['pids.max', 'memory.max', 'memory.swap.max'].map(read), ['116', String(112 * MIB), '0']);
      two.apply(dir, child.pid!, { processes: null, memory: null });
      assert.deepEqual(['pids.max', 'memory.max', 'memory.swap.max'].map(read), ['max', 'max', 'max']);
    } finally {
      child.kill('SIGKILL');
      rmSync(dir, { recursive: true });
    }
  });

  describe('of a sandbox', () => {
    let helper: HelperProcess;
    let connection: Connection;
    let sandbox: string;
    let ws: string;

    before(async function () {
      needsMachine(this);
      helper = await HelperProcess.start();
      connection = await helper.connect();
    });
    after(() => helper?.stop());
    afterEach(async function () {
      if (this.currentTest?.state === 'failed') console.error(helper.logText());
      if (sandbox) await connection.request('sandbox/remove', { sandbox });
      sandbox = '';
      rmSync(ws, { recursive: true, force: true });
    });

    async function make(limits: Params<'sandbox/create'>['limits']): Promise<Result<'sandbox/create'>> {
      ws = workspace({});
      const made = await connection.request('sandbox/create', { workspace: ws, limits });
      sandbox = made.sandbox.id;
      return made;
    }
    async function run(line: string, more: Partial<Params<'run'>> = {}): Promise<Result<'run'> & { text: string }> {
      const ran = await connection.request('run', { sandbox, line, checkpoint: false, ...more });
      return { ...ran, text: Buffer.from(ran.output, 'base64').toString() };
    }

    it('are shown, and there are some by default', async () => {
      const { sandbox: first } = await make({ processes: 64, disk: null });
      assert.equal(first.limits?.processes, 64);
      assert.ok((first.limits?.memory ?? 0) > 256 * MIB);
      assert.equal(first.limits?.disk, null);
      const { sandbox: same } = await connection.request('sandbox/get', { sandbox });
      assert.deepEqual(same.limits, first.limits);
    });

    it('a fork bomb ends at its limit; the helper answers, and one goes back from it', async () => {
      await make({ processes: 100 });
      const { checkpoint } = await run('X=5', { checkpoint: true });
      void run('bomb() { bomb | bomb & }; bomb; sleep 600', { timeoutMs: 60_000 }).catch(() => undefined);
      await sleep(1500);
      const began = Date.now();
      const { processes } = await connection.request('process/list', { sandbox });
      assert.ok(processes.length <= 116, `${processes.length} processes`);
      await connection.request('checkpoint/rollback', { sandbox, checkpoint: checkpoint!.id, discard: true });
      assert.ok(Date.now() - began < 10_000);
      assert.equal((await run('echo $X')).text, '5\n');
    }).timeout(60_000);

    it('a memory hog is ended at its limit, and nothing else', async () => {
      await make({ memory: 96 * MIB });
      await run('X=5; sleep 1000 & true');
      const hog = await run(`python3 -c "b = bytearray(400 << 20); print('g' + 'ot')"`);
      assert.notEqual(hog.exitCode, 0);
      assert.doesNotMatch(hog.text, /got/);
      assert.equal((await run('echo $X; jobs -r | wc -l')).text, '5\n1\n');
    });

    it('hold in a branch that was restored, and do not stop a dump near them', async () => {
      await make({ memory: 96 * MIB, processes: 60 });
      await run('exec 9< <(python3 -c "b = bytearray(b\\"x\\" * (80 << 20)); import time; time.sleep(1000)"); sleep 1');
      const { checkpoint } = await connection.request('checkpoint/create', { sandbox });
      await connection.request('checkpoint/rollback', { sandbox, checkpoint: checkpoint.id, discard: true });
      const hog = await run(`python3 -c "b = bytearray(400 << 20); print('g' + 'ot')"`);
      assert.doesNotMatch(hog.text, /got/);
      await run(`cat > forks.py <<'E'
import os, time
n = 0
try:
    while n < 200:
        if os.fork() == 0: time.sleep(30); os._exit(0)
        n += 1
except OSError: pass
print(n)
E`);
      const forks = Number((await run('python3 forks.py')).text);
      assert.ok(forks > 20 && forks < 80, `${forks} processes`);
    }).timeout(60_000);

    it('of disk are told at the checkpoint after', async () => {
      await make({ disk: 20 * MIB });
      await run('head -c 30000000 /dev/urandom > big', { checkpoint: true });
      for (let i = 0; i < 100; i++, await sleep(30)) {
        const { checkpoints } = await connection.request('checkpoint/list', { sandbox });
        if (checkpoints.some((c) => c.bytes > 20 * MIB)) break;
      }
      await assert.rejects(
        connection.request('checkpoint/create', { sandbox }),
        (e: TeleportError) => e.code === 'limitReached' && /gc/.test(e.hint ?? ''),
      );
      await connection.request('checkpoint/rollback', { sandbox, checkpoint: 'k0' });
    });

    it('leave no group behind', async () => {
      await make({ processes: 50 });
      await connection.request('sandbox/remove', { sandbox });
      sandbox = '';
      const left = ['/sys/fs/cgroup/pids', '/sys/fs/cgroup/memory']
        .map((mount) => join(mount, groupName(helper.state, '')))
        .filter((dir) => existsSync(dir) && readdirSync(dir, { withFileTypes: true }).some((e) => e.isDirectory()));
      assert.deepEqual(left, []);
    });
  });

  describe('of a sandbox where no controller is, by rlimits alone', function () {
    this.timeout(60_000);
    let helper: HelperProcess;
    let ws: string;

    before(async function () {
      needsMachine(this);
      // A container's v1 controllers can be hidden; v2's come with the groups themselves.
      if (existsSync('/sys/fs/cgroup/cgroup.controllers')) this.skip();
      const hide =
        'for dir in memory pids; do if mountpoint -q /sys/fs/cgroup/$dir; then umount /sys/fs/cgroup/$dir; fi; done';
      const within = () => ['unshare', '--mount', '--propagation', 'private', 'sh', '-ec', `${hide}; exec "$@"`, 'sh'];
      helper = await HelperProcess.start(undefined, { within });
    });
    after(async () => {
      await helper?.stop();
      rmSync(ws, { recursive: true, force: true });
    });

    it('a memory hog is ended at its limit, before and after a rollback; what it was started from goes on', async () => {
      const { means } = new Limiter(
        '/nowhere',
        findMeans('/nowhere', readFileSync(`/proc/${helper.pid}/mountinfo`, 'utf8')),
      );
      assert.deepEqual(means, { pids: { way: 'rlimit' }, memory: { way: 'rlimit' } });
      const connection = await helper.connect();
      ws = workspace({});
      const limits = { processes: 100, memory: 96 * MIB };
      const { sandbox } = await connection.request('sandbox/create', { workspace: ws, limits });
      const run = async (line: string): Promise<string> => {
        const { output } = await connection.request('run', { sandbox: sandbox.id, line, checkpoint: false });
        return Buffer.from(output, 'base64').toString();
      };
      const hog = `python3 -c "b = bytearray(400 << 20); print('g' + 'ot')" 2>&1`;
      assert.match(await run(`X=5; sleep 1000 & ${hog}`), /MemoryError/);
      const { checkpoint } = await connection.request('checkpoint/create', { sandbox: sandbox.id });
      await connection.request('checkpoint/rollback', { sandbox: sandbox.id, checkpoint: checkpoint.id });
      assert.match(await run(hog), /MemoryError/);
      assert.equal(await run('echo $X; jobs -r | wc -l; ulimit -u'), '5\n1\n116\n');
    });
  });
});

/** A CRIU with none of our patches (scripts/criu) but the one that links it statically: slower, and it carries less, but it works. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Connection } from '../../helper/client/connection.ts';
import { Cgroup } from '../../helper/engine/cgroup.ts';
import { check } from '../../helper/engine/criu.ts';
import { HelperProcess, needsMachine, workspace } from './helper-process.ts';

const criu = resolve(__dirname, '../../build/criu-stock/criu');

/** Holds 24 MB, 1 MB of which each line of input overwrites; answers what all of it sums up to, and how often it was asked. */
const HOLDER_PY = `import os, zlib
memory = bytearray(os.urandom(24 << 20))
asked = 0
while True:
    with open('asks') as asks: asks.read()
    at = asked % 24 << 20
    memory[at:at + (1 << 20)] = os.urandom(1 << 20)
    asked += 1
    with open('answers', 'w') as answers: print(zlib.crc32(memory), asked, file=answers)
`;

describe('a CRIU without our patches', function () {
  this.timeout(120_000);
  let helper: HelperProcess;
  let connection: Connection;
  let ws: string;
  let sandbox: string;

  before(async function () {
    needsMachine(this);
    if (!existsSync(criu)) {
      assert.ok(!process.env.TELEPORT_REQUIRE_CRIU, 'needs scripts/build-criu.sh --stock');
      this.skip();
    }
    const can = await check({ binary: criu });
    assert.ok(can.ok && !can.patches.some((name) => name !== 'static'), JSON.stringify(can));
    ws = workspace({ 'holder.py': HOLDER_PY, kept: 'as it was' });
    helper = await HelperProcess.start(undefined, { criu });
    connection = await helper.connect();
    sandbox = (await connection.request('sandbox/create', { workspace: ws })).sandbox.id;
  });
  after(async () => {
    await helper?.stop();
    if (ws) rmSync(ws, { recursive: true, force: true });
  });

  const run = async (line: string, branch?: string): Promise<string> => {
    const ran = await connection.request('run', { sandbox, branch, line, checkpoint: false });
    const text = Buffer.from(ran.output, 'base64').toString().trim();
    assert.equal(ran.exitCode, 0, text);
    return text;
  };
  const checkpoint = async (): Promise<string> => {
    const { checkpoint } = await connection.request('checkpoint/create', { sandbox });
    return checkpoint.id;
  };
  const settled = async (id: string): Promise<void> => {
    for (;;) {
      const { checkpoints } = await connection.request('checkpoint/list', { sandbox });
      const { state } = checkpoints.find((one) => one.id === id)!;
      assert.ok(!state.broken, state.broken);
      if (state.verified && state.durable) return;
    }
  };
  /** All that a moment is: the program's memory (by the answer that it wrote before), the shell's variable, a file. */
  const state = (branch?: string): Promise<string> => run('cat answers; echo $MARK; cat kept; jobs -r | wc -l', branch);
  const processesIn = async (branch: string): Promise<string[]> => {
    const group = helper.cgroups().find((path) => path.endsWith(`${sandbox}-${branch}`))!;
    return new Cgroup(group)
      .pids()
      .map((pid) => readFileSync(`/proc/${pid}/comm`, 'utf8').trim())
      .sort();
  };

  const moments: { id: string; state: string }[] = [];

  it('takes checkpoints, of memory that was partly written, too', async () => {
    await run('mkfifo asks; python3 holder.py & sleep 0.5');
    for (let n = 0; n < 4; n++) {
      await run(`echo > asks; until [ "$(cut -d' ' -f2 answers 2>/dev/null)" = ${n + 1} ]; do sleep 0.02; done`);
      await run(`MARK=m${n}; echo ${n} > kept`);
      const before = await state();
      const id = await checkpoint();
      moments.push({ id, state: before });
      await settled(id);
      assert.equal(await state(), before, 'they go on');
    }
    assert.equal(new Set(moments.map((one) => one.state)).size, 4);
  });

  it('goes back warm and cold, and has what it restores in the branch’s control group', async () => {
    const paths = new Set<string>();
    for (const { id, state: expected } of [...moments, ...moments.toReversed(), moments[1]!]) {
      const moved = await connection.request('checkpoint/rollback', { sandbox, checkpoint: id, discard: true });
      paths.add(moved.path);
      assert.equal(await state(), expected);
      assert.deepEqual(await processesIn(moved.head), ['bash', 'python3', 'teleport-init']);
      // Its memory is its own, and goes on.
      await run('rm answers; echo > asks; until [ -s answers ]; do sleep 0.02; done');
      assert.notEqual(await state(), expected);
    }
    assert.deepEqual([...paths].sort(), ['cold', 'warm']);
  });

  it('forks, several at once', async () => {
    const wanted = [...moments, ...moments];
    const forks = await Promise.all(
      wanted.map(({ id }) => connection.request('branch/fork', { sandbox, checkpoint: id })),
    );
    for (const [n, { branch }] of forks.entries()) {
      assert.equal(await state(branch), wanted[n]!.state);
      assert.deepEqual(await processesIn(branch), ['bash', 'python3', 'teleport-init']);
      await connection.request('branch/discard', { sandbox, branch });
    }
  });

  it('tells what it cannot restore: a connection over loopback', async () => {
    const program = `import socket, time
listening = socket.create_server(('127.0.0.1', 0))
one = socket.create_connection(listening.getsockname())
other = listening.accept()
open('connected', 'w').close()
time.sleep(1000)`;
    await run(`python3 -c "${program}" & until [ -e connected ]; do sleep 0.02; done`);
    const id = await checkpoint();
    await assert.rejects(settled(id), /TCP connections here: it needs our patch/);
    assert.equal(await run('jobs -r | grep -c create_server'), '1', 'the head goes on');
    await connection.request('checkpoint/rollback', { sandbox, checkpoint: moments[0]!.id, discard: true });
    assert.equal(await state(), moments[0]!.state);
  });

  it('is said by the doctor to carry less', async () => {
    const { needs } = await connection.request('doctor', {});
    const need = needs.find(({ id }) => id === 'criu')!;
    assert.equal(need.status, 'warning', JSON.stringify(need));
  });

  it('leaves nothing behind', async () => {
    await connection.request('sandbox/remove', { sandbox });
    for (let tries = 0; helper.cgroups().some((path) => /\/s\d+-b\d+$/.test(path)); tries++) {
      assert.ok(tries < 200, helper.cgroups().join('\n'));
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  });
});

/** The stop of a checkpoint: what the programs see of it, and what is done while it lasts. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { release } from 'node:os';
import { join, resolve } from 'node:path';
import { capture } from '../../helper/engine/capture.ts';
import { Cgroup } from '../../helper/engine/cgroup.ts';
import { beginDump } from '../../helper/engine/criu-ahead.ts';
import { Layout } from '../../helper/engine/layout.ts';
import { Limiter } from '../../helper/engine/limits.ts';
import type { Machine } from '../../helper/engine/machine.ts';
import { Steps } from '../../helper/engine/steps.ts';
import { WriteTracking } from '../../helper/engine/write-tracking.ts';
import { BranchRecord } from '../../helper/sandbox/records.ts';
import { Rig } from '../states/rig.ts';
import { needsMachine } from './helper-process.ts';

/** Looks at the clock all the time, and tells the longest time that it did not. By the wall's, as others stand still while one is restored. */
const WATCH_PY = `import os, time
longest, last = 0, time.time_ns()
while True:
    now = time.time_ns()
    longest, last = max(longest, now - last), now
    if os.path.exists('ask'):
        with open('told', 'w') as told: told.write(str(longest / 1e6))
        os.unlink('ask')
        longest, last = 0, time.time_ns()
`;
/** The machine is a shared one: of so many checkpoints one must be told right. */
const TRIES = 20;

describe('the stop of a checkpoint', function () {
  this.timeout(120_000);
  let rig: Rig;

  before(async function () {
    needsMachine(this);
    rig = await Rig.make(0, () => {}, 0);
  });
  after(() => rig?.end());

  const write = (files: number): Promise<string> => rig.run(`for i in {1..${files}}; do echo $RANDOM > f$i; done`);

  describe('lasts for the programs as long as is told', () => {
    const longest = async (): Promise<number> =>
      Number(await rig.run('touch ask; while [ -e ask ]; do sleep 0.01; done; cat told'));

    before(async () => {
      await rig.run(`cat > watch.py <<'END'\n${WATCH_PY}\nEND`);
      await rig.run('python3 watch.py &');
    });
    after(() => rig.run('kill %1'));

    for (const { what, files, way, more } of [
      { what: 'its files copied', files: 500, way: 'changed files copied', more: {} },
      { what: 'its files moved, and a successor restored', files: 700, way: 'upperdir became a layer', more: {} },
      { what: 'of files only', files: 500, way: 'files copied', more: { filesOnly: true } },
    ])
      it(what, async () => {
        const seen: string[] = [];
        for (let i = 0; i < TRIES; i++) {
          await write(files);
          await longest();
          const { sandbox } = rig;
          const { checkpoint, steps } = await rig.connection.request('checkpoint/create', { sandbox, ...more });
          assert.ok(steps.some(({ step }) => step === way));
          const gap = await longest();
          const told = checkpoint.stoppedMs;
          seen.push(`${gap} of ${told} ms`);
          if (Math.abs(gap - told) < 1 + told / 10) return;
        }
        assert.fail(`programs stood still for ${seen.join(', ')}`);
      });
  });

  it('holds the whole copy of the files, made while CRIU dumps', async () => {
    await write(500);
    const { helper, sandbox } = rig;
    await helper.kill(); // the sandbox goes on: its branch is captured from here
    const state = new Layout(helper.state, join(helper.dir, 'run/criu'));
    const layout = state.sandbox(sandbox);
    const [id] = readdirSync(layout.branches).filter((one) => existsSync(layout.branch(one).file));
    const from = layout.branch(id!);
    const { pid, startTime, cgroup } = BranchRecord.parse(JSON.parse(readFileSync(from.file, 'utf8')));
    const live = { pid, startTime, cgroup: new Cgroup(cgroup), writes: new WriteTracking() };
    const build = resolve(__dirname, '../../build');
    const machine: Machine = {
      layout: state,
      init: join(build, 'init/teleport-init'),
      criu: join(build, 'criu/criu'),
      criuVersion: '',
      kernel: release(),
      bootId: '',
      cgroups: helper.cgroups().at(-1)!,
      limiter: new Limiter(helper.cgroups().at(-1)!),
      readsDirect: true,
      sharesData: true,
    };
    const to = layout.checkpoint('k1000');
    const files = filesIn(from.upper);
    assert.ok(files >= 500, `${files} files`);

    const events: string[] = [];
    const note = (what: string): void => {
      const states = new Set(live.cgroup.pids().map(stateOf));
      const copied = filesIn(to.layer);
      const how = copied === 0 ? 'nothing' : copied === files ? 'all' : `${copied} of ${files}`;
      events.push(`${what}: ${states.has('t') && states.size === 1 ? 'all stopped' : 'running'}, ${how} copied`);
    };
    class Watched extends Steps {
      override done(step: string): void {
        super.done(step);
        note(step);
      }
    }
    const criu = beginDump(machine, pid);
    const { socket } = criu;
    const send = socket.write.bind(socket);
    socket.write = ((packet: Uint8Array) => {
      note('CRIU is told to go on');
      return send(packet);
    }) as typeof socket.write;
    try {
      await capture(machine, live, from, to, 'copy', new Watched(), criu);
    } finally {
      live.writes.end();
      rmSync(to.dir, { recursive: true, force: true });
      await rig.restart();
    }
    const after = [
      'CRIU is told to go on: running, nothing copied',
      'CRIU began, processes stopped: all stopped, nothing copied',
      'CRIU is told to go on: all stopped, nothing copied',
      'processes dumped: all stopped, all copied',
      'changed files copied: all stopped, all copied',
      'CRIU is told to go on: all stopped, all copied',
      'processes go on: running, all copied',
    ];
    assert.deepEqual(events, after);
  });
});

/** Files below a folder, which need not be there. */
function filesIn(dir: string): number {
  if (!existsSync(dir)) return 0;
  return readdirSync(dir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).length;
}

/** A letter, as in proc_pid_stat(5). */
function stateOf(pid: number): string {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return stat.slice(stat.lastIndexOf(')') + 2)[0]!;
}

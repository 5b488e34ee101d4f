/** What a restored program will touch first is mapped while it stands still. */
import assert from 'node:assert/strict';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { HelperProcess, needsMachine, workspace } from './helper-process.ts';

describe('a shell that stands by', () => {
  it('meets few exceptions on its way to the answer of its first line', async function () {
    needsMachine(this);
    this.timeout(30_000);
    const ws = workspace({});
    const helper = await HelperProcess.start();
    try {
      const connection = await helper.connect();
      const sandbox = (await connection.request('sandbox/create', { workspace: ws })).sandbox.id;
      const run = async (): Promise<string> => {
        const ran = await connection.request('run', { sandbox, line: 'echo $MARK', checkpoint: false });
        return Buffer.from(ran.output, 'base64').toString().trim();
      };
      await connection.request('run', { sandbox, line: 'MARK=here', checkpoint: false });
      const { checkpoint } = await connection.request('checkpoint/create', { sandbox });
      const shell = await standingShell(helper);
      const standing = faults(shell);
      const rolling = connection.request('checkpoint/rollback', { sandbox, checkpoint: checkpoint.id, discard: true });
      assert.equal(await run(), 'here');
      assert.equal((await rolling).path, 'warm');
      const met = faults(shell) - standing;
      assert.ok(met < 8, `${met} exceptions`);
    } finally {
      await helper.stop();
      rmSync(ws, { recursive: true, force: true });
    }
  });
});

/** The pid of the shell of the one branch that is frozen, as soon as there is one. */
async function standingShell(helper: HelperProcess): Promise<number> {
  for (;;) {
    for (const group of helper.cgroups()) {
      const read = (file: string): string => readFileSync(join(group, file), 'utf8').trim();
      if (!/\/s\d+-b\d+$/.test(group) || !/^frozen 1$/m.test(read('cgroup.events'))) continue;
      const pids = read('cgroup.procs').split('\n').map(Number);
      const shell = pids.find((pid) => readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === 'bash');
      if (shell !== undefined) return shell;
    }
    await sleep(10);
  }
}

/** Minor page faults of a process (proc_pid_stat(5)). */
function faults(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')[7]);
}

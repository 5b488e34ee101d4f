/** A daemon of the benchmark's own, so that nobody's sandboxes are touched and nobody's standbys help. Root only. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Connection } from '../client/connection.ts';
import { HELPER_NODE_FLAGS } from '../client/start.ts';
import { TeleportError } from '../protocol/errors.ts';

/** Longer than the daemon itself waits for what is under way. */
const END_MS = 10_000;

export class PrivateHelper {
  readonly dir = mkdtempSync(join(tmpdir(), 'teleport-bench-'));
  readonly state = join(this.dir, 'state');
  private readonly socket = join(this.dir, 'run/daemon.sock');
  private readonly child: ChildProcess;
  private readonly ended: Promise<unknown>;
  connection!: Connection;
  /** What it took when it had begun. */
  startMb = 0;

  private constructor(program: string[], env: Record<string, string>) {
    const log = openSync(join(this.dir, 'log'), 'a');
    const args = [...HELPER_NODE_FLAGS, ...program, 'serve', '--socket', this.socket, '--state', this.state];
    // A process group of its own: Ctrl-C in a terminal is for the benchmark alone, which then ends it in order.
    this.child = spawn(process.execPath, args, {
      stdio: ['ignore', log, log],
      cwd: '/',
      detached: true,
      env: { ...process.env, ...env },
    });
    this.ended = new Promise((resolve) => this.child.once('exit', resolve));
  }

  /**
   * @param program how this very command line is run: node's arguments before `serve`
   * @param signal aborted, whoever waits for an answer of it is told that there comes none
   */
  static async start(program: string[], signal: AbortSignal, env: Record<string, string> = {}): Promise<PrivateHelper> {
    if (process.geteuid?.() !== 0)
      throw new TeleportError('notRoot', 'the benchmark starts a helper of its own and so needs root', {
        hint: 'sudo npm run bench',
      });
    const helper = new PrivateHelper(program, env);
    for (const deadline = Date.now() + 30_000; ; await sleep(20)) {
      try {
        helper.connection = await Connection.open(helper.socket, 'bench');
        helper.startMb = helper.usage().rssMb;
        signal.addEventListener('abort', () => helper.connection.close());
        if (signal.aborted) helper.connection.close();
        return helper;
      } catch (cause) {
        if (helper.child.exitCode === null && Date.now() < deadline && !signal.aborted) continue;
        const said = readFileSync(join(helper.dir, 'log'), 'utf8').trim();
        await helper.end();
        if (signal.aborted) throw new TeleportError('cancelled', 'the benchmark was broken off');
        throw new TeleportError('noHelper', `the benchmark's helper did not start: ${said}`, {
          hint: 'teleport-env doctor',
          cause,
        });
      }
    }
  }

  /** Of the daemon: resident MB now, and those of them that no file has; the CPU seconds that it, and processes of its that ended (CRIU), used so far. */
  usage(): { rssMb: number; anonMb: number; cpuS: number; childrenS: number } {
    const status = readFileSync(`/proc/${this.child.pid}/status`, 'utf8');
    const stat = readFileSync(`/proc/${this.child.pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
    const mb = (what: string): number => Number(new RegExp(`${what}:\\s+(\\d+)`).exec(status)?.[1]) / 1024;
    return {
      rssMb: mb('VmRSS'),
      anonMb: mb('RssAnon'),
      cpuS: (Number(stat[11]) + Number(stat[12])) / 100,
      childrenS: (Number(stat[13]) + Number(stat[14])) / 100,
    };
  }

  /** Who still waits for it is told that it ended. */
  async stop(): Promise<void> {
    this.connection.close();
    await this.removeAll().catch(() => {}); // it crashed: `end` takes what it left
    await this.end();
  }

  private async removeAll(): Promise<void> {
    const own = await Connection.open(this.socket, 'bench');
    try {
      const { sandboxes } = await own.request('sandbox/list', {});
      for (const { id } of sandboxes) await own.request('sandbox/remove', { sandbox: id });
    } finally {
      own.close();
    }
  }

  /** Nothing of it is left, whatever it was at. */
  private async end(): Promise<void> {
    this.child.kill('SIGTERM');
    const patience = setTimeout(() => this.child.kill('SIGKILL'), END_MS);
    await this.ended;
    clearTimeout(patience);
    await removeGroups(this.state);
    for (const path of mountsBelow(this.dir)) await unmount(path);
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** Helpers for the one workload, each with these variables, which end with it. */
export async function withHelpers(
  { program, signal }: { program: string[]; signal: AbortSignal },
  envs: Record<string, string>[],
  work: (helpers: PrivateHelper[]) => Promise<void>,
): Promise<void> {
  const helpers: PrivateHelper[] = [];
  try {
    for (const env of envs) helpers.push(await PrivateHelper.start(program, signal, env));
    await work(helpers);
  } finally {
    await Promise.all(helpers.map((helper) => helper.stop()));
  }
}

function mountsBelow(dir: string): string[] {
  const paths = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '');
  return paths.filter((path) => path.startsWith(`${dir}/`)).reverse();
}

async function unmount(path: string): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      execFileSync('umount', [path], { stdio: 'pipe' });
      return;
    } catch (error) {
      if (tries > 100) throw error;
      await sleep(50); // namespaces of branches are still being taken down
    }
  }
}

/** The daemon's folder of control groups is named after its state folder (helper/engine/cgroup.ts). */
export function groupFolder(state: string): string {
  return `teleport-env-${createHash('sha256').update(state).digest('hex').slice(0, 24)}`;
}

async function removeGroups(state: string): Promise<void> {
  for (const base of ['/sys/fs/cgroup', '/sys/fs/cgroup/unified']) {
    const mine = join(base, groupFolder(state));
    if (!existsSync(mine)) continue; // cgroup v2 is mounted elsewhere
    writeFileSync(join(mine, 'cgroup.kill'), '1');
    await removeGroup(mine);
  }
}

async function removeGroup(path: string): Promise<void> {
  for (const inside of readdirSync(path, { withFileTypes: true }))
    if (inside.isDirectory()) await removeGroup(join(path, inside.name));
  for (let tries = 0; ; tries++) {
    try {
      return rmdirSync(path);
    } catch (error) {
      if (tries > 100) throw error;
      await sleep(20); // what was killed takes a moment to be gone
    }
  }
}

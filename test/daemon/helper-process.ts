/** A real daemon of its own for a test: own socket, own state volume, real CRIU. Needs root. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  createWriteStream,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildSync } from 'esbuild';
import { Connection } from '../../helper/client/connection.ts';
import { HELPER_NODE_FLAGS } from '../../helper/client/start.ts';
import { Cgroup, findCgroup2, groupName } from '../../helper/engine/cgroup.ts';
import { loopsOf } from './census.ts';

const root = resolve(__dirname, '../..');

/** Skips the suite by name where there is no root or no CRIU; in CI that is a failure. */
export function needsMachine(suite: Mocha.Context): void {
  const missing =
    process.geteuid?.() !== 0
      ? 'root'
      : ['build/criu/criu', 'build/init/teleport-init'].find((file) => !existsSync(join(root, file)));
  if (!missing) return;
  if (process.env.TELEPORT_REQUIRE_CRIU) throw new Error(`this suite needs ${missing}`);
  suite.skip();
}

let bundled: string | undefined;

/** The daemon as one file, made once a process: node starts it in a third of the time that it takes module by module. */
function program(): string {
  if (bundled) return bundled;
  // Where a checkout's helper looks for CRIU and init, and koffi is found.
  const file = join(root, 'build', `helper-under-test-${process.pid}.js`);
  buildSync({
    entryPoints: [join(__dirname, 'serve.ts')],
    outfile: file,
    bundle: true,
    platform: 'node',
    external: ['koffi'],
    sourcemap: true,
    logLevel: 'warning',
  });
  process.once('exit', () => {
    for (const made of [file, `${file}.map`]) rmSync(made, { force: true });
  });
  // Without these, a process that a signal ends does not come by there.
  for (const [signal, status] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)
    process.once(signal, () => process.exit(status));
  bundled = file;
  return file;
}

export class HelperProcess {
  readonly dir = mkdtempSync(join(tmpdir(), 'teleport-test-'));
  readonly socket = join(this.dir, 'run/daemon.sock');
  readonly state = join(this.dir, 'state');
  readonly log = join(this.dir, 'daemon.log');
  private child: ChildProcess | null = null;
  private connections: Connection[] = [];
  /** Holds the word of the fault to come (helper/engine/fault.ts), where the daemon was started with faults. */
  readonly fault = join(this.dir, 'fault');
  /** Tests that want a rotation make some hundred files, whatever number is the best outside of them. */
  private env: Record<string, string> = { TELEPORT_ENV_ROTATE_ABOVE: '600' };
  private prefix: string[] = [];
  private measured = false;

  /**
   * @param volumeBytes of the state volume; sparse
   * @param options `within`: a command that ends by becoming the one given to it, in surroundings that it made. `measured`: its
   * memory is looked at, of which source maps take 20 MB from the first error on. `ownWay`: whether it copies or rotates is left to it.
   * `apart`: in a network of its own, so that what it makes there is nobody else's
   */
  static async start(
    volumeBytes = 4 * 1024 ** 3,
    options: {
      faults?: boolean;
      standbys?: number;
      measured?: boolean;
      ownWay?: boolean;
      apart?: boolean;
      /** Path of another CRIU than ours. */
      criu?: string;
      within?: (helper: HelperProcess) => string[];
    } = {},
  ): Promise<HelperProcess> {
    const helper = new HelperProcess();
    if (options.within) helper.prefix = options.within(helper);
    if (options.apart)
      helper.prefix = [...helper.prefix, 'unshare', '--net', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh'];
    helper.measured = options.measured ?? false;
    if (options.faults) helper.env.TELEPORT_ENV_FAULT = helper.fault;
    if (options.standbys !== undefined) helper.env.TELEPORT_ENV_STANDBYS = String(options.standbys);
    if (options.ownWay) delete helper.env.TELEPORT_ENV_ROTATE_ABOVE;
    if (options.criu) helper.env.TELEPORT_ENV_CRIU = options.criu;
    await helper.run(volumeBytes);
    return helper;
  }

  private async run(volumeBytes?: number): Promise<void> {
    const [command, ...args] = [
      ...this.prefix,
      process.execPath,
      ...HELPER_NODE_FLAGS,
      ...(this.measured ? [] : ['--enable-source-maps']),
      program(),
      this.socket,
      this.state,
    ];
    if (volumeBytes) args.push(String(volumeBytes));
    const out = createWriteStream(this.log, { flags: 'a' });
    await new Promise((ready) => out.once('open', ready));
    this.child = spawn(command!, args, {
      stdio: ['ignore', out, out],
      cwd: '/',
      env: { ...process.env, ...this.env },
    });
    for (const deadline = Date.now() + 30_000; ; await sleep(20)) {
      try {
        (await Connection.open(this.socket, 'test')).close();
        return;
      } catch (error) {
        if (this.child.exitCode !== null || Date.now() > deadline) throw new Error(`${error}\n${this.logText()}`);
      }
    }
  }

  async connect(): Promise<Connection> {
    const connection = await Connection.open(this.socket, 'test');
    this.connections.push(connection);
    return connection;
  }

  /** What is left in its heap when what nobody needs has been collected. */
  async liveHeapMb(): Promise<number> {
    const file = `${this.state}-heap`;
    rmSync(file, { force: true });
    process.kill(this.pid, 'SIGUSR2');
    for (const deadline = Date.now() + 10_000; Date.now() < deadline; await sleep(10)) {
      const told = existsSync(file) ? readFileSync(file, 'utf8') : '';
      if (told.endsWith('\n')) return Number(told) / 2 ** 20;
    }
    throw new Error('the helper did not tell of its heap');
  }

  logText(): string {
    return existsSync(this.log) ? readFileSync(this.log, 'utf8') : '';
  }

  /** Ends the daemon, by default as a crash would; what it ran goes on. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const { child } = this;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    await new Promise((ended) => {
      child.once('exit', ended);
      child.kill(signal);
    });
  }

  /** Lets this user connect, besides root. */
  admit(uid: number): void {
    writeFileSync(`${this.state}-admitted`, `${uid}\n`);
    chmodSync(this.dir, 0o755); // its socket is in there
  }

  async restart(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    await this.kill(signal);
    for (const connection of this.connections) connection.close();
    this.connections = [];
    await this.run();
  }

  /** Until it ended by itself; false where it did not within that time. */
  async died(withinMs: number): Promise<boolean> {
    for (const deadline = Date.now() + withinMs; Date.now() < deadline; await sleep(10))
      if (this.child?.exitCode !== null || this.child.signalCode !== null) return true;
    return false;
  }

  get pid(): number {
    return this.child?.pid ?? 0;
  }

  /** Its folder of control groups and those in it, the folder itself last. */
  cgroups(): string[] {
    return groupsOf(this.state);
  }

  /** Branches alive, by their cgroups. */
  liveBranches(): string[] {
    return this.cgroups()
      .filter((dir) => /\/s\d+-b\d+$/.test(dir))
      .filter((dir) => new Cgroup(dir).pids().length > 0);
  }

  /** The checkpoints that standbys of a sandbox are of, by their records. */
  standbys(sandbox: string): string[] {
    const branches = join(this.state, 'volume/sandboxes', sandbox, 'branches');
    return readdirSync(branches).flatMap((id) => {
      const file = join(branches, id, 'branch.json');
      const { role, base } = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {};
      return role === 'standby' ? [base as string] : [];
    });
  }

  /** Until one of that checkpoint stands by. */
  async standsBy(sandbox: string, checkpoint: string): Promise<void> {
    for (const deadline = Date.now() + 10_000; !this.standbys(sandbox).includes(checkpoint); await sleep(20))
      if (Date.now() > deadline) throw new Error(`${checkpoint} does not stand by, but ${this.standbys(sandbox)}`);
  }

  mounts(): string[] {
    return readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .map((line) => line.split(' ')[4] ?? '')
      .filter((path) => path.startsWith(this.dir));
  }

  /**
   * As after a reboot: every process gone, nothing mounted.
   * @param lose what the state volume has in memory only: `all`, or `data` alone, as when somebody had just had its log written
   */
  async powerOff({ lose }: { lose?: 'all' | 'data' } = {}): Promise<void> {
    await this.kill();
    const how = lose === 'data' ? 'shutdown -f' : 'shutdown';
    if (lose) execFileSync('xfs_io', ['-x', '-c', how, join(this.state, 'volume')]);
    await endGroups(this.state);
    for (const path of this.mounts().reverse()) execFileSync('umount', [path]);
    // Namespaces that are still being taken down hold a file system that was lost.
    for (const deadline = Date.now() + 10_000; lose && loopsOf(this.dir).length; await sleep(20))
      if (Date.now() > deadline) throw new Error(`${loopsOf(this.dir)} is held still`);
  }

  async stop(): Promise<void> {
    for (const connection of this.connections) connection.close();
    await this.kill('SIGTERM');
    await endGroups(this.state);
    for (let i = 0; i < 100 && this.mounts().length; i++)
      for (const path of this.mounts().reverse()) {
        try {
          execFileSync('umount', [path], { stdio: 'ignore' });
        } catch {
          await sleep(20); // a branch's namespace is still being taken down
        }
      }
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** A workspace folder with these files. */
export function workspace(files: Record<string, string> = {}): string {
  const dir = mkdtempSync(join(tmpdir(), 'teleport-ws-'));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(dir, name), text);
  return dir;
}

function groupsOf(state: string): string[] {
  const mine = join(findCgroup2() ?? '', groupName(state, ''));
  if (!existsSync(mine)) return [];
  return readdirSync(mine, { withFileTypes: true })
    .filter((e) => e.isDirectory())
    .map((e) => join(mine, e.name))
    .concat(mine);
}

/** Takes away the control groups of a daemon that has ended, with all that runs in them. */
export async function endGroups(state: string): Promise<void> {
  for (const dir of groupsOf(state)) {
    await new Cgroup(dir).end();
  }
}

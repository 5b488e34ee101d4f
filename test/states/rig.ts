/** A sandbox full of programs in every kind of state, and what is done with it. */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Connection } from '../../helper/client/connection.ts';
import type { TeleportError } from '../../helper/protocol/errors.ts';
import type { Result } from '../../helper/protocol/methods.ts';
import { HelperProcess } from '../daemon/helper-process.ts';
import { makeWorkspace, namesIn, type Selection, starting } from './catalogue.ts';

/** What the helper does after its answer is done by then: it has the next CRIU begun in place of one that was killed, too. */
const AFTERWARDS_MS = 100;
const SYSTEM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

export class Rig {
  readonly helper: HelperProcess;
  readonly workspace = makeWorkspace();
  connection!: Connection;
  sandbox = '';
  private readonly uid: number;
  private makesStandbys = true;
  private relay: ChildProcess | null = null;

  private constructor(helper: HelperProcess, uid: number) {
    this.helper = helper;
    this.uid = uid;
  }

  /**
   * @param uid who has the sandbox; root by default
   * @param fill adds to the workspace
   * @param standbys at most; as ever by default
   * @param faults `helper.fault` names one, when there is to be one
   */
  static async make(
    uid = 0,
    fill: (workspace: string) => void = () => {},
    standbys?: number,
    faults = false,
  ): Promise<Rig> {
    const rig = new Rig(await HelperProcess.start(8 * 1024 ** 3, { standbys, faults }), uid);
    rig.makesStandbys = standbys !== 0;
    try {
      fill(rig.workspace);
      if (uid) rig.helper.admit(uid);
      if (uid) execFileSync('chown', ['-R', `${uid}:${uid}`, rig.workspace]);
      await rig.connect();
      const env = { PATH: `${dirname(process.execPath)}:${SYSTEM_PATH}` };
      const { sandbox } = await rig.connection.request('sandbox/create', { workspace: rig.workspace, env });
      rig.sandbox = sandbox.id;
      return rig;
    } catch (error) {
      await rig.end();
      throw error;
    }
  }

  private async connect(): Promise<void> {
    if (!this.uid) {
      this.connection = await this.helper.connect();
      return;
    }
    const path = join(this.helper.dir, 'relay.sock');
    rmSync(path, { force: true });
    this.relay = spawn(process.execPath, [join(__dirname, 'relay.cjs'), path, this.helper.socket, String(this.uid)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await new Promise((ready, reject) => {
      this.relay!.stdout!.once('data', ready);
      this.relay!.once('exit', () => reject(new Error('the relay ended')));
    });
    this.connection = await Connection.open(path, 'test');
  }

  async end(): Promise<void> {
    this.connection?.close();
    this.relay?.kill('SIGKILL');
    await this.helper.stop();
    rmSync(this.workspace, { recursive: true, force: true });
  }

  /** The helper is killed and started again. */
  async restart(): Promise<void> {
    this.relay?.kill('SIGKILL');
    await this.helper.restart();
    await this.connect();
  }

  async run(line: string, branch?: string): Promise<string> {
    const { output } = await this.connection.request('run', { sandbox: this.sandbox, line, branch, checkpoint: false });
    return Buffer.from(output, 'base64').toString();
  }

  async get(): Promise<Result<'sandbox/get'>['sandbox']> {
    return (await this.connection.request('sandbox/get', { sandbox: this.sandbox })).sandbox;
  }

  /** Starts programs; answers those that could not be set up, with the reason. */
  async start(selection: Selection): Promise<Map<string, string>> {
    const names = namesIn(selection);
    await this.run(starting(selection));
    const told = await this.gather('ready', names, undefined, 30);
    return new Map(
      names.flatMap((name) => (told.get(name) === 'ready' ? [] : [[name, told.get(name) ?? 'not ready']])),
    );
  }

  /** Gives the word to check; what each program says. */
  async check(names: string[], branch?: string): Promise<Map<string, string>> {
    await this.run('touch go', branch);
    return await this.gather('results', names, branch, 12);
  }

  private async gather(folder: string, names: string[], branch: string | undefined, seconds: number) {
    // Only what is whole: while a file is being written its name ends with .new.
    const line =
      `cd ${folder}; for i in $(seq ${seconds * 20}); do [ $(ls | grep -vc '[.]new$') -ge ${names.length} ] && break; sleep 0.05; ` +
      `done; for f in *; do printf '%s\\0' "$f"; cat "$f"; printf '\\0'; done; cd ..`;
    const words = (await this.run(line, branch)).split('\0');
    const told = new Map<string, string>();
    for (let i = 0; i + 1 < words.length; i += 2) told.set(words[i]!, words[i + 1]!);
    return told;
  }

  async checkpoint(): Promise<string> {
    return (await this.connection.request('checkpoint/create', { sandbox: this.sandbox })).checkpoint.id;
  }

  /** Until it was restored once and stands by. @throws where that failed, with the reason */
  async verified(checkpoint: string): Promise<void> {
    for (const end = Date.now() + 30_000; Date.now() < end; await sleep(25)) {
      const { checkpoints } = await this.connection.request('checkpoint/list', { sandbox: this.sandbox });
      const { state } = checkpoints.find((c) => c.id === checkpoint)!;
      if (state.broken) throw new Error(`${checkpoint} cannot be restored: ${state.broken}`);
      if (state.verified && state.durable) return;
    }
    throw new Error(`${checkpoint} was not verified within 30 s\n${this.helper.logText()}`);
  }

  async rollback(checkpoint: string, path?: 'warm' | 'cold'): Promise<void> {
    const moved = await this.move(checkpoint);
    if (path) assert.equal(moved.path, path, 'way of the rollback');
  }

  private move(checkpoint: string, expect?: string[]): Promise<Result<'checkpoint/rollback'>> {
    const { sandbox } = this;
    return this.connection.request('checkpoint/rollback', { sandbox, checkpoint, discard: true, expect });
  }

  /** Until there is a standby of it. The helper is told to expect it: of a sandbox as large as this suite's it makes but one. */
  async standsBy(checkpoint: string): Promise<void> {
    const { sandbox } = this;
    await this.connection.request('run', { sandbox, line: ':', checkpoint: false, expect: [checkpoint] });
    const one = async () => (await this.standbys()).some((group) => this.standsFor(group) === checkpoint);
    await until(one, `a standby of ${checkpoint}`);
  }

  async warmRollback(checkpoint: string): Promise<void> {
    await this.standsBy(checkpoint);
    const { path } = await this.move(checkpoint, []);
    assert.equal(path, 'warm', 'way of the rollback');
  }

  /**
   * A rollback that finds its standby dead: were there none, one might just be begun.
   * @param begun when the CRIU was that restores
   */
  async coldRollback(checkpoint: string, begun: 'ahead' | 'on demand' = 'ahead'): Promise<void> {
    if (this.makesStandbys) await this.killStandby(checkpoint);
    await this.aheadOnce();
    if (begun === 'on demand') {
      await sleep(AFTERWARDS_MS);
      await this.killAhead();
    }
    const ahead = this.ahead();
    const { path, head } = await this.move(checkpoint, []);
    assert.equal(path, 'cold', 'way of the rollback');
    // A branch has the number that its CRIU was begun with.
    assert.equal(ahead.includes(head), begun === 'ahead', `${head} is one of ${ahead}, whose CRIU was begun ahead`);
  }

  rollbackBy(way: 'warm' | 'cold', checkpoint: string): Promise<void> {
    return way === 'warm' ? this.warmRollback(checkpoint) : this.coldRollback(checkpoint);
  }

  /** Branches to be, whose CRIU was begun ahead: a control group is there, and no folder yet. */
  ahead(): string[] {
    return this.groups(this.helper.cgroups())
      .map((group) => this.idOf(group))
      .filter((id) => !existsSync(join(this.branches, id)));
  }

  /** The same, once there is one, and its CRIU waits: the group is made before that. */
  async aheadOnce(): Promise<string[]> {
    await until(() => this.ahead().length > 0 && this.waiting('restore').length > 0, 'a CRIU that is begun ahead');
    return this.ahead();
  }

  /** Pids of those that were begun ahead and wait: for a dump in a network namespace that is there. */
  waiting(what: 'restore' | 'dump'): number[] {
    const { pid: helper } = this.helper;
    const children = readFileSync(`/proc/${helper}/task/${helper}/children`, 'utf8').trim().split(' ');
    const words = what === 'restore' ? /enter\0--wait\0.*\0--net\0new\0/ : /enter\0--wait\0.*\0--net\0\d+\0/;
    return children.filter((pid) => words.test(commandOf(pid))).map(Number);
  }

  /**
   * SIGKILL for every CRIU that was begun ahead of a restore. @returns how many there were
   * @param heard until the helper knows of it
   */
  async killAhead(heard = true): Promise<number> {
    const killed = this.waiting('restore');
    for (const pid of killed) process.kill(pid, 'SIGKILL');
    if (heard) await until(() => !killed.some((pid) => existsSync(`/proc/${pid}`)), 'the end of what was killed');
    return killed.length;
  }

  private get branches(): string {
    return join(this.helper.state, 'volume/sandboxes', this.sandbox, 'branches');
  }

  private groups(of: string[]): string[] {
    return of.filter((group) => basename(group).startsWith(`${this.sandbox}-`));
  }

  private idOf(group: string): string {
    return basename(group).slice(this.sandbox.length + 1);
  }

  /** The checkpoint of a standby that is made. A head that was left, and is being ended, is not shown either. */
  private standsFor(group: string): string | undefined {
    try {
      const record = JSON.parse(readFileSync(join(this.branches, this.idOf(group), 'branch.json'), 'utf8'));
      return record.role === 'standby' ? record.base : undefined;
    } catch {
      return undefined; // it is being made
    }
  }

  /** Groups of standbys, also of those that are being made. */
  private async standbys(): Promise<string[]> {
    const shown = (await this.get()).branches.map(({ id }) => id);
    return this.groups(this.helper.liveBranches()).filter((group) => !shown.includes(this.idOf(group)));
  }

  /** The oldest, which is taken first. The helper makes no other in its place before it has tried it. */
  private async killStandby(checkpoint: string): Promise<void> {
    await this.standsBy(checkpoint);
    const groups = (await this.standbys()).filter((group) => this.standsFor(group) === checkpoint);
    const number = (group: string) => Number(this.idOf(group).slice(1));
    const [oldest] = groups.sort((one, other) => number(one) - number(other));
    await until(() => !isBeingRestored(oldest!), 'a standby that stands still');
    writeFileSync(join(oldest!, 'cgroup.kill'), '1');
  }

  async fork(checkpoint: string): Promise<string> {
    return (await this.connection.request('branch/fork', { sandbox: this.sandbox, checkpoint })).branch;
  }

  async warmFork(checkpoint: string): Promise<string> {
    await this.standsBy(checkpoint);
    const { sandbox } = this;
    const { branch, path } = await this.connection.request('branch/fork', { sandbox, checkpoint, expect: [] });
    assert.equal(path, 'warm', 'way of the fork');
    return branch;
  }

  /**
   * A checkpoint of as many programs as can be: those that stand in the way are ended one after the other, each with the reason
   * that it gave.
   */
  async checkpointOfMost(): Promise<{ id: string; culprits: Map<string, string> }> {
    const culprits = new Map<string, string>();
    for (;;) {
      try {
        return { id: await this.checkpoint(), culprits };
      } catch (error) {
        const { process: culprit, message } = error as TeleportError;
        if (!culprit || culprits.has(culprit.command)) throw error;
        culprits.set(culprit.command, message);
        await this.run(`pkill -9 -s $(ps -o sid= -p ${culprit.pid})`); // each program is a session
      }
    }
  }
}

async function until(isSo: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (const end = Date.now() + 30_000; !(await isSo()); await sleep(20))
    assert.ok(Date.now() < end, `${what}: not within 30 s`);
}

/** With a NUL after each word. */
function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return ''; // it ended meanwhile
  }
}

/** A standby stands still as soon as it is made. */
function isBeingRestored(group: string): boolean {
  try {
    return !/^frozen 1$/m.test(readFileSync(join(group, 'cgroup.events'), 'utf8'));
  } catch {
    return false; // it ended meanwhile
  }
}

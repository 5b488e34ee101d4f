/** A helper that faults are put to, and sandboxes whose every moment can be told: what was committed is what one finds again. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Connection } from '../../../helper/client/connection.ts';
import { Cgroup } from '../../../helper/engine/cgroup.ts';
import type { FaultPoint } from '../../../helper/engine/fault.ts';
import type { Params, Result } from '../../../helper/protocol/methods.ts';
import type { Checkpoint, Sandbox } from '../../../helper/protocol/model.ts';
import { layersOf, type Node } from '../../../helper/sandbox/tree.ts';
import { type Census, census, settled } from '../census.ts';
import { HelperProcess, workspace } from '../helper-process.ts';

/** More layers than that, and those below a checkpoint are made one (helper/daemon/catalogue.ts). */
const FLATTEN_ABOVE = 32;

/** More than that many files changed, and a checkpoint rotates. */
const MANY = 650;

/** What a sandbox should be: the head's value, each checkpoint's, and a checkpoint on which nothing lies. */
export interface Told {
  head: string;
  checkpoints: Map<string, string>;
  target: string;
}

/** Branches of a sandbox at rest: the head and its standbys. */
const MOST = 4;

export interface Failure {
  code: string;
  message: string;
  hint?: string;
}

export class World {
  readonly helper: HelperProcess;
  connection!: Connection;
  /** Of the machine before there was any sandbox, with one connection open. */
  private empty: Census | undefined;
  private readonly made: string[] = [];

  private constructor(helper: HelperProcess) {
    this.helper = helper;
  }

  static async start(
    options: { standbys?: number; volumeBytes?: number; measured?: boolean; apart?: boolean } = {},
  ): Promise<World> {
    const world = new World(await HelperProcess.start(options.volumeBytes, { faults: true, ...options }));
    world.connection = await world.helper.connect();
    // Its first operations load what it needs from then on.
    await world.remove(await world.create());
    world.empty = await settled(world.helper, { processes: 0, trash: 0 });
    return world;
  }

  async stop(): Promise<void> {
    await this.helper.stop();
    for (const dir of this.made) rmSync(dir, { recursive: true, force: true });
  }

  /** For `afterEach`: nothing armed, nothing there. */
  async clear(failed: boolean): Promise<void> {
    rmSync(this.helper.fault, { force: true });
    if (failed) console.error(this.helper.logText().slice(-6000));
    if (await this.helper.died(1)) await this.restart();
    for (const { id } of (await this.connection.request('sandbox/list', {})).sandboxes) await this.remove(id);
  }

  async restart(): Promise<void> {
    await this.helper.restart();
    this.connection = await this.helper.connect();
  }

  // ---- a sandbox ----

  async create(more: Partial<Params<'sandbox/create'>> = {}): Promise<string> {
    const ws = workspace({ 'a.txt': 'one\n' });
    this.made.push(ws);
    return (await this.connection.request('sandbox/create', { workspace: ws, ...more })).sandbox.id;
  }

  async remove(sandbox: string): Promise<void> {
    await this.connection.request('sandbox/remove', { sandbox });
  }

  async get(sandbox: string): Promise<Sandbox> {
    return (await this.connection.request('sandbox/get', { sandbox })).sandbox;
  }

  async checkpoints(sandbox: string): Promise<Checkpoint[]> {
    return (await this.connection.request('checkpoint/list', { sandbox })).checkpoints;
  }

  checkpoint(sandbox: string): Promise<Result<'checkpoint/create'>> {
    return this.connection.request('checkpoint/create', { sandbox });
  }

  rollback(sandbox: string, checkpoint: string, discard = true): Promise<Result<'checkpoint/rollback'>> {
    return this.connection.request('checkpoint/rollback', { sandbox, checkpoint, discard });
  }

  async run(sandbox: string, line: string, more: Partial<Params<'run'>> = {}): Promise<string> {
    const ran = await this.connection.request('run', { sandbox, line, checkpoint: false, ...more });
    return Buffer.from(ran.output, 'base64').toString();
  }

  place(sandbox: string): string {
    return join(this.helper.state, 'volume/sandboxes', sandbox);
  }

  async pidOfHead(sandbox: string): Promise<number> {
    const { head } = await this.get(sandbox);
    return JSON.parse(readFileSync(join(this.place(sandbox), 'branches', head!, 'branch.json'), 'utf8')).pid;
  }

  async durable(sandbox: string, checkpoint: string): Promise<void> {
    for (let i = 0; i < 400; i++, await sleep(25))
      if ((await this.checkpoints(sandbox)).find((c) => c.id === checkpoint)?.state.durable) return;
    assert.fail(`${checkpoint} was not made durable`);
  }

  /** Host pids of PID 1 of its standbys, once there is one, and no more are being made. */
  async standbysOf(sandbox: string, checkpoint: string): Promise<number[]> {
    const dir = join(this.place(sandbox), 'branches');
    const ready = (): number[] =>
      readdirSync(dir).flatMap((id) => {
        const { role, base, pid } = JSON.parse(readFileSync(join(dir, id, 'branch.json'), 'utf8'));
        return role === 'standby' && base === checkpoint ? [Number(pid)] : [];
      });
    for (let i = 0, before = ''; i < 100; i++, await sleep(300)) {
      try {
        const now = ready();
        if (now.length && String(now) === before) return now;
        before = String(now);
      } catch {
        before = ''; // one of them has just come or gone
      }
    }
    assert.fail(`no standby of ${checkpoint} was made`);
  }

  // ---- moments ----

  /** A background process, and a first value. */
  async begin(sandbox: string): Promise<Told> {
    await this.run(sandbox, 'sleep 100000 &');
    await this.set(sandbox, 'v0');
    return { head: 'v0', checkpoints: new Map(), target: '' };
  }

  /** Two checkpoints more; the target is the older of them, on which nothing lies. */
  async grow(sandbox: string, told: Told, n: number): Promise<void> {
    for (const part of ['a', 'b']) {
      await this.set(sandbox, `v${n}${part}`);
      const { checkpoint } = await this.checkpoint(sandbox);
      told.checkpoints.set(checkpoint.id, `v${n}${part}`);
      if (part === 'a') told.target = checkpoint.id;
    }
    told.head = `v${n}c`;
    await this.set(sandbox, told.head);
  }

  /** So many files changed that a checkpoint rotates. */
  async many(sandbox: string, told: Told): Promise<void> {
    told.head += 'm';
    await this.set(sandbox, told.head, MANY);
  }

  /** So many layers lie below the head that its next checkpoint has them made one. */
  async deepen(sandbox: string, told: Told): Promise<void> {
    // Where they were many before, the checkpoints made since are having them made one now.
    for (let i = 0; i < 400 && this.layers(sandbox, await this.base(sandbox)) > FLATTEN_ABOVE; i++) await sleep(25);
    // From where it is deepest: to make all of it takes a while.
    const [deepest] = [...told.checkpoints.keys()]
      .filter((id) => this.layers(sandbox, id) <= FLATTEN_ABOVE + 1)
      .sort((a, b) => this.layers(sandbox, b) - this.layers(sandbox, a));
    await this.rollback(sandbox, deepest!);
    told.head = told.checkpoints.get(deepest!)!;
    const [begun] = told.head.split('-');
    for (let n = this.layers(sandbox, deepest!); n <= FLATTEN_ABOVE; n++) {
      told.head = `${begun}-${n}`;
      // Each layer adds something to what others have, changes some of it, and takes some away.
      await this.run(sandbox, `mkdir -p big/of; touch big/of/${n} big/${n}; rm -f big/of/${n - 5} big/${n - 10}`);
      await this.run(sandbox, `for i in $(ls big | grep -v of); do echo ${told.head} > big/$i; done`);
      await this.set(sandbox, told.head);
      const { checkpoint } = await this.checkpoint(sandbox);
      told.checkpoints.set(checkpoint.id, told.head);
      await this.rollback(sandbox, checkpoint.id);
    }
  }

  private manifest(sandbox: string, checkpoint: string): Node {
    return JSON.parse(readFileSync(join(this.place(sandbox), 'checkpoints', checkpoint, 'manifest.json'), 'utf8'));
  }

  /** The checkpoint whose layers the head is mounted on. */
  async base(sandbox: string): Promise<string> {
    const { head } = await this.get(sandbox);
    return JSON.parse(readFileSync(join(this.place(sandbox), 'branches', head!, 'branch.json'), 'utf8')).base;
  }

  /** How many layers a branch of it would be mounted on. */
  private layers(sandbox: string, checkpoint: string): number {
    const tree = new Map<string, Node>();
    for (let at: string | null = checkpoint; at !== null; at = tree.get(at)!.base)
      tree.set(at, this.manifest(sandbox, at));
    return layersOf(tree, checkpoint).length;
  }

  /** Until all that lies below it is there as one layer. */
  async flattened(sandbox: string, checkpoint: string): Promise<void> {
    for (let i = 0; i < 400; i++, await sleep(25)) if (this.manifest(sandbox, checkpoint).flat) return;
    assert.fail(`${checkpoint} was not made flat`);
  }

  /** Shell variable, file and number of files say the same: a moment that was. */
  async set(sandbox: string, value: string, files = 0): Promise<void> {
    const fill = files ? `; mkdir -p big; for i in $(seq ${files}); do echo ${value} > big/$i; done` : '';
    await this.run(sandbox, `X=${value}; echo ${value} > n${fill}; FILES=$(ls big 2>/dev/null | wc -l)`);
  }

  /** The value of the head, whose memory, files and processes must be of one moment. */
  async moment(sandbox: string): Promise<string> {
    const text = await this.run(
      sandbox,
      'echo "$X $(cat n) $FILES $(ls big 2>/dev/null | wc -l) $(cat big/* 2>/dev/null | sort -u | wc -l) $(jobs -r | wc -l)"',
    );
    const [shell, file, counted, files, kinds, jobs] = text.trim().split(' ');
    assert.equal(shell, file, `memory and files are of one moment: ${text}`);
    assert.equal(counted, files, `all files are of that moment: ${text}`);
    assert.ok(Number(kinds) <= 1, text);
    assert.equal(jobs, '1', `the background process lives: ${text}`);
    return shell!;
  }

  /**
   * All that was committed is there and usable (the newest `look` of it are gone back to), nothing else is seen, nothing leaked.
   * @param heads values that the head may have @param mayBeGone checkpoints that may be gone
   */
  async sound(
    sandbox: string,
    told: Told,
    { heads, mayBeGone = [], look = 2 }: { heads: string[]; mayBeGone?: string[]; look?: number },
  ): Promise<void> {
    if ((await this.get(sandbox)).state !== 'running') await this.connection.request('sandbox/start', { sandbox });
    const value = await this.moment(sandbox);
    assert.ok(heads.includes(value), `the head is ${value}, wanted one of ${heads}`);
    const found = await this.checkpoints(sandbox);
    const ids = new Set(found.map((c) => c.id));
    for (const id of told.checkpoints.keys())
      if (!ids.has(id)) {
        assert.ok(mayBeGone.includes(id), `${id} was committed and is lost`);
        told.checkpoints.delete(id);
      }
    for (const { id, state } of found) {
      assert.equal(state.broken, undefined, `${id}: ${state.broken}`);
      if (id !== 'k0' && !told.checkpoints.has(id)) told.checkpoints.set(id, told.head);
    }
    const onDisk = (): string[] => readdirSync(join(this.place(sandbox), 'checkpoints')).sort();
    for (let i = 0; i < 100 && onDisk().length !== ids.size; i++) await sleep(20); // removed in the background
    assert.deepEqual(onDisk(), [...ids].sort(), 'nothing but committed checkpoints is on disk');
    told.head = value;
    for (const [id, expected] of [...told.checkpoints].slice(-look)) {
      await this.rollback(sandbox, id);
      assert.equal(await this.moment(sandbox), expected, `${id} is what it was`);
      told.head = expected;
    }
    for (const { id, role } of (await this.get(sandbox)).branches)
      if (role === 'fork') await this.connection.request('branch/discard', { sandbox, branch: id });
    await this.tidy(1);
  }

  /** Nothing is there but what so many sandboxes need: a folder, a group and a set of processes for every live branch. */
  async tidy(sandboxes: number): Promise<void> {
    const { helper } = this;
    const branches = (): string[] =>
      sandboxes === 0
        ? []
        : readdirSync(join(helper.state, 'volume/sandboxes')).flatMap((id) =>
            readdirSync(join(this.place(id), 'branches')).map((b) => `${id}-${b}`),
          );
    // CRIU that was begun ahead waits in the group of the branch to be, which has no folder yet.
    const groups = (): string[] =>
      helper
        .liveBranches()
        .filter((path) => !isAhead(path, helper.pid))
        .map((path) => path.split('/').at(-1)!);
    let seen = { branches: [''], groups: [''], trash: [''] };
    const rest = (): boolean => {
      seen = {
        branches: branches().sort(),
        groups: groups().sort(),
        trash: readdirSync(join(helper.state, 'volume/trash')),
      };
      // A standby may have come or gone between two of these looks.
      const steady = String(branches().sort()) === String(seen.branches);
      return (
        steady &&
        String(seen.branches) === String(seen.groups) &&
        seen.branches.length <= sandboxes * MOST &&
        seen.trash.length === 0
      );
    };
    for (let i = 0; i < 400 && !rest(); i++) await sleep(25);
    assert.deepEqual(seen.groups, seen.branches, 'a folder for every live branch, and no more');
    assert.ok(seen.branches.length <= sandboxes * MOST, `head and standbys at most: ${seen.branches}`);
    const now = census(helper);
    assert.deepEqual(
      [now.loops, now.mounts, now.trash, now.sandboxes],
      [1, this.empty?.mounts ?? now.mounts, 0, sandboxes],
      'loops, mounts, trash and sandboxes',
    );
    for (const path of helper.liveBranches()) if (await this.isStuck(path)) assert.fail(`${path} stands still`);
  }

  /** A branch of the sandbox that is frozen is a standby, and no other. */
  private async isStuck(group: string): Promise<boolean> {
    const [, id, branch] = /\/(s\d+)-(b\d+)$/.exec(group)!;
    const file = join(this.place(id!), 'branches', branch!, 'branch.json');
    try {
      if (!existsSync(file) || !new Cgroup(group).isFrozen) return false;
    } catch {
      return false; // it has just been taken down
    }
    return (await this.get(id!)).branches.some((b) => b.id === branch);
  }

  /** With no sandbox any more, the machine is as it was before the first. @returns what there is */
  async nothingLeft(): Promise<Census> {
    const now = await settled(this.helper, this.empty!);
    assert.deepEqual(now, this.empty);
    return now;
  }

  // ---- faults ----

  /** The next time that the helper comes by there. @param way helper/engine/fault.ts */
  arm(point: FaultPoint, way = ''): void {
    writeFileSync(this.helper.fault, way ? `${point}=${way}` : point);
  }

  /** @returns whether it had been met */
  disarm(): boolean {
    const met = !existsSync(this.helper.fault);
    rmSync(this.helper.fault, { force: true });
    return met;
  }
}

function isAhead(group: string, helper: number): boolean {
  try {
    const pids = readFileSync(join(group, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean);
    return pids.every((pid) => new RegExp(`^PPid:\t${helper}$`, 'm').test(readFileSync(`/proc/${pid}/status`, 'utf8')));
  } catch {
    return false; // it has just ended
  }
}

export async function failure(work: Promise<unknown>): Promise<Failure> {
  return await work.then(
    () => ({ code: 'no error', message: '' }),
    (error) => ({ code: error.code ?? 'other', message: String(error.message), hint: error.hint }),
  );
}

/** A pseudo-random number below n, the same for the same seed (Numerical Recipes' constants). */
export function random(seed: number): (n: number) => number {
  let state = seed;
  return (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
}

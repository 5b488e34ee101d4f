/**
 * The helper, CRIU and PID 1 are killed, images damaged, the volume filled: whatever was committed must stay usable, nothing half made
 * be seen, nothing leak. TELEPORT_FAULTS is the number of random faults (25 by default, 1,000 in a soak), TELEPORT_SEED their seed.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Connection } from '../../helper/client/connection.ts';
import { FAULT_POINTS, type FaultPoint } from '../../helper/engine/fault.ts';
import type { Params, Result } from '../../helper/protocol/methods.ts';
import { HelperProcess, needsMachine, workspace } from './helper-process.ts';

const FAULTS = Number(process.env.TELEPORT_FAULTS ?? 25);
const SEED = Number(process.env.TELEPORT_SEED ?? Date.now() % 100_000);
/** More than that many files changed, and a checkpoint rotates. */
const MANY = 650;

describe('faults', function () {
  this.timeout(60_000 + FAULTS * 15_000);
  let helper: HelperProcess;
  let connection: Connection;
  const made: string[] = [];

  before(async function () {
    needsMachine(this);
    helper = await HelperProcess.start(undefined, { faults: true });
    connection = await helper.connect();
  });
  after(async () => {
    await helper?.stop();
    for (const dir of made) rmSync(dir, { recursive: true, force: true });
  });
  afterEach(async function () {
    rmSync(helper.fault, { force: true });
    if (this.currentTest?.state === 'failed') console.error(helper.logText().slice(-6000));
    if (await helper.died(0)) await restart();
    for (const { id } of (await connection.request('sandbox/list', {})).sandboxes)
      await connection.request('sandbox/remove', { sandbox: id });
  });

  async function restart(): Promise<void> {
    await helper.restart();
    connection = await helper.connect();
  }
  async function create(): Promise<string> {
    const ws = workspace({ 'a.txt': 'one\n' });
    made.push(ws);
    return (await connection.request('sandbox/create', { workspace: ws })).sandbox.id;
  }
  async function run(sandbox: string, line: string, more: Partial<Params<'run'>> = {}): Promise<string> {
    const ran = await connection.request('run', { sandbox, line, checkpoint: false, ...more });
    return Buffer.from(ran.output, 'base64').toString();
  }
  async function failure(work: Promise<unknown>): Promise<{ code: string; message: string; hint?: string }> {
    return await work.then(
      () => ({ code: 'no error', message: '' }),
      (error) => ({ code: error.code ?? 'other', message: String(error.message), hint: error.hint }),
    );
  }
  const place = (sandbox: string): string => join(helper.state, 'volume/sandboxes', sandbox);
  const rollback = (sandbox: string, checkpoint: string, discard = true): Promise<Result<'checkpoint/rollback'>> =>
    connection.request('checkpoint/rollback', { sandbox, checkpoint, discard });
  async function durable(sandbox: string, checkpoint: string): Promise<void> {
    for (let i = 0; i < 400; i++, await sleep(25)) {
      const { checkpoints } = await connection.request('checkpoint/list', { sandbox });
      if (checkpoints.find((c) => c.id === checkpoint)?.state.durable) return;
    }
    assert.fail(`${checkpoint} was not made durable`);
  }
  async function pidOfHead(sandbox: string): Promise<number> {
    const { head } = (await connection.request('sandbox/get', { sandbox })).sandbox;
    return JSON.parse(readFileSync(join(place(sandbox), 'branches', head!, 'branch.json'), 'utf8')).pid;
  }
  /** Shell variable, file and number of files say the same: a moment that was. */
  async function set(sandbox: string, value: string, files = 0): Promise<void> {
    const fill = files ? `; mkdir -p big; for i in $(seq ${files}); do echo ${value} > big/$i; done` : '';
    await run(sandbox, `X=${value}; echo ${value} > n${fill}; FILES=$(ls big 2>/dev/null | wc -l)`);
  }
  async function momentOf(sandbox: string): Promise<string> {
    const text = await run(
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

  function loops(): string[] {
    return readdirSync('/sys/block').filter((name) => {
      const file = join('/sys/block', name, 'loop/backing_file');
      return existsSync(file) && readFileSync(file, 'utf8').startsWith(helper.dir);
    });
  }
  /** Nothing is there but what the one sandbox needs. */
  async function noLeak(sandboxes: number): Promise<void> {
    const branches = (): string[] =>
      sandboxes === 0
        ? []
        : readdirSync(join(helper.state, 'volume/sandboxes')).flatMap((id) =>
            readdirSync(join(place(id), 'branches')).map((b) => `${id}-${b}`),
          );
    const groups = (): string[] => helper.liveBranches().map((path) => path.split('/').at(-1)!);
    for (let i = 0; i < 200; i++, await sleep(25))
      if (branches().length === groups().length && readdirSync(join(helper.state, 'volume/trash')).length === 0) break;
    assert.deepEqual(groups().sort(), branches().sort(), 'a folder for every live branch, and no more');
    assert.ok(branches().length <= sandboxes * 5, `head, forks and standbys at most: ${branches()}`);
    assert.deepEqual(readdirSync(join(helper.state, 'volume/trash')), []);
    assert.equal(readdirSync(join(helper.state, 'volume/sandboxes')).length, sandboxes);
    assert.equal(loops().length, 1);
    assert.equal(
      helper.mounts().filter((path) => path.startsWith(helper.state)).length,
      1,
      'the volume alone is mounted',
    );
  }

  interface Story {
    points: FaultPoint[];
    /** What goes before, without faults. */
    prepare?(sandbox: string, t: Told): Promise<void>;
    act(sandbox: string, t: Told): Promise<unknown>;
    /** Values that the head may have afterwards. */
    heads(t: Told): string[];
    gone?(t: Told): string[];
  }
  /** The head's value, and each checkpoint's. */
  interface Told {
    head: string;
    checkpoints: Map<string, string>;
    target: string;
  }
  const CAPTURE: FaultPoint[] = [
    'capture:begun',
    'capture:stopped',
    'capture:copied',
    'capture:dumped',
    'take:quiesced',
    'take:captured',
    'take:pinned',
    'take:written',
    'take:done',
    'record:part',
  ];
  const ROTATE: FaultPoint[] = ['capture:moving', 'capture:moved', 'take:captured', 'take:pinned'];
  const BRANCH: FaultPoint[] = [
    'branch:prepared',
    'branch:restoring',
    'branch:live',
    'branch:recorded',
    'branch:answers',
  ];
  const HEAD: FaultPoint[] = ['head:obtained', 'head:recorded', 'branch:retired', 'record:part'];
  const many = async (sandbox: string, t: Told): Promise<void> => {
    t.head += 'm';
    await set(sandbox, t.head, MANY);
  };
  const checkpoint = (sandbox: string): Promise<unknown> => connection.request('checkpoint/create', { sandbox });
  const stories: Record<string, Story> = {
    checkpoint: { points: CAPTURE, act: checkpoint, heads: (t) => [t.head] },
    'checkpoint, rotating': {
      points: [...ROTATE, 'take:replaced', 'take:written', 'take:done', ...BRANCH, 'branch:retired', 'record:part'],
      prepare: many,
      act: checkpoint,
      heads: (t) => [t.head],
    },
    'rollback, cold': {
      points: [...HEAD, ...BRANCH],
      prepare: async (sandbox, t) => {
        await connection.request('sandbox/stop', { sandbox, discard: false });
        await connection.request('sandbox/start', { sandbox });
        t.checkpoints.set((await connection.request('sandbox/get', { sandbox })).sandbox.current, t.head);
      },
      act: (sandbox, t) => rollback(sandbox, t.target),
      heads: (t) => [t.head, t.checkpoints.get(t.target)!],
    },
    'rollback that saves': {
      points: [...CAPTURE, ...HEAD, 'head:saved', 'head:thawed'],
      act: (sandbox, t) => rollback(sandbox, t.target, false),
      heads: (t) => [t.head, t.checkpoints.get(t.target)!],
    },
    'rollback that saves, rotating': {
      points: [...ROTATE, ...HEAD, ...BRANCH, 'head:saved', 'head:thawed', 'take:written', 'take:done'],
      prepare: many,
      act: (sandbox, t) => rollback(sandbox, t.target, false),
      heads: (t) => [t.head, t.checkpoints.get(t.target)!],
    },
    fork: {
      points: [...BRANCH, 'head:thawed'],
      act: (sandbox, t) => connection.request('branch/fork', { sandbox, checkpoint: t.target }),
      heads: (t) => [t.head],
    },
    stop: {
      points: ['take:written', 'take:done', 'capture:dumped', 'branch:retired', 'record:part'],
      act: (sandbox) => connection.request('sandbox/stop', { sandbox }),
      heads: (t) => [t.head],
    },
    delete: {
      points: ['delete:reparented', 'delete:manifest', 'record:part'],
      act: (sandbox, t) => connection.request('checkpoint/delete', { sandbox, checkpoint: t.target }),
      heads: (t) => [t.head],
      gone: (t) => [t.target],
    },
    gc: {
      points: ['delete:reparented', 'delete:manifest', 'record:part'],
      act: (sandbox) => connection.request('gc', { sandbox, keep: 3 }),
      heads: (t) => [t.head],
      gone: (t) => [...t.checkpoints.keys()],
    },
  };

  /** Does the story with a fault at that point, has a new helper find what is left, and looks at all of it. */
  async function live(sandbox: string, t: Told, name: string, point: FaultPoint): Promise<boolean> {
    const story = stories[name]!;
    await story.prepare?.(sandbox, t);
    writeFileSync(helper.fault, point);
    const acted = failure(story.act(sandbox, t));
    await Promise.race([acted, helper.died(60_000)]);
    const hit = await helper.died(existsSync(helper.fault) ? 300 : 5000);
    rmSync(helper.fault, { force: true });
    if (!hit) await helper.kill();
    await restart();

    const { sandbox: info } = await connection.request('sandbox/get', { sandbox });
    if (info.state !== 'running') await connection.request('sandbox/start', { sandbox });
    const value = await momentOf(sandbox);
    assert.ok(story.heads(t).includes(value), `the head is ${value}, wanted one of ${story.heads(t)}`);
    const { checkpoints } = await connection.request('checkpoint/list', { sandbox });
    const ids = new Set(checkpoints.map((c) => c.id));
    for (const id of t.checkpoints.keys())
      if (!ids.has(id)) {
        assert.ok(story.gone?.(t).includes(id), `${id} was committed and is lost`);
        t.checkpoints.delete(id);
      }
    for (const { id, state } of checkpoints) {
      assert.equal(state.broken, undefined, `${id}: ${state.broken}`);
      if (id !== 'k0' && !t.checkpoints.has(id)) t.checkpoints.set(id, t.head);
    }
    if (value !== t.head && name.includes('saves'))
      assert.ok([...t.checkpoints.values()].includes(t.head), 'what was left can be gone back to');
    assert.deepEqual(
      readdirSync(join(place(sandbox), 'checkpoints')).sort(),
      [...ids].sort(),
      'nothing but committed checkpoints is on disk',
    );
    t.head = value;
    for (const [id, expected] of [...t.checkpoints].slice(-2)) {
      await rollback(sandbox, id);
      assert.equal(await momentOf(sandbox), expected, `${id} is what it was`);
      t.head = expected;
    }
    for (const { id, role } of (await connection.request('sandbox/get', { sandbox })).sandbox.branches)
      if (role === 'fork') await connection.request('branch/discard', { sandbox, branch: id });
    await noLeak(1);
    return hit;
  }

  async function begin(sandbox: string): Promise<Told> {
    await run(sandbox, 'sleep 100000 &');
    const t: Told = { head: 'v0', checkpoints: new Map(), target: '' };
    await set(sandbox, 'v0');
    return t;
  }
  /** Two checkpoints more; the target is the older of them, on which nothing lies. */
  async function grow(sandbox: string, t: Told, n: number): Promise<void> {
    for (const part of ['a', 'b']) {
      await set(sandbox, `v${n}${part}`);
      const { checkpoint: made } = await connection.request('checkpoint/create', { sandbox });
      t.checkpoints.set(made.id, `v${n}${part}`);
      if (part === 'a') t.target = made.id;
    }
    t.head = `v${n}c`;
    await set(sandbox, t.head);
  }

  it(`leave everything committed usable when the helper is killed at ${FAULTS} random points (seed ${SEED})`, async () => {
    let random = SEED;
    const next = (n: number): number => {
      random = (Math.imul(random, 1103515245) + 12345) >>> 0;
      return Math.floor((random / 2 ** 32) * n);
    };
    const all = Object.entries(stories).flatMap(([name, { points }]) => points.map((point) => [name, point] as const));
    for (let i = all.length - 1; i > 0; i--) {
      const j = next(i + 1);
      [all[i], all[j]] = [all[j]!, all[i]!];
    }
    let sandbox = await create();
    let t = await begin(sandbox);
    let hits = 0;
    for (let n = 0; n < FAULTS; n++) {
      const [name, point] = all[n % all.length]!;
      try {
        if (n % 10 === 9) {
          await connection.request('sandbox/remove', { sandbox });
          await noLeak(0);
          sandbox = await create();
          t = await begin(sandbox);
        }
        await grow(sandbox, t, n);
        if (await live(sandbox, t, name, point)) hits++;
      } catch (error) {
        throw new Error(`${name}, ${point} (fault ${n + 1}): ${(error as Error).message}`, { cause: error });
      }
    }
    assert.ok(hits >= FAULTS / 2, `${hits} of ${FAULTS} faults happened`);
  });

  it('leave no half sandbox when the helper is killed while one is made or removed', async () => {
    const points = FAULT_POINTS.filter((p) => /^(create|remove):/.test(p));
    for (const point of [
      ...points,
      'branch:prepared',
      'branch:live',
      'branch:recorded',
      'record:part',
    ] as FaultPoint[]) {
      const removing = point.startsWith('remove:');
      const sandbox = removing ? await create() : null;
      writeFileSync(helper.fault, point);
      const acted = failure(removing ? connection.request('sandbox/remove', { sandbox: sandbox! }) : create());
      await Promise.race([acted, helper.died(20_000)]);
      assert.ok(await helper.died(5000), `${point} was met`);
      await restart();
      const { sandboxes } = await connection.request('sandbox/list', {});
      if (point === 'remove:ended') {
        await connection.request('sandbox/start', { sandbox: sandbox! });
        await connection.request('sandbox/remove', { sandbox: sandbox! });
      } else assert.deepEqual(sandboxes, [], point);
      await noLeak(0);
    }
  });

  it('leak no descriptor, mount or process over many rollbacks and forks', async () => {
    const sandbox = await create();
    const t = await begin(sandbox);
    await grow(sandbox, t, 1);
    const descriptors = (): number => readdirSync(`/proc/${helper.pid}/fd`).length;
    const round = async (): Promise<void> => {
      const { branch } = await connection.request('branch/fork', { sandbox, checkpoint: t.target });
      await connection.request('branch/discard', { sandbox, branch });
      for (const id of t.checkpoints.keys()) await rollback(sandbox, id);
      await momentOf(sandbox);
    };
    const settled = async (): Promise<number> => {
      await sleep(1500);
      return descriptors();
    };
    await round();
    const before = await settled();
    for (let i = 0; i < Math.max(5, FAULTS / 5); i++) await round();
    const after = await settled();
    assert.ok(after <= before + 2, `${before} descriptors became ${after}`);
    await noLeak(1);
  });
  describe('where nothing stands by', () => {
    before(async () => {
      await helper.stop();
      helper = await HelperProcess.start(undefined, { faults: true, standbys: 0 });
      connection = await helper.connect();
    });

    it('take back a rotation whose successor fails, and a rollback that fails, with the head as it was', async () => {
      const sandbox = await create();
      const t = await begin(sandbox);
      await grow(sandbox, t, 1);
      for (const point of ['branch:prepared', 'branch:restoring', 'branch:recorded', 'branch:answers'] as const) {
        await many(sandbox, t);
        const before = (await connection.request('checkpoint/list', { sandbox })).checkpoints.length;
        writeFileSync(helper.fault, `${point}=throw`);
        const error = await failure(checkpoint(sandbox));
        assert.notEqual(error.code, 'no error', point);
        assert.equal(await momentOf(sandbox), t.head, point);
        assert.equal((await connection.request('checkpoint/list', { sandbox })).checkpoints.length, before);
      }
      writeFileSync(helper.fault, 'branch:restoring=throw');
      assert.equal((await failure(rollback(sandbox, t.target, false))).code, 'restoreFailed');
      assert.equal(await momentOf(sandbox), t.head);
      await rollback(sandbox, t.target);
      assert.equal(await momentOf(sandbox), t.checkpoints.get(t.target));
    });

    /** CRIU processes in the sandbox's groups. */
    function criusOf(): number[] {
      return helper
        .liveBranches()
        .flatMap((dir) => readFileSync(join(dir, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean).map(Number))
        .filter((pid) => {
          try {
            return readlinkSync(`/proc/${pid}/exe`).endsWith('/criu');
          } catch {
            return false;
          }
        });
    }

    it('are told when CRIU is killed in the middle of a dump or of a restore; the head goes on', async () => {
      const sandbox = await create();
      const t = await begin(sandbox);
      await grow(sandbox, t, 1);
      await sleep(500);
      let failed = 0;
      for (let i = 0; i < 12; i++) {
        const restoring = i % 2 === 1;
        const head = await momentOf(sandbox);
        const work = failure(restoring ? rollback(sandbox, t.target) : checkpoint(sandbox));
        let over = false;
        void work.finally(() => (over = true));
        while (!over && criusOf().length === 0) await new Promise(setImmediate);
        await sleep(i);
        for (const pid of criusOf())
          try {
            process.kill(pid, 'SIGKILL');
          } catch {
            // it had just ended
          }
        const error = await work;
        if (error.code === 'no error') {
          t.head = restoring ? t.checkpoints.get(t.target)! : head;
        } else {
          failed++;
          assert.ok(['cannotCapture', 'restoreFailed', 'notRunning'].includes(error.code), JSON.stringify(error));
          t.head = head;
        }
        if ((await connection.request('sandbox/get', { sandbox })).sandbox.state !== 'running') {
          assert.ok(['notRunning', 'cannotCapture'].includes(error.code), JSON.stringify(error));
          await connection.request('sandbox/start', { sandbox });
        } else if (restoring || error.code === 'no error') assert.equal(await momentOf(sandbox), t.head);
        // Killed while its own code ran in a process, CRIU can take that one with it: then there is the newest checkpoint.
        else assert.match(error.hint ?? '', /roll back/);
        await rollback(sandbox, t.target);
        assert.equal(await momentOf(sandbox), t.checkpoints.get(t.target));
        await noLeak(1);
      }
      assert.ok(failed > 0, 'CRIU was killed in time at least once');
    });

    it('of PID 1 end the head with a word of why, and it can be started again', async () => {
      const sandbox = await create();
      const t = await begin(sandbox);
      await grow(sandbox, t, 1);
      const { current } = (await connection.request('sandbox/get', { sandbox })).sandbox;
      process.kill(await pidOfHead(sandbox), 'SIGKILL');
      for (let i = 0; i < 200; i++, await sleep(25))
        if ((await connection.request('sandbox/get', { sandbox })).sandbox.state !== 'running') break;
      const { sandbox: info } = await connection.request('sandbox/get', { sandbox });
      assert.equal(info.state, 'failed');
      assert.match(info.problem ?? '', /ended from outside/);
      assert.equal((await failure(run(sandbox, 'true'))).code, 'notRunning');
      await connection.request('sandbox/start', { sandbox });
      assert.equal(await momentOf(sandbox), t.checkpoints.get(current));
      await noLeak(1);
    });

    describe('in what is on disk', () => {
      let sandbox: string;
      let t: Told;
      let ids: string[];
      beforeEach(async () => {
        sandbox = await create();
        t = await begin(sandbox);
        await grow(sandbox, t, 1);
        ids = [...t.checkpoints.keys()];
        for (const id of ids) await durable(sandbox, id);
      });
      const image = (id: string, file: string): string => join(place(sandbox), 'checkpoints', id, 'image', file);
      const pagesOf = (id: string): string =>
        readdirSync(image(id, ''))
          .filter((name) => /^pages-/.test(name))
          .sort((a, b) => statSync(image(id, b)).size - statSync(image(id, a)).size)[0]!;

      /** Damage by which a rollback fails by name, the head as it was; then the other checkpoint, which works. */
      async function spoilt(code: string, message: RegExp, damage: () => void): Promise<void> {
        const head = await momentOf(sandbox);
        damage();
        const error = await failure(rollback(sandbox, ids[0]!));
        assert.equal(error.code, code, error.message);
        assert.match(error.message, message);
        assert.equal(await momentOf(sandbox), head);
        await rollback(sandbox, ids[1]!);
        assert.equal(await momentOf(sandbox), t.checkpoints.get(ids[1]!));
      }

      it('a memory image cut short', async () => {
        await spoilt('checkpointDamaged', /pages-\d+\.img is cut short/, () => {
          const file = image(ids[0]!, pagesOf(ids[0]!));
          truncateSync(file, statSync(file).size - 4096);
        });
      });
      it('one byte of it flipped', async () => {
        await spoilt('checkpointDamaged', /pages-\d+\.img is not what was written/, () => {
          const file = image(ids[0]!, pagesOf(ids[0]!));
          const bytes = readFileSync(file);
          bytes[bytes.length >> 1]! ^= 1;
          writeFileSync(file, bytes);
        });
      });
      it('a file of it missing', async () => {
        await spoilt('checkpointDamaged', /core-1\.img is missing/, () => rmSync(image(ids[0]!, 'core-1.img')));
      });
      it('two images swapped', async () => {
        const head = await momentOf(sandbox);
        const [one, two] = ids.map((id) => image(id, '')) as [string, string];
        renameSync(one, `${one.slice(0, -1)}.x`);
        renameSync(two, one);
        renameSync(`${one.slice(0, -1)}.x`, two);
        for (const id of ids) assert.equal((await failure(rollback(sandbox, id))).code, 'checkpointDamaged');
        assert.equal(await momentOf(sandbox), head);
      });
      it('a layer missing', async () => {
        const layer = join(place(sandbox), 'checkpoints', ids[0]!, 'layer');
        await spoiltLayer(layer);
      });
      async function spoiltLayer(layer: string): Promise<void> {
        // The other checkpoint is a sibling: both lie on the root alone.
        await spoilt('restoreFailed', /layer|No such file|overlay/, () => rmSync(layer, { recursive: true }));
        await restart();
        const error = await failure(rollback(sandbox, ids[0]!));
        assert.equal(error.code, 'checkpointDamaged');
        assert.match(error.message, /layer of k\d+ is missing/);
      }
      it('a manifest garbled', async () => {
        const manifest = join(place(sandbox), 'checkpoints', ids[0]!, 'manifest.json');
        const good = `${manifest}.good`;
        copyFileSync(manifest, good);
        writeFileSync(manifest, readFileSync(manifest, 'utf8').slice(0, 100));
        const head = await momentOf(sandbox);
        await restart();
        assert.equal(await momentOf(sandbox), head, 'the head goes on');
        const error = await failure(rollback(sandbox, ids[0]!));
        assert.equal(error.code, 'checkpointDamaged');
        await rollback(sandbox, ids[1]!);
        assert.equal(await momentOf(sandbox), t.checkpoints.get(ids[1]!));
        renameSync(good, manifest);
        await restart();
        await rollback(sandbox, ids[0]!);
        assert.equal(await momentOf(sandbox), t.checkpoints.get(ids[0]!));
      });
      it('another CRIU or kernel made it: it is tried, and that is said where it fails', async () => {
        const manifest = join(place(sandbox), 'checkpoints', ids[0]!, 'manifest.json');
        const record = JSON.parse(readFileSync(manifest, 'utf8'));
        writeFileSync(manifest, JSON.stringify({ ...record, criu: '3.18', kernel: '5.4.0', sums: undefined }));
        await restart();
        await rollback(sandbox, ids[0]!);
        assert.equal(await momentOf(sandbox), t.checkpoints.get(ids[0]!));
        writeFileSync(manifest, JSON.stringify({ ...record, criu: '3.18', kernel: '5.4.0', sums: undefined }));
        await restart();
        await spoilt('restoreFailed', /CRIU 3\.18.*kernel 5\.4\.0/, () =>
          truncateSync(image(ids[0]!, 'core-1.img'), 10),
        );
      });
    });
  });
});

describe('a full volume', function () {
  this.timeout(120_000);
  let helper: HelperProcess;
  let connection: Connection;
  const ws: string[] = [];
  before(async function () {
    needsMachine(this);
    helper = await HelperProcess.start(400 << 20);
    connection = await helper.connect();
  });
  after(async () => {
    await helper?.stop();
    for (const dir of ws) rmSync(dir, { recursive: true, force: true });
  });
  afterEach(function () {
    if (this.currentTest?.state === 'failed') {
      console.error(helper.logText().slice(-6000));
      console.error(execFileSync('df', ['-h', join(helper.state, 'volume')], { encoding: 'utf8' }));
    }
  });

  it('fails a checkpoint by name; the sandbox goes on, older checkpoints work, gc frees', async () => {
    ws.push(workspace({ 'a.txt': 'one\n' }));
    const sandbox = (await connection.request('sandbox/create', { workspace: ws[0]! })).sandbox.id;
    const run = async (line: string): Promise<string> => {
      const ran = await connection.request('run', { sandbox, line, checkpoint: false });
      return Buffer.from(ran.output, 'base64').toString();
    };
    const code = (work: Promise<unknown>): Promise<string> =>
      work.then(
        () => 'no error',
        (error) => error.code ?? String(error),
      );
    await run('X=1; echo 1 > n');
    const first = (await connection.request('checkpoint/create', { sandbox })).checkpoint.id;
    await run('head -c 60M /dev/urandom > big1');
    const second = (await connection.request('checkpoint/create', { sandbox })).checkpoint.id;
    // Nothing of the helper's own work may still wait for space.
    for (let i = 0; i < 200; i++, await sleep(25))
      if ((await connection.request('checkpoint/list', { sandbox })).checkpoints.every((c) => c.state.durable)) break;
    await run('X=2; echo 2 > n; for i in 1 2 3 4; do cat /dev/zero > filler$i; sync; done 2>/dev/null');
    assert.equal(await code(connection.request('checkpoint/create', { sandbox })), 'volumeFull');
    assert.equal(await run('echo $X; cat n'), '2\n2\n');
    assert.equal(await code(connection.request('checkpoint/rollback', { sandbox, checkpoint: first })), 'volumeFull');
    assert.equal(await run('echo $X; cat n'), '2\n2\n');
    const { checkpoints } = await connection.request('checkpoint/list', { sandbox });
    assert.deepEqual(
      checkpoints.map((c) => [c.id, c.state.broken]),
      [second, first, 'k0'].map((id) => [id, undefined]),
    );
    await connection.request('checkpoint/rollback', { sandbox, checkpoint: first, discard: true });
    assert.equal(await run('echo $X; cat n; ls'), '1\n1\na.txt\nn\n');
    const { freedBytes, deleted } = await connection.request('gc', { sandbox, keep: 2 });
    assert.deepEqual(
      deleted.map((d) => d.checkpoint),
      [second],
    );
    assert.ok(freedBytes > 50 << 20, `${freedBytes}`);
    // The abandoned head is removed in the background.
    const free = (): number => {
      const { bavail, bsize } = statfsSync(join(helper.state, 'volume'));
      return bavail * bsize;
    };
    for (let i = 0; i < 200 && free() < 250 << 20; i++) await sleep(25);
    await run('head -c 200M /dev/zero > again');
    const third = (await connection.request('checkpoint/create', { sandbox })).checkpoint.id;
    await connection.request('checkpoint/rollback', { sandbox, checkpoint: third, discard: true });
    assert.equal(await run('stat -c %s again'), `${200 << 20}\n`);
    await connection.request('sandbox/remove', { sandbox });
  });
});

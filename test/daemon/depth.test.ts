import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Connection } from '../../helper/client/connection.ts';
import { layersOf, type Node } from '../../helper/sandbox/tree.ts';
import { DEPTH, note, SOAK } from './faults/counts.ts';
import { HelperProcess, needsMachine, workspace } from './helper-process.ts';

/** Beyond what the daemon lets lie one on the other (helper/daemon/catalogue.ts). */
const DEEP = 34;
/** However deep it lies: those below are made one in the background, while a few more come to lie on them. */
const MOST_LAYERS = 40;
/** Rollbacks to each place of a deep line, in turn. */
const TURNS = 15;
/** A soak's median of them may be that many times the first's. What is not flat is as many times slower as it is deeper, or more. */
const FLAT = 4;

describe('a deep line', () => {
  let helper: HelperProcess;
  let connection: Connection;
  let sandbox: string;
  let ws: string;
  const line: string[] = [];

  before(async function () {
    needsMachine(this);
    helper = await HelperProcess.start(undefined, { faults: true, standbys: 0 });
    connection = await helper.connect();
    ws = workspace({ here: 'from outside\n', gone: 'x' });
    sandbox = (await connection.request('sandbox/create', { workspace: ws })).sandbox.id;
  });
  after(async () => {
    await helper?.stop();
    if (ws) rmSync(ws, { recursive: true, force: true });
  });
  afterEach(function () {
    if (this.currentTest?.state === 'failed') console.error(helper.logText());
  });

  async function run(text: string): Promise<string> {
    const ran = await connection.request('run', { sandbox, line: text, checkpoint: false });
    assert.equal(ran.exitCode, 0, Buffer.from(ran.output, 'base64').toString());
    return Buffer.from(ran.output, 'base64').toString();
  }
  const goTo = (checkpoint: string) =>
    connection.request('checkpoint/rollback', { sandbox, checkpoint, discard: true });
  /** A step, and a branch that lies on it. */
  async function deeper(): Promise<void> {
    const i = line.length;
    await run(
      `N=${i}; echo ${i} > f${i}; echo ${i} > same; rm -f f${i - 2} gone; mv dir${i - 1} dir${i} || mkdir dir${i}`,
    );
    line.push((await connection.request('checkpoint/create', { sandbox })).checkpoint.id);
    await goTo(line[i]!);
  }
  /** What step `i` is like. */
  async function check(i: number): Promise<void> {
    await goTo(line[i]!);
    const text = await run('echo $N; ls; cat same here');
    const files = [`dir${i}`, ...(i ? [`f${i - 1}`] : []), `f${i}`, 'here', 'same'].sort();
    assert.deepEqual(text.trim().split('\n'), [`${i}`, ...files, `${i}`, 'from outside'], `step ${i}`);
  }
  const place = (checkpoint: string) => join(helper.state, 'volume/sandboxes', sandbox, 'checkpoints', checkpoint);
  const flat = () =>
    line.filter(
      (id) =>
        JSON.parse(readFileSync(join(place(id), 'manifest.json'), 'utf8')).flat && existsSync(join(place(id), 'flat')),
    );
  const folders = () => readdirSync(dirname(place('k0'))).filter((id) => existsSync(join(place(id), 'flat')));
  /** Layers that the head is mounted on. */
  async function mounted(): Promise<number> {
    const { head } = (await connection.request('sandbox/get', { sandbox })).sandbox;
    const file = join(helper.state, 'volume/sandboxes', sandbox, 'branches', head!, 'branch.json');
    const { pid } = JSON.parse(readFileSync(file, 'utf8'));
    const [root] = readFileSync(`/proc/${pid}/mountinfo`, 'utf8')
      .split('\n')
      .filter((at) => / \/ \/ /.test(at));
    return root!.match(/checkpoints\/k\d+\/(layer|flat)/g)!.length;
  }

  /** What makes it flat: of each checkpoint few layers would be mounted, and its image is whole. */
  function shape(): { 'most layers': number; 'image parents': number } {
    const tree = new Map<string, Node>();
    for (const id of ['k0', ...line]) tree.set(id, JSON.parse(readFileSync(join(place(id), 'manifest.json'), 'utf8')));
    const layers = Math.max(...line.map((id) => layersOf(tree, id).length));
    assert.ok(layers < MOST_LAYERS, `${layers} layers would be mounted for one of them`);
    // A link of that name leads CRIU to the image that has the rest of the memory.
    const parents = line.flatMap((id) => readdirSync(join(place(id), 'image'))).filter((name) => name === 'parent');
    assert.deepEqual(parents, [], 'no image is a part of another');
    return { 'most layers': layers, 'image parents': parents.length };
  }

  it('is made shallow in the background; a helper that is killed over it loses nothing', async () => {
    writeFileSync(helper.fault, 'flatten:made');
    while (line.length < DEEP && !(await helper.died(1))) await deeper().catch(() => {});
    assert.ok(await helper.died(20_000), 'killed while it made one layer of many');
    await helper.restart();
    connection = await helper.connect();
    // Half of one is of no use.
    const trash = join(helper.state, 'volume/trash');
    const halves = () => [...folders(), ...readdirSync(trash)];
    assert.deepEqual(folders(), []);
    for (let tries = 0; halves().length; tries++, await sleep(50)) assert.ok(tries < 200, `${halves()}`);
    line.splice(
      0,
      line.length,
      ...(await connection.request('checkpoint/list', { sandbox })).checkpoints.map((c) => c.id),
    );
    line.reverse().shift(); // the root
    await check(line.length - 1);
    await check(0);
    await goTo(line.at(-1)!);
    assert.ok((await mounted()) > 30);
    writeFileSync(helper.fault, 'flatten:made=full');
    await deeper();
    for (let tries = 0; existsSync(helper.fault) || folders().length; tries++, await sleep(50))
      assert.ok(tries < 400, `${folders()} is left of what could not be made`);
    await deeper();
    for (let tries = 0; !flat().length; tries++) {
      assert.ok(tries < 400, 'nothing was made flat within 20 s');
      await sleep(50);
    }
  });

  it('is what it was, and goes on', async () => {
    const before = line.length - 1;
    await check(before);
    assert.ok((await mounted()) < 6);
    for (const i of [0, 17, before - 1, before]) await check(i);
    await deeper();
    await check(line.length - 1);
    await helper.restart();
    connection = await helper.connect();
    for (const i of [0, before - 1, before, line.length - 1]) await check(i);
    const said = await connection
      .request('checkpoint/delete', { sandbox, checkpoint: line[5]! })
      .catch((error) => error.code);
    assert.equal(said, 'checkpointInUse');
  });

  it('does without what was made of it', async () => {
    await connection.request('sandbox/stop', { sandbox, discard: true });
    await helper.kill();
    for (const id of flat()) rmSync(join(place(id), 'flat'), { recursive: true });
    await helper.restart();
    connection = await helper.connect();
    await connection.request('sandbox/start', { sandbox });
    await check(line.length - 1);
    assert.ok((await mounted()) > 30);
  });

  it('lets gc delete what lies below that, and nothing that anybody needs', async () => {
    const before = line.length;
    while (!flat().length && line.length < before + 6) {
      await deeper();
      for (let tries = 0; tries < 40 && !flat().length; tries++) await sleep(50);
    }
    const [one] = flat();
    assert.ok(one, 'made flat again');
    // The head was made before that, and is mounted on all of them.
    await goTo(line[2]!);
    const { branch } = await connection.request('branch/fork', { sandbox, checkpoint: line[2]! });
    await goTo(line.at(-1)!);
    const needed = line.slice(0, 3);
    const list = async () =>
      (await connection.request('checkpoint/list', { sandbox })).checkpoints.map((c) => c.id).reverse();
    const above = line.slice(line.indexOf(one));
    writeFileSync(helper.fault, 'delete:alone');
    await connection.request('gc', { sandbox, keep: 2 }).catch(() => {});
    assert.ok(await helper.died(20_000), 'killed when it had begun');
    await helper.restart();
    connection = await helper.connect();
    assert.deepEqual(await list(), ['k0', ...line], 'nothing is lost');
    await check(line.length - 1);
    await check(line.indexOf(one));
    await goTo(line.at(-1)!);
    const planned = await connection.request('gc', { sandbox, keep: 2, dryRun: true });
    assert.deepEqual(await connection.request('gc', { sandbox, keep: 2 }), planned);
    assert.deepEqual(await list(), ['k0', ...needed, ...above]);
    await connection.request('branch/discard', { sandbox, branch });
    await connection.request('gc', { sandbox, keep: 2 });
    assert.deepEqual(await list(), ['k0', ...above]);
    assert.deepEqual(readdirSync(join(place('k0'), '..')).sort(), ['k0', ...above].sort());
    for (const id of above) await check(line.indexOf(id));
    await deeper();
    await helper.restart();
    connection = await helper.connect();
    for (const id of [one, line.at(-1)!]) await check(line.indexOf(id));
    await connection.request('sandbox/stop', { sandbox, discard: true });
    // Without it nobody knows any more what that was: better said than shown wrong.
    await helper.kill();
    rmSync(join(place(one), 'flat'), { recursive: true });
    await helper.restart();
    connection = await helper.connect();
    const { checkpoints } = await connection.request('checkpoint/list', { sandbox });
    const broken = checkpoints.filter(({ state }) => state.broken).map(({ id }) => id);
    assert.deepEqual(broken.reverse(), line.slice(line.indexOf(one)));
  });

  it(`is as soon gone back in when it is ${DEPTH} deep`, async function () {
    this.timeout(60_000 + DEPTH * 3000);
    await connection.request('sandbox/remove', { sandbox });
    sandbox = (await connection.request('sandbox/create', { workspace: ws })).sandbox.id;
    line.length = 0;
    const begun = performance.now();
    const figures: Record<string, number> = { depth: DEPTH };
    const timed = async (what: string, work: () => Promise<unknown>): Promise<void> => {
      const from = performance.now();
      await work();
      figures[`ms ${what}`] = Math.round(performance.now() - from);
    };
    while (line.length < DEPTH) {
      await (line.length === DEPTH - 1 ? timed('of the last step', deeper) : deeper());
      if (line.length === 10) await timed('of a step at first', deeper);
    }
    const last = DEPTH - 1;
    const places = { first: 0, middle: last >> 1, last };
    for (const at of Object.values(places)) {
      await check(at);
      assert.ok((await mounted()) < MOST_LAYERS, 'however deep it lies, few layers are mounted');
    }
    Object.assign(figures, shape());
    const times: Record<keyof typeof places, number[]> = { first: [], middle: [], last: [] };
    for (let turn = 0; turn < TURNS; turn++)
      for (const name of ['first', 'middle', 'last'] as const) {
        const from = performance.now();
        const { path } = await goTo(line[places[name]]!);
        times[name].push(performance.now() - from);
        assert.equal(path, 'cold', 'each of them is restored');
      }
    for (const name of ['first', 'middle', 'last'] as const) {
      figures[`ms to the ${name}`] = round(median(times[name]));
      const ratio = round(median(times[name]) / median(times.first));
      if (name !== 'first') figures[`${name} to first`] = ratio;
      // How long something takes is for a soak to judge, not for each run of the tests.
      if (SOAK)
        assert.ok(ratio <= FLAT, `to go to the ${name} takes ${ratio} times as long as to the first: ${times[name]}`);
    }
    await timed('to restart', () => helper.restart());
    connection = await helper.connect();
    for (const at of Object.values(places)) await check(at);
    await timed('to remove', () => connection.request('sandbox/remove', { sandbox }));
    assert.deepEqual((await connection.request('sandbox/list', {})).sandboxes, []);
    note('a deep line', { ...figures, seconds: Math.round((performance.now() - begun) / 1000) });
  });
});

function median(times: number[]): number {
  return times.toSorted((a, b) => a - b)[times.length >> 1]!;
}

function round(n: number): number {
  return Math.round(n * 10) / 10;
}

/** The workspace follows the head, and saves enter it: the client's code with a real helper. Needs root. */
import assert from 'node:assert/strict';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Fact, Snapshot } from '../../helper/client/apply/facts.ts';
import type { Connection } from '../../helper/client/connection.ts';
import { holdUnsaved, judgeEntering, mergeConflicts } from '../../helper/client/follow/decide.ts';
import { enterFollow, getFollow, setFollow, syncFollow } from '../../helper/client/follow/index.ts';
import { HelperProcess, needsMachine } from '../daemon/helper-process.ts';

const file = (text: string): Snapshot => ({ type: 'file', key: `file:${text}`, mode: 0o644, size: text.length });
const fact = (base: string | null, theirs: string | null, ours: string | null | 'beyond'): Fact => ({
  path: 'p',
  base: base === null ? null : file(base),
  theirs: theirs === null ? null : file(theirs),
  ours: ours === 'beyond' ? ours : ours === null ? null : file(ours),
  writable: true,
});

describe('what following does with a path', () => {
  it('lets in what only the workspace changed, and nothing else unless told to', () => {
    const verdict = (...facts: Parameters<typeof fact>) => {
      const said = judgeEntering(fact(...facts), false);
      return typeof said === 'object' ? said.reason : said;
    };
    assert.equal(verdict('a', 'a', 'b'), 'enter');
    assert.equal(verdict('a', 'a', null), 'enter');
    assert.equal(verdict(null, null, 'b'), 'enter');
    assert.equal(verdict('a', 'b', 'b'), 'same');
    assert.equal(verdict(null, null, null), 'same');
    assert.equal(verdict('a', 'b', 'c'), 'changed');
    assert.equal(verdict('a', null, 'c'), 'changed');
    assert.equal(verdict('a', 'b', null), 'gone');
    assert.equal(verdict(null, 'b', 'c'), 'exists');
    assert.equal(verdict('a', 'a', 'beyond'), 'type');
    assert.equal(judgeEntering(fact('a', 'b', 'c'), true), 'enter');
    assert.notEqual(judgeEntering(fact('a', 'b', 'beyond'), true), 'enter');
  });

  it('holds what has unsaved text, by either name of a rename', () => {
    const step = (path: string, from?: string) => ({
      change: {
        path,
        kind: from ? ('renamed' as const) : ('changed' as const),
        type: 'file' as const,
        conflict: null,
        from,
      },
      ours: null,
      theirs: file('x'),
    });
    const plan = { steps: [step('a'), step('b'), step('d', 'c')], agreed: new Map(), left: [] };
    const { plan: rest, held } = holdUnsaved(plan, ['b', 'c', 'z']);
    assert.deepEqual(
      rest.steps.map((one) => one.change.path),
      ['a'],
    );
    assert.deepEqual(
      held.map((one) => `${one.path} ${one.reason}`),
      ['b unsaved', 'd unsaved'],
    );
  });

  it('forgets conflicts that are no more', () => {
    const one = (path: string, reason: 'changed' | 'exists' = 'changed') => ({
      path,
      reason,
      kind: 'changed' as const,
    });
    const merged = mergeConflicts([one('b'), one('a')], ['a', 'c'], [one('c', 'exists')]);
    assert.deepEqual(
      merged.map((c) => `${c.path} ${c.reason}`),
      ['b changed', 'c exists'],
    );
  });
});

describe('following', function () {
  this.timeout(60_000);
  let helper: HelperProcess;
  let connection: Connection;
  let dir: string;
  let sandbox: string;
  let options: { env: NodeJS.ProcessEnv };
  let asked: string[];

  before(async function () {
    needsMachine(this);
    helper = await HelperProcess.start();
    connection = await helper.connect();
  });
  after(() => helper?.stop());

  /** Notes what it is asked for. */
  const requester = {
    request: ((method: never, params: never, more: never) => {
      asked.push(method);
      return connection.request(method, params, more);
    }) as Connection['request'],
  };
  const at = (name: string) => join(dir, name);
  const read = (name: string) => readFileSync(at(name), 'utf8');
  const step = async (line: string) => {
    const { output, checkpoint } = await connection.request('run', { sandbox, line: `cd ${dir}; ${line}` });
    return { output: Buffer.from(output, 'base64').toString(), id: checkpoint!.id };
  };
  const inside = async (line: string) => {
    const { output } = await connection.request('run', { sandbox, line: `cd ${dir}; ${line}`, checkpoint: false });
    return Buffer.from(output, 'base64').toString();
  };
  const sync = (unsaved: string[] = []) => syncFollow(requester, { sandbox, unsaved }, options);
  const enter = (paths: string[], force = false) => enterFollow(requester, { sandbox, paths, force }, options);
  const back = (checkpoint: string, discard = true) =>
    connection.request('checkpoint/rollback', { sandbox, checkpoint: checkpoint as never, discard });
  const said = ({ conflicts }: { conflicts: { path: string; reason: string }[] }) =>
    conflicts.map((one) => `${one.path} ${one.reason}`);

  beforeEach(async () => {
    asked = [];
    dir = mkdtempSync(join(tmpdir(), 'te-follow-'));
    options = { env: { XDG_STATE_HOME: `${at('../')}state-${dir.split('/').at(-1)}` } };
    writeFileSync(at('a.txt'), 'a1\n');
    writeFileSync(at('b.txt'), 'b1\n');
    mkdirSync(at('.git'));
    writeFileSync(at('.git/config'), 'mine\n');
    mkdirSync(at('node_modules'));
    writeFileSync(at('node_modules/host'), 'host\n');
    const made = await connection.request('sandbox/create', { workspace: dir, exclude: ['node_modules'] });
    sandbox = made.sandbox.id;
    await setFollow(requester, { sandbox, on: true }, options);
  });
  afterEach(async () => {
    await connection.request('sandbox/remove', { sandbox });
    for (const path of [dir, options.env.XDG_STATE_HOME!]) rmSync(path, { recursive: true, force: true });
  });

  it('is off until it is switched on, and off again', async () => {
    await setFollow(requester, { sandbox, on: false }, options);
    await step('echo a2 > a.txt');
    assert.deepEqual((await sync()).written, []);
    assert.equal(read('a.txt'), 'a1\n');
    await setFollow(requester, { sandbox, on: true }, options);
    assert.deepEqual((await sync()).written, ['a.txt']);
    assert.equal((await getFollow(requester, { sandbox }, options)).on, true);
  });

  it('takes each step, and goes back with the sandbox', async () => {
    const { id } = await step('echo a2 > a.txt; mkdir -p d/e; echo n > d/e/n; chmod 755 b.txt; ln -s a.txt l');
    await sync();
    assert.equal(read('a.txt') + read('d/e/n') + readlinkSync(at('l')), 'a2\nn\na.txt');
    assert.equal(statSync(at('b.txt')).mode & 0o777, 0o755);
    await step('rm -r d l; echo a3 > a.txt; mv b.txt c.txt; head -c 9000000 /dev/urandom > big; printf "\\0\\1" > bin');
    await sync();
    assert.ok(!existsSync(at('d')) && !existsSync(at('l')) && !existsSync(at('b.txt')));
    assert.equal(statSync(at('big')).size, 9_000_000);
    await back(id);
    const { written, conflicts, at: where } = await sync();
    assert.deepEqual([written.includes('big'), conflicts, where], [true, [], id]);
    assert.equal(read('a.txt') + read('b.txt') + read('d/e/n'), 'a2\nb1\nn\n');
    assert.ok(!existsSync(at('big')) && !existsSync(at('c.txt')) && lstatSync(at('l')).isSymbolicLink());
  });

  it('looks at what a step changed and at nothing else', async () => {
    await step('for i in $(seq 300); do echo $i > f$i; done');
    await sync();
    await step('echo once > f7');
    asked = [];
    assert.deepEqual((await sync()).written, ['f7']);
    assert.ok(asked.length < 15, `${asked.length} requests: ${asked.join(' ')}`);
  });

  it('never writes into .git or what was left out, nor odd names', async () => {
    await step(
      "mkdir -p .git node_modules/x; echo theirs > .git/config; echo y > node_modules/x/y; printf x > $'bad\\xff'; printf x > 'odd \"name\" ü'",
    );
    const { written } = await sync();
    assert.deepEqual(written, ['odd "name" ü']);
    assert.equal(read('.git/config'), 'mine\n');
    assert.ok(!existsSync(at('node_modules/x')));
  });

  it('stops a conflict’s file alone, keeps saying so, and has two ways on', async () => {
    writeFileSync(at('a.txt'), 'mine\n');
    await step('echo theirs > a.txt; echo b2 > b.txt');
    const first = await sync();
    assert.deepEqual([first.written, said(first)], [['b.txt'], ['a.txt changed']]);
    assert.equal(read('a.txt'), 'mine\n');
    await step('echo c > c.txt');
    const second = await sync();
    assert.deepEqual([second.written, said(second)], [['c.txt'], ['a.txt changed']]);
    assert.deepEqual(said(await getFollow(requester, { sandbox }, options)), ['a.txt changed']);
    // Mine:
    const mine = await enter(['a.txt'], true);
    assert.deepEqual([mine.entered, mine.conflicts], [['a.txt'], []]);
    assert.equal(await inside('cat a.txt'), 'mine\n');
    assert.deepEqual((await sync()).written, [], 'what entered is not taken back');
    await step('echo after >> a.txt');
    assert.deepEqual((await sync()).written, ['a.txt']);
    assert.equal(read('a.txt'), 'mine\nafter\n');
  });

  it('leaves unsaved text alone, until it is saved or thrown away', async () => {
    await step('echo theirs > a.txt; echo b2 > b.txt');
    const held = await sync(['a.txt']);
    assert.deepEqual([held.written, said(held)], [['b.txt'], ['a.txt unsaved']]);
    assert.equal(read('a.txt'), 'a1\n');
    writeFileSync(at('a.txt'), 'typed\n');
    assert.deepEqual(said(await enter(['a.txt'])), ['a.txt changed']);
    assert.equal(await inside('cat a.txt'), 'theirs\n');
    writeFileSync(at('a.txt'), 'a1\n');
    const { written, conflicts } = await sync();
    assert.deepEqual([written, conflicts, read('a.txt')], [['a.txt'], [], 'theirs\n']);
  });

  it('lets saves in: files, folders, links, deletions; and a rollback takes them back', async () => {
    const { id } = await step('true');
    await sync();
    writeFileSync(at('a.txt'), 'saved\n');
    mkdirSync(at('n/deep'), { recursive: true });
    writeFileSync(at('n/deep/x'), 'x\n');
    chmodSync(at('n/deep/x'), 0o755);
    symlinkSync('../a.txt', at('n/l'));
    rmSync(at('b.txt'));
    writeFileSync(at('.git/config'), 'still mine\n');
    writeFileSync(at('empty'), '');
    const { entered, conflicts } = await enter([
      'a.txt',
      'n',
      'b.txt',
      '.git/config',
      'node_modules/host',
      '../x',
      'empty',
    ]);
    assert.deepEqual(conflicts, []);
    assert.deepEqual(entered.sort(), ['a.txt', 'b.txt', 'empty', 'n', 'n/deep', 'n/deep/x', 'n/l']);
    const look =
      'cat a.txt n/deep/x; stat -c %a n/deep/x; readlink n/l; cat .git/config; ls b.txt node_modules 2>/dev/null; wc -c < empty';
    assert.equal(await inside(look), 'saved\nx\n755\n../a.txt\nmine\n0\n');
    assert.deepEqual((await sync()).written, []);
    await step('echo more >> n/deep/x');
    await sync();
    assert.equal(read('n/deep/x'), 'x\nmore\n');
    await back(id);
    await sync();
    assert.equal(read('a.txt') + read('b.txt'), 'a1\nb1\n');
    assert.ok(!existsSync(at('n')));
  });

  it('takes a rollback to where it was already, when something was saved since', async () => {
    const { id } = await step('echo a2 > a.txt');
    await sync();
    writeFileSync(at('a.txt'), 'saved\n');
    await enter(['a.txt']);
    await back(id);
    await sync();
    assert.equal(read('a.txt'), 'a2\n');
  });

  it('lets a large file in whole', async () => {
    const big = Buffer.alloc(20_000_000, 'abc');
    writeFileSync(at('big'), big, { mode: 0o444 });
    assert.deepEqual((await enter(['big'])).entered, ['big']);
    assert.equal(
      await inside('wc -c < big; tail -c 3 big; echo; stat -c %a big'),
      `20000000\n${big.subarray(-3)}\n444\n`,
    );
  });

  it('does not overwrite what a program inside wrote meanwhile', async () => {
    await sync();
    await inside('echo running > a.txt');
    writeFileSync(at('a.txt'), 'saved\n');
    assert.deepEqual(said(await enter(['a.txt'])), ['a.txt changed']);
    assert.equal(await inside('cat a.txt'), 'running\n');
  });

  it('keeps what is saved while the sandbox is stopped, and lets it in when it runs', async () => {
    await sync();
    await connection.request('sandbox/stop', { sandbox });
    writeFileSync(at('a.txt'), 'meanwhile\n');
    assert.deepEqual((await enter(['a.txt'])).entered, []);
    await sync();
    assert.equal(read('a.txt'), 'meanwhile\n');
    await connection.request('sandbox/start', { sandbox });
    await sync();
    assert.equal(await inside('cat a.txt'), 'meanwhile\n');
    assert.equal(read('a.txt'), 'meanwhile\n');
  });

  it('compares anew after it was away: what somebody else changed meanwhile is theirs', async () => {
    const { id } = await step('echo a2 > a.txt; echo n > new');
    await sync();
    // The window is closed. Steps go on, and so does the folder's owner.
    await step('echo a3 > a.txt; echo b2 > b.txt; rm new');
    await step('echo c > c.txt');
    writeFileSync(at('b.txt'), 'mine\n');
    const { written, conflicts } = await sync();
    assert.deepEqual([written.sort(), conflicts.map((c) => c.path)], [['a.txt', 'c.txt', 'new'], ['b.txt']]);
    // What it last took is deleted: then from the beginning.
    await back('k0');
    for (const { id: gone } of (await connection.request('checkpoint/list', { sandbox })).checkpoints)
      if (gone !== 'k0' && gone !== id)
        await connection.request('checkpoint/delete', { sandbox, checkpoint: gone }).catch(() => {});
    await sync();
    assert.equal(read('a.txt'), 'a1\n');
    assert.equal(read('b.txt'), 'mine\n');
    assert.ok(!existsSync(at('c.txt')));
  });

  it('takes the files of a fork that is made current, as they are and not as they were', async () => {
    const { id } = await step('echo a2 > a.txt');
    await sync();
    const { branch } = await connection.request('branch/fork', { sandbox, checkpoint: id as never });
    await connection.request('run', {
      sandbox,
      branch,
      line: `cd ${dir}; echo forked > a.txt; echo f > f`,
      checkpoint: false,
    });
    await connection.request('branch/promote', { sandbox, branch, discard: true });
    await sync();
    assert.equal(read('a.txt') + read('f'), 'forked\nf\n');
    await back(id);
    await sync();
    assert.equal(read('a.txt'), 'a2\n');
    assert.ok(!existsSync(at('f')));
  });
});

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Connection } from '../../helper/client/connection.ts';
import { v1Mount } from '../../helper/engine/limits.ts';
import { TeleportError } from '../../helper/protocol/errors.ts';
import type { Params, Result } from '../../helper/protocol/methods.ts';
import { HelperProcess, needsMachine, workspace } from './helper-process.ts';

const COUNTER = `
import os, time
n = 0
while True:
    n += 1
    with open('count.new', 'w') as f: f.write(str(n))
    os.rename('count.new', 'count.txt')
    time.sleep(0.02)
`;

/** Says numbers in order until its input ends. */
const BUSY = `
import itertools, os, sys, threading, time
over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), over.set())).start()
for i in itertools.count():
    if over.is_set(): break
    os.write(1, b"%d\\n" % i)
    if i % 8 == 0: time.sleep(0.0001) # PID 1 keeps up, and finds both at once: more of it, and that it is to let go
`;

describe('a sandbox', () => {
  let helper: HelperProcess;
  let connection: Connection;
  let sandbox: string;
  let ws: string;
  const made: string[] = [];

  before(async function () {
    needsMachine(this);
    helper = await HelperProcess.start();
    connection = await helper.connect();
  });
  after(async () => {
    await helper?.stop();
    for (const dir of made) rmSync(dir, { recursive: true, force: true });
  });
  beforeEach(async () => {
    ws = workspace({ 'a.txt': 'one\n', 'counter.py': COUNTER });
    made.push(ws);
    sandbox = (await connection.request('sandbox/create', { workspace: ws })).sandbox.id;
  });
  afterEach(async function () {
    if (this.currentTest?.state === 'failed') console.error(helper.logText());
    if (sandbox) await connection.request('sandbox/remove', { sandbox });
  });

  async function run(line: string, more: Partial<Params<'run'>> = {}): Promise<Result<'run'> & { text: string }> {
    const ran = await connection.request('run', { sandbox, line, ...more });
    return { ...ran, text: Buffer.from(ran.output, 'base64').toString() };
  }
  async function code(work: Promise<unknown>): Promise<string> {
    return await work.then(
      () => 'no error',
      (error) => (error instanceof TeleportError ? error.code : String(error)),
    );
  }
  const rollback = (checkpoint: string, discard = false) =>
    connection.request('checkpoint/rollback', { sandbox, checkpoint, discard });
  async function verified(checkpoint: string): Promise<void> {
    for (let i = 0; i < 1200; i++) {
      const { checkpoints } = await connection.request('checkpoint/list', { sandbox });
      const { state } = checkpoints.find((c) => c.id === checkpoint)!;
      assert.equal(state.broken, undefined);
      if (state.verified && state.durable) return;
      await sleep(25);
    }
    assert.fail(`${checkpoint} was not verified and durable within 30 s`);
  }

  it('takes back files, a live process and its memory', async () => {
    await run('python3 counter.py & sleep 0.3');
    const { checkpoint } = await connection.request('checkpoint/create', { sandbox, label: 'counting' });
    const count1 = await connection.request('file/read', { sandbox, at: checkpoint.id, path: `${ws}/count.txt` });
    const atCheckpoint = Number(Buffer.from(count1.data, 'base64').toString());
    await run('{ kill -9 %1; wait; } 2>/dev/null; rm -rf *; ls', { checkpoint: false }); // its end is told of at once, or with a later line
    assert.equal((await run('ls', { checkpoint: false })).text, '');
    const moved = await rollback(checkpoint.id);
    assert.equal(moved.checkpoint, checkpoint.id);
    const later = await run('sleep 0.2; cat count.txt; cat a.txt', { checkpoint: false });
    const [count, a] = later.text.split('one');
    assert.equal(a, '\n');
    const n = Number(count);
    assert.ok(n > atCheckpoint, `${n} > ${atCheckpoint}`);
    // A counter that had started anew would be at about 10; one that ran on outside would be far ahead.
    assert.ok(n < atCheckpoint + 60, `${n} goes on from ${atCheckpoint}`);
  });

  it('keeps variables, functions, cwd and jobs of its shell', async () => {
    await run('X=5; f() { echo "f $1 $X"; }; mkdir -p sub; cd sub; sleep 1000 & true');
    const { checkpoint } = await connection.request('checkpoint/create', { sandbox });
    await run('X=6; unset -f f; cd /; kill %1; wait', { checkpoint: false });
    await rollback(checkpoint.id);
    const { text } = await run('f y; pwd; jobs -r | wc -l', { checkpoint: false });
    assert.equal(text, `f y 5\n${ws}/sub\n1\n`);
  });

  it('does what is sent along with a rollback in the restored state', async () => {
    const first = (await run('X=1; echo 1 > n')).checkpoint!;
    for (let i = 0; i < 4; i++) await run('true'); // what lies that far back has no standby
    const second = (await run('X=2; echo 2 > n')).checkpoint!;
    await verified(second.id);
    for (const [to, path, expected] of [
      [second.id, 'warm', '2 2\n'],
      [first.id, 'cold', '1 1\n'],
    ] as const) {
      await run('X=9; echo 9 > n', { checkpoint: false });
      const [moved, ran, opened] = await Promise.all([
        rollback(to, true),
        run('echo $X $(cat n)', { checkpoint: false }),
        connection.request('session/open', { sandbox, kind: 'process', argv: ['sh', '-c', 'cat n > seen'] }),
      ]);
      assert.equal(moved.path, path);
      assert.equal(ran.text, expected);
      assert.ok(opened.session);
      const seen = await run('until [ -s seen ]; do sleep 0.01; done; cat seen', { checkpoint: false });
      assert.equal(seen.text.trim(), expected[0]);
    }
    const [nowhere, here] = await Promise.all([code(rollback('k999')), run('echo still', { checkpoint: false })]);
    assert.deepEqual([nowhere, here.text], ['unknownCheckpoint', 'still\n']);
  });

  it('goes back the cold way and the warm way', async () => {
    const first = (await run('X=1; echo 1 > n')).checkpoint!;
    for (let i = 0; i < 4; i++) await run('true'); // what lies that far back has no standby
    const second = (await run('X=2; echo 2 > n')).checkpoint!;
    await verified(second.id);
    const warm = await rollback(second.id, true);
    assert.equal(warm.path, 'warm');
    assert.equal((await run('echo $X; cat n', { checkpoint: false })).text, '2\n2\n');
    const cold = await rollback(first.id, true);
    assert.equal(cold.path, 'cold');
    assert.equal((await run('echo $X; cat n', { checkpoint: false })).text, '1\n1\n');
    assert.equal(warm.saved, null);
  });

  it('saves the abandoned head, and undo brings it back, memory too', async () => {
    const first = (await run('X=1')).checkpoint!;
    await run('X=lost; echo lost > lost.txt', { checkpoint: false });
    const moved = await rollback(first.id);
    assert.match(moved.saved ?? '', /^k\d+$/);
    assert.equal((await run('echo $X; ls', { checkpoint: false })).text, '1\na.txt\ncounter.py\n');
    const undone = await connection.request('checkpoint/undo', { sandbox });
    assert.equal(undone.checkpoint, moved.saved);
    assert.equal((await run('echo $X; cat lost.txt', { checkpoint: false })).text, 'lost\nlost\n');
    assert.equal(await code(connection.request('checkpoint/undo', { sandbox: 'nobody' })), 'unknownSandbox');
  });

  it('forks eight branches, alive at once, that do not see each other, on the same port', async () => {
    await run('python3 -m http.server 8123 >/dev/null 2>&1 & sleep 0.5; echo base > who');
    const { checkpoint } = await connection.request('checkpoint/create', { sandbox });
    const forks = await Promise.all(
      Array.from({ length: 8 }, () => connection.request('branch/fork', { sandbox, checkpoint: checkpoint.id })),
    );
    const ids = forks.map((f) => f.branch);
    const alive = async () =>
      (await connection.request('sandbox/get', { sandbox })).sandbox.branches.map(({ id }) => id);
    assert.equal((await alive()).filter((id) => ids.includes(id)).length, 8);
    await Promise.all(ids.map((branch) => run(`echo ${branch} > who`, { branch, checkpoint: false })));
    for (const branch of ids) {
      const { text } = await run(
        'python3 -c "import urllib.request as u; print(u.urlopen(\'http://localhost:8123/who\').read().decode())"',
        { branch, checkpoint: false },
      );
      assert.equal(text.trim(), branch);
    }
    assert.equal((await run('cat who', { checkpoint: false })).text, 'base\n');
    const promoted = await connection.request('branch/promote', { sandbox, branch: ids[1]!, discard: true });
    assert.equal(promoted.head, ids[1]);
    assert.equal((await run('cat who', { checkpoint: false })).text, `${ids[1]}\n`);
    for (const branch of ids.filter((id) => id !== ids[1]))
      await connection.request('branch/discard', { sandbox, branch });
    assert.equal(await code(run('true', { branch: ids[0]!, checkpoint: false })), 'unknownBranch');
  });

  it('rotates a large upperdir, and the shell goes on', async () => {
    await run('X=7; for i in $(seq 1500); do echo $i > f$i; done', { checkpoint: false });
    const { checkpoint, steps } = await connection.request('checkpoint/create', { sandbox });
    assert.equal(checkpoint.filesChanged, 1500);
    const [dumped, restored] = ['processes dumped', 'processes let go'].map((name) =>
      steps.findIndex(({ step }) => step === name),
    );
    const stood = steps.slice(dumped, restored! + 1).reduce((sum, { ms }) => sum + ms, 0);
    assert.ok(
      stood > 0 && checkpoint.stoppedMs > stood - 1,
      `${checkpoint.stoppedMs} ms, of which ${stood} until a successor ran`,
    );
    const { text } = await run('echo $X; ls | wc -l; rm f1; echo new > f2');
    assert.equal(text, '7\n1502\n');
    await rollback(checkpoint.id);
    assert.equal((await run('echo $X; cat f1 f2', { checkpoint: false })).text, '7\n1\n2\n');
  });

  it('lists what changed between any two moments', async () => {
    const one = (await run('echo b > b.txt; mkdir d; echo c > d/c')).checkpoint!;
    const two = (await run('mv b.txt e.txt; chmod 600 a.txt; rm -r d; ln -s a.txt l')).checkpoint!;
    const { changes } = await connection.request('diff', { sandbox, from: one.id, to: two.id });
    const told = changes.map((c) => `${c.kind} ${c.path.replace(`${ws}/`, '')}`);
    assert.deepEqual(told, ['mode a.txt', 'deleted d', 'deleted d/c', 'renamed e.txt', 'added l']);
    await run('echo more >> a.txt', { checkpoint: false });
    const live = await connection.request('diff', { sandbox, from: two.id });
    assert.deepEqual(
      live.changes.map((c) => `${c.kind} ${c.path}`),
      [`changed ${ws}/a.txt`],
    );
    const before = await connection.request('file/read', { sandbox, at: two.id, path: `${ws}/a.txt` });
    assert.equal(Buffer.from(before.data, 'base64').toString(), 'one\n');
  });

  it('shows in no moment the names that were made for deleted open files', async () => {
    mkdirSync(join(ws, 'd'));
    writeFileSync(join(ws, 'd/held'), 'held\n');
    sandbox = (await connection.request('sandbox/create', { workspace: ws })).sandbox.id;
    const one = (await run('exec 8< d/held; rm d/held; echo x > x')).checkpoint!;
    const two = (await run('echo y > y')).checkpoint!;
    assert.equal(one.filesChanged, 2);
    const diff = async (from: string, to?: string) =>
      (await connection.request('diff', { sandbox, from, to })).changes.map((c) => `${c.kind} ${c.path}`);
    const changes = [`deleted ${ws}/d/held`, `added ${ws}/x`];
    assert.deepEqual(await diff('k0', one.id), changes);
    assert.deepEqual(await diff(one.id, two.id), [`added ${ws}/y`]);
    assert.deepEqual(await diff('k0', two.id), [...changes, `added ${ws}/y`]);
    const listed = await connection.request('file/list', { sandbox, at: one.id, path: `${ws}/d` });
    assert.deepEqual(listed.entries, []);
    await rollback(one.id, true);
    assert.equal((await run('cat <&8; ls -A d', { checkpoint: false })).text, 'held\n');
    assert.deepEqual(await diff('k0'), changes);
    const three = (await run('echo z > z')).checkpoint!;
    assert.deepEqual(await diff(one.id, three.id), [`added ${ws}/z`]);
    await rollback(three.id, true);
    assert.equal((await run('ls -A d', { checkpoint: false })).text, '');
  });

  it('leaves a layer as it was, whatever the sandbox writes, and no upperdir behind', async () => {
    const { checkpoint } = await run('echo kept > kept');
    const layer = join(helper.state, 'volume/sandboxes', sandbox, 'checkpoints', checkpoint!.id, 'layer', ws, 'kept');
    await run('echo spoilt > kept; rm -rf /usr/share/doc; echo x > /etc/passwd; chmod 000 a.txt', {
      checkpoint: false,
    });
    assert.equal(readFileSync(layer, 'utf8'), 'kept\n');
    await rollback(checkpoint!.id, true);
    assert.equal(
      (await run('cat kept; test -s /etc/passwd && wc -l < /etc/passwd', { checkpoint: false })).text.split('\n')[0],
      'kept',
    );
    assert.equal(readFileSync(join(ws, 'a.txt'), 'utf8'), 'one\n', 'the workspace itself is not touched');
    const { sandbox: info } = await connection.request('sandbox/get', { sandbox });
    await sleep(500);
    const branches = readdirSync(join(helper.state, 'volume/sandboxes', sandbox, 'branches'));
    assert.ok(
      branches.includes(info.head!) && !branches.includes('b1'),
      `the first head's upperdir is gone: ${branches}`,
    );
  });

  it('fails cleanly where a process holds what cannot be carried, and goes on', async () => {
    const tracer =
      'import ctypes,os,time\\npid=os.fork()\\nif pid==0:\\n  ctypes.CDLL(None).ptrace(0,0,0,0)\\n  time.sleep(1000)\\ntime.sleep(1000)';
    await run(`X=3; printf '${tracer}' > t.py; python3 t.py & sleep 0.5`, { checkpoint: false });
    const error = await connection.request('checkpoint/create', { sandbox }).then(
      () => assert.fail('a traced process was captured'),
      (e: TeleportError) => e,
    );
    assert.equal(error.code, 'cannotCapture');
    assert.match(error.message, /trac/i);
    assert.equal(
      (await run('echo $X; kill %1; pkill -9 -f t.py; sleep 0.2', { checkpoint: false })).text.split('\n')[0],
      '3',
    );
    const { checkpoint } = await connection.request('checkpoint/create', { sandbox });
    assert.equal((await rollback(checkpoint.id)).checkpoint, checkpoint.id);
  });

  it('lives on when the helper is killed, and is found again', async () => {
    const { checkpoint } = await run('X=9; sleep 1000 & true');
    await verified(checkpoint!.id);
    const { head } = (await connection.request('sandbox/get', { sandbox })).sandbox;
    await helper.restart();
    connection = await helper.connect();
    const found = (await connection.request('sandbox/get', { sandbox })).sandbox;
    assert.equal(found.head, head);
    assert.equal((await run('echo $X; jobs -r | wc -l', { checkpoint: false })).text, '9\n1\n');
    assert.equal((await rollback(checkpoint!.id)).checkpoint, checkpoint!.id);
    assert.equal((await run('echo $X', { checkpoint: false })).text, '9\n');
  });

  it('starts from its checkpoints after a reboot', async () => {
    const { checkpoint } = await run('X=12; echo kept > kept; sleep 1000 & true');
    await verified(checkpoint!.id);
    await helper.powerOff();
    await helper.restart();
    connection = await helper.connect();
    const found = (await connection.request('sandbox/get', { sandbox })).sandbox;
    assert.equal(found.state, 'stopped');
    assert.equal(await code(run('true')), 'notRunning');
    await connection.request('sandbox/start', { sandbox });
    assert.equal((await run('echo $X; cat kept; jobs -r | wc -l', { checkpoint: false })).text, '12\nkept\n1\n');
  });

  it('has what it said is durable after the power failed that very moment', async () => {
    const durable = new Promise<void>((done) =>
      connection.on('checkpoint/changed', ({ checkpoint }) => {
        if (checkpoint.note === 'the power fails' && checkpoint.state.durable) done();
      }),
    );
    await run('X=13; head -c 3000000 /dev/urandom > random; sha256sum random > sum; sleep 1000 &', {
      checkpoint: false,
    });
    const { checkpoint } = await connection.request('checkpoint/create', { sandbox, note: 'the power fails' });
    await durable;
    await helper.powerOff({ lose: 'all' });
    await helper.restart();
    connection = await helper.connect();
    // The helper goes by that when the machine has started anew: what is not durable then is removed.
    const { checkpoints } = await connection.request('checkpoint/list', { sandbox });
    assert.equal(checkpoints.find(({ id }) => id === checkpoint.id)?.state.durable, true, 'by what the disk says');
    await connection.request('sandbox/start', { sandbox });
    await rollback(checkpoint.id, true);
    assert.equal(
      (await run('echo $X; sha256sum --check sum; jobs -r | wc -l', { checkpoint: false })).text,
      '13\nrandom: OK\n1\n',
    );
  });

  it('has what was durable though what it noted since had a name on the disk, but no data, when the power failed', async () => {
    await run('X=14', { checkpoint: false });
    const { checkpoint } = await connection.request('checkpoint/create', { sandbox });
    await verified(checkpoint.id);
    await connection.request('network/set', { sandbox, network: 'none' });
    await helper.powerOff({ lose: 'data' });
    await helper.restart();
    connection = await helper.connect();
    const { checkpoints } = await connection.request('checkpoint/list', { sandbox });
    assert.deepEqual(
      checkpoints.map(({ id, state }) => [id, state.broken]),
      [
        [checkpoint.id, undefined],
        ['k0', undefined],
      ],
    );
    await connection.request('sandbox/start', { sandbox });
    assert.equal((await run('echo $X', { checkpoint: false })).text, '14\n');
  });

  it('does without a checkpoint of which the disk had a name only when the machine went down; emptied since, it is told', async () => {
    const listed = async (): Promise<unknown> => {
      await helper.kill();
      await helper.restart();
      connection = await helper.connect();
      const { checkpoints } = await connection.request('checkpoint/list', { sandbox });
      return checkpoints.slice(0, 2).map(({ id, state }) => [id, state.broken !== undefined]);
    };
    const made: string[] = [];
    for (let n = 0; n < 2; n++) {
      const { checkpoint } = await connection.request('checkpoint/create', { sandbox });
      await verified(checkpoint.id);
      made.push(checkpoint.id);
    }
    const [kept, lost] = made as [string, string];
    await rollback(kept, true);
    const folder = join(helper.state, 'volume/sandboxes', sandbox, 'checkpoints', lost);
    const manifest = join(folder, 'manifest.json');
    const good = readFileSync(manifest);
    truncateSync(manifest);
    assert.deepEqual(await listed(), [
      [lost, true],
      [kept, false],
    ]);
    writeFileSync(manifest, good);
    assert.deepEqual(await listed(), [
      [lost, false],
      [kept, false],
    ]);
    truncateSync(manifest);
    utimesSync(manifest, 0, 1);
    assert.deepEqual(((await listed()) as unknown[])[0], [kept, false]);
    assert.ok(!existsSync(folder));
  });

  it('stands by though what that proves cannot be written', async () => {
    const { checkpoint } = await connection.request('checkpoint/create', { sandbox });
    const manifest = join(helper.state, 'volume/sandboxes', sandbox, 'checkpoints', checkpoint.id, 'manifest.json');
    execFileSync('chattr', ['+i', manifest]);
    try {
      await helper.standsBy(sandbox, checkpoint.id);
      await sleep(100);
    } finally {
      execFileSync('chattr', ['-i', manifest]);
    }
    assert.match(readFileSync(manifest, 'utf8'), /"verified": false/, 'it was made while nothing could be written');
    assert.equal((await rollback(checkpoint.id, true)).path, 'warm');
  });

  it('holds nothing against a checkpoint that could not be restored for want of processes', async () => {
    await run('for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done', { checkpoint: false });
    const own = helper.cgroups().at(-1)!;
    const v1 = v1Mount('pids', readFileSync('/proc/self/mountinfo', 'utf8'));
    const group = v1 ? join(v1, basename(own)) : own;
    const there = Number(readFileSync(join(group, 'pids.current'), 'utf8'));
    writeFileSync(join(group, 'pids.max'), String(there + 5));
    let checkpoint: string;
    try {
      ({ id: checkpoint } = (await connection.request('checkpoint/create', { sandbox })).checkpoint);
      const refused = await code(connection.request('branch/fork', { sandbox, checkpoint }));
      assert.equal(refused, 'restoreFailed');
      await sleep(1000); // a standby of it is tried, too
    } finally {
      writeFileSync(join(group, 'pids.max'), 'max');
    }
    assert.equal((await rollback(checkpoint, true)).checkpoint, checkpoint);
    assert.equal((await run('jobs -r | wc -l', { checkpoint: false })).text, '8\n');
  });

  it('deletes no checkpoint under a fork: whichever comes first is done, the other refused', async () => {
    const outcomes = new Set<string>();
    const logged = helper.logText().length;
    for (const ahead of [0, 0, 1, 1, 2, 3, 5]) {
      const { checkpoint } = await run(`echo ${ahead} > kept; mkdir -p d; seq 200 | sed s:^:d/: | xargs touch`);
      await rollback('k0', true);
      const at = { sandbox, checkpoint: checkpoint!.id };
      const deleted = code(connection.request('checkpoint/delete', at));
      await sleep(ahead);
      const forked = connection.request('branch/fork', at);
      const outcome = await Promise.all([deleted, code(forked)]);
      outcomes.add(String(outcome));
      if (outcome[1] !== 'no error') continue;
      const { branch } = await forked;
      assert.equal((await run('cat kept; ls d | wc -l', { branch, checkpoint: false })).text, `${ahead}\n200\n`);
      await connection.request('branch/discard', { sandbox, branch });
    }
    // Some were about to be made durable.
    assert.doesNotMatch(helper.logText().slice(logged), /ENOENT/);
    for (const one of outcomes)
      assert.ok(['no error,unknownCheckpoint', 'checkpointInUse,no error'].includes(one), one);
  });

  it('is not there any more for what is asked while it is removed', async () => {
    const { checkpoint } = await run('true');
    await helper.standsBy(sandbox, checkpoint!.id);
    const at = { sandbox, checkpoint: checkpoint!.id };
    const asked = await Promise.all([
      code(connection.request('sandbox/remove', { sandbox })),
      code(connection.request('branch/fork', at)),
      code(connection.request('checkpoint/rollback', { ...at, discard: true })),
      code(connection.request('checkpoint/create', { sandbox })),
      code(connection.request('sandbox/start', { sandbox })),
    ]);
    assert.deepEqual(asked, ['no error', ...Array(4).fill('unknownSandbox')]);
    assert.deepEqual(
      helper.liveBranches().filter((path) => path.includes(`/${sandbox}-`)),
      [],
    );
    sandbox = '';
  });

  it('refuses what is not there, and paths that lead out', async () => {
    const cases: [() => Promise<unknown>, string][] = [
      [() => connection.request('sandbox/get', { sandbox: 'nobody' }), 'unknownSandbox'],
      [() => connection.request('sandbox/get', { sandbox: '../s1' }), 'unknownSandbox'],
      [() => rollback('k999'), 'unknownCheckpoint'],
      [() => rollback('../k1'), 'invalidRequest'],
      [() => connection.request('file/read', { sandbox, at: 'k0', path: '/../../etc/shadow' }), 'invalidRequest'],
      [() => connection.request('file/read', { sandbox, at: 'k0', path: `${ws}/nothing` }), 'unknownPath'],
      [() => connection.request('file/read', { sandbox, at: 'k0', path: ws }), 'notAFile'],
      [() => connection.request('sandbox/create', { workspace: '/nowhere/at/all' }), 'workspaceMissing'],
      [() => connection.request('sandbox/create', { workspace: join(ws, 'a.txt') }), 'workspaceNotFolder'],
      [() => connection.request('sandbox/create', { workspace: '/' }), 'workspaceNotFolder'],
      [() => connection.request('sandbox/create', { workspace: 'relative' }), 'invalidRequest'],
      [
        () => connection.request('session/open', { sandbox, kind: 'process', argv: ['no-such-program'] }),
        'unknownPath',
      ],
      [() => connection.request('checkpoint/delete', { sandbox, checkpoint: 'k0' }), 'checkpointInUse'],
    ];
    for (const [work, expected] of cases) assert.equal(await code(work()), expected);
  });

  it('a link that leads out of the sandbox reads nothing of the host', async () => {
    writeFileSync('/tmp/teleport-secret', 'secret');
    const { checkpoint } = await run('ln -s /tmp/teleport-secret out; ln -s / root');
    assert.equal(
      await code(connection.request('file/read', { sandbox, at: checkpoint!.id, path: `${ws}/out` })),
      'unknownPath',
    );
    assert.equal(
      await code(
        connection.request('file/read', { sandbox, at: checkpoint!.id, path: `${ws}/root/tmp/teleport-secret` }),
      ),
      'unknownPath',
    );
    rmSync('/tmp/teleport-secret');
  });

  it('a link in the place of PID 1’s socket leads to no socket of the host', async () => {
    // A short path: those of unix sockets may have 107 bytes.
    const trap = join(mkdtempSync('/tmp/te-trap-'), 's');
    let led = 0;
    const server = createServer((socket) => {
      led++;
      socket.destroy();
    });
    await new Promise<void>((done) => server.listen(trap, done));
    await run(`cd /.teleport-env; mv init.sock kept; mkdir -p ${dirname(trap)}; ln -s ${trap} init.sock`, {
      checkpoint: false,
    });
    const asked = connection.request('session/open', { sandbox, kind: 'process', argv: ['/bin/true'] });
    await assert.rejects(asked, /has no socket any more/);
    assert.equal(led, 0);
    server.close();
    rmSync(dirname(trap), { recursive: true });
  });

  it('runs processes with their own streams, input, exit code, signal and time limit', async () => {
    const heard = { stdout: '', stderr: '' };
    const exits = new Map<string, number>();
    connection.on('session/output', (o) => {
      heard[o.stream] += Buffer.from(o.data, 'base64').toString();
    });
    connection.on('session/exit', (e) => exits.set(e.session, e.exitCode));
    const open = async (argv: string[], more = {}) =>
      (await connection.request('session/open', { sandbox, kind: 'process', argv, ...more })).session;
    const exited = async (id: string): Promise<number> => {
      for (let i = 0; i < 400 && !exits.has(id); i++) await sleep(10);
      return exits.get(id) ?? -1;
    };
    const cat = await open(['sh', '-c', 'cat; echo err >&2; exit 3']);
    await connection.request('session/write', {
      sandbox,
      session: cat,
      data: Buffer.from('in\n').toString('base64'),
      eof: true,
    });
    assert.equal(await exited(cat), 3);
    assert.deepEqual(heard, { stdout: 'in\n', stderr: 'err\n' });
    const sleeper = await open(['sleep', '1000']);
    await connection.request('session/signal', { sandbox, session: sleeper, signal: 15 });
    assert.equal(await exited(sleeper), 143);
    assert.equal(await exited(await open(['sleep', '1000'], { timeoutMs: 100 })), 137);
  });

  it('keeps to a time limit in every branch, and when the helper is killed', async () => {
    const begun = performance.now();
    await connection.request('session/open', { sandbox, kind: 'process', argv: ['sleep', '1234'], timeoutMs: 4000 });
    const sleeping = async (branch?: string): Promise<boolean> => {
      const { processes } = await connection.request('process/list', { sandbox, branch });
      return processes.some(({ command }) => command.includes('1234'));
    };
    const ends = async (branch?: string): Promise<void> => {
      for (let i = 0; i < 400 && (await sleeping(branch)); i++) await sleep(25);
      assert.equal(await sleeping(branch), false, `it sleeps on in ${branch ?? 'the head'}`);
    };
    const { checkpoint } = await connection.request('checkpoint/create', { sandbox });
    const { branch } = await connection.request('branch/fork', { sandbox, checkpoint: checkpoint.id });
    await rollback(checkpoint.id, true);
    await helper.restart();
    connection = await helper.connect();
    assert.ok(await sleeping(), 'its time is not over');
    await ends();
    await ends(branch);
    assert.ok(performance.now() - begun > 3000, 'not ended before');
    await run('seq 700 | while read i; do echo > many.$i; done');
    await connection.request('session/open', { sandbox, kind: 'process', argv: ['sleep', '1234'], timeoutMs: 1500 });
    await run('for i in $(seq 700); do echo x > many.$i; done'); // so many files that its branch is replaced
    await ends();
  });

  it('cancels a line, keeps $? from one line to the next, and the shell', async () => {
    const abort = new AbortController();
    const line = 'X=kept; sleep 1000; echo never';
    const running = connection.request('run', { sandbox, line, checkpoint: false }, { signal: abort.signal });
    await sleep(300);
    abort.abort();
    assert.notEqual(await code(running), 'unknown');
    assert.equal((await run('echo $X; (exit 7)', { checkpoint: false })).text.split('\n').at(-2), 'kept');
    assert.equal((await run('echo $?', { checkpoint: false })).text, '7\n');
  });

  it('captures right after short sessions that nobody listened to', async () => {
    for (let i = 0; i < 15; i++) {
      await connection.request('session/open', { sandbox, kind: 'process', argv: ['true'], attach: false });
      await connection.request('checkpoint/create', { sandbox });
    }
  });

  it('shows a terminal as it was after a rollback', async () => {
    let shown = '';
    let restored = '';
    connection.on('session/output', (o) => {
      shown += Buffer.from(o.data, 'base64').toString();
    });
    connection.on('session/restored', (r) => {
      restored = Buffer.from(r.scrollback, 'base64').toString();
    });
    const argv = ['bash', '--norc', '-i'];
    const { session } = await connection.request('session/open', {
      sandbox,
      kind: 'terminal',
      argv,
      env: { PS1: '> ' },
      cols: 100,
      rows: 30,
    });
    const type = (text: string) =>
      connection.request('session/write', { sandbox, session, data: Buffer.from(text).toString('base64') });
    const until = async (what: RegExp): Promise<void> => {
      for (let i = 0; i < 200; i++) {
        if (what.test(shown)) return;
        await sleep(20);
      }
      assert.fail(`${what} was not shown: ${JSON.stringify(shown)}`);
    };
    await type('V=terminal; stty size\n');
    await until(/30 100/);
    await type('echo before-$V\n');
    await until(/before-terminal/);
    const { checkpoint } = await connection.request('checkpoint/create', { sandbox });
    shown = '';
    await type('V=spoilt; clear; echo after-$V\n');
    await until(/after-spoilt/);
    await rollback(checkpoint.id);
    await sleep(50);
    assert.match(restored, /before-terminal/);
    assert.doesNotMatch(restored, /after-spoilt/);
    shown = '';
    await type('echo still-$V; stty size\n');
    await until(/still-terminal[\s\S]*30 100/);
  });

  it('hands several terminals on to a standby: what each showed comes first, what is said then comes after', async () => {
    const told = new Map<string, string[]>();
    const tell = (session: string, what: string): void => void told.set(session, [...(told.get(session) ?? []), what]);
    connection.on('session/output', (o) => tell(o.session, Buffer.from(o.data, 'base64').toString()));
    connection.on('session/restored', (r) => {
      tell(r.session, `restored ${r.running} ${Buffer.from(r.scrollback, 'base64').toString()}`);
    });
    connection.on('session/gone', (g) => tell(g.session, 'gone'));
    const open = async (script: string): Promise<string> => {
      const argv = ['sh', '-c', script];
      const { session } = await connection.request('session/open', { sandbox, kind: 'terminal', argv });
      return session;
    };
    const until = async (what: string, holds: () => boolean): Promise<void> => {
      for (let i = 0; i < 300; i++) {
        if (holds()) return;
        await sleep(20);
      }
      assert.fail(`${what}: ${JSON.stringify([...told].map(([id, said]) => [id, said.slice(-5)]))}`);
    };
    const heard = (session: string): string => told.get(session)?.join('') ?? '';
    const loud = await open('echo loud; n=0; while :; do echo $((n += 1)); sleep 0.002; done');
    const still = await open('echo still; while read x; do echo got $x; done');
    await until('both begin', () => heard(still).includes('still') && /\b40\r/.test(heard(loud)));
    const { checkpoint } = await connection.request('checkpoint/create', { sandbox });
    for (const round of [1, 2, 3]) {
      await sleep(250); // in which a standby is made, and connections to it for those who listen now
      const later = await open('echo later; sleep 1000'); // did not exist at the checkpoint
      await until('the third begins', () => heard(later).includes('later'));
      told.clear();
      const moved = await rollback(checkpoint.id);
      await connection.request('session/write', {
        sandbox,
        session: still,
        data: Buffer.from(`${round}\n`).toString('base64'),
      });
      await until('they go on', () => heard(still).includes(`got ${round}`) && (told.get(loud)?.length ?? 0) > 5);
      assert.equal(moved.path, 'warm');
      assert.deepEqual(told.get(later), ['gone']);
      const restored = (session: string) => told.get(session)!.findIndex((one) => one.startsWith('restored true'));
      // What came before `restored` is of the branch that was.
      const since = told.get(loud)!.slice(restored(loud));
      const numbers = since
        .join('')
        .match(/\d+(?=\r)/g)!
        .map(Number);
      assert.ok(restored(still) >= 0 && restored(loud) >= 0);
      assert.deepEqual(
        numbers,
        Array.from(numbers, (_, i) => i + 1),
        'none lost, none twice, in order',
      );
      assert.match(since[0]!, /^restored true loud/);
      assert.equal(told.get(still)!.slice(restored(still)).join('').match(/got/g)!.length, 1);
    }
    for (const session of [loud, still]) await connection.request('session/close', { sandbox, session });
  });

  for (const rotating of [false, true])
    it(`loses no output and no input around checkpoints${rotating ? ' that replace the branch' : ''}`, async () => {
      if (rotating) await run('mkdir many; for i in $(seq 800); do echo > many/$i; done', { checkpoint: false });
      let out = '';
      let exit = -1;
      connection.on('session/output', (o) => {
        out += Buffer.from(o.data, 'base64').toString();
      });
      connection.on('session/exit', (e) => {
        exit = e.exitCode;
      });
      const script = 'i=0; while read line; do i=$((i+1)); echo "$i:$line"; done';
      const { session } = await connection.request('session/open', {
        sandbox,
        kind: 'process',
        argv: ['sh', '-c', script],
      });
      const lines = 400;
      const feeding = (async () => {
        for (let i = 0; i < lines; i++) {
          await connection.request('session/write', {
            sandbox,
            session,
            data: Buffer.from(`l${i}\n`).toString('base64'),
          });
          await sleep(1);
        }
        await connection.request('session/write', { sandbox, session, data: '', eof: true });
      })();
      const heads = new Set<string | null>();
      for (let i = 0; i < 5; i++) {
        await connection.request('checkpoint/create', { sandbox });
        heads.add((await connection.request('sandbox/get', { sandbox })).sandbox.head);
        if (rotating) await run('rm many/*; for i in $(seq 800); do echo > many/$i; done', { checkpoint: false });
      }
      assert.equal(heads.size > 1, rotating);
      await feeding;
      while (exit < 0) await sleep(10); // as long as the test may take: a busy machine needs its time
      assert.equal(exit, 0);
      assert.equal(out, Array.from({ length: lines }, (_, i) => `${i + 1}:l${i}\n`).join(''));
    });

  it('loses none of what a busy program says while connections are let go of and taken up', async () => {
    const said: Buffer[] = [];
    let exit = -1;
    connection.on('session/output', (o) => said.push(Buffer.from(o.data, 'base64')));
    connection.on('session/exit', (e) => {
      exit = e.exitCode;
    });
    const { session } = await connection.request('session/open', {
      sandbox,
      kind: 'process',
      argv: ['python3', '-c', BUSY],
    });
    for (let i = 0; i < 20; i++) await connection.request('checkpoint/create', { sandbox });
    await connection.request('session/write', { sandbox, session, data: '', eof: true });
    while (exit < 0) await sleep(10);
    const lines = Buffer.concat(said).toString().split('\n').slice(0, -1);
    const first = lines.findIndex((line, i) => line !== String(i));
    assert.equal(first, -1, `${lines[first]} came where ${first} was due, of ${lines.length}`);
  });

  it('lets nobody who reads slowly hold up a checkpoint', async () => {
    const slow = await helper.connect();
    let enough = (): void => {};
    void slow.holdUntil(
      new Promise<void>((resolve) => {
        enough = resolve;
      }),
    );
    const argv = ['yes', 'x'.repeat(1000)];
    const { session } = await connection.request('session/open', { sandbox, kind: 'process', argv, attach: false });
    let read = 0;
    slow.on('session/output', (o) => {
      read += Buffer.from(o.data, 'base64').length;
    });
    void slow.request('session/attach', { sandbox, session }).catch(() => {});
    // Until it does not get on: its reader, the helper and PID 1 are full.
    const worked = async () => (await run("cut -d' ' -f14,15 /proc/$(pgrep -x yes)/stat", { checkpoint: false })).text;
    for (let before = '', now = await worked(); now !== before; await sleep(300)) [before, now] = [now, await worked()];
    await connection.request('checkpoint/create', { sandbox });
    enough();
    while (read < 8 << 20) await sleep(20);
    await connection.request('session/close', { sandbox, session });
    slow.close();
  });

  it('loses none of what a busy program says while others attach, and tells each in the same order', async () => {
    const argv = ['python3', '-c', BUSY];
    const { session } = await connection.request('session/open', { sandbox, kind: 'process', argv });
    const first: Buffer[] = [];
    connection.on('session/output', (o) => first.push(Buffer.from(o.data, 'base64')));
    const over = [new Promise((resolve) => connection.on('session/exit', resolve))];
    const others: { other: Connection; said: Buffer[] }[] = [];
    for (let i = 0; i < 8; i++) {
      const other = await helper.connect();
      const said: Buffer[] = [];
      other.on('session/output', (o) => said.push(Buffer.from(o.data, 'base64')));
      over.push(new Promise((resolve) => other.on('session/exit', resolve)));
      await other.request('session/attach', { sandbox, session });
      others.push({ other, said });
    }
    while (others.some(({ said }) => !said.length)) await sleep(1); // on a busy machine it may not have got on since the last came
    await connection.request('session/write', { sandbox, session, data: '', eof: true });
    await Promise.all(over);
    const all = Buffer.concat(first).toString();
    const lines = all.split('\n').slice(0, -1);
    const wrong = lines.findIndex((line, i) => line !== String(i));
    assert.equal(wrong, -1, `${lines[wrong]} came where ${wrong} was due, of ${lines.length}`);
    for (const { other, said } of others) {
      const heard = Buffer.concat(said).toString();
      assert.ok(heard.length > 0 && all.endsWith(heard), `${heard.slice(0, 50)} … ${heard.slice(-50)}`);
      other.close();
    }
  });

  it('carries 100 MB of output and arguments of 100,000 characters', async () => {
    // What comes before the answer to session/open counts, too.
    const sizes = new Map<string, number>();
    const exits = new Map<string, number>();
    connection.on('session/output', (o) => {
      sizes.set(o.session, (sizes.get(o.session) ?? 0) + Buffer.from(o.data, 'base64').length);
    });
    connection.on('session/exit', (e) => {
      exits.set(e.session, e.exitCode);
    });
    const argv = ['head', '-c', '104857600', '/dev/zero'];
    const { session } = await connection.request('session/open', { sandbox, kind: 'process', argv });
    for (let i = 0; i < 3000 && !exits.has(session); i++) await sleep(10);
    assert.equal(exits.get(session), 0);
    assert.equal(sizes.get(session), 104857600);
    const long = 'x'.repeat(100_000);
    assert.equal((await run(`printf %s ${long} | wc -c`, { checkpoint: false })).text.trim(), '100000');
  });

  it('two clients rolling back at once both get there, one after the other', async () => {
    const one = (await run('echo 1 > n')).checkpoint!;
    const two = (await run('echo 2 > n')).checkpoint!;
    const other = await helper.connect();
    const both = await Promise.all([
      rollback(one.id, true),
      other.request('checkpoint/rollback', { sandbox, checkpoint: two.id, discard: true }),
    ]);
    assert.deepEqual(
      both.map((m) => m.checkpoint),
      [one.id, two.id],
    );
    // Which of two connections is heard first is nobody's promise: the later one's moment is the head, as a whole.
    const { current } = (await connection.request('sandbox/get', { sandbox })).sandbox;
    assert.ok([one.id, two.id].includes(current), current);
    assert.equal((await run('cat n', { checkpoint: false })).text, current === one.id ? '1\n' : '2\n');
  });

  it('keeps hard links: a write through one name shows in the other after a rollback', async () => {
    rmSync(join(ws, 'h1'), { force: true });
    await connection.request('sandbox/remove', { sandbox });
    writeFileSync(join(ws, 'h1'), 'old\n');
    linkSync(join(ws, 'h1'), join(ws, 'h2'));
    sandbox = (await connection.request('sandbox/create', { workspace: ws })).sandbox.id;
    const { checkpoint } = await run('echo new > h1');
    await rollback(checkpoint!.id, true);
    assert.equal((await run('cat h2; rm h1; cat h2', { checkpoint: false })).text, 'new\nnew\n');
    // The same where the branch was replaced, as it is when many files changed: with such a write, and without one.
    const head = async () => (await connection.request('sandbox/get', { sandbox })).sandbox.head;
    for (const [line, expected] of [
      ['echo newer > h1', 'newer\n'],
      ['true', 'new\n'],
    ] as const) {
      await rollback(checkpoint!.id, true);
      const before = await head();
      const many = await run(`${line}; mkdir many; touch many/{1..1000}`);
      assert.notEqual(await head(), before);
      assert.equal(many.checkpoint!.filesChanged, line === 'true' ? 1001 : 1003);
      await rollback(many.checkpoint!.id, true);
      assert.equal((await run('cat h2', { checkpoint: false })).text, expected);
    }
  });

  it('leaves nothing behind when it is removed', async () => {
    await run('sleep 1000 & echo x > x');
    await connection.request('branch/fork', { sandbox, checkpoint: 'k1' });
    await connection.request('sandbox/remove', { sandbox });
    assert.deepEqual(
      helper.liveBranches().filter((c) => c.includes(`/${sandbox}-`)),
      [],
    );
    assert.equal(existsSync(join(helper.state, 'volume/sandboxes', sandbox)), false);
    mkdirSync(ws, { recursive: true });
    sandbox = (await connection.request('sandbox/create', { workspace: ws })).sandbox.id;
  });
});

/** `teleport-env` inside a sandbox: what processes in there can ask for, and what they are answered when they are gone back to. Needs root. */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Connection } from '../../helper/client/connection.ts';
import { HelperProcess, needsMachine, workspace } from '../daemon/helper-process.ts';

describe('teleport-env inside a sandbox', () => {
  let helper: HelperProcess;
  let user: Connection;
  const workspaces: string[] = [];

  before(async function () {
    needsMachine(this);
    helper = await HelperProcess.start();
    user = await helper.connect();
  });
  after(async () => {
    await helper?.stop();
    for (const ws of workspaces) rmSync(ws, { recursive: true, force: true });
  });
  afterEach(function () {
    if (this.currentTest?.state === 'failed') console.error(helper.logText());
  });

  async function create(): Promise<string> {
    const ws = workspace({ 'a.txt': 'one\n' });
    workspaces.push(ws);
    const { sandbox } = await user.request('sandbox/create', { workspace: ws });
    return sandbox.id;
  }
  async function run(sandbox: string, line: string, branch?: string): Promise<{ exitCode: number; output: string }> {
    const ran = await user.request('run', { sandbox, line, branch, checkpoint: false });
    return { exitCode: ran.exitCode, output: Buffer.from(ran.output, 'base64').toString() };
  }
  async function checkpoints(sandbox: string) {
    return (await user.request('checkpoint/list', { sandbox })).checkpoints;
  }

  it('keeps a moment under a label, and says how', async () => {
    const sandbox = await create();
    const { exitCode, output } = await run(
      sandbox,
      'echo two > b.txt; teleport-env checkpoint --label "before the storm"',
    );
    assert.match(output, /^✓ checkpoint k1 · 1 file changed · \d+ ms\n$/);
    assert.equal(exitCode, 0);
    const [made] = await checkpoints(sandbox);
    assert.deepEqual(
      [made!.id, made!.kind, made!.label, made!.filesChanged],
      ['k1', 'explicit', 'before the storm', 1],
    );
  });

  it('answers once more to whoever asked, when their checkpoint is gone back to: warm and cold', async () => {
    const sandbox = await create();
    await run(
      sandbox,
      '(while :; do x=$(teleport-env checkpoint --json); echo "$x" >> /tmp/answers; sleep 1000; done) & true',
    );
    for (const deadline = Date.now() + 5000; Date.now() < deadline && (await checkpoints(sandbox)).length < 2; )
      await sleep(20);
    for (const deadline = Date.now() + 5000; Date.now() < deadline; await sleep(20))
      if ((await run(sandbox, 'cat /tmp/answers 2>/dev/null')).output) break;
    const parse = (text: string) =>
      text
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line));
    assert.deepEqual(
      parse((await run(sandbox, 'cat /tmp/answers')).output).map(({ checkpoint, restored }) => [checkpoint, restored]),
      [['k1', false]],
    );
    for (const way of ['warm', 'warm or cold', 'again']) {
      await user.request('checkpoint/rollback', { sandbox, checkpoint: 'k1', discard: true });
      let output = '';
      for (const deadline = Date.now() + 5000; Date.now() < deadline && !output; await sleep(20))
        output = (await run(sandbox, 'cat /tmp/answers 2>/dev/null')).output;
      assert.deepEqual(
        parse(output).map(({ checkpoint, restored }) => [checkpoint, restored]),
        [['k1', true]],
        way,
      );
    }
  });

  it('tells its words, where it is and what there is to go back to; refuses what it does not know', async () => {
    const sandbox = await create();
    assert.match((await run(sandbox, 'teleport-env')).output, /^Usage: teleport-env COMMAND, inside a sandbox/);
    await run(sandbox, 'teleport-env checkpoint --label here');
    assert.match(
      (await run(sandbox, 'teleport-env status')).output,
      /^teleport-ws-\S+ \(s\d+\) · current · after k1\n$/,
    );
    assert.match(
      (await run(sandbox, 'teleport-env log')).output,
      /^k1 {4}here {2}0 files changed {2}← current\nk0 {4}sandbox created/,
    );
    for (const [line, said] of [
      ['teleport-env remove s1', /✗ "remove" can't be asked for in here — teleport-env help/],
      ['teleport-env checkpoint --discard', /✗ Unknown option '--discard'/],
      ['teleport-env checkpoint other', /✗ Unexpected argument 'other'/],
      ['teleport-env rollback', /✗ one checkpoint is expected/],
      ['teleport-env rollback ../k1', /✗ one checkpoint is expected/],
      ['teleport-env rollback k77', /✗ .* has no checkpoint k77/],
      ['teleport-env log --limit many', /✗ --limit takes a whole number/],
    ] as const) {
      const { exitCode, output } = await run(sandbox, line);
      assert.match(output, said, line);
      assert.equal(exitCode, 1, line);
    }
    const failed = await run(sandbox, 'teleport-env rollback k77 --json');
    assert.equal(JSON.parse(failed.output).error.code, 'unknownCheckpoint');
  });

  it('goes back when asked to from inside; undone, it says so to whoever asked', async () => {
    const sandbox = await create();
    await run(sandbox, 'echo 1 > kept; teleport-env checkpoint');
    const moved = new Promise<string | null>((resolve) => user.on('head/moved', ({ saved }) => resolve(saved)));
    const lost = run(sandbox, 'echo 2 > lost; teleport-env rollback k1 > /tmp/said 2>&1; sleep 100').catch(
      (error) => error,
    );
    const saved = await moved;
    assert.match(String(await lost), /was rolled back/);
    assert.match((await run(sandbox, 'ls kept lost')).output, /^kept$/m);
    assert.equal(saved, 'k2');
    await user.request('checkpoint/undo', { sandbox });
    // The persistent shell is in the middle of that line there: look from beside it.
    let said = '';
    for (const deadline = Date.now() + 5000; Date.now() < deadline && !said; await sleep(20)) {
      const file = await user.request('file/read', { sandbox, at: 'b1', path: '/tmp/said' }).catch(() => null);
      const { sandbox: now } = await user.request('sandbox/get', { sandbox });
      const here =
        file ?? (await user.request('file/read', { sandbox, at: now.head!, path: '/tmp/said' }).catch(() => null));
      said = here ? Buffer.from(here.data, 'base64').toString() : '';
    }
    assert.match(said, /✗ that rollback was undone: this is k2/);
  });

  it('is of its own branch: a fork keeps its own moments, and can not take the sandbox back', async () => {
    const sandbox = await create();
    const other = await create();
    const { branch } = await user.request('branch/fork', { sandbox, checkpoint: 'k0' });
    const made = await run(sandbox, 'echo 3 > c; teleport-env checkpoint --json', branch);
    const { checkpoint } = JSON.parse(made.output);
    const { sandbox: now } = await user.request('sandbox/get', { sandbox });
    assert.equal(now.branches.find(({ id }) => id === branch)?.checkpoint, checkpoint);
    assert.equal(now.current, 'k0');
    assert.match(
      (await run(sandbox, 'teleport-env status', branch)).output,
      new RegExp(`live fork ${branch} · after ${checkpoint}`),
    );
    assert.match((await run(sandbox, 'teleport-env rollback k0', branch)).output, /✗ this is live fork/);
    assert.deepEqual(
      (await checkpoints(other)).map(({ id }) => id),
      ['k0'],
    );
  });

  it('goes on through a rotation, as if there had been none', async () => {
    const sandbox = await create();
    const { output } = await run(
      sandbox,
      'for i in $(seq 3000); do echo $i > f$i; done; teleport-env checkpoint --json; teleport-env checkpoint --json',
    );
    const answers = output
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    assert.deepEqual(
      answers.map(({ checkpoint, restored, filesChanged }) => [checkpoint, restored, filesChanged]),
      [
        ['k1', false, 3000],
        ['k2', false, 0],
      ],
    );
  });

  it('survives a helper that is killed: who asks waits, and is answered by the next', async () => {
    const sandbox = await create();
    await run(sandbox, '(sleep 0.3; teleport-env checkpoint --label later > /tmp/said 2>&1) & true');
    await helper.kill();
    await sleep(500);
    await helper.restart();
    user = await helper.connect();
    let output = '';
    for (const deadline = Date.now() + 10_000; Date.now() < deadline && !output; await sleep(50))
      output = (await run(sandbox, 'cat /tmp/said')).output.replace(/^cat: .*/, '');
    assert.match(output, /^✓ checkpoint k1/);
    assert.equal((await checkpoints(sandbox))[0]!.label, 'later');
  });

  it('tells clients of an agent\u2019s step that could not be kept, and the agent nothing', async () => {
    const sandbox = await create();
    const lost = new Promise<{ agent: string; message: string }>((resolve) => user.on('step/failed', resolve));
    // A traced process can't be carried.
    const traced = 'import ctypes,os,time\\nif os.fork()==0: ctypes.CDLL(None).ptrace(0,0,0,0)\\ntime.sleep(100)';
    await run(sandbox, `printf '${traced}' > /tmp/traced.py; python3 /tmp/traced.py & sleep 0.5`);
    const call = JSON.stringify({ tool_name: 'Bash', tool_input: { command: 'x' } });
    const { exitCode, output } = await run(sandbox, `echo '${call}' | teleport-env hook codex 2>/dev/null`);
    assert.deepEqual([exitCode, output], [0, '']);
    const { agent, message } = await lost;
    assert.equal(agent, 'Codex');
    assert.match(message, /\S/);
  });

  it('is in nobody’s way: a checkpoint is made while processes ask all the time', async () => {
    const sandbox = await create();
    await run(
      sandbox,
      'for i in 1 2 3; do while :; do teleport-env status > /tmp/said; echo >> /tmp/asked; done & done; true',
    );
    const asked = async () => Number((await run(sandbox, 'wc -l < /tmp/asked')).output);
    for (let n = 0; n < 15; n++) await user.request('checkpoint/create', { sandbox });
    const before = await asked();
    for (const deadline = Date.now() + 5000; (await asked()) <= before; await sleep(20))
      assert.ok(Date.now() < deadline, 'they go on');
    await user.request('sandbox/stop', { sandbox, discard: true });
  });

  it('makes no step of what the step of a hook has already, though files come to rest meanwhile', async () => {
    const sandbox = await create();
    const ends = Array.from({ length: 8 }, (_, n) => (0.4 + n * 0.03).toFixed(2));
    const call = (n: string) => `{"tool_name": "bash", "tool_input": {"command": "step ${n}"}}`;
    const steps = ends.map((n) => `echo ${n} > f${n}; sleep ${n}; echo '${call(n)}' | teleport-env hook opencode`);
    await run(sandbox, `teleport-env agent opencode quiet -- sh -c '${steps.join('; ').replaceAll("'", `'\\''`)}'`);
    const made = (await checkpoints(sandbox)).filter(({ id }) => id !== 'k0');
    assert.equal(made.filter(({ kind }) => kind === 'run').length, ends.length);
    assert.deepEqual(
      made.filter(({ kind, filesChanged }) => kind === 'auto' && filesChanged === 0),
      [],
    );
  });

  it('bears what a hostile process says and does', async () => {
    const sandbox = await create();
    // Connections that say nothing, half frames, frames that are too long, and none of the words: more than there are places.
    const script = String.raw`
import os, socket, struct, sys
held = []
def say(data):
    s = socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect('/.teleport-env/ask.sock')
    if data: s.sendall(data)
    return s
frame = lambda kind, body: struct.pack('<I', len(body)) + kind + body
for bad in [b'\xff' * 100, frame(b'W', b'x' * 70000) + frame(b'E', b''), frame(b'E', b''), frame(b'Z', b'a\0'), frame(b'W', b'a\0') + frame(b'W', b'b\0')]:
    s = say(bad)
    try: assert s.recv(100) == b'', bad[:9]
    except ConnectionResetError: pass
s = say(frame(b'W', b'\xff\xfe\0/\0') + frame(b'E', b'')); print(s.recv(1000)[5:].decode(errors='replace').split('—')[0])
s = say(frame(b'W', b'no nul at all') + frame(b'E', b'')); s.recv(1000)
s = say(frame(b'W', b'hook\0claude-code\0/\0') + frame(b'I', b'{"tool_name": ' + b'[' * 100000) + frame(b'E', b'')); print(s.recv(1000)[5:])
for i in range(60): held.append(say(b'') if i < 30 else None)
print('held'); sys.stdout.flush()
os.read(0, 1)
`;
    await run(sandbox, `mkfifo /tmp/go; python3 - > /tmp/said 2>&1 < <(cat <<'END'\n${script}\nEND\n) & true`);
    let output = '';
    for (const deadline = Date.now() + 10_000; Date.now() < deadline && !/held|Error/.test(output); await sleep(50))
      output = (await run(sandbox, 'cat /tmp/said')).output;
    assert.match(output, /can't be asked for in here/);
    assert.match(output, /held/);
    // A capture, another ask and a rollback go on meanwhile.
    await user.request('checkpoint/create', { sandbox });
    assert.match((await run(sandbox, 'teleport-env status')).output, /current/);
    await user.request('checkpoint/rollback', { sandbox, checkpoint: 'k0' });
    assert.match((await run(sandbox, 'teleport-env status')).output, /current · after k0/);
  });
});

/** The debug adapter by the protocol's own messages, over the real helper and the real CRIU. Needs root. */
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Connection } from '../../helper/client/connection.ts';
import { recordRun } from '../../helper/client/language/record.ts';
import { HelperProcess, needsMachine, workspace } from '../daemon/helper-process.ts';
import { waitFor } from '../vscode/waiting.ts';
import { Debuggee } from './debuggee.ts';

describe('stepping through a run', () => {
  let helper: HelperProcess;
  let connection: Connection;
  let ws: string;
  let sandbox: string;
  let run: Debuggee;

  before(async function () {
    needsMachine(this);
    helper = await HelperProcess.start();
    connection = await helper.connect();
  });
  after(async () => {
    await helper?.stop();
  });
  beforeEach(async () => {
    ws = realpathSync(workspace({ 'a.txt': 'one\n' }));
    mkdirSync(join(ws, 'src'));
    writeFileSync(join(ws, 'src/b.txt'), 'two\n');
    sandbox = (await connection.request('sandbox/create', { workspace: ws })).sandbox.id;
    run = new Debuggee(connection);
  });
  afterEach(async function () {
    if (this.currentTest?.state === 'failed') console.error(helper.logText(), run.events);
    await run.request('disconnect');
    await connection.request('sandbox/remove', { sandbox });
    rmSync(ws, { recursive: true, force: true });
  });

  function program(text: string, name = 'steps.sh'): string {
    const path = join(ws, name);
    writeFileSync(path, text);
    return path;
  }
  const inside = async (line: string) => {
    const { output } = await connection.request('run', { sandbox, line, checkpoint: false });
    return Buffer.from(output, 'base64').toString();
  };
  /** The command after that one is under way. */
  const begun = async (after: string) => {
    await waitFor(async () => run.output('console').includes(`${after}`));
    await sleep(1000);
  };
  const current = async () => (await connection.request('sandbox/get', { sandbox })).sandbox.current;

  it('steps over, back, and over again', async () => {
    const path = program('# why\nx=1\ncd src\nfor i in 1 2; do\n  echo $i\ndone > c.txt\nrm b.txt; false\n');
    await run.start({ program: path, sandbox });
    assert.deepEqual(await run.stopped(), [2, 'entry']);
    assert.deepEqual(await run.press('next'), [3, 'step']);
    assert.deepEqual(await run.press('next'), [4, 'step']);
    assert.deepEqual(await run.press('next'), [7, 'step']);
    assert.equal(await inside('echo $x $i; cat c.txt'), '1 2\n1\n2\n');
    assert.deepEqual(await run.press('next'), [7, 'step']);
    const { 'exit code': code, cwd } = await run.scope('Last step');
    assert.deepEqual([code, cwd], ['1', join(ws, 'src')]);
    assert.deepEqual(await run.scope('Changed files'), { 'src/b.txt': 'deleted' });

    assert.deepEqual(await run.press('stepBack'), [7, 'step']);
    assert.equal(await inside('ls'), 'b.txt\nc.txt\n');
    assert.deepEqual(await run.press('stepBack'), [4, 'step']);
    assert.deepEqual(await run.press('stepBack'), [3, 'step']);
    assert.equal(await inside('pwd; echo $i.$x'), `${ws}\n.1\n`);
    assert.deepEqual(await run.press('stepBack'), [2, 'step']);
    assert.equal(await inside('echo $x.'), '.\n');
    assert.deepEqual(await run.press('stepBack'), [2, 'entry']);
    assert.deepEqual(await run.press('next'), [3, 'step']);
    // Going back and forth leaves nothing behind that nobody asked for.
    const { checkpoints } = await connection.request('checkpoint/list', { sandbox });
    assert.deepEqual(
      checkpoints.map(({ kind }) => kind).filter((kind) => kind === 'saved'),
      [],
    );
    assert.equal(checkpoints.find(({ command }) => command === 'x=1')!.note, 'why');
  });

  it('shows variables, sets them, and processes', async () => {
    const path = program(
      `export A='it'\\''s'\nlist=(1 "two words" $'tab\\there'); declare -A map=([k]=v [l\\ m]=w)\ntext=$'two\\nlines "q" $HOME \\\\'\nsleep 300 &\necho`,
    );
    await run.start({ program: path, sandbox });
    await run.stopped();
    for (let n = 0; n < 4; n++) await run.press('next');
    const { list, text, map } = await run.scope('Shell variables');
    assert.deepEqual([list, text, map], ['(3)', 'two\nlines "q" $HOME \\', '(2)']);
    assert.equal((await run.scope('Environment')).A, "it's");
    const rows = await run.rows('Shell variables');
    const elements = async (name: string) => {
      const { variablesReference } = rows.find((row) => row.name === name)!;
      const { variables } = await run.ok('variables', { variablesReference });
      return variables.map((one: { name: string; value: string }) => [one.name, one.value]);
    };
    assert.deepEqual(await elements('list'), [
      ['[0]', '1'],
      ['[1]', 'two words'],
      ['[2]', 'tab\there'],
    ]);
    assert.deepEqual((await elements('map')).sort(), [
      ['[k]', 'v'],
      ['[l m]', 'w'],
    ]);
    await waitFor(async () => /^sleep 300 \(\w\)$/m.test(Object.values(await run.scope('Processes')).join('\n')));
    assert.equal((await run.ok('evaluate', { expression: '$A', context: 'hover' })).result, "it's");
    const none = await run.request('evaluate', { expression: 'rm -rf /', context: 'hover' });
    assert.ok(!none.success);
    assert.equal(none.body.error.showUser, false, 'a word under the mouse is worth no notification');

    const { scopes } = await run.ok('scopes', { frameId: 1 });
    const shell = scopes.find((one: { name: string }) => one.name === 'Shell variables');
    await run.ok('variables', shell);
    await run.ok('setVariable', { ...shell, name: 'text', value: "new '$x'" });
    assert.equal((await run.scope('Shell variables')).text, "new '$x'");
    assert.equal(await inside('echo "$text"'), "new '$x'\n");
  });

  it('stops at breakpoints, both ways, plain and on conditions', async () => {
    const path = program('echo 1\necho 2 > x\n\n# note\necho 3\n(exit 4)\necho 5 > src/y\necho 6\n');
    await run.start({ program: path, sandbox, stopOnEntry: false }, [{ line: 4 }]);
    assert.deepEqual(await run.stopped(), [5, 'breakpoint']);
    const set = await run.break(path, [
      { line: 6, condition: 'exit == 4' },
      { line: 7, condition: 'changed src/**' },
      { line: 8, condition: 'exit is bad' },
      { line: 99 },
      { line: 2, condition: 'failed or changed *.json' },
    ]);
    assert.deepEqual(
      set.map(({ verified, line }) => [verified, line]),
      [
        [true, 6],
        [true, 7],
        [false, 8],
        [false, undefined],
        [true, 2],
      ],
    );
    assert.match(set[2]!.message, /is no condition/);
    assert.deepEqual(await run.press('continue'), [7, 'breakpoint']);
    assert.deepEqual(await run.press('continue'), [8, 'breakpoint']);
    assert.deepEqual(await run.press('continue'), [8, 'step']);
    assert.deepEqual(await run.press('reverseContinue'), [8, 'breakpoint']);
    assert.deepEqual(await run.press('reverseContinue'), [7, 'breakpoint']);
    assert.equal(await inside('ls'), 'a.txt\nsrc\nsteps.sh\nx\n'.replace('steps.sh\n', ''));
    assert.deepEqual(await run.press('reverseContinue'), [1, 'entry']);
    assert.equal(await inside('ls'), 'a.txt\nsrc\n');
  });

  it('stops where any command fails or changes a path', async () => {
    const path = program('echo 1\nfalse\necho 3 > made.json\necho 4\n');
    const exceptions = { filters: ['failed'], filterOptions: [{ filterId: 'changed', condition: '*.json' }] };
    await run.start({ program: path, sandbox, stopOnEntry: false }, [], exceptions);
    assert.deepEqual(await run.stopped(), [3, 'exception']);
    assert.deepEqual(await run.press('continue'), [4, 'exception']);
    assert.deepEqual(await run.press('continue'), [4, 'step']);
    await run.ok('continue', { threadId: 1 });
    await run.event('terminated');
  });

  it('jumps: back by going back, forward by leaving out', async () => {
    const path = program('echo 1 > one\necho 2 > two\necho 3 > three\n');
    await run.start({ program: path, sandbox });
    await run.stopped();
    const { targets } = await run.ok('gotoTargets', { source: { path }, line: 3 });
    assert.deepEqual(await run.press('goto', { targetId: targets[0].id }), [3, 'goto']);
    await run.press('next');
    assert.equal(await inside('ls'), 'a.txt\nsrc\nthree\n');
    assert.deepEqual(await run.press('goto', { targetId: 0 }), [1, 'goto']);
    assert.equal(await inside('ls'), 'a.txt\nsrc\n');
  });

  it('runs to a line from the document, or goes back to it', async () => {
    const path = program('echo 1 > one\necho 2 > two\necho 3 > three\n');
    await run.start({ program: path, sandbox, runTo: 2 });
    assert.deepEqual(await run.stopped(), [3, 'goto']);
    assert.deepEqual(await run.press('runTo', { line: 1 }), [2, 'goto']);
    assert.equal(await inside('ls'), 'a.txt\none\nsrc\n');
    assert.deepEqual(await run.press('runTo', { line: 2 }), [3, 'goto']);
  });

  it('runs what is typed into the console, which then belongs to the moment', async () => {
    const path = program('echo 1 > one\ncat extra\n');
    await run.start({ program: path, sandbox });
    await run.stopped();
    await run.press('next');
    const { result } = await run.ok('evaluate', {
      expression: 'echo é > extra; echo typed; (exit 3)',
      context: 'repl',
    });
    assert.equal(result, 'exit 3');
    assert.match(run.output('stdout'), /typed\n/);
    await run.press('next');
    assert.match(run.output('stdout'), /é\n$/);
    await run.press('stepBack');
    assert.equal(await inside('cat extra'), 'é\n');
    await run.press('stepBack');
    assert.equal(await inside('ls'), 'a.txt\nsrc\n');
  });

  it('pauses after the command, and interrupts it when asked twice', async () => {
    const path = program('sleep 0.5; echo 1 > one\necho 2 > two\nsleep 300\necho 4\nwhile :; do :; done\necho 6');
    await run.start({ program: path, sandbox, stopOnEntry: false });
    await sleep(200);
    await run.ok('pause', { threadId: 1 });
    assert.deepEqual(await run.stopped(), [2, 'pause']);
    await run.ok('continue', { threadId: 1 });
    await begun('echo 2');
    assert.ok(!(await run.request('next', { threadId: 1 })).success);
    await run.ok('pause', { threadId: 1 });
    await run.ok('pause', { threadId: 1 });
    assert.deepEqual(await run.stopped(), [4, 'pause']);
    assert.equal((await run.scope('Last step'))['exit code'], '130');
    // A busy shell has nothing that could be interrupted but itself: the sandbox goes back to before it.
    await run.ok('continue', { threadId: 1 });
    await begun('echo 4');
    await run.ok('pause', { threadId: 1 });
    await run.ok('pause', { threadId: 1 });
    assert.deepEqual(await run.stopped(), [5, 'pause']);
    assert.equal(await inside('ls'), 'a.txt\none\nsrc\ntwo\n');
  });

  for (const how of ['terminate', 'disconnect'])
    it(`ends at once by ${how}: nothing that comes after the command under way is run any more`, async () => {
      await run.start({ program: program('sleep 2\necho 2 > two\n'), sandbox, stopOnEntry: false });
      await waitFor(async () => {
        const { processes } = await connection.request('process/list', { sandbox });
        return processes.some(({ command }) => command.startsWith('sleep 2'));
      });
      const checkpoints = async () => (await connection.request('checkpoint/list', { sandbox })).checkpoints.length;
      const before = await checkpoints();
      await run.ok(how);
      await waitFor(async () => (await checkpoints()) > before);
      assert.ok(!(await run.request('next', { threadId: 1 })).success);
      assert.deepEqual(await run.ok('runTo', { line: 1 }), { over: true });
      // Had another been begun, it would be done by now.
      for (let n = 0; n < 50; n++) await connection.request('process/list', { sandbox });
      assert.equal(await inside('ls'), 'a.txt\nsrc\n');
    });

  it('starts over with the file as it is now', async () => {
    const path = program('echo 1 > one\necho 2\n');
    await run.start({ program: path, sandbox });
    await run.stopped();
    await run.press('next');
    program('\necho other > two\n');
    assert.deepEqual(await run.press('restart'), [2, 'entry']);
    assert.equal(await inside('ls'), 'a.txt\nsrc\n');
    await run.press('next');
    assert.equal(await inside('ls'), 'a.txt\nsrc\ntwo\n');
  });

  it('stands where the timeline stands', async () => {
    const path = program('echo 1 > one\necho 2 > two\necho 3 > three\n');
    await run.start({ program: path, sandbox });
    await run.stopped();
    for (let n = 0; n < 3; n++) await run.press('next');
    assert.equal(await current(), (await run.scope('Last step')).checkpoint);
    const { steps } = run.stepped.at(-1)!;
    assert.deepEqual(
      steps.map(({ line, exitCode, filesChanged }) => [line, exitCode, filesChanged]),
      [
        [0, 0, 1],
        [1, 0, 1],
        [2, 0, 1],
      ],
    );
    await connection.request('checkpoint/rollback', { sandbox, checkpoint: steps[1]!.before });
    assert.deepEqual(await run.stopped(), [2, 'goto']);
    await connection.request('checkpoint/rollback', { sandbox, checkpoint: 'k0' });
    await run.stopped();
    assert.match(run.output('console'), /went to k0, which is no moment of this run/);
    await run.press('next');
    assert.equal(await inside('ls'), 'a.txt\nsrc\ntwo\n');
  });

  it('tells a shell that ended, and can go back into it', async () => {
    const path = program('x=1\nset -e\nfalse\necho never\n');
    await run.start({ program: path, sandbox, stopOnEntry: false });
    assert.deepEqual(await run.stopped(), [4, 'exception']);
    assert.deepEqual(await run.press('stepBack'), [3, 'step']);
    assert.equal(await inside('echo $x'), '1\n');
  });

  it('walks through a transcript as a document of its own', async () => {
    const path = join(ws, 'chat.json');
    copyFileSync(join(__dirname, '../documents/samples/openai-chat.json'), path);
    await run.start({ program: path, sandbox });
    await run.stopped();
    const { source, name } = (await run.ok('stackTrace', { threadId: 1 })).stackFrames[0];
    assert.deepEqual([source.name, name], ['chat.json.teleport-env.sh', 'sed -i s/v1/v2/g *']);
    const { content } = await run.ok('source', { source, sourceReference: source.sourceReference });
    assert.match(content, /^# teleport-env run 1\n# title: Rename v1 to v2\n/);
    const [line] = await run.press('next');
    assert.equal(content.split('\n')[line - 1], "mkdir -p src && printf %s 'no newline' > 'src/a b.txt'");
    assert.equal((await run.scope('Last step'))['exit code'], '4');
  });

  for (const [sample, first, thought, exit] of [
    ['claude-code.jsonl', /^npm test/, /^# Run the test first\.$/m, '0'],
    ['swe-agent.traj', /^ls -F/, /^# Let me look around first\.$/m, '0'],
    ['codex.jsonl', /^\(cd '\/w\/my src'/, /^# I list the folder\.$/m, '1'],
  ] as const)
    it(`walks through ${sample} both ways, thoughts as comments`, async () => {
      const path = join(ws, sample);
      copyFileSync(join(__dirname, '../documents/samples', sample), path);
      await run.start({ program: path, sandbox });
      const [begin] = await run.stopped();
      const { source, name } = (await run.ok('stackTrace', { threadId: 1 })).stackFrames[0];
      assert.match(name, first);
      const { content } = await run.ok('source', { source, sourceReference: source.sourceReference });
      assert.match(content, thought);
      const [second, reason] = await run.press('next');
      assert.ok(second > begin, reason);
      assert.equal((await run.scope('Last step'))['exit code'], exit);
      assert.deepEqual(await run.press('stepBack'), [begin, 'step']);
    });

  it('is written down as a document that can be walked again', async () => {
    const path = program('# why\necho 1 > one\nfalse\ncat <<EOF\n# %% x\nEOF\n');
    await run.start({ program: path, sandbox, stopOnEntry: false });
    await run.stopped();
    const { text, steps } = await recordRun(connection, { sandbox });
    assert.equal(steps, 3);
    assert.match(
      text,
      /^# teleport-env run 1\n# title: .*\n# sandbox: .*\n\n# %% exit 0 · .* · 1 file · k2\n# why\necho 1 > one\n\n# %% exit 1 · .*\nfalse\n/,
    );
    const again = new Debuggee(connection);
    await again.start({ program: program(text, 'again.teleport-env.sh'), sandbox, stopOnEntry: false });
    await again.stopped();
    assert.match(again.output('stdout'), /^# %% x\n$/);
    await again.request('disconnect');
  });

  it('says what is wrong with what it is asked to run', async () => {
    await run.ok('initialize', { adapterID: 'teleport-env', pathFormat: 'path' });
    const empty = await run.request('launch', { program: program('# nothing\n'), sandbox });
    assert.match(String(empty.body.error.format), /holds no step to run/);
    const none = await run.request('launch', { program: program('ls'), sandbox: 'nobody' });
    assert.match(String(none.body.error.format), /there is no sandbox "nobody"/);
  });
});

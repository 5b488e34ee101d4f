import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bashGrammar, type Parse } from '../../helper/client/documents/grammar.ts';
import type { RecordedStep } from '../../helper/client/documents/model.ts';
import { readDocument } from '../../helper/client/documents/read.ts';
import { outcomeText, readOutcome, readScript, writeRunDocument } from '../../helper/client/documents/run-document.ts';
import { commandOf } from '../../helper/client/documents/transcripts/tool-calls.ts';
import { Random } from './random.ts';

const sample = (name: string) => readDocument(readFileSync(join(__dirname, 'samples', name), 'utf8'));
const brief = (steps: RecordedStep[]) =>
  steps.map(({ command, note, outcome }) => [note, command, outcomeText(outcome)]);

const WRITTEN = `# teleport-env run 1
# title: Fix the failing test
# sandbox: api

# %% exit 1 · 1.2 s · 2 files · k4
# The test fails.
#
# Look first.
npm test
echo done

# %%
# nothing to run

# %% 12 ms
cat <<EOF
## %% no cell
EOF
`;

describe('run documents', () => {
  let parse: Parse;
  before(async () => {
    parse = await bashGrammar();
  });

  it('are read', () => {
    const { format, title, sandbox, steps } = readScript(WRITTEN, parse);
    assert.deepEqual([format, title, sandbox], ['run', 'Fix the failing test', 'api']);
    assert.deepEqual(brief(steps), [
      ['The test fails.\n\nLook first.', 'npm test\necho done', 'exit 1 · 1.2 s · 2 files · k4'],
      [null, 'cat <<EOF\n# %% no cell\nEOF', '12 ms'],
    ]);
    assert.deepEqual(steps[0]!.range, { start: { line: 8, character: 0 }, end: { line: 9, character: 9 } });
  });

  it('are scripts that a shell runs', () => {
    const { status, stdout } = spawnSync('bash', ['-n'], { input: WRITTEN, encoding: 'utf8' });
    assert.deepEqual([status, stdout], [0, '']);
  });

  it('may be edited by hand: commands before the first cell, Windows line ends, odd headings', () => {
    const { steps } = readScript(
      '#!/bin/bash\r\n# teleport-env run 1\r\n\r\ncd x\r\n# %% k3 · exit 0 · who knows\r\nls\r\n',
      parse,
    );
    assert.deepEqual(brief(steps), [
      [null, 'cd x', ''],
      [null, 'ls', 'exit 0 · k3'],
    ]);
  });

  it('keep cells of other editors in a plain script where they are', () => {
    const { format, steps } = readScript("cat > a.py <<'EOF'\n# %% a cell\nEOF\nls", parse);
    assert.deepEqual([format, steps.length], ['shell', 2]);
  });

  it('tell a plain script’s comments as notes, with the range of the command', () => {
    const { steps } = readScript('#!/bin/sh\n# go there\n#  now\ncd x\n\n  make # it', parse);
    assert.deepEqual(brief(steps), [
      ['go there\n now', 'cd x', ''],
      [null, 'make # it', ''],
    ]);
    assert.deepEqual(steps[1]!.range.start, { line: 5, character: 2 });
  });

  it('say times and counts so that they are read again', () => {
    for (const outcome of [
      { exitCode: 0 },
      { durationMs: 7.4 },
      { durationMs: 94_000, filesChanged: 1 },
      { durationMs: 180_000, checkpoint: 'k12' },
      {},
    ])
      assert.deepEqual(readOutcome(outcomeText(outcome)), outcome);
  });

  it('give back any steps that were written', () => {
    const random = new Random();
    const bits = [
      'echo a',
      '\n',
      '# %% x',
      '## %% x',
      '# words',
      '<<EOF',
      '"',
      "'",
      '%%',
      ' ',
      '\t',
      '😀',
      '\\',
      '$(',
      '# teleport-env run 1',
      '#',
    ];
    const text = () => random.some(12, () => random.pick(bits)).join('');
    for (let n = 0; n < 300; n++) {
      const steps = random.some(
        5,
        (): RecordedStep => ({
          command: text(),
          note: random.below(2) ? text() : null,
          outcome: random.below(2) ? { exitCode: n % 256, filesChanged: n } : {},
        }),
      );
      const written = writeRunDocument(steps, { title: text(), sandbox: 's1' });
      const { steps: read } = readScript(written, parse);
      const context = `seed ${random.seed}\n${written}`;
      assert.equal(read.length, steps.length, context);
      assert.deepEqual(
        read.map(({ outcome }) => outcome),
        steps.map(({ outcome }) => outcome),
        context,
      );
      // Written again it is the same, so nothing gets lost by saving and opening.
      assert.equal(
        writeRunDocument(read, { title: readScript(written, parse).title, sandbox: 's1' }),
        written,
        context,
      );
      steps.forEach(({ command }, at) => {
        if (!/^\s*(#|$)/.test(command)) assert.equal(read[at]!.command.trim(), command.trim(), context);
      });
    }
  });
});

describe('transcripts', () => {
  it('of Claude Code become steps with thoughts', async () => {
    const { format, title, steps } = await sample('claude-code.jsonl');
    assert.deepEqual([format, title], ['claude-code', 'Fix the price']);
    assert.deepEqual(brief(steps), [
      [
        "> Make the price test pass\n\nRun the test first.\n\nI'll run the test.",
        'npm test 2>&1 | tail -20',
        'exit 2 · 2.5 s',
      ],
      [
        'The price is wrong.',
        `OLD='let p = '\\''1'\\''' NEW='let p = "$2"' perl -0777 -i -pe '$n += s/\\Q$ENV{OLD}\\E/$ENV{NEW}/; END { $? ||= !$n }' -- /home/ada/shop/price.js`,
        'exit 0 · 50 ms',
      ],
      [
        '(a subagent)',
        "mkdir -p /home/ada/shop/docs && cat > /home/ada/shop/docs/NOTES.md <<'EOF_'\n# Notes\n\n# %% EOF\nEOF\nEOF_",
        '',
      ],
    ]);
    assert.ok(steps.every(({ broken }) => !broken));
  });

  it('of SWE-agent', async () => {
    const { format, steps } = await sample('swe-agent.traj');
    assert.equal(format, 'swe-agent');
    assert.deepEqual(
      steps.map(({ command, note }) => [note?.split('\n')[0], command.split(' ')[0]]),
      [
        ['Let me look around first.', 'ls'],
        ['Look at the field.', "OLD='a"],
        ['Check it.', 'python'],
      ],
    );
    assert.match(steps[1]!.command, /NEW='a = '\\''2'\\'''/);
    assert.equal(steps[2]!.outcome.durationMs, 1500);
  });

  it('of chats with tool calls', async () => {
    const { format, title, steps } = await sample('openai-chat.json');
    assert.deepEqual([format, title], ['openai', 'Rename v1 to v2']);
    assert.deepEqual(brief(steps), [
      ['All files at once.', 'sed -i s/v1/v2/g *', 'exit 4'],
      [null, "mkdir -p src && printf %s 'no newline' > 'src/a b.txt'", ''],
      ['Done.', 'ls src', ''],
    ]);
  });

  it('of Codex', async () => {
    const { steps } = await sample('codex.jsonl');
    assert.deepEqual(brief(steps), [
      ['I list the folder.', "(cd '/w/my src' && { ls -la\n})", 'exit 1'],
      [null, "git commit -m 'it'\\''s'", ''],
    ]);
  });

  it('that are cut off, empty or something else are still read', async () => {
    for (const text of [
      '',
      '{',
      '[]',
      '{}',
      '[1, 2]',
      '{"a": 1}\n{"b"',
      '{"trajectory": [1, null, {"action": 3}]}',
      '{"messages": [{"role": "assistant", "tool_calls": [null, {"function": 3}]}]}',
      '\uFEFFls',
    ])
      assert.ok(Array.isArray((await readDocument(text)).steps), text);
  });

  it('survive any value in any place', async () => {
    const random = new Random();
    const values: unknown[] = [null, 1, 'x', [], {}, true, [null], { type: 'text' }, ['bash', '-lc', 3]];
    for (const name of ['claude-code.jsonl', 'swe-agent.traj', 'openai-chat.json', 'codex.jsonl']) {
      const text = readFileSync(join(__dirname, 'samples', name), 'utf8');
      for (let n = 0; n < 40; n++) {
        const spoilt = text.replace(/"(?:[^"\\]|\\.)*"(?!:)|\d+/g, (one) =>
          random.below(12) ? one : JSON.stringify(random.pick(values)),
        );
        assert.ok(Array.isArray((await readDocument(spoilt)).steps), `seed ${random.seed}`);
      }
    }
  });
});

describe('tool calls as commands', () => {
  let folder: string;
  const bash = (command: string | null) =>
    spawnSync('bash', ['-c', command!], { cwd: folder, encoding: 'utf8' }).status;
  const content = () => readFileSync(join(folder, 'f'), 'utf8');
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'calls-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('write just those bytes', () => {
    const random = new Random();
    const bits = ['a', '\n', 'EOF', "'", '$x', '`', '\\', '\\n', '%s', '😀', '"', '\t', '!'];
    for (let n = 0; n < 40; n++) {
      const text = random.some(15, () => random.pick(bits)).join('');
      assert.equal(bash(commandOf('Write', { file_path: 'f', content: text })), 0);
      assert.equal(content(), text, `seed ${random.seed}`);
    }
    assert.equal(bash(commandOf('create_file', { path: 'f', content: '' })), 0);
    assert.equal(content(), '');
  });

  it('replace a text once, or wherever it is, and fail where it is not', () => {
    const set = () => writeFileSync(join(folder, 'f'), 'a.b a.b axb\n$1 \\n\n');
    set();
    assert.equal(bash(commandOf('Edit', { file_path: 'f', old_string: 'a.b', new_string: "$1'\\1" })), 0);
    assert.equal(content(), "$1'\\1 a.b axb\n$1 \\n\n");
    set();
    assert.equal(bash(commandOf('edit', { filePath: 'f', oldString: 'a.b', newString: '', replaceAll: true })), 0);
    assert.equal(content(), '  axb\n$1 \\n\n');
    assert.equal(
      bash(commandOf('str_replace_editor', { command: 'str_replace', path: 'f', old_str: 'none', new_str: 'x' })),
      1,
    );
    set();
    const edits = [
      { old_string: 'axb\n$1', new_string: '1' },
      { old_string: '1', new_string: '2' },
    ];
    assert.equal(bash(commandOf('MultiEdit', { file_path: 'f', edits })), 0);
    assert.equal(content(), 'a.b a.b 2 \\n\n');
  });

  it('insert lines', () => {
    writeFileSync(join(folder, 'f'), '1\n2\n');
    assert.equal(
      bash(commandOf('str_replace_editor', { command: 'insert', path: 'f', insert_line: 1, new_str: 'x\ny' })),
      0,
    );
    assert.equal(
      bash(commandOf('str_replace_editor', { command: 'insert', path: 'f', insert_line: 0, new_str: 'top' })),
      0,
    );
    assert.equal(content(), 'top\n1\nx\ny\n2\n');
  });

  it('are none where nothing would change', () => {
    for (const [tool, input] of [
      ['Read', { file_path: 'x' }],
      ['Grep', {}],
      ['TodoWrite', {}],
      ['bash', {}],
      ['Edit', {}],
      ['str_replace_editor', { command: 'view', path: 'x' }],
    ] as const)
      assert.equal(commandOf(tool, input), null);
  });
});

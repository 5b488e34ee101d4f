import assert from 'node:assert/strict';
import { isDue, nextLook, quietLabel, REST_MS } from '../../helper/daemon/inside/quiet.ts';
import { stepOf } from '../../helper/daemon/inside/step.ts';
import { readWish } from '../../helper/daemon/inside/words.ts';

describe('what is asked for inside', () => {
  it('is read from its words', () => {
    assert.deepEqual(readWish([]), { verb: 'help' });
    assert.deepEqual(readWish(['checkpoint', '--label', 'a', '--json']), {
      verb: 'checkpoint',
      label: 'a',
      json: true,
    });
    assert.deepEqual(readWish(['rollback', 'k3']), { verb: 'rollback', checkpoint: 'k3', json: false });
    const expecting = (expect: string) =>
      (readWish(['rollback', 'k3', '--expect', expect]) as { expect: string[] }).expect;
    assert.deepEqual([expecting('k5, k7'), expecting('none')], [['k5', 'k7'], []]);
    assert.deepEqual(readWish(['checkpoint', '--expect', 'k1']), { verb: 'checkpoint', expect: ['k1'], json: false });
    assert.deepEqual(readWish(['log', '--limit', '999999']), { verb: 'log', limit: 1000, json: false });
    assert.deepEqual(readWish(['agent', 'aider', 'quiet']), { verb: 'agent', agent: 'aider', quiet: true });
    assert.equal((readWish(['checkpoint', '--label', 'x'.repeat(5000)]) as { label: string }).label.length, 1000);
  });

  it('is refused where it drops state, names another sandbox, or is nothing at all', () => {
    for (const words of [
      ['stop'],
      ['checkpoint', '--sandbox', 's2'],
      ['rollback', 'k3', '--discard'],
      ['rollback', 'k3', 'k4'],
      ['rollback', 'k99999999999'],
      ['rollback', 'k3', '--expect', 'k4,'],
      ['checkpoint', '--expect', 's2'],
      ['checkpoint', '--expect', `${'k1,'.repeat(200)}k1`],
      ['status', '--expect', 'k1'],
      ['__proto__'],
      ['\u0000'],
      [''],
    ])
      assert.throws(() => readWish(words), { code: 'invalidRequest' }, words.join(' '));
  });
});

describe('a tool call as a step', () => {
  const step = (call: unknown) => stepOf(JSON.stringify(call));

  it('of Claude Code, Codex, Gemini and Qwen: the command, or the tool and what it was about', () => {
    assert.deepEqual(
      step({
        hook_event_name: 'PostToolUse',
        tool_name: 'Bash',
        tool_input: { command: 'npm test', description: 'Run the tests' },
        tool_response: { stdout: '' },
      }),
      { command: 'npm test', note: 'Run the tests' },
    );
    assert.deepEqual(step({ tool_name: 'Write', tool_input: { file_path: '/w/a.ts', content: 'x' } }), {
      command: 'Write /w/a.ts',
    });
    assert.deepEqual(step({ tool_name: 'write_file', tool_input: { absolute_path: '/w/a' } }), {
      command: 'write_file /w/a',
    });
    assert.deepEqual(step({ tool_name: 'shell', tool_input: { command: ['bash', '-lc', 'ls | wc'] } }), {
      command: 'ls | wc',
    });
    const patch = '*** Begin Patch\n*** Update File: src/a.ts\n@@\n-a\n+b\n*** Add File: b.ts\n+1\n*** End Patch';
    assert.deepEqual(step({ tool_name: 'apply_patch', tool_input: { command: patch } }), {
      command: 'apply_patch src/a.ts, b.ts',
    });
    assert.deepEqual(step({ tool_name: 'mcp__db__query', tool_input: {} }), { command: 'mcp__db__query' });
  });

  it('of Copilot: arguments as JSON in a string', () => {
    const call = {
      toolName: 'bash',
      toolArgs: '{"command":"make"}',
      toolResult: { resultType: 'failure', textResultForLlm: 'boom\nexited with exit code 2' },
    };
    assert.deepEqual(step(call), { command: 'make', exitCode: 2 });
  });

  it('with the exit code where the agent says it', () => {
    assert.equal(
      step({ tool_name: 'Bash', tool_input: { command: 'x' }, tool_response: { exit_code: 3 } })?.exitCode,
      3,
    );
    assert.equal(
      step({ tool_name: 'Bash', tool_input: { command: 'x' }, error: 'Command failed: Exit code 127' })?.exitCode,
      127,
    );
    assert.equal(step({ tool_name: 'Bash', tool_input: { command: 'x' }, error: 'timed out' })?.exitCode, undefined);
  });

  it('is none where it can not be read', () => {
    for (const input of ['', 'no', '[]', 'null', '{}', '{"tool_name": 7}', '{"tool_name": "x"', '[[[['])
      assert.equal(stepOf(input), null, input);
    assert.equal(step({ tool_name: 'Bash', tool_input: { command: 'y'.repeat(50_000) } })?.command.length, 10_000);
  });
});

describe('files that came to rest', () => {
  it('are due once, half a second after the last write', () => {
    assert.equal(isDue(0, 0, 10_000), false);
    assert.equal(isDue(1000, 1000, 10_000), false);
    assert.equal(isDue(1001, 1000, 1001 + REST_MS - 1), false);
    assert.equal(isDue(1001, 1000, 1001 + REST_MS), true);
    assert.equal(isDue(99_000, 1000, 5000), false); // a clock that was set back
  });

  it('are looked for often, and never for more than a tenth of the time', () => {
    assert.equal(nextLook(0.1), 125);
    assert.equal(nextLook(100), 1000);
  });

  it('give the step its name', () => {
    assert.equal(quietLabel('aider', []), 'aider');
    assert.equal(quietLabel('aider', ['a.py']), 'aider: a.py');
    assert.equal(quietLabel('aider', ['a', 'b', 'c', 'd', 'e']), 'aider: a, b, c and 2 more');
  });
});

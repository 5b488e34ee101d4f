/** Hooks go into settings that somebody wrote, with comments in them, and change nothing else there. */
import assert from 'node:assert/strict';
import { parse } from 'jsonc-parser';
import { hookFile } from '../../helper/client/agents/plan.ts';
import { agentById } from '../../helper/protocol/agents.ts';

const EVENTS = ['PostToolUse', 'PostToolUseFailure'];
const text = (existing: string | null) => hookFile(agentById('claude-code')!, existing)?.text;

describe('hooks in an agent’s settings', () => {
  it('are added where there are none, once', () => {
    for (const before of [null, '', ' \n', '{}', '{"model": "opus"}', '// nothing yet\n']) {
      const after = text(before)!;
      assert.deepEqual(Object.keys(parse(after).hooks), EVENTS, `${before}`);
      assert.equal(text(after), after);
    }
  });

  it('leave comments, commas, indentation and others’ hooks', () => {
    const before =
      '{\n\t// which one\n\t"model": "opus",\n\t"hooks": {\n\t\t"PostToolUse": [\n\t\t\t{"hooks": [{"type": "command", "command": "mine"}]}, // mine\n\t\t],\n\t},\n}\n';
    const after = text(before)!;
    for (const kept of ['\t// which one\n\t"model": "opus",\n', '// mine']) assert.ok(after.includes(kept), after);
    assert.doesNotMatch(after, /^ /m);
    const { hooks } = parse(after, [], { allowTrailingComma: true });
    assert.deepEqual(
      hooks.PostToolUse.map((group: { hooks: { command: string }[] }) => group.hooks[0]!.command),
      ['mine', '/.teleport-env/bin/teleport-env hook claude-code'],
    );
    assert.equal(text(after), after);
  });

  it('of an older version are replaced in their place', () => {
    const older = {
      hooks: [{ type: 'command', command: '/.teleport-env/bin/teleport-env hook claude-code', timeout: 1 }],
    };
    const { hooks } = parse(text(JSON.stringify({ hooks: { PostToolUse: [older, 'other'] } }))!);
    assert.deepEqual(
      [hooks.PostToolUse.length, hooks.PostToolUse[0].hooks[0].timeout, hooks.PostToolUse[1]],
      [2, 60, 'other'],
    );
  });

  it('are not written into what can not be read, or is something else', () => {
    for (const before of ['{ broken', '[]', '{"hooks": []}', '{"hooks": null}', '{"hooks": {"PostToolUse": 3}}'])
      assert.equal(text(before), undefined, before);
  });
});

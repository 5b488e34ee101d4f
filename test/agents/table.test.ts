import assert from 'node:assert/strict';
import { AGENTS } from '../../helper/protocol/agents.ts';

describe('the table of agents', () => {
  it('holds each agent once, the other one last', () => {
    const ids = AGENTS.map(({ id }) => id);
    assert.deepEqual(ids, [...new Set(ids)]);
    assert.deepEqual(ids, ['claude-code', 'codex', 'gemini', 'qwen-code', 'copilot', 'opencode', 'aider', 'other']);
    assert.deepEqual(
      AGENTS.filter(({ binary }) => binary === null).map(({ id }) => id),
      ['other'],
    );
  });

  it('names programs, hosts, variables and places below the home as such', () => {
    for (const { id, binary, config, variables, hosts, hooks } of AGENTS) {
      if (binary !== null) assert.match(binary, /^[a-z]+$/, id);
      for (const path of config) assert.match(path, /^\.[\w./-]+$/, id);
      for (const path of config) assert.ok(!/\.(ssh|aws|gnupg)/.test(path) && !path.includes('..'), id);
      for (const name of variables) assert.match(name, /^[A-Z][A-Z0-9_]*$/, id);
      for (const host of hosts) assert.match(host, /^[a-z0-9-]+(\.[a-z0-9-]+)+$/, id);
      if (hooks.kind !== 'none') for (const event of hooks.events) assert.match(event, /^[A-Za-z.]+$/, id);
    }
  });
});

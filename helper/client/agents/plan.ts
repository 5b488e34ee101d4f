/** What it takes to run an agent inside a sandbox, from its row in the table. Plain functions. */
import { applyEdits, modify, type ParseError, parse } from 'jsonc-parser';
import { type Agent, INSIDE_PROGRAM } from '../../protocol/agents.ts';

/** A variable with one of these words in its name is nothing to pass on unasked: it would be in memory images. */
const SECRET = /KEY|TOKEN|SECRET|PASSWORD/;

/**
 * The command inside. PID 1's program runs the agent, so that the helper knows of it for as long as it runs.
 * @param program the agent's, where the table names none or it is elsewhere
 */
export function agentCommand(agent: Agent, program: string, words: readonly string[], quiet: boolean): string[] {
  return [
    INSIDE_PROGRAM,
    'agent',
    agent.id,
    ...(quiet ? ['quiet'] : []),
    '--',
    program,
    ...agent.withoutOwnSandbox.args,
    ...words,
  ];
}

export function isSecret(variable: string): boolean {
  return SECRET.test(variable);
}

/**
 * The agent's variables that are set, those with secrets only where the user agreed, and what turns off its own sandbox.
 * @param given by the sandbox's model gateway, which adds the key outside: not ours to pass
 */
export function agentEnvironment(
  agent: Agent,
  env: NodeJS.ProcessEnv,
  signIn: boolean,
  given: readonly string[] = [],
): Record<string, string> {
  const passed: Record<string, string> = {};
  for (const name of agent.variables) {
    const value = env[name];
    if (value !== undefined && !given.includes(name) && (signIn || !isSecret(name))) passed[name] = value;
  }
  return { ...passed, ...agent.withoutOwnSandbox.env };
}

type Json = Record<string, unknown>;

/**
 * The file that makes the agent tell of each tool call; null where it has no hooks, or the settings there are can't be read.
 * @param existing what is there already: other hooks and settings stay
 */
export function hookFile({ id, hooks }: Agent, existing: string | null): { path: string; text: string } | null {
  if (hooks.kind === 'none') return null;
  const command = `${INSIDE_PROGRAM} hook ${id}`;
  const { file: path, events, timeout } = hooks;
  if (hooks.kind === 'plugin') return { path, text: pluginText(id, events[0]!, timeout) };
  if (hooks.kind === 'file') {
    const entries = events.map((event) => [event, [{ type: 'command', bash: command, timeoutSec: timeout }]]);
    return { path, text: pretty({ version: 1, hooks: Object.fromEntries(entries) }) };
  }
  const hook = { hooks: [{ type: 'command', command, timeout }] };
  const text = events.reduce<string | null>(
    (settings, event) => settings && withHook(settings, event, hook),
    existing?.trim() ? existing : '{}\n',
  );
  return text === null ? null : { path, text };
}

/**
 * The settings with one more group of hooks for that event, all else as it stands, comments too. As it is where ours is in
 * it already; null where the text can't be read, or has something else in that place.
 */
function withHook(text: string, event: string, hook: Json): string | null {
  const { hooks = {} } = readObject(text) ?? { hooks: null };
  if (!isObject(hooks)) return null;
  const { [event]: there = [] } = hooks;
  if (!Array.isArray(there)) return null;
  const ours = there.findIndex(isOurs);
  if (ours >= 0 && JSON.stringify(there[ours]) === JSON.stringify(hook)) return text;
  const at = ours >= 0 ? ours : there.length;
  const tabs = /^\t/m.test(text);
  const eol = text.includes('\r\n') ? '\r\n' : '\n';
  const formattingOptions = { insertSpaces: !tabs, tabSize: 2, eol };
  return applyEdits(text, modify(text, ['hooks', event, at], hook, { formattingOptions, isArrayInsertion: ours < 0 }));
}

function isOurs(group: unknown): boolean {
  return JSON.stringify(group ?? null).includes(`"${INSIDE_PROGRAM} hook `);
}

/** JSON as agents read it: with comments, and commas too many. */
function readObject(text: string): Json | null {
  const errors: ParseError[] = [];
  const value: unknown = parse(text, errors, { allowTrailingComma: true, allowEmptyContent: true }) ?? {};
  return errors.length === 0 && isObject(value) ? value : null;
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function pretty(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

/** The agent waits for the call, as it does for others' hooks. Its version 1 takes `server` of it, its version 2 `setup`. */
function pluginText(id: string, event: string, timeout: number): string {
  return `// Written by teleport-env: each tool call is a step on its timeline.
import { spawnSync } from 'node:child_process';

const tell = (tool_name, tool_input = {}, metadata, error) => {
  const call = { tool_name, tool_input, tool_response: { metadata }, error };
  spawnSync('${INSIDE_PROGRAM}', ['hook', '${id}'], { input: JSON.stringify(call), timeout: ${timeout * 1000} });
};

export default {
  id: 'teleport-env',
  server: async () => ({
    '${event}': async (input, output) => tell(input?.tool, input?.args ?? output?.args, output?.metadata),
  }),
  setup: async (context) => {
    await context.tool.hook('${event.replace(/^tool\./, '')}', (call) =>
      tell(call?.tool, call?.input, call?.result?.metadata ?? call?.result?.output, call?.error?.message));
  },
};
`;
}

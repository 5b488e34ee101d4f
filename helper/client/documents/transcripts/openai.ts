/**
 * Messages as OpenAI's APIs have them, in a file of one array, of an object with `messages`, or of JSON lines: chat completions
 * (`tool_calls` of an assistant, answered by `role: tool`), and the items of the Responses API (`function_call`,
 * `local_shell_call`, their `…_output`), which is also what Codex keeps of a session (`payload` of a `response_item`).
 */
import type { Outcome, RecordedStep } from '../model.ts';
import { exitCodeIn, isObject, type Json, parseJson, Steps, textOf } from './reading.ts';
import { commandOf } from './tool-calls.ts';

/** A fenced block of shell in an answer: how agents without tool calls speak (mini-SWE-agent). */
const FENCE = /```(?:bash|sh|shell|mswea_bash_command)\n([\s\S]*?)\n```/;

/** The messages or items in a value, or null where it holds none. */
export function messagesIn(value: unknown): Json[] | null {
  if (isObject(value)) return messagesIn(value.messages ?? value.items ?? value.input ?? []);
  if (!Array.isArray(value)) return null;
  const found = value.flatMap((one): Json[] => {
    if (!isObject(one)) return [];
    if (one.type === 'response_item' && isObject(one.payload)) return [one.payload];
    if (Array.isArray(one.messages)) return messagesIn(one.messages) ?? [];
    return typeof one.role === 'string' || /call|reasoning|message/.test(String(one.type)) ? [one] : [];
  });
  return found.length > 0 ? found : null;
}

export function readOpenAi(messages: Json[]): { steps: RecordedStep[]; title: string | null } {
  const steps = new Steps();
  const byCall = new Map<string, Outcome>();
  let title: string | null = null;
  const call = (id: unknown, tool: string, input: unknown) => {
    const command = commandOf(tool, input);
    if (command !== null) byCall.set(String(id), steps.add(command).outcome);
  };
  const settle = (id: unknown, output: unknown) => {
    const outcome = byCall.get(String(id));
    if (!outcome) return;
    const told = typeof output === 'string' ? parseJson(output) : output;
    const code = isObject(told)
      ? isObject(told.metadata)
        ? told.metadata.exit_code
        : (told.exit_code ?? told.returncode)
      : undefined;
    const words = typeof output === 'string' ? output : isObject(output) ? textOf(output.content) : '';
    const exitCode = typeof code === 'number' ? code : exitCodeIn(words);
    if (exitCode !== undefined) outcome.exitCode = exitCode;
  };
  for (const message of messages) {
    const { role, type } = message;
    if (type === 'function_call' || type === 'custom_tool_call')
      call(message.call_id, String(message.name), argumentsOf(message.arguments ?? message.input));
    else if (type === 'local_shell_call') call(message.call_id ?? message.id, 'local_shell', message.action);
    else if (/call_output$/.test(String(type))) settle(message.call_id, message.output);
    else if (type === 'reasoning') steps.think(textOf(message.summary));
    else if (role === 'user' && title === null) title = textOf(message.content).split('\n')[0]!.slice(0, 100) || null;
    else if (role === 'tool') settle(message.tool_call_id, textOf(message.content));
    else if (role === 'assistant') {
      const said = textOf(message.content);
      const calls = Array.isArray(message.tool_calls) ? message.tool_calls.filter(isObject) : [];
      const fence = calls.length === 0 ? FENCE.exec(said) : null;
      steps.think(textOf(message.reasoning_content));
      steps.think(fence ? said.slice(0, fence.index) : said);
      if (fence) steps.add(fence[1]!);
      for (const { id, function: called } of calls)
        if (isObject(called)) call(id, String(called.name), argumentsOf(called.arguments));
    }
  }
  return { steps: steps.all, title };
}

/** Arguments are JSON in a string; some servers send the object itself. */
function argumentsOf(value: unknown): unknown {
  return typeof value === 'string' ? (parseJson(value) ?? value) : value;
}

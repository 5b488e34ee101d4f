/** One tool call of an agent as a step, from what its hook was given. Formats of several agents, told apart by their fields. */

export interface Step {
  /** What was run; or the tool with what it was about. */
  command: string;
  /** Why, where the agent says so. */
  note?: string;
  exitCode?: number;
}

const LONGEST = 10_000;
/** What a call is about, in the order in which it says most. */
const SUBJECTS = [
  'file_path',
  'filePath',
  'absolute_path',
  'notebook_path',
  'path',
  'dir_path',
  'pattern',
  'query',
  'url',
  'name',
  'prompt',
];

type Fields = Record<string, unknown>;

/** @param input JSON as it came in, or whatever else came in */
export function stepOf(input: string): Step | null {
  const call = fields(input);
  if (!call) return null;
  // Claude Code, Codex, Gemini and Qwen have the one spelling, Copilot the other.
  const tool = text(call.tool_name) ?? text(call.toolName);
  const args = fields(call.tool_input ?? call.toolArgs) ?? {};
  if (tool === undefined) return null;
  const exitCode = exitCodeOf(call);
  const note = text(args.description);
  return {
    command: (patchOf(tool, args) ?? commandOf(args) ?? aboutOf(tool, args)).slice(0, LONGEST),
    ...(note === undefined ? {} : { note: note.slice(0, LONGEST) }),
    ...(exitCode === undefined ? {} : { exitCode }),
  };
}

/** Some agents pass objects, some the same as JSON in a string. */
function fields(value: unknown): Fields | undefined {
  if (typeof value === 'string') {
    try {
      value = JSON.parse(value);
    } catch {
      return undefined;
    }
  }
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : undefined;
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value.trim() !== '' ? value : undefined;
}

function commandOf({ command, cmd }: Fields): string | undefined {
  const given = command ?? cmd;
  if (Array.isArray(given)) {
    const words = given.map(String);
    // ["bash", "-lc", "npm test"]
    return /^(ba|z|da)?sh$/.test(words[0]?.split('/').at(-1) ?? '') && words.length === 3 ? words[2] : words.join(' ');
  }
  return text(given);
}

/** Codex gives a patch as the command of its tool. */
function patchOf(tool: string, args: Fields): string | undefined {
  if (tool !== 'apply_patch') return undefined;
  const patch = commandOf(args) ?? text(args.input) ?? '';
  const files = [...patch.matchAll(/^\*\*\* (?:Add|Update|Delete) File: (.+)$/gm)].map(([, file]) => file);
  return `${tool} ${files.join(', ')}`.trim();
}

function aboutOf(tool: string, args: Fields): string {
  const subject = SUBJECTS.map((name) => text(args[name])).find((value) => value !== undefined);
  return subject === undefined ? tool : `${tool} ${subject.split('\n')[0]}`;
}

/** Only what the agent says: most say nothing where it was 0. */
function exitCodeOf(call: Fields): number | undefined {
  const response = fields(call.tool_response ?? call.toolResult);
  for (const value of [response?.exit_code, response?.exitCode, fields(response?.metadata)?.exit])
    if (Number.isInteger(value)) return value as number;
  const said = text(call.error) ?? text(response?.llmContent) ?? text(response?.textResultForLlm) ?? '';
  const found = /\bexit(?:ed with)?(?: exit)? code:? (\d{1,3})\b/i.exec(said);
  return found ? Number(found[1]) : undefined;
}

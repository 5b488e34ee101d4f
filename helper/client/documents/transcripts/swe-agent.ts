/**
 * SWE-agent's `.traj`: one JSON object whose `trajectory` lists steps with `thought`, `action`, `observation` and
 * `execution_time` (seconds). An action is a shell command, or one of SWE-agent's own tools, which come as commands too.
 */
import type { RecordedStep } from '../model.ts';
import { isObject, type Json, Steps } from './reading.ts';
import { commandOf } from './tool-calls.ts';

/** Commands that exist only in SWE-agent's own container: without them a run can still be walked. */
const OWN =
  /^(?:submit|exit_forfeit|exit_cost|exit_context|open|goto|scroll_up|scroll_down|edit|create|search_dir|search_file|find_file|filemap|view_image)\b/;

export function isSweAgent(value: unknown): value is Json & { trajectory: unknown[] } {
  return isObject(value) && Array.isArray(value.trajectory);
}

export function readSweAgent(value: { trajectory: unknown[] } & Json): { steps: RecordedStep[]; title: string | null } {
  const steps = new Steps();
  for (const one of value.trajectory.filter(isObject)) {
    const thought = one.thought ?? one.response;
    const action = typeof one.action === 'string' ? one.action.trim() : '';
    if (typeof thought === 'string') steps.think(withoutAction(thought, action));
    if (action === '') continue;
    const editor = editorCommand(action);
    if (editor === null || (editor === undefined && OWN.test(action))) {
      steps.think(`(SWE-agent’s own: ${action})`);
      continue;
    }
    const { outcome } = steps.add(editor ?? action);
    if (typeof one.execution_time === 'number') outcome.durationMs = Math.round(one.execution_time * 1000);
  }
  const title = typeof value.environment === 'string' ? value.environment : null;
  return { steps: steps.all, title };
}

/** Where a model's answer holds thought and action, only the thought. */
function withoutAction(thought: string, action: string): string {
  const at = action === '' ? -1 : thought.indexOf(action);
  return (at < 0 ? thought : thought.slice(0, at)).replace(/\n?```\w*\s*$/, '').trim();
}

/** `str_replace_editor create /path --file_text '…'`. Undefined: not that tool; null: it only looks. */
function editorCommand(action: string): string | null | undefined {
  if (!/^str_replace_editor\s/.test(action)) return undefined;
  const words = splitWords(action);
  if (!words) return null;
  const input: Json = { command: words[1], path: words[2] };
  for (let at = 3; at + 1 < words.length; at += 2) input[words[at]!.replace(/^--/, '')] = words[at + 1];
  return commandOf('str_replace_editor', input);
}

/** Words of a simple command, quoted as Python's `shlex.quote` does. */
function splitWords(line: string): string[] | null {
  const words: string[] = [];
  const word = /\s*((?:'[^']*'|"(?:[^"\\]|\\[\s\S])*"|\\[\s\S]|[^\s'"\\])+)/y;
  for (let match = word.exec(line); match; match = word.exec(line))
    words.push(
      match[1]!.replace(
        /'([^']*)'|"((?:[^"\\]|\\[\s\S])*)"|\\([\s\S])/g,
        (_, raw, quoted, escaped) => raw ?? (quoted !== undefined ? quoted.replace(/\\(["\\$`])/g, '$1') : escaped),
      ),
    );
  return words.length > 2 ? words : null;
}

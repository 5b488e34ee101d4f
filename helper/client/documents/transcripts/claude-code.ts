/**
 * A session of Claude Code: JSON lines under `~/.claude/projects/`. Lines of type `assistant` carry the model's answer as blocks
 * (`text`, `thinking`, `tool_use` with `name` and `input`), lines of type `user` what a person said or `tool_result` blocks with
 * the call's id. `claude -p --output-format stream-json` prints the same.
 */
import type { RecordedStep } from '../model.ts';
import { exitCodeIn, isObject, type Json, Steps, textOf } from './reading.ts';
import { commandOf } from './tool-calls.ts';

export function isClaudeCode(lines: unknown[]): boolean {
  return lines.some(
    (line) =>
      isObject(line) &&
      (line.type === 'assistant' || line.type === 'user') &&
      isObject(line.message) &&
      ('sessionId' in line || 'session_id' in line || 'uuid' in line),
  );
}

export function readClaudeCode(lines: unknown[]): { steps: RecordedStep[]; title: string | null } {
  const steps = new Steps();
  const byCall = new Map<string, { step: RecordedStep; at: number }>();
  const seen = new Set<string>();
  let title: string | null = null;
  for (const line of lines.filter(isObject)) {
    if (line.type === 'summary' && typeof line.summary === 'string') title = line.summary;
    const message = line.message;
    // A resumed session repeats what came before.
    if (!isObject(message) || (typeof line.uuid === 'string' && seen.has(line.uuid))) continue;
    if (typeof line.uuid === 'string') seen.add(line.uuid);
    const at = Date.parse(String(line.timestamp));
    const blocks = Array.isArray(message.content) ? message.content.filter(isObject) : [];
    if (line.type === 'user') {
      const asked = line.isMeta === true ? '' : textOf(message.content);
      if (asked && !asked.startsWith('<')) {
        title ??= asked.split('\n')[0]!.slice(0, 100);
        steps.think(`> ${asked.replace(/\n/g, '\n> ')}`);
      }
      for (const block of blocks) if (block.type === 'tool_result') settle(byCall, block, line.toolUseResult, at);
    } else if (line.type === 'assistant') {
      for (const block of blocks) {
        if (block.type === 'text' || block.type === 'thinking') steps.think(textOf([block]));
        if (block.type !== 'tool_use') continue;
        const command = commandOf(String(block.name), block.input);
        if (command === null) continue;
        const step = steps.add(command, line.isSidechain === true ? '(a subagent)' : null);
        byCall.set(String(block.id), { step, at });
      }
    }
  }
  return { steps: steps.all, title };
}

function settle(calls: Map<string, { step: RecordedStep; at: number }>, result: Json, told: unknown, at: number): void {
  const call = calls.get(String(result.tool_use_id));
  if (!call) return;
  const { outcome } = call.step;
  const more = isObject(told) ? told : {};
  if (result.is_error === true) outcome.exitCode = exitCodeIn(textOf(result.content)) ?? 1;
  else if (more.interrupted !== true) outcome.exitCode = 0;
  if (at >= call.at) outcome.durationMs = at - call.at;
}

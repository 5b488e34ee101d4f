/** Careful reading of what other programs wrote: anything may be missing or of another type. */
import type { RecordedStep } from '../model.ts';

export type Json = Record<string, unknown>;

export function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** JSON lines; a line that is none is left out, as the last one of a session still written may be. Null where most are none. */
export function jsonLines(text: string): unknown[] | null {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  const values = lines.map(parseJson).filter((value) => value !== undefined);
  return values.length > 0 && values.length * 2 > lines.length ? values : null;
}

/** A message's text: a string, or blocks of which some are text. */
export function textOf(content: unknown): string {
  if (typeof content === 'string') return content;
  if (!Array.isArray(content)) return '';
  return content
    .map((block) => (isObject(block) ? (block.text ?? block.thinking) : block))
    .filter((one): one is string => typeof one === 'string')
    .join('\n')
    .trim();
}

/** Thoughts wait here for the step that they lead to. */
export class Steps {
  readonly all: RecordedStep[] = [];
  private thoughts: string[] = [];

  think(text: string): void {
    if (text.trim() !== '') this.thoughts.push(text.trim());
  }

  add(command: string, more: string | null = null): RecordedStep {
    const note = [...this.thoughts.splice(0), more].filter(Boolean).join('\n\n') || null;
    const step: RecordedStep = { command, note, outcome: {} };
    this.all.push(step);
    return step;
  }
}

/** Tools tell a failed command's exit code in words. */
export function exitCodeIn(output: string): number | undefined {
  const match = /(?:^|\n)\W*(?:process )?(?:exit(?:ed)?(?: with)?(?: |_)?(?:code|status))[":\s]*(\d{1,3})\b/i.exec(
    output,
  );
  return match ? Number(match[1]) : undefined;
}

/**
 * The run document: a shell script that a person can read, edit and run, in which every step of a run is a cell.
 *
 *     # teleport-env run 1
 *     # title: Fix the failing test
 *     # sandbox: api
 *
 *     # %% exit 1 · 1.2 s · 2 files · k4
 *     # The test fails. Let me look at it first.
 *     npm test
 *
 * - The first line (after a `#!` line, if any) makes it a run document and names the format's version.
 * - `# name: value` lines follow, as many as one likes; `title` and `sandbox` mean something.
 * - A line that begins with `# %%` begins a step (as in other editors' script cells). What stands behind it says how the step
 *   went, in any order, every part optional: exit code, time (ms, s, min), files changed, the checkpoint after it.
 * - Comment lines right after it are the thought behind the step; the rest, up to the next cell, is the command, as it is.
 * - A line of a command that would look like a cell gets one `#` more in front when written, and loses it when read.
 *
 * What stands before the first cell, and any script without the first line, is cut into its top-level statements.
 */
import type { Parse } from './grammar.ts';
import type { Format, Outcome, RecordedStep, RunDocument, Step } from './model.ts';
import { statementsOf } from './statements.ts';

const FIRST_LINE = /^# teleport-env run (\d+)\s*$/;
const CELL = /^# %%(.*)$/;
const LOOKS_LIKE_CELL = /^#+ %%/;
const COMMENT = /^\s*#/;
const VERSION = 1;

export interface Heading {
  title?: string | null;
  sandbox?: string | null;
}

export function isRunDocument(text: string): boolean {
  return FIRST_LINE.test(firstLineOf(text.slice(0, 4096).split(/\r?\n/)));
}

function firstLineOf(lines: string[]): string {
  return lines[lines[0]?.startsWith('#!') ? 1 : 0] ?? '';
}

/** Reads a run document or a plain script. Line ends of Windows are taken for plain ones. */
export function readScript(text: string, parse: Parse): RunDocument {
  const lines = text.replace(/\r\n/g, '\n').split('\n');
  const own = FIRST_LINE.test(firstLineOf(lines));
  const cells = own ? lines.flatMap((line, at) => (CELL.test(line) ? [at] : [])) : [];
  const before = lines.slice(0, cells[0] ?? lines.length).join('\n');
  const steps = statementsOf(before, parse).map(({ first, last, text: command, broken }): Step => {
    const { range, text: trimmed } = trimmedRange(lines, first, last, command);
    return { command: trimmed, note: noteAbove(lines, first), outcome: {}, range, broken };
  });
  cells.forEach((at, n) => {
    const step = readCell(lines, at, cells[n + 1] ?? lines.length, parse);
    if (step) steps.push(step);
  });
  const heading = own ? readHeading(lines.slice(0, cells[0] ?? lines.length)) : {};
  return {
    format: own ? 'run' : 'shell',
    title: heading.title ?? null,
    sandbox: heading.sandbox ?? null,
    text,
    steps,
  };
}

function readHeading(lines: string[]): Heading {
  const heading: Record<string, string> = {};
  for (const line of lines) {
    const match = /^# (\w+): (.*)$/.exec(line);
    if (match) heading[match[1]!] ??= match[2]!.trim();
    else if (!line.startsWith('#') && line !== '') break;
  }
  return heading;
}

function readCell(lines: string[], at: number, end: number, parse: Parse): Step | null {
  let first = at + 1;
  while (first < end && COMMENT.test(lines[first]!) && !LOOKS_LIKE_CELL.test(lines[first]!)) first++;
  const note = uncommented(lines.slice(at + 1, first));
  while (first < end && lines[first]!.trim() === '') first++;
  let last = end - 1;
  while (last >= first && lines[last]!.trim() === '') last--;
  if (last < first) return null;
  const command = lines
    .slice(first, last + 1)
    .map((line) => (LOOKS_LIKE_CELL.test(line) ? line.slice(1) : line))
    .join('\n');
  const range = { start: { line: first, character: 0 }, end: { line: last, character: lines[last]!.length } };
  const broken = parse(command, (root) => root.hasError);
  return { command, note, outcome: readOutcome(CELL.exec(lines[at]!)![1]!), range, broken };
}

/** Comment lines directly above a statement speak of it. A `#!` line does not. */
function noteAbove(lines: string[], first: number): string | null {
  let from = first;
  while (from > 0 && COMMENT.test(lines[from - 1]!) && !lines[from - 1]!.startsWith('#!')) from--;
  const above = lines.slice(from, first);
  return FIRST_LINE.test(above[0] ?? '') ? null : uncommented(above);
}

function uncommented(lines: string[]): string | null {
  const text = lines.map((line) => line.replace(/^\s*#+ ?/, '').trimEnd()).join('\n');
  return text.trim() || null;
}

function trimmedRange(lines: string[], first: number, last: number, text: string) {
  const indent = /^\s*/.exec(lines[first]!)![0].length;
  const range = { start: { line: first, character: indent }, end: { line: last, character: lines[last]!.length } };
  return { range, text: text.slice(indent) };
}

const UNITS = { ms: 1, s: 1000, min: 60_000 } as const;

export function readOutcome(text: string): Outcome {
  const outcome: Outcome = {};
  for (const part of text.split('·').map((one) => one.trim())) {
    const exit = /^exit (\d{1,3})$/.exec(part);
    const time = /^(\d+(?:\.\d+)?) ?(ms|s|min)$/.exec(part);
    const files = /^(\d+) files?(?: changed)?$/.exec(part);
    if (exit) outcome.exitCode = Number(exit[1]);
    if (time) outcome.durationMs = Number(time[1]) * UNITS[time[2] as keyof typeof UNITS];
    if (files) outcome.filesChanged = Number(files[1]);
    if (/^k\d{1,9}$/.test(part)) outcome.checkpoint = part;
  }
  return outcome;
}

/** `exit 1 · 1.2 s · 2 files · k4` */
export function outcomeText({ exitCode, durationMs, filesChanged, checkpoint }: Outcome): string {
  const parts: string[] = [];
  if (exitCode !== undefined) parts.push(`exit ${exitCode}`);
  if (durationMs !== undefined) parts.push(durationText(durationMs));
  if (filesChanged !== undefined) parts.push(`${filesChanged} ${filesChanged === 1 ? 'file' : 'files'}`);
  if (checkpoint !== undefined) parts.push(checkpoint);
  return parts.join(' · ');
}

function durationText(ms: number): string {
  if (ms < 1000) return `${Number(ms.toFixed(ms < 10 ? 1 : 0))} ms`;
  return ms < 120_000 ? `${Number((ms / 1000).toFixed(1))} s` : `${Number((ms / 60_000).toFixed(1))} min`;
}

/** Writes steps down. Reading gives the same commands, notes and (rounded) outcomes again. */
export function writeRunDocument(steps: RecordedStep[], heading: Heading = {}): string {
  const head = [`# teleport-env run ${VERSION}`];
  for (const name of ['title', 'sandbox'] as const) {
    const value = heading[name]?.replace(/\s+/g, ' ').trim();
    if (value) head.push(`# ${name}: ${value}`);
  }
  const cells = steps.map(({ command, note, outcome }) => {
    // Comments that a command begins with read as its note: there they stay.
    const { comments, rest } = splitComments(command.replace(/\r\n/g, '\n'));
    const words = [note?.replace(/\r\n/g, '\n').trim(), comments].filter(Boolean).join('\n');
    const lines = words ? words.split(/\n/).map((line) => commented(line)) : [];
    const body = rest.map((line) => (LOOKS_LIKE_CELL.test(line) ? `#${line}` : line));
    return [`# %% ${outcomeText(outcome)}`.trimEnd(), ...lines, ...body].join('\n');
  });
  return `${[head.join('\n'), ...cells].join('\n\n')}\n`;
}

function commented(line: string): string {
  const text = line.trimEnd();
  // Not to be taken for a cell.
  if (text === '') return '#';
  return /^%%/.test(text) ? `#  ${text}` : `# ${text}`;
}

function splitComments(command: string): { comments: string | null; rest: string[] } {
  const lines = command
    .replace(/^(?:[ \t]*\n)+/, '')
    .trimEnd()
    .split('\n');
  let at = 0;
  while (at < lines.length && (COMMENT.test(lines[at]!) || lines[at]!.trim() === '')) at++;
  // Nothing but comments: a command that does nothing, but a step.
  if (at === lines.length) return { comments: uncommented(lines), rest: [':'] };
  return { comments: uncommented(lines.slice(0, at)), rest: lines.slice(at) };
}

/** A transcript's steps as the document that is shown for it. */
export function asDocument(format: Format, steps: RecordedStep[], heading: Heading, parse: Parse): RunDocument {
  return { ...readScript(writeRunDocument(steps, heading), parse), format };
}

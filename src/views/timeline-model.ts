import type { Branch, Checkpoint } from '../../helper/protocol/model.ts';
import { t } from '../l10n.ts';
import type { Timeline } from './store.ts';
import { ago, bytes, duration, files, nameOf, oneLine, processes, usage } from './words.ts';

/**
 * With the bars of its limb. Longer ones would push even the time behind them out of a side bar of 260 px (it is 300 by default); what
 * is left of a width VS Code tells nobody. The hover and a screen reader have all of it.
 */
const LONGEST_LABEL = 24;
/** A search may grow hundreds of limbs from one moment. */
const MOST_BARS = 3;

/** One line of the checkpoint timeline, all worked out. */
export interface Row {
  readonly id: string;
  readonly label: string;
  /** The quieter text behind it. */
  readonly description: string;
  /** A codicon's name. */
  readonly icon: string;
  readonly tone: Tone;
  /** Words that `when` clauses look for. */
  readonly context: string;
  /** What a screen reader says. */
  readonly spoken: string;
}

/** `current`: where we are. `failed`, `broken`: see there. `aside`: on a limb that the head doesn't stand on. */
export type Tone = 'plain' | 'current' | 'failed' | 'broken' | 'aside';

export interface RowOptions {
  /** Milliseconds since the epoch. */
  readonly now: number;
  readonly filter?: Filter;
  /** Live ones. */
  readonly branches?: readonly Branch[];
  /** Chosen for a comparison. */
  readonly comparing?: string | undefined;
}

export type Filter =
  | { readonly kind: 'commands' }
  | { readonly kind: 'labelled' }
  | { readonly kind: 'failed' }
  | { readonly kind: 'changed' }
  | { readonly kind: 'text'; readonly text: string };

export function passes(checkpoint: Checkpoint, filter: Filter | undefined): boolean {
  switch (filter?.kind) {
    case undefined:
      return true;
    case 'commands':
      return checkpoint.kind === 'run';
    case 'labelled':
      return checkpoint.label !== null;
    case 'failed':
      return (checkpoint.exitCode ?? 0) !== 0 || checkpoint.state.broken !== undefined;
    case 'changed':
      return checkpoint.filesChanged > 0;
    case 'text': {
      const wanted = filter.text.toLowerCase();
      return [checkpoint.id, checkpoint.label, checkpoint.command, checkpoint.note].some((s) =>
        s?.toLowerCase().includes(wanted),
      );
    }
  }
}

export function rows(timeline: Timeline, options: RowOptions): Row[] {
  const depth = limbs(timeline.checkpoints, timeline.current);
  const forks = new Map<string, string[]>();
  for (const branch of options.branches ?? [])
    if (branch.role === 'fork') forks.set(branch.checkpoint, [...(forks.get(branch.checkpoint) ?? []), branch.id]);
  return timeline.checkpoints
    .filter((c) => passes(c, options.filter))
    .map((c) =>
      row(c, {
        current: c.id === timeline.current,
        depth: options.filter ? 0 : (depth.get(c.id) ?? 0),
        forks: forks.get(c.id) ?? [],
        now: options.now,
        comparing: options.comparing === c.id,
      }),
    );
}

interface Place {
  readonly current: boolean;
  readonly depth: number;
  readonly forks: readonly string[];
  readonly now: number;
  readonly comparing: boolean;
}

function row(c: Checkpoint, place: Place): Row {
  const { current, depth, forks, now, comparing } = place;
  const when = ago(c.createdAt, now);
  const facts: string[] = [when];
  if (c.exitCode) facts.push(t('exit {0}', c.exitCode));
  if (c.state.broken !== undefined) facts.push(t('can’t be restored'));
  if (c.filesChanged > 0) facts.push(files(c.filesChanged));
  // There is nothing but files at the beginning.
  if (c.state.filesOnly && c.kind !== 'root') facts.push(t('files only'));
  for (const fork of forks) facts.push(t('live fork {0}', fork));
  if (comparing) facts.push(t('selected to compare'));
  const tone = toneOf(c, place);
  const bars = '│ '.repeat(Math.min(depth, MOST_BARS));
  const name = oneLine(nameOf(c), LONGEST_LABEL - bars.length);
  const spoken = [nameOf(c), ...facts];
  if (current) spoken.push(t('current'));
  else if (depth > 0) spoken.push(t('on another limb'));
  return {
    id: c.id,
    label: `${bars}${name}`,
    description: `${facts.join(' · ')}${current ? ` ← ${t('current')}` : ''}`,
    icon: iconOf(c, current),
    tone,
    context: ['entry', current ? 'current' : 'other', c.kind, c.state.broken === undefined ? 'sound' : 'broken'].join(
      ' ',
    ),
    spoken: spoken.join(', '),
  };
}

function toneOf(c: Checkpoint, { current, depth }: Place): Tone {
  if (c.state.broken !== undefined) return 'broken';
  if (current) return 'current';
  if (c.exitCode) return 'failed';
  return depth > 0 ? 'aside' : 'plain';
}

function iconOf(c: Checkpoint, current: boolean): string {
  if (c.state.broken !== undefined) return 'error';
  if (current) return 'record';
  if (c.exitCode) return 'circle-slash';
  if (c.label !== null && c.kind !== 'saved') return 'bookmark';
  return c.kind === 'saved' ? 'archive' : 'circle-outline';
}

/**
 * How many limbs lie between an entry and the line that the head stands on: 0 on that line, 1 on a limb beside it, 2 where
 * another limb is open in between. Entries come newest first; a limb's column is free again below the entry it grew from.
 */
export function limbs(newestFirst: readonly Checkpoint[], current: string): Map<string, number> {
  const parents = new Map(newestFirst.map((c) => [c.id, c.parent]));
  const line = new Set<string>();
  for (let id: string | null | undefined = current; id && !line.has(id); id = parents.get(id)) line.add(id);

  const depth = new Map<string, number>();
  /** Column → the entry at which it goes on further down, or null where it is free. */
  const columns: (string | null)[] = [];
  for (const { id, parent } of newestFirst) {
    // Every limb that grows from here ends here.
    const own = columns.indexOf(id);
    for (const [i, next] of columns.entries()) if (next === id && i !== own) columns[i] = null;
    if (line.has(id)) {
      if (own >= 0) columns[own] = null;
      depth.set(id, 0);
      continue;
    }
    let column = own;
    if (column < 0) {
      column = columns.indexOf(null);
      if (column < 0) column = columns.push(null) - 1;
    }
    columns[column] = parent;
    depth.set(id, column + 1);
  }
  return depth;
}

/** The hover, as Markdown. `exact` is when, in the reader's own time zone. */
export function hover(c: Checkpoint, exact: string): string {
  const lines: string[] = [`**${escaped(nameOf(c))}**`];
  if (c.command && c.label) lines.push(fenced(c.command));
  else if (c.command && nameOf(c) !== c.command.trim()) lines.push(fenced(c.command));
  if (c.note) lines.push(escaped(c.note.length > 500 ? `${c.note.slice(0, 500)}…` : c.note));
  const facts = [`${c.id}`, exact];
  if (c.durationMs !== null) facts.push(t('took {0}', duration(c.durationMs)));
  if (c.exitCode !== null) facts.push(t('exit {0}', c.exitCode));
  lines.push(facts.join(' · '));
  lines.push(
    [files(c.filesChanged), processes(c.processes), bytes(c.bytes), t('stopped for {0}', duration(c.stoppedMs))].join(
      ' · ',
    ),
  );
  if (c.usage) lines.push(`$(sparkle) ${usage(c.usage)}`);
  lines.push(stateWords(c));
  return lines.join('\n\n');
}

export function stateWords(c: Pick<Checkpoint, 'state'>): string {
  const { durable, verified, broken, filesOnly } = c.state;
  if (broken !== undefined) return `$(error) ${t('Can’t be restored: {0}', escaped(broken))}`;
  const words = [
    durable ? `$(database) ${t('durable')}` : `$(circuit-board) ${t('in memory')}`,
    verified ? `$(verified) ${t('verified')}` : `$(sync) ${t('not verified yet')}`,
  ];
  if (filesOnly) words.push(`$(file) ${t('files only')}`);
  return words.join('  ');
}

/** Only letters that mean nothing in Markdown stay as they are. */
function escaped(text: string): string {
  return text.replace(/[\\`*_{}[\]()#+\-.!|<>~$&]/g, '\\$&').replace(/\n/g, '  \n');
}

function fenced(command: string): string {
  const text = command.length > 1_000 ? `${command.slice(0, 1_000)}…` : command;
  const fence = '`'.repeat(Math.max(3, ...[...text.matchAll(/`+/g)].map((m) => m[0].length + 1)));
  return `${fence}sh\n${text}\n${fence}`;
}

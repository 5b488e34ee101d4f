/** The timeline's rows as VS Code holds them, and which of them to draw again after a change. Plain, so that it can be counted. */
import type { Entry, Selection } from './selection.ts';
import type { Store } from './store.ts';
import { type Row, rows } from './timeline-model.ts';

export interface Older {
  readonly kind: 'older';
  readonly sandbox: string;
}
export type Element = Entry | Older;

export class TimelineRows {
  /** One object per entry, so that a single row can be redrawn. */
  private readonly known = new Map<string, { readonly element: Entry; row: Row }>();
  private order: readonly string[] = [];
  private older: Older | undefined;
  private sandbox: string | undefined;

  get entries(): Entry[] {
    return this.order.map((id) => this.known.get(id)!.element);
  }

  get elements(): Element[] {
    return this.older ? [...this.entries, this.older] : this.entries;
  }

  row(entry: Entry): Row | undefined {
    return this.known.get(entry.id)?.row;
  }

  /** Works out all rows. What to draw again: those that look different, or the `list` where others came or went. */
  update(store: Store, selection: Selection, now: number): 'list' | Entry[] {
    const before = { order: this.order, older: this.older, sandbox: this.sandbox };
    const changed = this.work(store, selection, now);
    const none = before.order.length === 0 && this.order.length === 0;
    const sameList =
      // Nothing drawn for one sandbox and nothing for the next looks the same. VS Code lets a view be drawn at once, and then
      // only a fifth of a second later: that once is for the rows.
      (none || before.sandbox === this.sandbox) &&
      before.order.length === this.order.length &&
      before.order.every((id, i) => id === this.order[i]) &&
      (before.older === undefined) === (this.older === undefined);
    return sameList ? changed : 'list';
  }

  private work(store: Store, selection: Selection, now: number): Entry[] {
    const sandbox = store.shown;
    if (this.sandbox !== sandbox?.id) this.known.clear();
    this.sandbox = sandbox?.id;
    const timeline = sandbox && store.timeline(sandbox.id);
    if (!sandbox || !timeline) {
      this.order = [];
      this.older = undefined;
      return [];
    }
    const comparing = selection.comparing?.sandbox === sandbox.id ? selection.comparing.id : undefined;
    const options = { now, branches: sandbox.branches, comparing };
    const all = rows(timeline, selection.filter ? { ...options, filter: selection.filter } : options);
    const changed: Entry[] = [];
    for (const row of all) {
      const known = this.known.get(row.id);
      if (!known) this.known.set(row.id, { element: { kind: 'entry', sandbox: sandbox.id, id: row.id }, row });
      else {
        if (!sameRow(known.row, row)) changed.push(known.element);
        known.row = row;
      }
    }
    this.order = all.map((row) => row.id);
    this.older = timeline.more ? (this.older ?? { kind: 'older', sandbox: sandbox.id }) : undefined;
    return changed;
  }
}

function sameRow(a: Row, b: Row): boolean {
  return (
    a.label === b.label &&
    a.description === b.description &&
    a.icon === b.icon &&
    a.tone === b.tone &&
    a.context === b.context &&
    a.spoken === b.spoken
  );
}

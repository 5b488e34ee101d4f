/** Paths of the machine in what a terminal shows, as links to the files of this host. Plain functions. */

export interface PathLink {
  readonly start: number;
  readonly length: number;
  /** In the machine. */
  readonly path: string;
  /** From 1, where they are told. */
  readonly line?: number;
  readonly column?: number;
}

/** `/workspaces/app/src/a.ts:3:7`, `…/a.ts(3,7)` and Python's `"…/a.py", line 3`. */
const PATTERN = /(\/workspaces\/[^\s'"`:;,()<>|*?]+)(?:["']?(?::(\d+)(?::(\d+))?|\((\d+),(\d+)\)|, line (\d+)))?/gu;

export function linksIn(text: string): PathLink[] {
  return [...text.matchAll(PATTERN)].map((found) => {
    const [whole, raw = '', line1, column1, line2, column2, line3] = found;
    // A full stop ends a sentence.
    const path = whole === raw ? raw.replace(/\.+$/, '') : raw;
    const line = line1 ?? line2 ?? line3;
    const column = column1 ?? column2;
    return {
      start: found.index,
      length: whole === raw ? path.length : whole.length,
      path,
      ...(line ? { line: Number(line) } : {}),
      ...(column ? { column: Number(column) } : {}),
    };
  });
}

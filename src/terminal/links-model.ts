import { posix } from 'node:path';

/** What reads like the name of a file in a line of a terminal. */
export interface Named {
  /** In the line. */
  readonly start: number;
  readonly length: number;
  readonly path: string;
  /** From 1, where it is said. */
  readonly line?: number;
  readonly column?: number;
}

/** Each is asked about. */
const MOST = 12;
/** With a folder or an ending, else every word would be one. And none of an address. */
const PATH = /(?<![\w:/.~-])(?:\.{0,2}\/)?[\p{L}\p{N}_@%+=#~-][\p{L}\p{N}_@%+=#~./-]*/gu;
/** `:12`, `:12:3`, `(12,3)`, `", line 12`. */
const POSITION = /^(?::(\d+)(?::(\d+))?|\((\d+)(?:, ?(\d+))?\)|"?, line (\d+)(?:, col(?:umn)? (\d+))?)/;

export function namedIn(line: string): Named[] {
  const found: Named[] = [];
  for (const match of line.matchAll(PATH)) {
    const path = match[0].replace(/[./]+$/, '');
    if (!/\/|[^.]\.[^./]+$/.test(path) || line.slice(match.index + match[0].length).startsWith('://')) continue;
    const after = POSITION.exec(line.slice(match.index + path.length));
    const numbers = after?.slice(1).filter(Boolean).map(Number) ?? [];
    found.push({
      start: match.index,
      length: path.length + (after?.[0].length ?? 0),
      path,
      ...(numbers[0] === undefined ? {} : { line: numbers[0] }),
      ...(numbers[1] === undefined ? {} : { column: numbers[1] }),
    });
    if (found.length === MOST) break;
  }
  return found;
}

/** Where it may be: below where the shell is now, or below the workspace, as most programs name files. */
export function placesOf(path: string, cwd: string, workspace: string): string[] {
  return [...new Set([posix.resolve(cwd, path), posix.resolve(workspace, path)])];
}

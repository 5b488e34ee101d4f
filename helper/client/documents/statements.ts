/**
 * A shell script's top-level statements. They are cut between lines only, never inside one: that keeps a heredoc with the line
 * that asks for it, and `a; b` together as bash reads them. Every line that is not blank and no comment lands in exactly one
 * statement, whatever the grammar makes of it.
 */
import type { Node } from 'web-tree-sitter';
import { childrenOf, type Parse } from './grammar.ts';

/** Lines from `first` to `last`, both counted. */
export interface Statement {
  first: number;
  last: number;
  text: string;
  broken: boolean;
}

type Lines = { first: number; last: number };

/** A statement that does not parse by itself is joined with what follows, up to that many statements on. */
const PATIENCE = 200;

/** `text` has `\n` line ends. */
export function statementsOf(text: string, parse: Parse): Statement[] {
  const lines = text.split('\n');
  const { found, comments, broken } = parse(text, (root) => ({
    ...topLevel(root),
    broken: root.hasError,
  }));
  const pieces = joined([...found, ...forgotten(lines, found, comments)], lines);
  const textOf = ({ first, last }: Lines) => lines.slice(first, last + 1).join('\n');
  const fails = (piece: Lines) => broken && parse(textOf(piece), (root) => root.hasError);
  const statements: Statement[] = [];
  for (let at = 0; at < pieces.length; at++) {
    let piece = pieces[at]!;
    let bad = fails(piece);
    if (bad) {
      const end = completed(pieces, at, fails);
      if (end > at) {
        piece = { first: piece.first, last: pieces[end]!.last };
        bad = false;
        at = end;
      }
    }
    statements.push({ ...piece, text: textOf(piece), broken: bad });
  }
  return statements;
}

/** The piece up to which the one at `at` has to be read on for it to make sense; `at` itself where none does. */
function completed(pieces: Lines[], at: number, fails: (piece: Lines) => boolean): number {
  const { first } = pieces[at]!;
  const most = Math.min(pieces.length - 1, at + PATIENCE);
  for (let end = at + 1; end <= most; end++) if (!fails({ first, last: pieces[end]!.last })) return end;
  return at;
}

function topLevel(root: Node): { found: Lines[]; comments: Set<number> } {
  const found: Lines[] = [];
  const comments = new Set<number>();
  const visit = (node: Node) => {
    for (const child of childrenOf(node)) {
      if (child.type === 'comment') {
        for (let line = child.startPosition.row; line <= child.endPosition.row; line++) comments.add(line);
      } else if (child.type === 'ERROR' && child.childCount > 0) visit(child);
      else if (child.type !== '\n') found.push(linesOf(child));
    }
  };
  visit(root);
  return { found, comments };
}

function linesOf({ startPosition, endPosition }: Node): Lines {
  const first = startPosition.row;
  // Some nodes reach over their line's end.
  const last = endPosition.column === 0 && endPosition.row > first ? endPosition.row - 1 : endPosition.row;
  return { first, last };
}

/** Lines with something on them that the grammar skipped. */
function forgotten(lines: string[], found: Lines[], comments: Set<number>): Lines[] {
  const covered = new Set<number>();
  for (const { first, last } of found) for (let line = first; line <= last; line++) covered.add(line);
  return lines.flatMap((line, at) => {
    const comment = comments.has(at) || /^\s*#/.test(line);
    return covered.has(at) || line.trim() === '' || (comment && /^\s*#/.test(line)) ? [] : [{ first: at, last: at }];
  });
}

/** In order, those that share a line or are tied by a backslash at its end made one. */
function joined(all: Lines[], lines: string[]): Lines[] {
  const result: Lines[] = [];
  for (const piece of all.sort((a, b) => a.first - b.first || a.last - b.last)) {
    const before = result.at(-1);
    const tied =
      before && (piece.first <= before.last || (piece.first === before.last + 1 && goesOn(lines[before.last]!)));
    if (tied) before.last = Math.max(before.last, piece.last);
    else result.push({ ...piece });
  }
  return result;
}

function goesOn(line: string): boolean {
  return /(?:^|[^\\])(?:\\\\)*\\$/.test(line);
}

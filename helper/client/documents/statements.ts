/**
 * A shell script's top-level statements. They are found as bash finds them: line by line, until what was read makes sense. The
 * grammar judges that on few lines at a time, because in a long script it runs statements together, or apart, that it tells well
 * when it sees them alone. Cuts fall between lines only: `a; b` stays together, and a heredoc with the line that asks for it.
 * Every line that is not blank and no comment lands in exactly one statement, also where the shell would not understand it.
 */
import type { Node } from 'web-tree-sitter';
import { childrenOf, type Parse } from './grammar.ts';
import { bodiesOf, withoutHeredocs } from './heredocs.ts';

/** Lines from `first` to `last`, both counted, from 0. */
export interface Statement {
  first: number;
  last: number;
  text: string;
  broken: boolean;
}

/** Characters that may be parsed again and again for one script, before the grammar's first look at the whole decides. */
const BUDGET = 2_000_000;

/** `text` has `\n` line ends. */
export function statementsOf(text: string, parse: Parse): Statement[] {
  const lines = text.split('\n');
  const reader = new Reader(lines, parse);
  const statements: Statement[] = [];
  for (let first = 0; first < lines.length; ) {
    if (/^\s*(#.*)?$/s.test(lines[first]!)) {
      first++;
      continue;
    }
    const { last, broken } = reader.statementAt(first);
    statements.push({ first, last, text: lines.slice(first, last + 1).join('\n'), broken });
    first = last + 1;
  }
  return statements;
}

class Reader {
  private parsed = 0;
  private roughly: Map<number, number> | undefined;

  constructor(
    private readonly lines: string[],
    private readonly parse: Parse,
  ) {}

  statementAt(first: number): { last: number; broken: boolean } {
    const { lines } = this;
    for (let last = first; last < lines.length && this.parsed < BUDGET; last++) {
      const piece = lines.slice(first, last + 1);
      const bodies = bodiesOf(piece);
      if (!bodies.closed) {
        // A heredoc that is asked for is read on to its end; one that never ends, to the end of all.
        if (last + 1 < lines.length) continue;
        return { last, broken: true };
      }
      if (bodies.tail !== last - first && goesOn(lines[last]!) && last + 1 < lines.length) continue;
      if (!this.fails(withoutHeredocs(piece, bodies))) return { last, broken: false };
    }
    return { last: this.rough(first), broken: true };
  }

  private fails(text: string): boolean {
    this.parsed += text.length;
    return this.parse(text, (root) => root.hasError);
  }

  /** Where a statement that makes no sense ends, as the grammar mends it in the whole script. */
  private rough(first: number): number {
    this.roughly ??= this.parse(this.lines.join('\n'), piecesOf);
    return Math.max(first, this.roughly.get(first) ?? first);
  }
}

function goesOn(line: string): boolean {
  return /(?:^|[^\\])(?:\\\\)*\\$/.test(line);
}

/** First line to last, of what stands at the top of a tree or of its errors. */
function piecesOf(root: Node): Map<number, number> {
  const pieces = new Map<number, number>();
  const visit = (node: Node) => {
    for (const child of childrenOf(node)) {
      if (child.type === 'ERROR' && child.childCount > 0) visit(child);
      else {
        const { startPosition: start, endPosition: end } = child;
        const last = end.column === 0 && end.row > start.row ? end.row - 1 : end.row;
        pieces.set(start.row, Math.max(last, pieces.get(start.row) ?? 0));
      }
    }
  };
  visit(root);
  return pieces;
}

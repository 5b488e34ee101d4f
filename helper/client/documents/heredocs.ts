/** Which lines of a script are the text of a heredoc, told by quotes and brackets alone, as the shell's own reader does. */

/** `<<EOF` in a line. */
export interface Heredoc {
  /** Where operator and word stand in their line. */
  from: number;
  to: number;
  /** The line that ends it. */
  end: string;
  /** `<<-`: tabs before that line do not count. */
  tabs: boolean;
  /** The first line of its body, and the one that ends it (or would, at the end of all). */
  first: number;
  last: number;
}

export interface Bodies {
  /** No body's end is missing. */
  closed: boolean;
  /** The line that ends the last body; -1 without any. */
  tail: number;
  /** Per line: the heredocs that it asks for. */
  asked: Map<number, Heredoc[]>;
  /** Lines that are bodies or their ends. */
  inside: Set<number>;
}

export function bodiesOf(lines: string[]): Bodies {
  const scanner = new Scanner();
  const bodies: Bodies = { closed: true, tail: -1, asked: new Map(), inside: new Set() };
  for (let at = 0; at < lines.length; at++) {
    const heredocs = scanner.line(lines[at]!);
    if (heredocs.length > 0) bodies.asked.set(at, heredocs);
    for (const heredoc of heredocs) {
      const { end, tabs } = heredoc;
      heredoc.first = at + 1;
      heredoc.last = lines.length;
      for (;;) {
        at++;
        if (at >= lines.length) return { ...bodies, closed: false };
        bodies.inside.add(at);
        if ((tabs ? lines[at]!.replace(/^\t+/, '') : lines[at]!) === end) break;
      }
      heredoc.last = at;
      bodies.tail = at;
    }
  }
  return bodies;
}

/** The same script with empty input in place of each heredoc. */
export function withoutHeredocs(lines: string[], { asked, inside }: Bodies): string {
  const blanked = (line: string, { from, to }: Heredoc) => line.slice(0, from) + ' '.repeat(to - from) + line.slice(to);
  return lines
    .map((line, at) => (asked.get(at) ?? []).reduce(blanked, line))
    .filter((_, at) => !inside.has(at))
    .join('\n');
}

/**
 * The same script, every character at its place, with reading from a file in place of each heredoc: the grammar loses its way in
 * bodies that stand deep inside. Offsets of the operators and of the bodies come along.
 */
export function withFilesForHeredocs(text: string): {
  text: string;
  heredocs: { at: number; from: number; to: number }[];
} {
  const lines = text.split('\n');
  const { asked, inside } = bodiesOf(lines);
  const starts: number[] = [];
  for (let at = 0, sum = 0; at <= lines.length; at++) {
    starts.push(Math.min(sum, text.length));
    sum += (lines[at]?.length ?? 0) + 1;
  }
  const heredocs = [...asked].flatMap(([line, all]) =>
    all.map(({ from, first, last }) => ({ at: starts[line]! + from, from: starts[first]!, to: starts[last]! })),
  );
  const file = (line: string, { from, to }: Heredoc) =>
    `${line.slice(0, from)}<${'f'.repeat(to - from - 1)}${line.slice(to)}`;
  const shown = lines.map((line, at) =>
    inside.has(at) ? ' '.repeat(line.length) : (asked.get(at) ?? []).reduce(file, line),
  );
  return { text: shown.join('\n'), heredocs };
}

/** What a character stands in. Only in `code`, `paren` and `backtick` does `<<` ask for a heredoc. */
type Context = 'code' | 'paren' | 'backtick' | 'double' | 'single' | 'ansi' | 'brace' | 'arithmetic';

const WORD = /-?[ \t]*((?:'[^']*'|"[^"]*"|\\.|[^\s;&|<>()'"\\])+)/y;

/** Remembers from line to line what is open. */
class Scanner {
  private open: Context[] = ['code'];

  line(text: string): Heredoc[] {
    const found: Heredoc[] = [];
    for (let at = 0; at < text.length; ) {
      const step = this.step(text, at, found);
      if (step === 0) break;
      at += step;
    }
    return found;
  }

  private get context(): Context {
    return this.open.at(-1)!;
  }

  private push(context: Context): void {
    this.open.push(context);
  }

  private pop(): void {
    if (this.open.length > 1) this.open.pop();
  }

  /** How many characters were read; 0: the rest of the line is a comment. */
  private step(text: string, at: number, found: Heredoc[]): number {
    const { context } = this;
    const char = text[at]!;
    const two = text.slice(at, at + 2);
    if (context === 'single') {
      if (char === "'") this.pop();
      return 1;
    }
    if (char === '\\') return 2;
    if (context === 'ansi') {
      if (char === "'") this.pop();
      return 1;
    }
    if (text.startsWith('$((', at)) return this.opened('arithmetic', 3);
    if (two === '$(') return this.opened('paren', 2);
    if (two === '${') return this.opened('brace', 2);
    if (char === '"') return context === 'double' ? this.closed(1) : this.opened('double', 1);
    if (char === '`') return context === 'backtick' ? this.closed(1) : this.opened('backtick', 1);
    if (context === 'double') return 1;
    if (context === 'brace' && char === '}') return this.closed(1);
    if (context === 'arithmetic' && two === '))') return this.closed(2);
    if (context === 'paren' && char === ')') return this.closed(1);
    if (context === 'arithmetic') return char === '(' ? this.opened('paren', 1) : 1;
    // In "${x:-'}" a quote is a quote's own character.
    if (context === 'brace' && this.open.includes('double')) return 1;
    if (two === "$'") return this.opened('ansi', 2);
    if (char === "'") return this.opened('single', 1);
    if (context === 'brace') return 1;
    if (char === '#' && (at === 0 || /[\s;&|()`]/.test(text[at - 1]!))) return 0;
    if (two === '((') return this.opened('arithmetic', 2);
    if (char === '(') return this.opened('paren', 1);
    if (text.startsWith('<<<', at)) return 3;
    return two === '<<' ? this.heredoc(text, at, found) : 1;
  }

  private opened(context: Context, length: number): number {
    this.push(context);
    return length;
  }

  private closed(length: number): number {
    this.pop();
    return length;
  }

  private heredoc(text: string, at: number, found: Heredoc[]): number {
    WORD.lastIndex = at + 2;
    const match = WORD.exec(text);
    if (!match) return 2;
    const end = match[1]!.replace(/'([^']*)'|"([^"]*)"|\\(.)/g, (_, a, b, c) => a ?? b ?? c);
    found.push({ from: at, to: WORD.lastIndex, end, tabs: text[at + 2] === '-', first: 0, last: 0 });
    return WORD.lastIndex - at;
  }
}

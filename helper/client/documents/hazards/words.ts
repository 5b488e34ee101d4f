/** What the words of a command say once the shell has taken the quotes off, as far as that can be told without running it. */
import type { Node } from 'web-tree-sitter';
import { childrenOf } from '../grammar.ts';

export interface Word {
  node: Node;
  /** Null: only the shell will know (a variable, a substitution). */
  text: string | null;
  /** The shell may make many words of it, or find them in another command's output. */
  many: boolean;
}

export function wordOf(node: Node): Word {
  return { node, text: literal(node), many: isMany(node) };
}

function literal(node: Node): string | null {
  switch (node.type) {
    case 'word':
    case 'number':
    case 'special_character':
    case 'string_content':
    case 'test_operator':
    case 'heredoc_content':
      return node.text
        .replace(/\\\n/g, '')
        .replace(node.type === 'string_content' ? /\\([\\"$`])/g : /\\([\s\S])/g, '$1');
    case 'raw_string':
      return node.text.slice(1, -1);
    case 'ansi_c_string':
      return ansi(node.text.slice(2, -1));
    case 'command_name':
    case 'concatenation':
    case 'translated_string':
      return all(childrenOf(node).filter((child) => child.type !== '$'));
    case 'string':
      return stringText(node);
    default:
      return node.isNamed ? null : node.text;
  }
}

function all(nodes: Node[]): string | null {
  let text = '';
  for (const node of nodes) {
    const part = literal(node);
    if (part === null) return null;
    text += part;
  }
  return text;
}

/** Blanks between the parts of a string belong to no node. */
function stringText(node: Node): string | null {
  const inside = childrenOf(node).filter((child) => child.type !== '"');
  if (inside.some((child) => child.type !== 'string_content')) return null;
  return node.text
    .slice(1, -1)
    .replace(/\\\n/g, '')
    .replace(/\\([\\"$`])/g, '$1');
}

const ESCAPES: Record<string, string> = {
  n: '\n',
  t: '\t',
  r: '\r',
  e: '\x1b',
  E: '\x1b',
  a: '\x07',
  b: '\b',
  f: '\f',
  v: '\v',
};

function ansi(text: string): string {
  return text.replace(/\\(x[0-9a-fA-F]{1,2}|u[0-9a-fA-F]{1,4}|[0-7]{1,3}|[\s\S])/g, (_, code: string) => {
    if (/^[xu][0-9a-fA-F]/.test(code)) return String.fromCodePoint(Number.parseInt(code.slice(1), 16));
    if (/^[0-7]/.test(code)) return String.fromCodePoint(Number.parseInt(code, 8) & 0xff);
    return ESCAPES[code] ?? code;
  });
}

function isMany(node: Node): boolean {
  switch (node.type) {
    case 'word':
      return /(^|[^\\])[*?[]/.test(node.text) || node.text === '{}' || /\{[^}]*(,|\.\.)[^}]*\}/.test(node.text);
    case 'concatenation':
      return /\{.*(,|\.\.).*\}/s.test(node.text) || childrenOf(node).some(isMany);
    case 'command_substitution':
    case 'process_substitution':
    case 'simple_expansion':
    case 'expansion':
    case 'brace_expression':
    case 'extglob_pattern':
    case 'glob_pattern':
      return true;
    default:
      return false;
  }
}

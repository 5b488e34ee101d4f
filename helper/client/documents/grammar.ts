/** Bash's grammar: tree-sitter as WebAssembly, loaded when the first script is read. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { Node, Parser, Tree } from 'web-tree-sitter';

let loading: Promise<Parser> | undefined;

/** In the package beside the bundle, in a checkout where npm put it. */
function wasm(file: string, specifier: string): string {
  const shipped = join(__dirname, file);
  return existsSync(shipped) ? shipped : createRequire(__filename).resolve(specifier);
}

async function load(): Promise<Parser> {
  const { Language, Parser } = await import('./tree-sitter.ts');
  await Parser.init({ locateFile: () => wasm('web-tree-sitter.wasm', 'web-tree-sitter/web-tree-sitter.wasm') });
  const bash = await Language.load(wasm('tree-sitter-bash.wasm', 'tree-sitter-bash/tree-sitter-bash.wasm'));
  const parser = new Parser();
  parser.setLanguage(bash);
  return parser;
}

/** Parses, hands the tree to `read`, and frees it: trees live outside of the garbage collector's reach. */
export type Parse = <T>(text: string, read: (root: Node) => T) => T;

export async function bashGrammar(): Promise<Parse> {
  loading ??= load();
  loading.catch(() => {
    loading = undefined;
  });
  const parser = await loading;
  return (text, read) => {
    const tree: Tree | null = parser.parse(text);
    if (!tree) throw new Error('the script could not be parsed');
    try {
      return read(tree.rootNode);
    } finally {
      tree.delete();
    }
  };
}

/** A node's children; the binding's type allows for holes. */
export function childrenOf(node: Node): Node[] {
  return node.children.filter((child): child is Node => child !== null);
}

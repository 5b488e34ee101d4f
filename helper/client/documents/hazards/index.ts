/**
 * Where in a script something may be destroyed, with the place to look at. Also inside what a script hands to another shell:
 * `bash -c '…'`, `eval`, `$(…)`, a heredoc, a here-string, a trap.
 */
import type { Node } from 'web-tree-sitter';
import { bashGrammar, childrenOf, type Parse } from '../grammar.ts';
import { withFilesForHeredocs } from '../heredocs.ts';
import { type Command, commandsIn, hasOption, INTERPRETERS, operands, SHELLS } from './commands.ts';
import { type HazardKind, isDisk, RULES } from './rules.ts';
import { wordOf } from './words.ts';

export { HAZARDS, type HazardKind } from './rules.ts';

/** Offsets into the script, in UTF-16. */
export interface Hazard {
  kind: HazardKind;
  start: number;
  end: number;
  /** The file, for `overwrites`. */
  path?: string;
}

export interface HazardOptions {
  /** Whether git tracks a file, as the script names it. */
  tracked?: (path: string) => boolean;
}

/** Scripts in scripts in scripts: where nobody looks any more. */
const DEEPEST = 8;

export async function hazardsIn(script: string, options: HazardOptions = {}): Promise<Hazard[]> {
  const parse = await bashGrammar();
  const found: Hazard[] = [];
  new Search(parse, options, found).script(script, (start, end) => ({ start, end }), 0);
  const seen = new Set<string>();
  return found
    .sort((a, b) => a.start - b.start || b.end - a.end)
    .filter(({ kind, start, end }) => {
      const key = `${kind} ${start} ${end}`;
      return !seen.has(key) && seen.add(key);
    });
}

/** From offsets in an inner script to the outer one's. */
type Place = (start: number, end: number) => { start: number; end: number };

class Search {
  constructor(
    private readonly parse: Parse,
    private readonly options: HazardOptions,
    private readonly found: Hazard[],
  ) {}

  script(text: string, place: Place, depth: number): void {
    if (depth > DEEPEST || text.trim() === '') return;
    this.look(text, (node) => this.node(node, place, depth));
    if (!text.includes('<<')) return;
    // Once more without the bodies, which are looked at by themselves.
    const plain = withFilesForHeredocs(text);
    if (!plain.heredocs.length) return;
    const fed = new Set<number>();
    this.look(plain.text, (node) => {
      this.node(node, place, depth);
      if (node.type === 'file_redirect' && readByShell(node)) fed.add(node.startIndex);
    });
    for (const { at, from, to } of plain.heredocs)
      if (fed.has(at)) this.script(text.slice(from, to), (a, b) => place(from + a, from + b), depth + 1);
  }

  private look(text: string, each: (node: Node) => void): void {
    // A command such as \rm at the beginning of a line: the grammar takes it for the line's before it.
    this.parse(text.replace(/(\n[ \t]*)\\(?=[a-z])/g, '$1 '), (root) => {
      // Trees are freed when this returns, and parsing inside it is a tree of its own.
      const visit = (node: Node) => {
        each(node);
        for (const child of childrenOf(node)) visit(child);
      };
      visit(root);
    });
  }

  private add(kind: HazardKind, node: Node, place: Place, path?: string): void {
    this.found.push({ kind, ...place(node.startIndex, node.endIndex), ...(path === undefined ? {} : { path }) });
  }

  private node(node: Node, place: Place, depth: number): void {
    if (node.type === 'command') this.command(node, place, depth);
    else if (node.type === 'file_redirect') this.redirect(node, place);
    else if (node.type === 'pipeline') this.pipeline(node, place);
    else if (node.type === 'herestring_redirect') this.hereString(node, place, depth);
  }

  private command(node: Node, place: Place, depth: number): void {
    for (const command of commandsIn(node)) {
      for (const rule of RULES) {
        const kind = rule(command);
        if (kind) this.add(kind, node, place);
      }
      if (command.name === 'tee' && !hasOption(command.args, 'a', /^--append$/))
        for (const { text, node: file } of operands(command.args)) if (text !== null) this.written(text, file, place);
      for (const script of scriptsOf(command)) {
        if (/^\s*\$\(\s*(?:curl|wget)\b/.test(innerText(script)) || script.type === 'command_substitution')
          this.add('pipeToShell', node, place);
        this.inner(script, place, depth);
      }
      if (SHELLS.test(command.name) || /^(?:source|\.)$/.test(command.name))
        if (command.args.some((arg) => arg.node.type === 'process_substitution' && arg.node.text.startsWith('<')))
          this.add('pipeToShell', node, place);
    }
  }

  /** The script in a word. Where quoting changes it, all of it points at the word. */
  private inner(node: Node, place: Place, depth: number): void {
    const text = innerText(node);
    const at = node.startIndex + node.text.indexOf(text);
    const same = text.length > 0 && node.text.includes(text);
    const { start, end } = place(node.startIndex, node.endIndex);
    this.script(text, same ? (from, to) => place(at + from, at + to) : () => ({ start, end }), depth + 1);
  }

  private redirect(node: Node, place: Place): void {
    const operator = childrenOf(node).find((child) => !child.isNamed)?.type ?? '';
    const file = childrenOf(node).findLast((child) => child.isNamed && child.type !== 'file_descriptor');
    if (!file || !/^(?:>|>\||&>|>&|<>)$/.test(operator)) return;
    const { text } = wordOf(file);
    if (text !== null && !(operator === '>&' && /^[\d-]+$/.test(text))) this.written(text, node, place);
  }

  private written(path: string, node: Node, place: Place): void {
    if (isDisk(path)) this.add('disk', node, place);
    else if (this.options.tracked?.(path)) this.add('overwrites', node, place, path);
  }

  private pipeline(node: Node, place: Place): void {
    const stages = childrenOf(node).filter((child) => child.isNamed);
    // In a heredoc's line the pipeline begins with the bar.
    const first = childrenOf(node)[0]?.isNamed === false ? 0 : 1;
    for (const stage of stages.slice(first)) {
      const reading = readers(stage).find(readsScript);
      if (reading) this.add('pipeToShell', node, place);
    }
  }

  private hereString(node: Node, place: Place, depth: number): void {
    const parent = node.parent;
    const script = childrenOf(node).find((child) => child.isNamed);
    if (!parent || !script) return;
    const commands = parent.type === 'command' ? commandsIn(parent) : readers(parent);
    if (commands.some((command) => SHELLS.test(command.name) && readsScript(command))) this.inner(script, place, depth);
  }
}

/** What comes from that file, a shell takes for a script: itself, or further down the pipeline. */
function readByShell(redirect: Node): boolean {
  const { parent } = redirect;
  const commands = parent ? (parent.type === 'command' ? commandsIn(parent) : readers(parent)) : [];
  for (let node = parent; node?.parent; node = node.parent)
    if (node.parent.type === 'pipeline') {
      const stages = childrenOf(node.parent);
      const own = stages.findIndex((stage) => stage.id === node?.id);
      commands.push(...stages.slice(own + 1).flatMap(readers));
    }
  return commands.some((command) => SHELLS.test(command.name) && readsScript(command));
}

/** The commands of one stage of a pipeline, groups and subshells looked into. */
function readers(stage: Node): Command[] {
  if (stage.type === 'command') return commandsIn(stage);
  if (/^(?:redirected_statement|subshell|compound_statement|list|pipeline)$/.test(stage.type))
    return childrenOf(stage).flatMap(readers);
  return [];
}

/** It is given no script, so it takes its input for one. */
function readsScript({ name, args }: Command): boolean {
  if (!SHELLS.test(name) && !INTERPRETERS.test(name)) return false;
  if (hasOption(args, SHELLS.test(name) ? 'c' : 'cemnp')) return false;
  if (hasOption(args, 's') && SHELLS.test(name)) return true;
  const words = operands(args);
  return words.length === 0 || words[0]!.text === '-' || words[0]!.text === '/dev/stdin';
}

/** The words that a command takes for a script. */
function scriptsOf({ name, args }: Command): Node[] {
  const nodes = args.map(({ node }) => node);
  if (name === 'eval') return nodes;
  if (name === 'trap') return nodes.slice(0, 1);
  if (SHELLS.test(name) || name === 'su') {
    const at = args.findIndex(({ text }) => /^-[a-zA-Z]*c[a-zA-Z]*$/.test(text ?? '') || text === '--command');
    const script = at < 0 ? undefined : args.slice(at + 1).find(({ text }) => text === null || !/^-/.test(text));
    return script ? [script.node] : [];
  }
  return [];
}

/** What a quoted word holds, with the expansions as they are written. */
function innerText(node: Node): string {
  const { text } = wordOf(node);
  if (text !== null) return text;
  if (node.type === 'string') return node.text.slice(1, -1).replace(/\\([\\"`])/g, '$1');
  return node.text;
}

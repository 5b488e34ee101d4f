/** From a command as written to the commands that it comes down to: through `sudo`, `env`, `xargs`, `find -exec` and their kind. */
import type { Node } from 'web-tree-sitter';
import { childrenOf } from '../grammar.ts';
import { type Word, wordOf } from './words.ts';

export interface Command {
  /** What to point at. */
  node: Node;
  /** Without its folder: `/bin/rm` is `rm`. */
  name: string;
  args: Word[];
  /** More arguments come from elsewhere: `xargs`, `find`. */
  fed: boolean;
}

/** Programs that run another: options with a value of their own, and words before the command. */
const CARRIERS: Record<string, { valued: string; words?: number; assigns?: boolean }> = {
  sudo: { valued: 'ugphCDRrTt', assigns: true },
  doas: { valued: 'uC' },
  env: { valued: 'uSC', assigns: true },
  nice: { valued: 'n' },
  ionice: { valued: 'cnpPu' },
  nohup: { valued: '' },
  time: { valued: 'of' },
  timeout: { valued: 'ks', words: 1 },
  stdbuf: { valued: 'ioe' },
  command: { valued: '' },
  builtin: { valued: '' },
  exec: { valued: 'a' },
  eval: { valued: '' },
  setsid: { valued: '' },
  busybox: { valued: '' },
  toybox: { valued: '' },
  flock: { valued: 'wE', words: 1 },
  chroot: { valued: '', words: 1 },
  unshare: { valued: '' },
  strace: { valued: 'oepsau' },
  xargs: { valued: 'nPILdEsa' },
};

/** The words of a `command` node: its name and what follows. Redirections and assignments before it are not among them. */
export function wordsOf(node: Node): Word[] {
  return childrenOf(node)
    .filter(
      (child) =>
        child.isNamed &&
        !/^(variable_assignment|file_redirect|herestring_redirect|heredoc_redirect|comment)$/.test(child.type),
    )
    .map(wordOf);
}

/** The command itself and every one that it carries, from the outside in. */
export function commandsIn(node: Node): Command[] {
  return carried(node, wordsOf(node), false, 0);
}

function carried(node: Node, words: Word[], fed: boolean, depth: number): Command[] {
  const name = words[0]?.text?.split('/').at(-1);
  if (!name || depth > 16) return [];
  const command: Command = { node, name, args: words.slice(1), fed };
  const inner = name === 'find' ? executed(command.args) : [CARRIERS[name] ? afterOptions(name, command.args) : []];
  const passes = fed || name === 'xargs' || name === 'find';
  return [command, ...inner.flatMap((rest) => carried(node, rest, passes, depth + 1))];
}

function afterOptions(name: string, args: Word[]): Word[] {
  const { valued, words = 0, assigns = false } = CARRIERS[name]!;
  let at = 0;
  for (; at < args.length; at++) {
    const text = args[at]!.text;
    if (text === '--') {
      at++;
      break;
    }
    if (text === null || !/^-./.test(text)) break;
    if (/^--/.test(text)) continue;
    // The value of the last letter stands apart: `-u root`, but `-uroot`.
    if (valued.includes(text.at(-1)!) && !/^-.*[0-9]$/.test(text) && valued.includes(text[1]!) === (text.length === 2))
      at++;
  }
  if (assigns) while (at < args.length && /^\w+=/.test(args[at]!.text ?? args[at]!.node.text)) at++;
  return args.slice(at + words);
}

/** What stands between `-exec` and its end. */
function executed(args: Word[]): Word[][] {
  const found: Word[][] = [];
  for (let at = 0; at < args.length; at++) {
    if (!/^-(exec|execdir|ok|okdir)$/.test(args[at]!.text ?? '')) continue;
    let end = at + 1;
    while (end < args.length && args[end]!.text !== ';' && args[end]!.text !== '+') end++;
    found.push(args.slice(at + 1, end));
    at = end;
  }
  return found;
}

/** Whether an option is given, as a letter (also among others: `-rf`) or by its long name (also cut short). */
export function hasOption(args: Word[], letters: string, long: RegExp | null = null): boolean {
  for (const { text } of args) {
    if (text === '--') return false;
    if (text === null) continue;
    if (long && /^--\w/.test(text) && long.test(text)) return true;
    if (/^-[^-]/.test(text) && [...letters].some((letter) => text.slice(1).includes(letter))) return true;
  }
  return false;
}

/** What is no option. */
export function operands(args: Word[]): Word[] {
  const end = args.findIndex(({ text }) => text === '--');
  const before = (end < 0 ? args : args.slice(0, end)).filter(({ text }) => text === null || !/^-./.test(text));
  return end < 0 ? before : [...before, ...args.slice(end + 1)];
}

export const SHELLS = /^(?:ba|z|da|k|a|mk)?sh$/;
export const INTERPRETERS = /^(?:python[\d.]*|perl|ruby|node|php)$/;

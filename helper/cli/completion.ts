/** What can stand where the cursor is. Plain functions over the definitions of the commands: no I/O. */
import type { Command, Option } from 'commander';
import { specOf } from './define.ts';

/** Kinds of words that only the helper knows, or the shell. */
export type Kind = 'sandbox' | 'checkpoint' | 'branch' | 'port' | 'file';
export interface Candidate {
  value: string;
  about: string;
}
export interface Wanted {
  candidates: Candidate[];
  /** `sandbox`: whose checkpoints, branches or ports; undefined: those of the current folder's. */
  kinds: { kind: Kind; sandbox?: string }[];
  /** What stands before a value in the same word: `--branch=`. */
  prefix: string;
}

const CHECKPOINT = /^k[0-9]+$/;
const PLACE = /^[kb][0-9]+$/;
const NOTHING: Wanted = { candidates: [], kinds: [], prefix: '' };

/** @param words of the command line after `teleport-env`, the last being the one at the cursor, perhaps empty */
export function complete(program: Command, words: string[]): Wanted {
  const current = words.at(-1) ?? '';
  const before = words.slice(0, -1);
  // A command for inside: what exists there is not for us to say, but a path is a good guess.
  if (before.includes('--')) return { ...NOTHING, kinds: [{ kind: 'file' }] };
  const name = before.find((word) => !word.startsWith('-'));
  const command = program.commands.find((one) => one.name() === name);
  if (name === undefined) {
    if (current.startsWith('-')) return { ...NOTHING, candidates: optionsOf(program, before) };
    return { ...NOTHING, candidates: commandsOf(program) };
  }
  if (name === 'help') return { ...NOTHING, candidates: commandsOf(program) };
  if (!command) return NOTHING;
  const after = before.slice(before.indexOf(name) + 1);
  if (command.commands.length > 0) return complete(command, [...after, current]);
  const given = /^(--[a-z-]+)=/.exec(current);
  const option = given ? optionNamed(command, given[1]!) : optionNamed(command, after.at(-1) ?? '');
  if (option?.required) return valuesOf(option, given ? given[0] : '', wordsOf(command, after));
  if (current.startsWith('-')) return { ...NOTHING, candidates: optionsOf(command, after) };
  return positional(command, wordsOf(command, after));
}

function commandsOf(program: Command): Candidate[] {
  const help = program.createHelp();
  return help
    .visibleCommands(program)
    .map((command) => ({ value: command.name(), about: command.summary() || command.description() }));
}

function optionsOf(command: Command, before: string[]): Candidate[] {
  return command
    .createHelp()
    .visibleOptions(command)
    .filter(({ long, description }) => !before.includes(long!) || description.includes('repeatable'))
    .map(({ long, description }) => ({ value: long!, about: description }));
}

function optionNamed(command: Command, word: string): Option | undefined {
  return command.options.find(({ long, short }) => word === long || word === short);
}

interface Words {
  positional: string[];
  /** Named by --sandbox. */
  sandbox?: string;
}

/** Options and their values taken out. */
function wordsOf(command: Command, after: string[]): Words {
  const found: Words = { positional: [] };
  for (let i = 0; i < after.length; i++) {
    const word = after[i]!;
    const [name, value] = word.split(/=(.*)/s) as [string, string?];
    const option = word.startsWith('-') ? optionNamed(command, name) : undefined;
    if (option?.long === '--sandbox') found.sandbox = value ?? after[i + 1];
    if (option?.required && value === undefined) i++;
    else if (!word.startsWith('-')) found.positional.push(word);
  }
  return found;
}

/** By the placeholder that stands for it in the help text. */
function valuesOf(option: Option, prefix: string, { positional, sandbox }: Words): Wanted {
  const whose = sandbox ?? positional.find((word) => !PLACE.test(word));
  const placeholder = /<(.*)>/.exec(option.flags)?.[1] ?? '';
  const kinds: Record<string, Kind[]> = {
    sandbox: ['sandbox'],
    branch: ['branch'],
    place: ['checkpoint', 'branch'],
  };
  if (placeholder === 'checkpoints')
    return { prefix, kinds: [{ kind: 'checkpoint', sandbox: whose }], candidates: literals(['none']) };
  if (placeholder === 'kind') return { prefix, kinds: [], candidates: literals(['none', 'nat']) };
  if (/dir|path|image/.test(placeholder)) return { prefix, candidates: [], kinds: [{ kind: 'file' }] };
  return { prefix, candidates: [], kinds: (kinds[placeholder] ?? []).map((kind) => ({ kind, sandbox: whose })) };
}

/** `[SANDBOX] FROM [TO]`, read both with the sandbox and without it, since it may be left out. */
function positional(command: Command, words: Words): Wanted {
  const shape = (specOf(command)?.usage ?? '').split(' ').slice(1);
  const wanted: Wanted = { candidates: [], kinds: [], prefix: '' };
  const rest = shape.filter((part) => part !== '[SANDBOX]');
  const ways = words.sandbox === undefined && rest.length < shape.length ? [shape, rest] : [rest];
  for (const way of ways) {
    if (!words.positional.every((word, i) => fits(word, way[i]))) continue;
    const part = way[words.positional.length]?.replace(/[[\]…]/g, '');
    if (part === undefined) continue;
    const sandbox = words.sandbox ?? (way === shape && part !== 'SANDBOX' ? words.positional[0] : undefined);
    const kinds = KINDS[part];
    if (kinds) wanted.kinds.push(...kinds.map((kind) => ({ kind, sandbox })));
    else if (part === '--') wanted.candidates.push({ value: '--', about: 'what follows is for inside' });
    else wanted.candidates.push(...literals(/^[a-z]+(\|[a-z]+)*$/.test(part) ? part.split('|') : []));
  }
  return wanted;
}

const KINDS: Record<string, Kind[]> = {
  SANDBOX: ['sandbox'],
  CHECKPOINT: ['checkpoint'],
  FROM: ['checkpoint', 'branch'],
  TO: ['checkpoint', 'branch'],
  PATH: ['file'],
  PORT: ['port'],
};

function fits(word: string, part: string | undefined): boolean {
  if (part === undefined) return false;
  if (part === 'CHECKPOINT') return CHECKPOINT.test(word);
  if (part === 'FROM' || part === '[TO]') return PLACE.test(word);
  return part !== '[SANDBOX]' || !PLACE.test(word);
}

function literals(values: string[]): Candidate[] {
  return values.map((value) => ({ value, about: '' }));
}

/** The words as bash splits them: quotes and backslashes still there, `=` a word of its own. */
export function fromBash(words: string[]): string[] {
  const plain = words.map((word) => word.replace(/\\(.)|['"]/g, '$1'));
  const joined: string[] = [];
  for (const [i, word] of plain.entries()) {
    const previous = joined.at(-1);
    if (word === '=' && previous?.startsWith('--')) joined[joined.length - 1] = `${previous}=`;
    else if (plain[i - 1] === '=' && /^--[a-z-]+=$/.test(previous ?? '')) joined[joined.length - 1] = previous + word;
    else joined.push(word);
  }
  return joined;
}

/** What the persistent shell holds: asked of itself by `declare -p`, which prints everything so that a shell can read it again. */
import { randomBytes } from 'node:crypto';
import type { World } from './world.ts';

export interface ShellVariable {
  name: string;
  value: string;
  exported: boolean;
  readonly: boolean;
  /** Of an array, by index or key. */
  elements: { key: string; value: string }[] | null;
}

export interface ShellState {
  cwd: string;
  variables: ShellVariable[];
}

/** The shell's own, and ours. */
const OWN =
  /^(?:BASH.*|COMP_.*|DIRSTACK|EPOCH.*|EUID|FUNCNAME|GROUPS|HISTCMD|HOSTNAME|HOSTTYPE|IFS|LINENO|MACHTYPE|OPTERR|OPTIND|OPTARG|OSTYPE|PIPESTATUS|PPID|PS4|RANDOM|SECONDS|SHELLOPTS|SHLVL|SRANDOM|UID|_|__teleport_.*)$/;

export async function askShell(world: World, sandbox: string): Promise<ShellState> {
  // Jobs in the background may print at any time: only what stands between the marks is ours.
  const mark = `@${randomBytes(9).toString('hex')}@`;
  const line = `printf '%s\\n' '${mark}' "$PWD"; declare -p; printf '%s\\n' '${mark}'`;
  const { output } = await world.ask('run', { sandbox, line, checkpoint: false });
  const [, told = ''] = Buffer.from(output, 'base64').toString('utf8').split(`${mark}\n`);
  const end = told.indexOf('\n');
  return { cwd: told.slice(0, Math.max(0, end)), variables: readDeclarations(told.slice(end + 1)) };
}

const DECLARATION = /^declare -([a-zA-Z-]+) (\w+)(=|\n|$)/my;

export function readDeclarations(text: string): ShellVariable[] {
  const found: ShellVariable[] = [];
  let at = 0;
  while (at < text.length) {
    DECLARATION.lastIndex = at;
    const match = DECLARATION.exec(text);
    if (!match) {
      const next = text.indexOf('\n', at);
      if (next < 0) break;
      at = next + 1;
      continue;
    }
    const [, flags, name] = match as unknown as [string, string, string];
    at = DECLARATION.lastIndex;
    let value = '';
    let elements: ShellVariable['elements'] = null;
    if (match[3] === '=') {
      if (text[at] === '(') {
        elements = [];
        at = readElements(text, at + 1, elements);
        value = `(${elements.length})`;
      } else [value, at] = readValue(text, at);
    }
    if (!OWN.test(name))
      found.push({ name, value, exported: flags.includes('x'), readonly: flags.includes('r'), elements });
  }
  return found.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** `"…"` or `$'…'`. @returns the value and where it ends */
function readValue(text: string, at: number): [string, number] {
  const quoted = /\$'((?:[^'\\]|\\[\s\S])*)'|"((?:[^"\\]|\\[\s\S])*)"|([^\s)]*)/y;
  quoted.lastIndex = at;
  const match = quoted.exec(text);
  if (!match) return ['', at + 1];
  const [, ansi, double, bare] = match;
  const value = ansi !== undefined ? unescaped(ansi) : (double?.replace(/\\([\\"$`\n])/g, '$1') ?? bare ?? '');
  return [value, quoted.lastIndex];
}

function readElements(text: string, start: number, into: { key: string; value: string }[]): number {
  const key = /\s*\[(?:"((?:[^"\\]|\\[\s\S])*)"|((?:[^\]\\]|\\[\s\S])*))\]=/y;
  let at = start;
  for (;;) {
    key.lastIndex = at;
    const match = key.exec(text);
    if (!match) break;
    const [value, end] = readValue(text, key.lastIndex);
    into.push({ key: match[1]?.replace(/\\([\\"$`])/g, '$1') ?? match[2]!, value });
    at = end;
  }
  const end = text.indexOf(')', at);
  return end < 0 ? text.length : end + 1;
}

const ESCAPES: Record<string, string> = {
  n: '\n',
  t: '\t',
  r: '\r',
  a: '\x07',
  b: '\b',
  E: '\x1b',
  e: '\x1b',
  f: '\f',
  v: '\v',
};

function unescaped(text: string): string {
  const bytes = text.replace(/\\([0-7]{1,3}|[\s\S])/g, (_, code: string) =>
    /^[0-7]/.test(code) ? String.fromCharCode(Number.parseInt(code, 8)) : (ESCAPES[code] ?? code),
  );
  return bytes;
}

/** A value as the shell reads it. */
export function shellQuoted(value: string): string {
  return `'${value.replace(/'/g, `'\\''`)}'`;
}

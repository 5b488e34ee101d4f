/** The programs of this suite: one name per kind of state. */
import { execFileSync } from 'node:child_process';
import { chmodSync, cpSync, linkSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const programs = join(__dirname, 'programs');
const root = resolve(__dirname, '../..');

/** Python modules hold several states, a process each; other programs are one. */
export const MODULES = ['memory', 'processes', 'files', 'pipes', 'sockets', 'events', 'applications'];
/** States that only root can be in. */
export const PRIVILEGED = 'privileged';

export function statesOf(module: string): string[] {
  const text = readFileSync(join(programs, `${module}.py`), 'utf8');
  return [...text.matchAll(/^@state\ndef (\w+)/gm)].map((match) => match[1]!);
}

function programsBy(extension: string): string[] {
  return readdirSync(programs)
    .filter((name) => name.endsWith(extension) && !name.startsWith('state.'))
    .map((name) => name.slice(0, -extension.length));
}

export const NODE = programsBy('.mjs');
export const C = programsBy('.c').filter((name) => name.startsWith('c_'));

export interface Selection {
  modules: string[];
  node: string[];
  c: string[];
}

export const ALL: Selection = { modules: [...MODULES, PRIVILEGED], node: NODE, c: C };
export const UNPRIVILEGED: Selection = { modules: MODULES, node: NODE, c: C };

export function namesIn(selection: Selection): string[] {
  return [
    ...selection.modules.flatMap((module) => module.split(':')[1] ?? statesOf(module)),
    ...selection.node,
    ...selection.c,
  ];
}

/** Lines for the sandbox's shell that start the programs, each a process of its own. */
export function starting(selection: Selection): string {
  const python = `python3 -B programs/state.py ${selection.modules.join(' ')}`;
  const others = [...selection.node.map((name) => `node programs/${name}.mjs`), ...selection.c.map((n) => `bin/${n}`)];
  return [...(selection.modules.length ? [python] : []), ...others].map((line) => `${line} >>log 2>&1 &\n`).join('');
}

/** Compiles a program of this folder. */
export function compile(name: string, to: string): void {
  const words = ['-O1', '-Wall', '-Wextra', '-Werror', '-o', to, join(programs, `${name}.c`), '-lpthread', '-lm'];
  execFileSync('gcc', words, { stdio: ['ignore', 'inherit', 'inherit'] });
}

/** A workspace with the programs, and with the files that are to come from a lower layer. */
export function makeWorkspace(): string {
  const dir = mkdtempSync(join(tmpdir(), 'teleport-states-'));
  chmodSync(dir, 0o755);
  for (const name of ['ready', 'results', 'work']) {
    mkdirSync(join(dir, name));
    chmodSync(join(dir, name), 0o777); // a state may have given up root
  }
  cpSync(programs, join(dir, 'programs'), { recursive: true });
  for (const name of ['chokidar', 'readdirp'])
    cpSync(join(root, 'node_modules', name), join(dir, 'node_modules', name), { recursive: true });
  mkdirSync(join(dir, 'bin'));
  for (const name of C) compile(name, join(dir, 'bin', name));
  for (const name of ['unlink', 'links', 'watched', 'watched-too'])
    mkdirSync(join(dir, 'lower', name), { recursive: true });
  writeFileSync(join(dir, 'lower/read'), 'hello below');
  writeFileSync(join(dir, 'lower/unlink/it'), 'lower file');
  writeFileSync(join(dir, 'lower/links/one'), 'linked');
  linkSync(join(dir, 'lower/links/one'), join(dir, 'lower/links/two'));
  writeFileSync(join(dir, 'lower/watched/file'), '');
  return dir;
}

/** The command line as people have it: the built program, in a process of its own. */
import { spawn, spawnSync } from 'node:child_process';
import { cpSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import type { Ran } from './run-cli.ts';

const root = resolve(__dirname, '../..');
export const PROGRAM = join(root, 'dist/teleport-env.js');

export interface ProgramOptions {
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  input?: string;
  /** Another copy of the program. */
  path?: string;
  /** Run by this user instead of root. */
  uid?: number;
}

/** Makes dist/teleport-env.js of the sources as they are. */
export function build(): void {
  const tsx = createRequire(__filename).resolve('tsx/cjs');
  const { status, stderr } = spawnSync(process.execPath, ['--require', tsx, join(root, 'scripts/build.ts')], {
    cwd: root,
  });
  if (status !== 0) throw new Error(`the build failed: ${stderr}`);
}

/** A copy in a folder that plain users can read, whatever folder this one is in. Returns its path. */
export function copyForUsers(folder: string): string {
  const path = join(folder, 'teleport-env.js');
  for (const name of readdirSync(dirname(PROGRAM)))
    if (/^(teleport-env|helper-.*)\.js$/.test(name)) cpSync(join(dirname(PROGRAM), name), join(folder, name));
  cpSync(join(dirname(PROGRAM), 'node_modules'), join(folder, 'node_modules'), { recursive: true });
  return path;
}

/** Runs it to its end. */
export async function program(
  argv: string[],
  { cwd = '/', env = {}, input, path = PROGRAM, uid }: ProgramOptions = {},
): Promise<Ran> {
  const child = spawn(path, argv, {
    cwd,
    env: { PATH: process.env.PATH, HOME: '/dev/null', NO_COLOR: '1', ...env },
    stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    ...(uid === undefined ? {} : { uid, gid: uid }),
  });
  child.stdin?.end(input);
  const parts: Record<'stdout' | 'stderr', Buffer[]> = { stdout: [], stderr: [] };
  for (const name of ['stdout', 'stderr'] as const) child[name]!.on('data', (part: Buffer) => parts[name].push(part));
  const code = await new Promise<number>((ended, failed) => {
    child.once('error', failed);
    child.once('close', (status) => ended(status ?? -1));
  });
  const bytes = Buffer.concat(parts.stdout);
  // 100 MB are looked at as bytes.
  const stdout = bytes.length > 10_000_000 ? '' : bytes.toString();
  return { code, stdout, stderr: Buffer.concat(parts.stderr).toString(), bytes };
}

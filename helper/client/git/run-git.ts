/** The user's own git, on the user's own repositories, with the user's rights: no hook runs, nothing is fetched from elsewhere. */
import { spawn } from 'node:child_process';
import { TeleportError } from '../../protocol/errors.ts';

export interface GitOptions {
  /** Left out: none. */
  repository?: string;
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  /** Who it runs as, where that is not who we are. */
  as?: { uid: number; gid: number };
  input?: AsyncIterable<Buffer> | string;
  signal?: AbortSignal;
}

export interface GitDone {
  code: number;
  stdout: string;
  stderr: string;
}

const SETTINGS = [
  'core.hooksPath=/dev/null',
  'core.fsmonitor=false',
  'fetch.fsckObjects=true',
  'transfer.fsckObjects=true',
  'fetch.recurseSubmodules=false',
  'fetch.writeCommitGraph=false',
  'gc.auto=0',
  'maintenance.auto=false',
  'protocol.allow=never',
  'protocol.file.allow=always',
  'safe.bareRepository=explicit',
].flatMap((setting) => ['-c', setting]);

/** @throws TeleportError `noGit`, `cancelled`. A failure of git is an answer. */
export async function runGit(argv: string[], options: GitOptions = {}): Promise<GitDone> {
  const env = cleanEnv(options.env ?? process.env);
  if (options.repository !== undefined) env.GIT_DIR = options.repository;
  // Whoever gives up their rights has no settings of their own there.
  if (options.as) Object.assign(env, { HOME: '/nonexistent', XDG_CONFIG_HOME: '', GIT_CONFIG_GLOBAL: '/dev/null' });
  try {
    return await spawned([...SETTINGS, ...argv], env, options);
  } catch (error) {
    if (options.signal?.aborted) throw new TeleportError('cancelled', 'cancelled');
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    throw new TeleportError('noGit', 'git is not installed here', { hint: 'install it, and try again', cause: error });
  }
}

/** Of many lines the one that says why: git ends with what followed from it. */
export function firstComplaint(stderr: string): string {
  const lines = stderr.split('\n').filter((line) => /^(error|fatal): /.test(line));
  return (lines[0] ?? stderr.trim().split('\n')[0] ?? '').replace(/^(error|fatal): /, '') || 'it gave no reason';
}

function spawned(argv: string[], env: NodeJS.ProcessEnv, { cwd, as, input, signal }: GitOptions): Promise<GitDone> {
  return new Promise((resolve, reject) => {
    const child = spawn('git', argv, { cwd: cwd ?? '/', env, signal, ...as, stdio: ['pipe', 'pipe', 'pipe'] });
    const out: Buffer[] = [];
    let stderr = '';
    child.stdout.on('data', (data: Buffer) => out.push(data));
    child.stderr.on('data', (data: Buffer) => {
      stderr = (stderr + data.toString()).slice(-16_384);
    });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code: code ?? 1, stdout: Buffer.concat(out).toString(), stderr }));
    // What it does not want to hear it says itself, and by its exit code.
    child.stdin.on('error', () => {});
    if (typeof input === 'string' || input === undefined) child.stdin.end(input ?? '');
    else
      feed(child.stdin, input).catch((error) => {
        child.kill();
        reject(error);
      });
  });
}

async function feed(stdin: NodeJS.WritableStream, input: AsyncIterable<Buffer>): Promise<void> {
  for await (const part of input)
    if (!stdin.write(part))
      await new Promise<void>((go) => {
        stdin.once('drain', go);
        stdin.once('close', go);
      });
  stdin.end();
}

/** Where the user's own settings are. */
const KEPT = new Set(['GIT_CONFIG_GLOBAL', 'GIT_CONFIG_SYSTEM', 'GIT_CONFIG_NOSYSTEM']);

/** Without what would point it at other repositories, or make it ask somebody. */
function cleanEnv(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const kept = Object.entries(env).filter(([name]) => !name.startsWith('GIT_') || KEPT.has(name));
  return {
    ...Object.fromEntries(kept),
    LC_ALL: 'C',
    GIT_TERMINAL_PROMPT: '0',
    GIT_NO_LAZY_FETCH: '1',
    GIT_OPTIONAL_LOCKS: '0',
  };
}

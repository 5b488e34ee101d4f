/** Programs that do what root must not do for a user: they run with that user's rights, so the kernel says what they may. */
import { spawn } from 'node:child_process';
import type { Owner } from './owner.ts';

export interface Done {
  code: number;
  stdout: Buffer;
  stderr: string;
}

interface Options {
  cwd?: string;
  signal?: AbortSignal;
  /** Takes its output as it comes; `stdout` of the answer is empty then. */
  onOutput?: (part: Buffer) => void;
}

export function asCaller(owner: Owner, argv: string[], options: Options = {}): Promise<Done> {
  // setpriv sets the groups too, which spawn's uid and gid would leave as root's.
  const groups = owner.groups.length ? ['--groups', owner.groups.join(',')] : ['--clear-groups'];
  const drop = ['setpriv', '--reuid', String(owner.uid), '--regid', String(owner.gid), ...groups, '--', ...argv];
  return new Promise((resolve, reject) => {
    const child = spawn(drop[0]!, drop.slice(1), {
      cwd: options.cwd ?? '/',
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C.UTF-8' },
      stdio: ['ignore', 'pipe', 'pipe'],
      signal: options.signal,
    });
    const out: Buffer[] = [];
    let stderr = '';
    child.stdout.on('data', options.onOutput ?? ((part: Buffer) => out.push(part)));
    child.stderr.on('data', (part: Buffer) => {
      if (stderr.length < 4000) stderr += part.toString();
    });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code: code ?? 1, stdout: Buffer.concat(out), stderr: stderr.trim() }));
  });
}

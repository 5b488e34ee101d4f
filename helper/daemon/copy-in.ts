/**
 * The workspace's way in. It is read with the caller's rights, by programs that run as the caller: so nothing gets in that
 * they could not read, and no trick with links makes root read it for them.
 */
import { spawn } from 'node:child_process';
import { chmodSync, chownSync } from 'node:fs';
import { join } from 'node:path';
import { makeLike, opaque } from '../engine/skeleton.ts';
import { TeleportError } from '../protocol/errors.ts';
import type { Owner } from './owner.ts';

/** Places that are the system's: a copy of one of them as a workspace could not stand at its own path. */
const SYSTEM = [
  '/',
  '/dev',
  '/proc',
  '/sys',
  '/run',
  '/usr',
  '/bin',
  '/sbin',
  '/lib',
  '/lib64',
  '/etc',
  '/boot',
  '/tmp',
  '/var',
  '/home',
  '/.teleport-env',
];

/** @throws TeleportError `invalidRequest`, `workspaceNotFolder` */
export function checkWorkspacePath(path: string): void {
  if (!path.startsWith('/') || path.split('/').some((p) => p === '..' || p === '.') || path.includes('\0'))
    throw new TeleportError('invalidRequest', 'a workspace is named by its absolute path, without . and .. parts');
  const clean = path.replace(/\/+$/, '') || '/';
  if (SYSTEM.includes(clean) || /^\/(dev|proc|sys|\.teleport-env)\//.test(clean))
    throw new TeleportError('workspaceNotFolder', `${clean} is a folder of the system, not a workspace`, {
      hint: 'choose a project folder',
    });
}

interface Done {
  code: number;
  stdout: Buffer;
  stderr: string;
}

/** Runs a program as the caller. */
function asCaller(owner: Owner, argv: string[], options: { cwd?: string; signal?: AbortSignal } = {}): Promise<Done> {
  // setpriv sets the groups too, which spawn's uid and gid would leave as root's.
  const groups = owner.groups.length ? ['--groups', owner.groups.join(',')] : ['--clear-groups'];
  const drop = ['setpriv', '--reuid', String(owner.uid), '--regid', String(owner.gid), ...groups, '--', ...argv];
  return new Promise((resolve, reject) => {
    const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C.UTF-8' };
    const child = spawn(drop[0]!, drop.slice(1), {
      cwd: options.cwd ?? '/',
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      signal: options.signal,
    });
    const out: Buffer[] = [];
    let stderr = '';
    child.stdout.on('data', (d: Buffer) => out.push(d));
    child.stderr.on('data', (d: Buffer) => {
      if (stderr.length < 4000) stderr += d.toString();
    });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code: code ?? 1, stdout: Buffer.concat(out), stderr: stderr.trim() }));
  });
}

/** Copies the workspace into `layer` at its own path. @returns how many entries */
export async function copyIn(
  owner: Owner,
  workspace: string,
  layer: string,
  options: {
    base: string;
    exclude: string[];
    progress: (message: string, done?: number, total?: number) => void;
    signal?: AbortSignal;
  },
): Promise<void> {
  const source = workspace.replace(/\/+$/, '');
  const kind = await asCaller(owner, ['stat', '-L', '-c', '%F %a %u %g', '--', source]);
  if (kind.code !== 0)
    throw /No such file/.test(kind.stderr)
      ? new TeleportError('workspaceMissing', `there is no folder ${source}`)
      : new TeleportError('workspaceUnreadable', `${source} cannot be read: ${firstLine(kind.stderr)}`);
  if (!kind.stdout.toString().startsWith('directory'))
    throw new TeleportError('workspaceNotFolder', `${source} is not a folder`, {
      hint: 'name the folder that it is in',
    });
  const names = await asCaller(owner, ['find', `${source}/`, '-mindepth', '1', '-maxdepth', '1', '-printf', '%f\\0']);
  if (names.code !== 0)
    throw new TeleportError('workspaceUnreadable', `${source} cannot be read: ${firstLine(names.stderr)}`);

  makeLike(layer, options.base, source);
  const target = join(layer, source);
  opaque(target);
  const [mode, uid, gid] = kind.stdout.toString().trim().split(' ').slice(-3) as [string, string, string];
  chownSync(target, owner.uid, owner.gid);
  const wanted = splitNul(names.stdout).filter((name) => !options.exclude.includes(name.toString()));
  options.progress('copying the workspace', 0, wanted.length);
  for (let at = 0; at < wanted.length; at += 500) {
    const part = wanted.slice(at, at + 500).map((name) => `${source}/${name}`);
    const args = ['cp', '-a', '--reflink=auto', '-t', '.', '--', ...part];
    const copied = await asCaller(owner, args, { cwd: target, signal: options.signal });
    if (copied.code !== 0) throw explainCopy(source, copied.stderr);
    options.progress('copying the workspace', Math.min(at + 500, wanted.length), wanted.length);
  }
  chownSync(target, Number(uid), Number(gid));
  chmodSync(target, Number.parseInt(mode, 8));
}

function explainCopy(source: string, stderr: string): TeleportError {
  if (/No space left/.test(stderr))
    return new TeleportError('volumeFull', `${source} does not fit into the state volume`, {
      hint: 'leave folders out (--exclude), or free space with teleport-env gc',
    });
  return new TeleportError('workspaceUnreadable', `${source} could not be copied: ${firstLine(stderr)}`, {
    hint: 'leave that out with --exclude, or make it readable',
  });
}

function firstLine(text: string): string {
  return text.split('\n')[0] ?? '';
}

/** Names may be any bytes; as latin1 would break them for cp, those that are not UTF-8 stop us by name. */
function splitNul(bytes: Buffer): string[] {
  const names: string[] = [];
  let start = 0;
  for (let end = bytes.indexOf(0); end >= 0; end = bytes.indexOf(0, start)) {
    const raw = bytes.subarray(start, end);
    const name = raw.toString('utf8');
    if (!Buffer.from(name).equals(raw))
      throw new TeleportError(
        'workspaceUnreadable',
        `the name ${JSON.stringify(raw.toString('latin1'))} is not UTF-8`,
        {
          hint: 'rename it, or put it in a folder: only names at the top of the workspace must be UTF-8',
        },
      );
    names.push(name);
    start = end + 1;
  }
  return names;
}

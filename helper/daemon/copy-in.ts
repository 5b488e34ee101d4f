/**
 * The workspace's way in. It is read with the caller's rights, by programs that run as the caller: so nothing gets in that
 * they could not read, and no trick with links makes root read it for them.
 */
import { chownSync, fchmodSync, fchownSync } from 'node:fs';
import { join } from 'node:path';
import { asUser } from '../engine/as-user.ts';
import { close, lastTimes, OPEN_PATH, openBeneath, openRoot, setTimesOf, statOf } from '../engine/at.ts';
import { cBytes, check, libc } from '../engine/libc.ts';
import { makeLike, opaque } from '../engine/skeleton.ts';
import { copyXattrs } from '../engine/xattrs.ts';
import { TeleportError } from '../protocol/errors.ts';
import { asCaller } from './as-caller.ts';
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

const AT_EMPTY_PATH = 0x1000;
/** Between two words on how far the copy is. */
const TELL_MS = 100;

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

export interface Copying {
  base: string;
  progress: (message: string, done?: number, total?: number) => void;
  signal?: AbortSignal;
}

/** Copies a folder into `layer` at its own path: modes, times, owners, links, xattrs and holes as they are. */
export async function copyIn(
  owner: Owner,
  folder: string,
  layer: string,
  options: Copying & { exclude: string[]; doing: string },
): Promise<void> {
  const source = folder.replace(/\/+$/, '');
  const kind = await asCaller(owner, ['stat', '-L', '-c', '%F', '--', source]);
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
  chownSync(target, owner.uid, owner.gid);
  const wanted = splitNul(names.stdout)
    .filter((name) => !options.exclude.includes(name.toString()))
    .map((name) => `${source}/${name}`);
  const batches = batchesOf(wanted);
  const { total, foreign } = await survey(owner, source, batches);
  let done = 0;
  let told = 0;
  const tell = () => options.progress(options.doing, Math.min(done, total), total);
  // One line an entry: names are quoted, so none has a second.
  const count = (part: Buffer) => {
    for (const byte of part) if (byte === 0x0a) done++;
    if (performance.now() - told < TELL_MS) return;
    told = performance.now();
    tell();
  };
  tell();
  for (const batch of batches) {
    const args = ['cp', '-a', '-v', '--reflink=auto', '-t', '.', '--', ...batch];
    const copied = await asCaller(owner, args, { cwd: target, signal: options.signal, onOutput: count });
    if (copied.code !== 0) throw explainCopy(source, copied.stderr);
  }
  tell();
  finish(owner, source, target, foreign);
}

/** Hard links are kept among what one program copies: so as much as fits (a command line takes 2 MB as a rule, 8 bytes a pointer). */
function batchesOf(paths: string[], most = 1_000_000): string[][] {
  const batches: string[][] = [];
  let size = most;
  for (const path of paths) {
    const bytes = Buffer.byteLength(path) + 9;
    if (size + bytes > most) {
      batches.push([]);
      size = 0;
    }
    batches.at(-1)!.push(path);
    size += bytes;
  }
  return batches;
}

/** Somebody else's file in the workspace, by its path there as latin1 bytes. */
interface Foreign {
  uid: number;
  gid: number;
  path: string;
}

/** How many entries there are, and which of them a copy made by the caller would not give their owner. */
async function survey(
  owner: Owner,
  source: string,
  batches: string[][],
): Promise<{ total: number; foreign: Foreign[] }> {
  const own = ['(', '-uid', String(owner.uid), '-gid', String(owner.gid), '-printf', '\\0', ')'];
  const foreign: Foreign[] = [];
  let total = 0;
  for (const batch of batches) {
    // What it can't read, cp can't either, and says so better.
    const { stdout } = await asCaller(owner, ['find', ...batch, ...own, '-o', '-printf', '%U %G %p\\0']);
    for (const entry of stdout.toString('latin1').split('\0').slice(0, -1)) {
      total++;
      const [, uid, gid, path] = /^(\d+) (\d+) (.*)$/s.exec(entry) ?? [];
      if (path) foreign.push({ uid: Number(uid), gid: Number(gid), path: path.slice(Buffer.byteLength(source) + 1) });
    }
  }
  return { total, foreign: owner.uid === 0 ? [] : foreign };
}

/**
 * What the caller's own copy could not do: owners that are not the caller (a set-id bit of theirs is dropped, as by any
 * copy), and the attributes of the folder itself.
 */
function finish(owner: Owner, source: string, target: string, foreign: Foreign[]): void {
  const to = openRoot(target);
  try {
    for (const { uid, gid, path } of foreign) {
      const fd = openBeneath(to, path, OPEN_PATH);
      if (fd === null) continue;
      const result = libc().fchownat(fd, cBytes(''), uid, gid, AT_EMPTY_PATH);
      close(fd);
      check(result, 'fchownat', path);
    }
    const from = asUser(owner, () => openRoot(source));
    try {
      const { uid, gid, mode } = statOf(from);
      const times = lastTimes();
      fchownSync(to, uid, gid);
      fchmodSync(to, mode & 0o7777);
      copyXattrs(from, to, (name) => name.startsWith('user.') || name.startsWith('system.posix_acl'));
      setTimesOf(to, times);
    } finally {
      close(from);
    }
  } finally {
    close(to);
  }
}

function explainCopy(source: string, stderr: string): TeleportError {
  if (/No space left/.test(stderr))
    return new TeleportError('volumeFull', `${source} does not fit into the state volume`, {
      hint: 'leave folders out (--exclude), or free space with teleport-env gc --keep 10',
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

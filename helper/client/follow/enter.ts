/** What was saved in the workspace enters the head, unless the sandbox has something of its own there. */
import { createHash } from 'node:crypto';
import { open, readdir } from 'node:fs/promises';
import { join, posix } from 'node:path';
import type { FollowConflict } from '../../protocol/bridge.ts';
import { type ErrorCode, TeleportError } from '../../protocol/errors.ts';
import type { FileStat, Sandbox } from '../../protocol/model.ts';
import { type Changed, each } from '../apply/changed.ts';
import { type Fact, neverApplied, type Snapshot } from '../apply/facts.ts';
import { gatherFacts, lstatOrNull } from '../apply/gather.ts';
import { type Options, ROOT } from '../apply/index.ts';
import { type Place, remotePlace } from '../apply/place.ts';
import { readApplied, writeApplied } from '../apply/record.ts';
import type { Requester } from '../connection.ts';
import { judgeEntering } from './decide.ts';

/** Bytes of one `file/write`. */
const PART = 8 << 20;
/** Windows has none of its own: those inside stay as they are. */
const KEEPS_MODES = process.platform !== 'win32';
/** A folder that was put into the workspace with more in it than that is no save. */
const MOST = 20_000;

export interface Entered {
  entered: string[];
  conflicts: FollowConflict[];
  /** All that were looked at. */
  paths: string[];
}

/** @throws TeleportError `notRunning` */
export async function enterHead(
  helper: Requester,
  sandbox: Sandbox,
  dir: string,
  asked: string[],
  force: boolean,
  { env = process.env, signal }: Options,
): Promise<Entered> {
  const { id, workspace } = sandbox;
  const root = remotePlace(helper, id, ROOT, signal);
  const head = remotePlace(helper, id, 'head', signal);
  const paths = new Map<string, Changed>();
  await each(await expand(asked, sandbox, dir, head), async (path) => {
    const inside = posix.join(workspace, path);
    const [before, after] = await Promise.all([root.stat(inside), head.stat(inside)]);
    paths.set(path, { before, after });
  });
  const applied = await readApplied(sandbox, dir, env);
  const sides = { workspace, dir, before: root, after: head, applied };
  const facts = await gatherFacts({ paths, left: new Map() }, sides);
  const result: Entered = { entered: [], conflicts: [], paths: [...paths.keys()] };
  const to = (path: string) => ({ sandbox: id, path: posix.join(workspace, path) });
  for (const fact of inOrder(facts)) {
    signal?.throwIfAborted();
    const verdict = judgeEntering(fact, force);
    if (typeof verdict === 'object') {
      result.conflicts.push(verdict);
      continue;
    }
    const ours = fact.ours as Snapshot | null;
    try {
      const stat = paths.get(fact.path)?.after ?? null;
      applied.set(
        fact.path,
        verdict === 'same' ? ours : await write(helper, to, fact, ours, join(dir, fact.path), stat),
      );
      if (verdict === 'enter') result.entered.push(fact.path);
    } catch (error) {
      if (!(error instanceof TeleportError) || error.code === 'notRunning' || error.code === 'noHelper') throw error;
      result.conflicts.push({ path: fact.path, kind: 'changed', ...whyNot(error) });
    }
  }
  await writeApplied(sandbox, dir, applied, env);
  return result;
}

function whyNot({ code, message }: TeleportError): Pick<FollowConflict, 'reason' | 'message'> {
  if (code === 'conflicts') return { reason: 'changed' };
  if (code === 'folderNotEmpty' || code === 'notAFile' || code === 'notADirectory') return { reason: 'type' };
  return { reason: 'failed', message };
}

/** Deletions first and from the bottom, then from the top. */
function inOrder(facts: Fact[]): Fact[] {
  const down = [...facts].sort((a, b) => (a.path < b.path ? -1 : 1));
  return [...down.filter((f) => f.ours === null).reverse(), ...down.filter((f) => f.ours !== null)];
}

/** Folders with what is in them, here or there. What never enters is left out. */
async function expand(asked: string[], { workspace, exclude = [] }: Sandbox, dir: string, head: Place) {
  const found = new Set<string>();
  const queue = asked.map((path) => posix.normalize(path));
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    if (path.startsWith('../') || path.startsWith('/') || path === '.' || path === '..') continue;
    if (found.has(path) || neverApplied(path) !== null || exclude.includes(path.split('/')[0]!)) continue;
    found.add(path);
    if (found.size > MOST)
      throw new TeleportError('invalidRequest', `more than ${MOST} files: too many to enter the sandbox one by one`, {
        hint: 'copy the folder in with teleport-env exec, or make the sandbox anew',
      });
    const inside = posix.join(workspace, path);
    const local = await lstatOrNull(join(dir, path));
    const names = local?.isDirectory() ? await readdir(join(dir, path)) : [];
    if ((await head.stat(inside))?.type === 'folder') for (const { name } of await head.list(inside)) names.push(name);
    for (const name of names) queue.push(`${path}/${name}`);
  }
  return [...found];
}

type To = (path: string) => { sandbox: string; path: string };

/** @returns what both have now */
async function write(
  helper: Requester,
  to: To,
  { path, theirs }: Fact,
  ours: Snapshot | null,
  local: string,
  stat: FileStat | null,
): Promise<Snapshot | null> {
  const inPlace = theirs && ours && theirs.type === ours.type && ours.type !== 'symlink';
  if (theirs && !inPlace) await unless('unknownPath', helper.request('file/remove', to(path)));
  if (ours?.type === 'folder') {
    if (!inPlace)
      await inFolder(helper, to, path, () => helper.request('file/mkdir', { ...to(path), mode: ours.mode }));
  } else if (ours?.type === 'symlink') {
    const target = ours.key.slice('symlink:'.length);
    await inFolder(helper, to, path, () => helper.request('file/symlink', { ...to(path), target }));
  } else if (ours?.type === 'file') return await send(helper, to, path, ours, local, inPlace ? stat : null);
  return ours;
}

/** A file in parts. The first one says what was there, so that a write inside meanwhile is not lost. */
async function send(helper: Requester, to: To, path: string, ours: Snapshot, local: string, was: FileStat | null) {
  const file = await open(local, 'r');
  const hash = createHash('sha256');
  try {
    let offset = 0;
    const { size } = await file.stat();
    for (;;) {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(Math.min(PART, Math.max(size - offset, 0))), 0);
      const part = buffer.subarray(0, bytesRead);
      hash.update(part);
      const last = offset + part.length >= size || part.length === 0;
      const first = offset === 0 ? { expected: was && { size: was.size, mtimeMs: was.mtimeMs } } : {};
      const data = part.toString('base64');
      // The last one sets permissions: they may forbid to write on.
      const more = { offset, data, truncate: last, ...(last && KEEPS_MODES ? { mode: ours.mode } : {}), ...first };
      await inFolder(helper, to, path, () => helper.request('file/write', { ...to(path), ...more }));
      offset += part.length;
      if (last) return { type: 'file' as const, mode: ours.mode, size: offset, key: `file:${hash.digest('hex')}` };
    }
  } finally {
    await file.close();
  }
}

/** Makes the folders on the way where they are missing. */
async function inFolder(helper: Requester, to: To, path: string, act: () => Promise<unknown>): Promise<void> {
  try {
    await act();
  } catch (error) {
    const parts = path.split('/').slice(0, -1);
    if (!(error instanceof TeleportError) || error.code !== 'unknownPath' || parts.length === 0) throw error;
    for (let i = 1; i <= parts.length; i++)
      await unless('pathExists', helper.request('file/mkdir', to(parts.slice(0, i).join('/'))));
    await act();
  }
}

async function unless(code: ErrorCode, work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!(error instanceof TeleportError) || error.code !== code) throw error;
  }
}

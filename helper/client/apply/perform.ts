/**
 * Does what a plan says. All new content is first brought into a folder of its own inside the target, so that a full disk
 * or a lost connection is noticed before anything is changed; then every file appears whole, by a rename.
 */
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { chmod, copyFile, lchown, lstat, mkdir, rename, rm, rmdir, symlink, unlink } from 'node:fs/promises';
import { dirname, join, posix } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { PlannedChange } from '../../protocol/bridge.ts';
import { TeleportError } from '../../protocol/errors.ts';
import type { Snapshot } from './facts.ts';
import { lstatOrNull, stampOf } from './gather.ts';
import type { Place } from './place.ts';
import { compare, forcible, type Plan, type Step } from './plan.ts';
import { besideIn, makeStaging } from './staging.ts';

export interface PerformOptions {
  dir: string;
  /** The workspace's path inside the sandbox, and whose files are read there. */
  workspace: string;
  place: Place;
  /** Only these; left out: all. */
  paths?: string[];
  /** Overwrite these in spite of their conflict. */
  force?: boolean | string[];
  onProgress?: (message: string, done: number, total: number) => void;
  signal?: AbortSignal;
}

export interface Performed {
  applied: PlannedChange[];
  /** Left alone because of a conflict. */
  conflicts: PlannedChange[];
  failed: { path: string; message: string }[];
  /** What the workspace has in common with the sandbox now, by path. */
  agreed: Map<string, Snapshot | null>;
}

interface Staged extends Step {
  /** The new content, waiting in the staging folder. */
  file?: string;
  result: Snapshot | null;
}

/** @throws TeleportError `workspaceUnwritable`, or what reading the sandbox failed with; then nothing was changed. */
export async function performApply(plan: Plan, options: PerformOptions): Promise<Performed> {
  const done: Performed = { applied: [], conflicts: [], failed: [], agreed: new Map(plan.agreed) };
  const chosen = choose(plan, options, done);
  if (chosen.length === 0) return done;
  const staging = await makeStaging(options.dir);
  try {
    const staged: Staged[] = [];
    for (const step of chosen) {
      options.signal?.throwIfAborted();
      options.onProgress?.(step.change.path, staged.length, chosen.length);
      staged.push(await stage(step, join(staging, String(staged.length)), options));
    }
    await commit(staged, options, done);
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
  return done;
}

function choose(plan: Plan, { paths, force = false }: PerformOptions, done: Performed): Step[] {
  const wanted = paths && new Set(paths);
  const forced = (change: PlannedChange) =>
    forcible(change) && (typeof force === 'boolean' ? force : force.includes(change.path));
  const steps = wanted ? plan.steps.filter((step) => wanted.has(step.change.path)) : plan.steps;
  return steps.filter(({ change }) => {
    if (change.conflict === null || forced(change)) return true;
    done.conflicts.push(change);
    return false;
  });
}

async function stage(step: Step, file: string, { workspace, place }: PerformOptions): Promise<Staged> {
  const { change, theirs } = step;
  if (change.kind === 'mode' || !theirs) return { ...step, result: theirs };
  if (theirs.type === 'symlink') {
    await symlink(theirs.key.slice('symlink:'.length), file);
    return { ...step, file, result: theirs };
  }
  if (theirs.type !== 'file') return { ...step, result: theirs };
  const hash = createHash('sha256');
  let size = 0;
  async function* seen(parts: AsyncIterable<Buffer>): AsyncIterable<Buffer> {
    for await (const part of parts) {
      hash.update(part);
      size += part.length;
      yield part;
    }
  }
  const content = place.read(posix.join(workspace, change.path));
  await pipeline(content, seen, createWriteStream(file, { mode: 0o600 })).catch(explain);
  await chmod(file, theirs.mode);
  return { ...step, file, result: { type: 'file', key: `file:${hash.digest('hex')}`, mode: theirs.mode, size } };
}

function explain(error: NodeJS.ErrnoException): never {
  if (error.code !== 'ENOSPC' && error.code !== 'EDQUOT') throw error;
  throw new TeleportError(
    'workspaceUnwritable',
    `nothing was applied, the workspace's disk is full: ${error.message}`,
    {
      hint: 'make room there, apply to another folder with --to, or make a patch with --patch',
      cause: error,
    },
  );
}

/** Deletions first (deepest first), then folders, then the rest, then permissions that could have stood in the way. */
async function commit(staged: Staged[], options: PerformOptions, done: Performed): Promise<void> {
  const down = [...staged].sort((a, b) => compare(a.change.path, b.change.path));
  const up = [...down].reverse();
  const failed = new Set<Staged>();
  const attempt = async (step: Staged, act: () => Promise<void>) => {
    if (failed.has(step)) return;
    try {
      await act();
    } catch (error) {
      failed.add(step);
      if (error instanceof WrittenSince) done.conflicts.push({ ...step.change, conflict: 'changed' });
      else done.failed.push({ path: step.change.path, message: (error as Error).message });
    }
  };
  for (const step of up) await attempt(step, () => clear(step, options.dir));
  for (const step of down) if (step.result?.type === 'folder') await attempt(step, () => makeFolder(step, options.dir));
  for (const step of down) if (step.file !== undefined) await attempt(step, () => put(step, step.file!, options.dir));
  for (const step of up)
    if (step.result && step.result.type !== 'symlink' && step.file === undefined)
      await attempt(step, () => chmod(join(options.dir, step.change.path), step.result!.mode));
  for (const step of down) {
    if (failed.has(step)) continue;
    done.applied.push(step.change);
    done.agreed.set(step.change.path, step.result);
    if (step.change.from !== undefined) done.agreed.set(step.change.from, null);
  }
}

/** The workspace's file was written between the plan and now. */
class WrittenSince extends Error {}

/** Takes away what has to go before the new can come. */
async function clear({ change, ours, result, fromOurs }: Staged, dir: string): Promise<void> {
  if (change.from !== undefined) {
    await assertReal(dir, change.from);
    await assertUnchanged(join(dir, change.from), fromOurs ?? null);
  }
  if (!ours) return;
  await assertReal(dir, change.path);
  const path = join(dir, change.path);
  await assertUnchanged(path, ours);
  if (change.kind === 'mode' || (ours.type === 'folder' && result?.type === 'folder')) return;
  if (ours.type === 'folder') await removeFolder(path, result === null);
  else if (result === null || result.type === 'folder') await unlink(path);
}

async function removeFolder(path: string, mayStay: boolean): Promise<void> {
  try {
    await rmdir(path);
  } catch (error) {
    // It holds files that the sandbox never knew of: they stay, and so does their folder.
    if (!mayStay || !['ENOTEMPTY', 'EEXIST'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}

async function makeFolder({ change, ours }: Staged, dir: string): Promise<void> {
  if (ours?.type === 'folder') return;
  await assertReal(dir, change.path);
  const path = join(dir, change.path);
  // Its own permissions come last: they may forbid to write into it.
  await mkdir(path, { mode: 0o700 });
  await keepOwner(path, dirname(path));
}

async function put({ change, ours }: Staged, file: string, dir: string): Promise<void> {
  await assertReal(dir, change.path, true);
  const path = join(dir, change.path);
  await assertUnchanged(path, ours?.type === 'folder' ? null : ours);
  await keepOwner(file, ours ? path : dirname(path));
  await rename(file, path).catch((error) => acrossDevices(error, file, change.path, dir));
  if (change.from !== undefined) await unlink(join(dir, change.from));
}

/** A mount point inside the workspace: copy beside, then rename there. */
async function acrossDevices(error: NodeJS.ErrnoException, file: string, path: string, dir: string): Promise<void> {
  if (error.code !== 'EXDEV') throw error;
  const stat = await lstat(file);
  if (!stat.isFile()) throw error;
  const beside = await besideIn(dirname(path), dir, dirname(file));
  try {
    await copyFile(file, beside);
    await chmod(beside, stat.mode & 0o777);
    await keepOwner(beside, file);
    await rename(beside, join(dir, path));
  } finally {
    await rm(beside, { force: true });
  }
}

/** Root applies to somebody's workspace: what it writes stays theirs. */
async function keepOwner(path: string, like: string): Promise<void> {
  if (process.getuid?.() !== 0) return;
  const { uid, gid } = (await lstatOrNull(like)) ?? {};
  if (uid !== undefined && gid !== undefined && (uid !== 0 || gid !== 0)) await lchown(path, uid, gid);
}

/** Every folder on the way is a real one: no symlink leads out of the workspace. */
async function assertReal(dir: string, path: string, make = false): Promise<void> {
  const parts = path.split('/').slice(0, -1);
  for (let i = 1; i <= parts.length; i++) {
    const parent = join(dir, ...parts.slice(0, i));
    const stat = await lstatOrNull(parent);
    // What the sandbox has as a folder already may be missing here: the user deleted it.
    if (!stat && make) await mkdir(parent);
    else if (!stat) return;
    else if (!stat.isDirectory()) throw new Error(`${parts.slice(0, i).join('/')} is not a folder here`);
  }
}

async function assertUnchanged(path: string, ours: Snapshot | null): Promise<void> {
  const stat = await lstatOrNull(path);
  if (!stat !== !ours) throw new WrittenSince();
  if (stat && ours?.stamp !== undefined && stampOf(stat) !== ours.stamp) throw new WrittenSince();
}

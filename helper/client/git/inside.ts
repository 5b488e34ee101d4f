/**
 * The repository in a sandbox, read as files: none of its programs, hooks or settings has a say. Where it lies is known from the
 * moment when the sandbox was made; what was bent elsewhere since is refused.
 */
import { posix } from 'node:path';
import { TeleportError } from '../../protocol/errors.ts';
import type { Change } from '../../protocol/model.ts';
import { each } from '../apply/changed.ts';
import { type Place, readWhole } from '../apply/place.ts';
import { type Refs, readRefs } from './refs.ts';
import { gitdirIn } from './repository.ts';
import { submodulePaths } from './submodules.ts';

/** Inside the sandbox. */
export interface Inside {
  dir: string;
  common: string;
}

/** A ref's file, HEAD, a `.git` file: lines. Larger ones are no such thing. */
const LARGEST_LINE = 4096;
const LARGEST_LIST = 64 << 20;

/**
 * @param root the sandbox as it was made
 * @param modules where git keeps a submodule that was first checked out inside
 * @throws TeleportError `notARepository`, `gitRefused`
 */
export async function findInside(
  workspace: string,
  root: Place,
  now: Place,
  modules?: string,
): Promise<{ now: Inside; root: Inside | null }> {
  const [then, here] = [await locate(workspace, root), await locate(workspace, now)];
  if (!here)
    throw new TeleportError('notARepository', `there is no git repository at ${workspace} in the sandbox`, {
      hint: 'git init, inside, makes one',
    });
  const isModule = !then && modules !== undefined && here.dir === here.common && here.dir.startsWith(`${modules}/`);
  const own = posix.join(workspace, '.git');
  const expected = then ?? (isModule ? here : { dir: own, common: own });
  if (here.dir !== expected.dir || here.common !== expected.common)
    throw new TeleportError(
      'gitRefused',
      `.git leads to ${here.common} in the sandbox, which it did not when it was made`,
      {
        hint: `inside, let it be the folder of the repository again`,
      },
    );
  return { now: here, root: then };
}

async function locate(workspace: string, place: Place): Promise<Inside | null> {
  const path = posix.join(workspace, '.git');
  const stat = await place.stat(path);
  let dir: string | null = null;
  if (stat?.type === 'folder') dir = path;
  else if (stat?.type === 'symlink') dir = posix.resolve(workspace, stat.target ?? '');
  else if (stat?.type === 'file') dir = gitdirIn((await line(place, path)) ?? '');
  if (dir === null) return null;
  dir = posix.resolve(workspace, dir);
  if ((await place.stat(dir))?.type !== 'folder') return null;
  const common = await line(place, posix.join(dir, 'commondir'));
  return { dir, common: common === null ? dir : posix.resolve(dir, common.trim()) };
}

/** @throws TeleportError `gitRefused` where names are kept in a way that we can't read */
export async function refsInside({ dir, common }: Inside, place: Place): Promise<Refs> {
  if ((await place.stat(posix.join(common, 'reftable')))?.type === 'folder')
    throw new TeleportError('gitRefused', 'the repository in the sandbox keeps its names as reftable', {
      hint: 'inside: git refs migrate --ref-format=files',
    });
  const loose = new Map<string, string>();
  const walk = async (name: string): Promise<void> => {
    const stat = await place.stat(posix.join(common, name));
    if (stat?.type === 'file') loose.set(name, (await line(place, posix.join(common, name))) ?? '');
    if (stat?.type !== 'folder') return;
    await each(await place.list(posix.join(common, name)), async (entry) => {
      const path = `${name}/${entry.name}`;
      if (entry.stat.type === 'folder') await walk(path);
      else if (entry.stat.type === 'file') loose.set(path, (await line(place, posix.join(common, path))) ?? '');
    });
  };
  for (const name of ['refs/heads', 'refs/tags', 'refs/stash']) await walk(name);
  const packed = await textOf(place, posix.join(common, 'packed-refs'), LARGEST_LIST);
  return readRefs(loose, packed ?? '', (await line(place, posix.join(dir, 'HEAD'))) ?? '');
}

/** Files of objects by their path below `objects/`. */
export interface ObjectFiles {
  loose: string[];
  packs: string[];
}

/** Those that came since the sandbox was made, from what changed below its `objects/`. */
export async function newObjects(changes: Change[], common: string, place: Place): Promise<ObjectFiles> {
  const objects = posix.join(common, 'objects');
  const files = emptyFiles();
  await each(changes, async ({ kind, path, type }) => {
    if (kind === 'deleted') return;
    // A folder that came stands for all that it holds.
    if (type === 'folder') await collect(place, path, objects, files);
    else if (type === 'file') sort(path, objects, files);
  });
  return files;
}

/** All that there are. */
export async function allObjects(common: string, place: Place): Promise<ObjectFiles> {
  const objects = posix.join(common, 'objects');
  const files = emptyFiles();
  await collect(place, objects, objects, files);
  return files;
}

function emptyFiles(): ObjectFiles {
  return { loose: [], packs: [] };
}

/** Two folders deep, as git has them. */
async function collect(place: Place, path: string, objects: string, files: ObjectFiles): Promise<void> {
  if ((await place.stat(path))?.type !== 'folder') return;
  const depth = path === objects ? 0 : posix.relative(objects, path).split('/').length;
  await each(await place.list(path), async ({ name, stat }) => {
    const below = posix.join(path, name);
    if (stat.type === 'file') sort(below, objects, files);
    else if (stat.type === 'folder' && depth === 0) await collect(place, below, objects, files);
  });
}

function sort(path: string, objects: string, files: ObjectFiles): void {
  const name = posix.relative(objects, path);
  if (/^[0-9a-f]{2}\/(?:[0-9a-f]{38}|[0-9a-f]{62})$/.test(name)) files.loose.push(name);
  else if (/^pack\/pack-(?:[0-9a-f]{40}|[0-9a-f]{64})\.pack$/.test(name)) files.packs.push(name);
}

/** The paths that `.gitmodules` names there and that are checked out. */
export async function submodulesInside(workspace: string, place: Place): Promise<string[]> {
  const named = submodulePaths((await textOf(place, posix.join(workspace, '.gitmodules'), LARGEST_LIST)) ?? '');
  const isThere = async (path: string) => (await place.stat(posix.join(workspace, path, '.git'))) !== null;
  const straight = named.filter((path) => !posix.normalize(path).startsWith('..') && !posix.isAbsolute(path));
  const found = await Promise.all(straight.map(async (path) => ((await isThere(path)) ? [path] : [])));
  return found.flat();
}

async function line(place: Place, path: string): Promise<string | null> {
  return await textOf(place, path, LARGEST_LINE);
}

async function textOf(place: Place, path: string, largest: number): Promise<string | null> {
  const stat = await place.stat(path);
  if (stat?.type !== 'file' || stat.size > largest) return null;
  return (await readWhole(place, path)).toString();
}

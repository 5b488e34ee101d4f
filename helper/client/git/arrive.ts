/** Commits made in a sandbox come to the user's repository as `refs/teleport-env/SANDBOX/…`, each object checked by the user's git. */
import { stat } from 'node:fs/promises';
import { join, posix } from 'node:path';
import type { BridgeResult } from '../../protocol/bridge.ts';
import { TeleportError } from '../../protocol/errors.ts';
import type { Sandbox } from '../../protocol/model.ts';
import { shellWord } from '../../protocol/shell-word.ts';
import type { Options } from '../apply/index.ts';
import { type Place, remotePlace } from '../apply/place.ts';
import type { Requester } from '../connection.ts';
import { allObjects, findInside, type Inside, newObjects, refsInside, submodulesInside } from './inside.ts';
import { arriving, type Refs, refComponent } from './refs.ts';
import { type Repository, repositoryAround, repositoryAt } from './repository.ts';
import { firstComplaint, runGit } from './run-git.ts';
import { submodulesOf } from './submodules.ts';
import { type Rights, WAITING, WaitingRoom } from './waiting-room.ts';

/** What every sandbox starts from. */
const ROOT = 'k0';

export type Arrived = BridgeResult<'git/fetch'>;

/** The user's repository that a sandbox's commits go to, and the rights to work on it. */
export interface Target {
  sandbox: Sandbox;
  /** Its working tree inside: the workspace, or a submodule in it. */
  workspace: string;
  /** Where git keeps it inside if it is a submodule that was first checked out there. */
  modules?: string;
  /** The folder it belongs to. */
  to: string;
  /** HEAD and the index of that folder. */
  dir: string;
  /** Where its branches and objects are. */
  common: string;
  /** `refs/teleport-env/SANDBOX/` */
  prefix: string;
  rights: Rights;
}

/** @throws TeleportError `notARepository` */
export async function targetOf(
  helper: Requester,
  params: { sandbox: string; to?: string },
  options: Options = {},
): Promise<Target> {
  const { sandbox } = await helper.request('sandbox/get', { sandbox: params.sandbox }, { signal: options.signal });
  const to = params.to ?? sandbox.workspace;
  const repository = await repositoryAt(to);
  if (!repository) {
    const around = await repositoryAround(to);
    throw new TeleportError(
      'notARepository',
      around === null ? `${to} is no git repository` : `${to} is only a part of the repository ${around}`,
      { hint: around === null ? 'git init there, or name another with --to' : `make the sandbox of ${around}` },
    );
  }
  return await targetAt(sandbox, sandbox.workspace, to, repository, options);
}

async function targetAt(
  sandbox: Sandbox,
  workspace: string,
  to: string,
  { dir, common }: Repository,
  { env = process.env, signal }: Options,
): Promise<Target> {
  const { uid, gid } = await stat(common);
  // Root works on somebody's repository as that somebody: what git writes stays theirs, and what it runs has their rights.
  const as = process.getuid?.() === 0 && uid !== 0 ? { uid, gid } : undefined;
  const prefix = `refs/teleport-env/${refComponent(sandbox.name, sandbox.id)}/`;
  return { sandbox, workspace, to, dir, common, prefix, rights: { as, env, signal } };
}

/**
 * Those of the repository itself, then those of its submodules, each to its own. A submodule whose commits can't come is left, with
 * the reason: the others' do.
 * @param more further objects to bring, by name below `refs/teleport-env/SANDBOX/`
 * @throws TeleportError `notARepository`, `gitRefused`, `noGit`
 */
export async function fetchCommits(
  helper: Requester,
  target: Target,
  from: string,
  more: ReadonlyMap<string, string> = new Map(),
): Promise<{ arrived: Arrived; inside: Refs }> {
  const { sandbox, workspace, prefix, rights } = target;
  const { signal } = rights;
  const [root, now] = [ROOT, from].map((at) => remotePlace(helper, sandbox.id, at, signal)) as [Place, Place];
  const where = await findInside(workspace, root, now, target.modules);
  const [then, here] = await Promise.all([where.root && refsInside(where.root, root), refsInside(where.now, now)]);
  const before = await refsOutside(target);
  const wanted = new Map([...arriving(here, then, before.keys()), ...more]);
  if (wanted.size > 0) await carry(helper, target, where.now, now, from, wanted);
  const refs = await Promise.all(
    [...wanted].map(async ([name, commit]) => ({
      ref: prefix + name,
      commit,
      commits: await countNew(target, commit),
      moved: before.get(name) !== commit,
    })),
  );
  const reason = 'no name of a branch or tag, or it stands for nothing';
  const left = here.odd.map((name) => ({ path: name.slice(0, 4096), reason }));
  const arrived: Arrived = { to: target.to, from, refs, left };
  await addSubmodules(helper, target, from, posix.join(where.now.common, 'modules'), now, arrived);
  return { arrived, inside: here };
}

async function addSubmodules(
  helper: Requester,
  outer: Target,
  from: string,
  modules: string,
  now: Place,
  arrived: Arrived,
): Promise<void> {
  const submodules = await submodulesOf(outer, outer.to, outer.rights);
  const here = new Set(submodules.map(({ path }) => path));
  const there = await submodulesInside(outer.workspace, now);
  const unknown = 'a submodule made inside: its commits stay there until it is one here, too';
  arrived.left.push(...there.filter((path) => !here.has(path)).map((path) => ({ path, reason: unknown })));
  for (const { path, folder, repository } of submodules) {
    const workspace = posix.join(outer.workspace, path);
    if ((await now.stat(posix.join(workspace, '.git'))) === null) continue; // not checked out there: no commit was made
    if (!repository) {
      const reason = `a submodule that is not checked out here: git submodule update --init ${shellWord(path)}, then fetch again`;
      arrived.left.push({ path, reason });
      continue;
    }
    try {
      const inner = await targetAt(outer.sandbox, workspace, folder, repository, outer.rights);
      const { arrived: own } = await fetchCommits(helper, { ...inner, modules }, from);
      arrived.refs.push(...own.refs.map((ref) => ({ ...ref, submodule: join(path, ref.submodule ?? '') })));
      arrived.left.push(...own.left.map((left) => ({ ...left, path: posix.join(path, left.path) })));
    } catch (error) {
      if (!(error instanceof TeleportError) || !['gitRefused', 'notARepository'].includes(error.code)) throw error;
      arrived.left.push({ path, reason: `a submodule: ${error.message}` });
    }
  }
}

async function carry(
  helper: Requester,
  target: Target,
  { common }: Inside,
  place: Place,
  from: string,
  wanted: ReadonlyMap<string, string>,
): Promise<void> {
  const { sandbox, rights, prefix } = target;
  const objects = posix.join(common, 'objects');
  const format = await git(target, ['rev-parse', '--show-object-format']);
  const room = await WaitingRoom.open(target.common, format.trim(), rights);
  try {
    const params = { sandbox: sandbox.id, from: ROOT, to: from, path: objects };
    const { changes } = await helper.request('diff', params, { signal: rights.signal });
    await room.take(await newObjects(changes, common, place), place, objects);
    const fetch = async () => {
      if (!(await room.name(wanted))) return 'an object is missing';
      const flags = ['--no-tags', '--no-write-fetch-head', '--no-recurse-submodules', '--quiet'];
      const argv = ['fetch', ...flags, room.dir, `+${WAITING}*:${prefix}*`];
      const { code, stderr } = await runGit(argv, { ...rights, repository: target.common });
      return code === 0 ? null : firstComplaint(stderr);
    };
    let complaint = await fetch();
    if (complaint !== null && !/fsck|badTree|hasDot/i.test(complaint)) {
      // The user's repository may have lost what the sandbox began with.
      await room.take(await allObjects(common, place), place, objects);
      complaint = await fetch();
    }
    if (complaint !== null)
      throw new TeleportError('gitRefused', `git refused what ${sandbox.name} committed: ${complaint}`, {
        hint: from.startsWith('b')
          ? 'if git was at work inside, try again; inside, git fsck tells more'
          : 'inside, git fsck tells more',
      });
  } finally {
    await room.close();
  }
}

/** What arrived before, by name below the sandbox's own. */
async function refsOutside(target: Target): Promise<Map<string, string>> {
  const lines = await git(target, ['for-each-ref', '--format=%(objectname) %(refname)', target.prefix]);
  const refs = new Map<string, string>();
  for (const line of lines.split('\n')) {
    const [object, name] = line.split(' ');
    if (object && name) refs.set(name.slice(target.prefix.length), object);
  }
  return refs;
}

/** Commits that no branch or tag of the user's has; null for what is no commit. */
async function countNew({ common, rights }: Target, object: string): Promise<number | null> {
  const argv = ['rev-list', '--count', object, '--not', '--branches', '--tags', '--remotes'];
  const { code, stdout } = await runGit(argv, { ...rights, repository: common });
  return code === 0 ? Number(stdout) : null;
}

async function git({ common, rights, to }: Target, argv: string[]): Promise<string> {
  const { code, stdout, stderr } = await runGit(argv, { ...rights, repository: common });
  if (code === 0) return stdout;
  throw new TeleportError('notARepository', `git can't work with ${to}: ${firstComplaint(stderr)}`);
}

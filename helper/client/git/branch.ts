/** A branch in the user's repository from what a sandbox has: its commits, and what is not committed as one more. */
import type { BridgeParsed, BridgeResult } from '../../protocol/bridge.ts';
import { TeleportError } from '../../protocol/errors.ts';
import type { Options } from '../apply/index.ts';
import type { Requester } from '../connection.ts';
import { fetchCommits, targetOf } from './arrive.ts';
import { isBranchName } from './refs.ts';
import { firstComplaint, runGit } from './run-git.ts';
import { commitUncommitted, discardFork } from './uncommitted.ts';

/** Below `refs/teleport-env/SANDBOX/`. */
const UNCOMMITTED = 'uncommitted';
/** Of a submodule. What it committed came to its own repository. */
const NOT_COMMITTED = 'a submodule with something that is not committed: commit it inside, then fetch';

/** @throws TeleportError `invalidRequest` (the name), `notARepository`, `gitRefused`; then no branch was made */
export async function branchFromSandbox(
  helper: Requester,
  params: BridgeParsed<'git/branch'>,
  options: Options = {},
): Promise<BridgeResult<'git/branch'>> {
  const { name } = params;
  if (!isBranchName(name))
    throw new TeleportError('invalidRequest', `git takes no branch of the name ${JSON.stringify(name)}`, {
      hint: 'letters, digits, - and / do',
    });
  const target = await targetOf(helper, params, options);
  const { sandbox, common, rights } = target;
  const git = (argv: string[]) => runGit(argv, { ...rights, repository: common });
  const ref = `refs/heads/${name}`;
  if ((await git(['rev-parse', '--verify', '--quiet', ref])).code === 0)
    throw new TeleportError('invalidRequest', `the branch ${name} exists already`, { hint: 'choose another name' });
  const from = params.from ?? sandbox.head ?? sandbox.current;
  const looked = params.uncommitted
    ? await commitUncommitted(helper, sandbox, from, rights.signal)
    : { made: null, submodules: [] };
  if (typeof looked === 'string')
    throw new TeleportError('gitRefused', `git can't commit what ${sandbox.name} has: ${looked}`, {
      hint: 'commit it inside, or make the branch of the commits alone',
    });
  const more = looked.made;
  try {
    const extra = new Map(more ? [[UNCOMMITTED, more.commit]] : []);
    const { inside, arrived } = await fetchCommits(helper, target, more?.branch ?? from, extra);
    const commit = more?.commit ?? inside.head;
    if (commit === null) throw new TeleportError('gitRefused', `${sandbox.name} has no commit and no file to commit`);
    const counted = await git(['rev-list', '--count', commit, '--not', '--branches', '--tags', '--remotes']);
    const message = `teleport-env: from the sandbox ${sandbox.name}`;
    // Only where there is none by now: all zeros.
    const { code, stderr } = await git(['update-ref', '-m', message, ref, commit, '0'.repeat(commit.length)]);
    if (code !== 0) throw new TeleportError('gitRefused', `git makes no branch ${name}: ${firstComplaint(stderr)}`);
    return {
      to: target.to,
      branch: name,
      commit,
      commits: Number(counted.stdout) || 0,
      uncommitted: more ? more.paths : null,
      left: [...arrived.left, ...looked.submodules.map((path) => ({ path, reason: NOT_COMMITTED }))],
    };
  } finally {
    if (more) await discardFork(helper, sandbox.id, more.branch);
  }
}

/**
 * What is not committed in a sandbox, as one commit on top of its HEAD. Git makes it, in a live fork that is thrown away: so what is
 * ignored is left out and filters apply, while the sandbox itself stays as it is.
 */
import type { Sandbox } from '../../protocol/model.ts';
import type { Requester } from '../connection.ts';
import { OID } from './refs.ts';

const PATIENCE_MS = 120_000;
const MARK = 'teleport-env:uncommitted';

/** For sh, in the workspace. A copy of the index, so that only what changed is read. */
const SCRIPT = `
for name in $(env | sed -n 's/^\\(GIT_[A-Z0-9_]*\\)=.*/\\1/p'); do unset "$name"; done
set -e
git() { command git -c core.hooksPath=/dev/null -c core.fsmonitor=false -c gc.auto=0 -c commit.gpgSign=false "$@"; }
own=$(git rev-parse --git-path index)
GIT_INDEX_FILE=$(mktemp -u); export GIT_INDEX_FILE
[ ! -e "$own" ] || cp "$own" "$GIT_INDEX_FILE"
base=$(git rev-parse --verify --quiet 'HEAD^{commit}') || base=
git add --all --ignore-errors . || true
tree=$(git write-tree)
git -c core.quotePath=false diff-files --ignore-submodules=none | sed -n "s|^:160000 160000 [^	]*	|$0-left |p"
[ -z "$base" ] || [ "$(git rev-parse "$base^{tree}")" != "$tree" ] || { echo "$0 none 0"; exit 0; }
git config user.email >/dev/null || { GIT_AUTHOR_EMAIL=sandbox@localhost; GIT_COMMITTER_EMAIL=sandbox@localhost; export GIT_AUTHOR_EMAIL GIT_COMMITTER_EMAIL; }
git config user.name >/dev/null || { GIT_AUTHOR_NAME=sandbox; GIT_COMMITTER_NAME=sandbox; export GIT_AUTHOR_NAME GIT_COMMITTER_NAME; }
commit=$(git commit-tree \${base:+-p "$base"} -m "$1" "$tree")
echo "$0 $commit $(git diff-tree -r --root --no-commit-id --name-only "$commit" | wc -l)"
`;

export interface Uncommitted {
  /** The live fork whose repository has the commit. It is the caller's to discard. */
  branch: string;
  commit: string;
  /** How many paths it changes. */
  paths: number;
}

/** What there is to commit, and the submodules that have something of their own, which is not in it. */
export interface Looked {
  made: Uncommitted | null;
  submodules: string[];
}

/** @returns `made` is null where all is committed; a text says why where git could not tell */
export async function commitUncommitted(
  helper: Requester,
  sandbox: Sandbox,
  from: string,
  signal?: AbortSignal,
): Promise<Looked | string> {
  const checkpoint = from.startsWith('k') ? from : await checkpointOf(helper, sandbox, from, signal);
  const { branch } = await helper.request('branch/fork', { sandbox: sandbox.id, checkpoint }, { signal });
  let kept = false;
  try {
    // What the shell was in the middle of is not waited for: this fork's only use is ours.
    const shell = { sandbox: sandbox.id, branch, session: 'x0' };
    await helper
      .request('session/attach', shell)
      .then(() => helper.request('session/close', shell))
      .catch(() => {}); // it has none yet
    const message = `What was not committed in the sandbox ${sandbox.name}`;
    const line = `cd ${quoted(sandbox.workspace)} && sh -c ${quoted(SCRIPT)} ${MARK} ${quoted(message)}`;
    const params = { sandbox: sandbox.id, branch, line, checkpoint: false, timeoutMs: PATIENCE_MS };
    const { exitCode, output } = await helper.request('run', params, { signal });
    const said = Buffer.from(output, 'base64').toString();
    const [, commit, paths] = new RegExp(`^${MARK} ([0-9a-f]+|none) +([0-9]+)$`, 'm').exec(said) ?? [];
    const submodules = [...said.matchAll(new RegExp(`^${MARK}-left (.+?)\r?$`, 'gm'))].map((found) => found[1]!);
    if (commit === 'none') return { made: null, submodules };
    if (exitCode !== 0 || commit === undefined || !OID.test(commit))
      return said.trim().split('\n').at(-1) || `git ended with exit code ${exitCode}`;
    kept = true;
    return { made: { branch, commit, paths: Number(paths) }, submodules };
  } finally {
    if (!kept) await discardFork(helper, sandbox.id, branch);
  }
}

/** Best effort: what came of it matters more than a fork left over. */
export async function discardFork(helper: Requester, sandbox: string, branch: string): Promise<void> {
  await helper.request('branch/discard', { sandbox, branch }).catch(() => {});
}

async function checkpointOf(
  helper: Requester,
  sandbox: Sandbox,
  branch: string,
  signal?: AbortSignal,
): Promise<string> {
  const note = 'before making a git branch';
  const { checkpoint } = await helper.request(
    'checkpoint/create',
    { sandbox: sandbox.id, branch: branch as never, note },
    { signal },
  );
  return checkpoint.id;
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

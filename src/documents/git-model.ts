import type { BridgeResult } from '../../helper/protocol/bridge.ts';
import { t } from '../l10n.ts';
import { files } from '../views/words.ts';

/** A branch's name to begin with. */
export function nameFor(sandbox: string): string {
  const name = sandbox.replace(/[^\p{L}\p{N}_-]+/gu, '-').replace(/^-+|-+$/g, '');
  return `sandbox/${name || 'work'}`;
}

/** Undefined where git may take it; what stands in the way for sure is said while one types (git-check-ref-format(1)). */
export function whyNoBranch(name: string): string | undefined {
  if (name === '') return t('A branch needs a name');
  const bad = /[\x00-\x20\x7f~^:?*[\\]|\.\.|@\{|\/\/|^[-/]|\/$|\.$|(^|\/)\.|\.lock(\/|$)/.exec(name);
  return bad ? t('Git takes no branch of that name: letters, digits, - and / do') : undefined;
}

export function branchWords({ branch, commits, uncommitted, left }: BridgeResult<'git/branch'>): string {
  const count = commits === 1 ? t('1 new commit') : t('{0} new commits', commits);
  const words =
    uncommitted === null
      ? t('Branch {0}: {1}.', branch, count)
      : t('Branch {0}: {1}, the last of what was not committed inside ({2}).', branch, count, files(uncommitted));
  return words + leftWords(left);
}

function leftWords([first]: { path: string; reason: string }[]): string {
  return first ? ` ${t('Left inside: {0}, {1}.', first.path, first.reason)}` : '';
}

export function arrivedWords({ refs, left }: BridgeResult<'git/fetch'>, sandbox: string): string {
  const moved = refs.filter((ref) => ref.moved);
  const [first] = moved;
  const words = !first
    ? t('No new commits in {0}.', sandbox)
    : moved.length === 1
      ? t('{0} arrived.', first.ref)
      : t('{0} and {1} more arrived.', first.ref, moved.length - 1);
  return words + leftWords(left);
}

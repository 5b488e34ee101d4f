import type { Change } from '../../helper/protocol/model.ts';
import { t } from '../l10n.ts';
import { files } from '../views/words.ts';

/** Which two texts of a changed path stand side by side. */
export interface Pair {
  /** As it is called in the list. */
  readonly path: string;
  readonly before: string | undefined;
  readonly after: string | undefined;
}

/** More would keep the editor busy for long. */
export const MOST_FILES = 400;

/** The paths of a comparison that have a text: folders, devices and plain permission changes have none. */
export function pairsOf(changes: readonly Change[]): Pair[] {
  return changes.filter((c) => c.type === 'file' || c.type === 'symlink').map(pairOf);
}

export function pairOf(change: Change): Pair {
  const { path, kind, from } = change;
  return {
    path,
    before: kind === 'added' ? undefined : kind === 'renamed' ? (from ?? path) : path,
    after: kind === 'deleted' ? undefined : path,
  };
}

/** VS Code adds how many it shows. */
export function titleOf(what: string, shown: number, all: number): string {
  return shown < all ? t('{0}: first {1} of {2}', what, shown, files(all)) : what;
}

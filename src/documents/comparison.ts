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

/** An editor holds no more anyway. */
export const LARGEST = 64_000_000;

/** The paths of a comparison that have a text: folders, devices and plain permission changes have none. */
export function pairsOf(changes: readonly Change[]): Pair[] {
  return changes.filter((c) => (c.type === 'file' || c.type === 'symlink') && !isTooLarge(c)).map(pairOf);
}

export function isTooLarge({ size = 0 }: Pick<Change, 'size'>): boolean {
  return size > LARGEST;
}

/** Which files are left out for their size; undefined where none is. */
export function tooLargeWords(changes: readonly Change[]): string | undefined {
  const names = changes.filter(isTooLarge).map(({ path }) => path.slice(path.lastIndexOf('/') + 1));
  if (names.length === 0) return undefined;
  const some = names.slice(0, 3).join(', ') + (names.length > 3 ? '…' : '');
  return names.length === 1
    ? t('1 file is too large to show: {0}', some)
    : t('{0} files are too large to show: {1}', names.length, some);
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

import type { PlannedChange } from '../../helper/protocol/bridge.ts';
import { t } from '../l10n.ts';
import { changeWord } from '../views/sandboxes-model.ts';
import { files } from '../views/words.ts';

/** What the list of changes to apply shows for one path. */
export interface ApplyLine {
  readonly path: string;
  readonly label: string;
  readonly description: string;
  /** Ticked to begin with. */
  readonly picked: boolean;
  /** Ticking it means to overwrite what is there. */
  readonly force: boolean;
}

/** `fine` can go as they are; `conflicting` only when somebody says so; `impossible` not at all. */
export function applyLines(changes: readonly PlannedChange[]) {
  const line = (change: PlannedChange): ApplyLine => {
    const words = [changeWord(change), ...(change.conflict === null ? [] : [conflictWord(change.conflict)])];
    const slash = change.path.lastIndexOf('/');
    const folder = slash < 0 ? [] : [change.path.slice(0, slash)];
    return {
      path: change.path,
      label: change.path.slice(slash + 1),
      description: [...folder, ...words].join(' · '),
      picked: change.conflict === null,
      force: change.conflict !== null,
    };
  };
  const of = (...conflicts: PlannedChange['conflict'][]) =>
    changes.filter((c) => conflicts.includes(c.conflict)).map(line);
  return {
    fine: of(null),
    conflicting: of('changed', 'exists', 'gone'),
    impossible: of('type', 'unwritable'),
  };
}

export function conflictWord(conflict: NonNullable<PlannedChange['conflict']>): string {
  switch (conflict) {
    case 'changed':
      return t('changed in the workspace too');
    case 'exists':
      return t('exists in the workspace already');
    case 'gone':
      return t('deleted in the workspace');
    case 'type':
      return t('a file where a folder is, or the other way round');
    case 'unwritable':
      return t('no permission to write');
  }
}

export interface Outcome {
  readonly applied: readonly string[];
  readonly conflicts: readonly unknown[];
  readonly failed: readonly { readonly path: string; readonly message: string }[];
}

/** What happened, in one line. */
export function outcomeWords({ applied, conflicts, failed }: Outcome): string {
  const words = [t('{0} applied', files(applied.length))];
  if (conflicts.length > 0) words.push(t('{0} left alone: changed meanwhile', files(conflicts.length)));
  if (failed[0]) words.push(t('{0} failed: {1}: {2}', files(failed.length), failed[0].path, failed[0].message));
  return `${words.join('. ')}.`;
}

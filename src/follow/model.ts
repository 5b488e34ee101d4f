/** What following and comparing show. Plain: no vscode, no helper. */
import type { FollowConflict, FollowStatus, PlannedChange } from '../../helper/protocol/bridge.ts';
import { conflictWord } from '../documents/apply-model.ts';
import { t } from '../l10n.ts';
import { changeWord } from '../views/sandboxes-model.ts';
import { files } from '../views/words.ts';

export interface FollowWords {
  readonly text: string;
  readonly tooltip: string;
  readonly warning: boolean;
}

/** The status bar's word for the shown sandbox. */
export function followWords(name: string, { on, conflicts }: FollowStatus): FollowWords {
  if (!on)
    return {
      text: `$(sync-ignored) ${t('Follow: off')}`,
      tooltip: t('The workspace keeps its own files. Click to let it follow {0}, step by step.', name),
      warning: false,
    };
  if (conflicts.length > 0)
    return {
      text: `$(warning) ${t('Follow: {0}', files(conflicts.length))}`,
      tooltip: t('Changed both here and in {0}, so left alone. Click to choose.', name),
      warning: true,
    };
  return {
    text: `$(sync) ${t('Follow')}`,
    tooltip: t(
      'The workspace takes what each step and rollback of {0} changes; what you save goes in. Click to stop.',
      name,
    ),
    warning: false,
  };
}

export function reasonWord({ reason, message }: FollowConflict): string {
  if (reason === 'unsaved') return t('unsaved changes in the editor');
  if (reason === 'failed') return message ?? t('could not be written');
  return conflictWord(reason);
}

/** Conflicts that nobody was told of yet. */
export function newConflicts(before: readonly FollowConflict[], now: readonly FollowConflict[]): FollowConflict[] {
  const known = new Set(before.map((one) => `${one.reason} ${one.path}`));
  return now.filter((one) => !known.has(`${one.reason} ${one.path}`));
}

/** One line of the Source Control view. */
export interface ScmLine {
  readonly path: string;
  readonly conflict: boolean;
  readonly deleted: boolean;
  /** Nothing of that name is in the workspace. */
  readonly absent: boolean;
  readonly letter: string;
  readonly tooltip: string;
}

/** Of a sandbox compared with the workspace. Folders are seen by what is in them. */
export function linesOfPlan(changes: readonly PlannedChange[]): ScmLine[] {
  return changes
    .filter((change) => change.type !== 'folder')
    .map((change) => ({
      path: change.path,
      conflict: change.conflict !== null,
      deleted: change.kind === 'deleted',
      absent: change.conflict === 'gone' || (change.kind === 'added' && change.conflict === null),
      letter: LETTERS[change.kind],
      tooltip: [changeWord(change), ...(change.conflict === null ? [] : [conflictWord(change.conflict)])].join(' · '),
    }));
}

/** Of a workspace that follows: only what it could not take. */
export function linesOfConflicts(conflicts: readonly FollowConflict[]): ScmLine[] {
  return conflicts.map((one) => ({
    path: one.path,
    conflict: true,
    deleted: one.kind === 'deleted',
    absent: one.reason === 'gone',
    letter: LETTERS[one.kind],
    tooltip: reasonWord(one),
  }));
}

const LETTERS: Record<PlannedChange['kind'], string> = {
  added: 'A',
  changed: 'M',
  deleted: 'D',
  renamed: 'R',
  mode: 'P',
  link: 'L',
};

/** The path below a folder, with `/`; undefined where it is not in there. */
export function within(folder: string, path: string): string | undefined {
  const start = folder.endsWith('/') ? folder : `${folder}/`;
  return path.startsWith(start) && path.length > start.length ? path.slice(start.length) : undefined;
}

import { ProgressLocation, window } from 'vscode';
import type { Params } from '../helper/protocol/methods.ts';
import type { App, Feature } from './app.ts';
import { COMMANDS } from './ids.ts';
import { t } from './l10n.ts';
import { register } from './register.ts';
import { targetSandbox } from './targets.ts';
import { bytes, checkpoints } from './views/words.ts';

type Limits = Pick<Params<'gc'>, 'keep' | 'maxAgeMs' | 'maxBytes'>;
const DAY = 86_400_000;

/** Frees what old checkpoints take. What would go is counted first; labelled ones and those in need stay. */
export const oldCheckpoints: Feature = (app) =>
  register(app, {
    [COMMANDS.deleteOldCheckpoints]: async (argument) => {
      const sandbox = await targetSandbox(app, argument, t('Delete old checkpoints of which sandbox?'));
      if (!sandbox) return;
      const limits = await chooseLimits(app, sandbox.id);
      if (!limits) return;
      const { deleted, freedBytes } = await window.withProgress(
        { location: ProgressLocation.Notification, title: t('Deleting old checkpoints') },
        () => app.helper.ask('gc', { sandbox: sandbox.id, ...limits }, { timeoutMs: 0 }),
      );
      window.setStatusBarMessage(t('Deleted {0}, {1} freed', checkpoints(deleted.length), bytes(freedBytes)), 5_000);
    },
  });

/** Each with what it would free, so that choosing is confirming. */
async function chooseLimits(app: App, sandbox: string): Promise<Limits | undefined> {
  const choices: [string, Limits][] = [
    [t('Keep the newest 10'), { keep: 10 }],
    [t('Keep the newest 100'), { keep: 100 }],
    [t('Those older than a day'), { maxAgeMs: DAY }],
    [t('Those older than a week'), { maxAgeMs: 7 * DAY }],
    [t('Until they take at most 1 GB'), { maxBytes: 1e9 }],
    [t('All that nothing needs'), { keep: 1 }],
  ];
  const found = await Promise.all(
    choices.map(async ([label, limits]) => {
      const { deleted, freedBytes } = await app.helper.ask('gc', { sandbox, ...limits, dryRun: true });
      const description = `${checkpoints(deleted.length)} · ${bytes(freedBytes)}`;
      return { label, description, limits, count: deleted.length };
    }),
  );
  const items = found.filter(({ count }) => count > 0);
  if (items.length === 0) {
    window.setStatusBarMessage(t('There is no checkpoint to delete: each is labelled or needed'), 5_000);
    return undefined;
  }
  const placeHolder = t('Delete which? Labelled ones, and those that others need, stay.');
  return (await window.showQuickPick(items, { placeHolder }))?.limits;
}

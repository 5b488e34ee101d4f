import { commands, env, ProgressLocation, window } from 'vscode';
import type { HeadMoved } from '../helper/protocol/methods.ts';
import type { App, Feature } from './app.ts';
import { HelperError } from './connection/errors.ts';
import { COMMANDS, VIEWS } from './ids.ts';
import { t } from './l10n.ts';
import { register } from './register.ts';
import { tell, wordsOf } from './report.ts';
import { field, type Moment, targetMoment, targetSandbox } from './targets.ts';
import { notOpenThen } from './terminal/moves.ts';
import type { Entry } from './views/selection.ts';
import { duration, nameOf, oneLine } from './views/words.ts';

/** Checkpoint, rollback, undo, fork and what else one does with a moment. */
export const moments: Feature = (app) =>
  register(app, {
    [COMMANDS.checkpoint]: (argument) => checkpoint(app, argument, undefined),
    [COMMANDS.checkpointWithLabel]: async (argument) => {
      const label = await window.showInputBox({
        prompt: t('A name for this moment'),
        placeHolder: t('before the rewrite'),
      });
      return label === undefined ? undefined : checkpoint(app, argument, label || undefined);
    },
    [COMMANDS.rollback]: async (argument) => {
      const moment = await targetMoment(app, argument, t('Roll back to which moment?'));
      return moment && rollback(app, moment);
    },
    [COMMANDS.undoRollback]: async (argument) => {
      const sandbox = await targetSandbox(app, argument);
      return sandbox && undo(app, sandbox.id);
    },
    [COMMANDS.fork]: async (argument) => {
      const moment = await targetMoment(app, argument, t('Fork which moment?'));
      return moment && fork(app, moment);
    },
    [COMMANDS.makeCurrent]: async (argument) => {
      const branch = await targetFork(app, argument, t('Make which live fork current?'));
      return branch && makeCurrent(app, branch.sandbox, branch.branch);
    },
    [COMMANDS.discardFork]: async (argument) => {
      const branch = await targetFork(app, argument, t('Discard which live fork?'));
      if (branch) await app.helper.ask('branch/discard', branch);
    },
    [COMMANDS.renameCheckpoint]: async (argument) => {
      const moment = await targetMoment(app, argument, t('Rename which moment?'));
      if (!moment) return;
      const value = moment.checkpoint.label ?? '';
      const prompt = t('A name for this moment. Empty: the command that it follows.');
      const label = await window.showInputBox({ prompt, value });
      if (label === undefined) return;
      await app.helper.ask('checkpoint/label', { ...ids(moment), label: label || null });
    },
    [COMMANDS.copyCheckpointId]: async (argument) => {
      const moment = await targetMoment(app, argument, t('Copy the id of which moment?'));
      if (!moment) return;
      await env.clipboard.writeText(moment.checkpoint.id);
      window.setStatusBarMessage(t('Copied {0}', moment.checkpoint.id), 3_000);
    },
    [COMMANDS.deleteCheckpoint]: async (argument) => {
      const moment = await targetMoment(app, argument, t('Delete which checkpoint?'));
      if (moment) await remove(app, moment);
    },
    [COMMANDS.selectForCompare]: (argument) => {
      app.selection.comparing = (argument as Entry | undefined) ?? app.selection.entry;
    },
  });

function ids({ sandbox, checkpoint: { id } }: Moment) {
  return { sandbox, checkpoint: id };
}

/** A thin bar at the view, should it take long enough to be seen. */
function busy<T>(work: () => Promise<T>): Thenable<T> {
  return window.withProgress({ location: { viewId: VIEWS.timeline } }, work);
}

export async function checkpoint(app: App, argument: unknown, label: string | undefined): Promise<string | undefined> {
  const sandbox = await targetSandbox(app, argument, t('Checkpoint which sandbox?'));
  if (!sandbox) return undefined;
  const branch = field(argument, 'branch');
  const ask = (filesOnly: boolean) =>
    busy(() =>
      app.helper.ask('checkpoint/create', {
        sandbox: sandbox.id,
        filesOnly,
        ...(label === undefined ? {} : { label }),
        ...(branch === undefined ? {} : { branch }),
      }),
    );
  const made = await ask(false).then(undefined, async (error) => {
    if (!(error instanceof HelperError) || error.code !== 'cannotCapture') throw error;
    const only = t('Save files only');
    return (await window.showErrorMessage(wordsOf(error), only)) === only ? ask(true) : undefined;
  });
  if (!made) return undefined;
  const { id, stoppedMs } = made.checkpoint;
  window.setStatusBarMessage(`$(check) ${t('Checkpoint {0}, stopped for {1}', id, duration(stoppedMs))}`, 4_000);
  return id;
}

export async function rollback(app: App, moment: Moment, discard = false): Promise<HeadMoved | undefined> {
  const { sandbox, checkpoint: to } = moment;
  const before = app.store.sandbox(sandbox);
  let came: { moved: HeadMoved; closed: number };
  try {
    const ask = () => app.helper.ask('checkpoint/rollback', { ...ids(moment), discard });
    came = await app.moves.around(sandbox, () => busy(ask));
  } catch (error) {
    if (!(error instanceof HelperError) || error.code !== 'cannotCapture' || discard) throw error;
    // What is now can't be saved, so going back would lose it: the one case in which somebody has to say so.
    const anyway = t('Roll back without saving');
    return (await window.showErrorMessage(wordsOf(error), anyway)) === anyway ? rollback(app, moment, true) : undefined;
  }
  const { moved, closed } = came;
  const left = moved.saved ?? before?.current;
  const agents = app.store.sandbox(sandbox)?.branches.find(({ id }) => id === before?.head)?.agents;
  const words = [t('Back at “{0}” in {1}.', oneLine(nameOf(to), 50), duration(moved.rollbackMs))];
  if (closed > 0) words.push(notOpenThen(closed));
  if (agents?.length) words.push(t('{0} goes on from there.', agents.join(', ')));
  tell(app.log, words.join(' '), {
    ...(moved.saved === null ? {} : { [t('Undo')]: () => undo(app, sandbox) }),
    ...(left === undefined || left === to.id
      ? {}
      : {
          [t('Show changes')]: () => commands.executeCommand(COMMANDS.showChanges, { sandbox, from: left, to: to.id }),
        }),
  });
  return moved;
}

async function undo(app: App, sandbox: string): Promise<HeadMoved> {
  const { moved } = await app.moves.around(sandbox, () => busy(() => app.helper.ask('checkpoint/undo', { sandbox })));
  const to = app.store.checkpoint(sandbox, moved.checkpoint);
  const name = to ? oneLine(nameOf(to), 50) : moved.checkpoint;
  tell(app.log, t('Rollback undone: at “{0}” in {1}.', name, duration(moved.rollbackMs)));
  return moved;
}

export async function fork(app: App, moment: Moment): Promise<string> {
  const { branch, ms } = await busy(() => app.helper.ask('branch/fork', ids(moment)));
  const where = { sandbox: moment.sandbox, branch };
  const name = oneLine(nameOf(moment.checkpoint), 50);
  tell(app.log, t('Live fork {0} of “{1}” in {2}.', branch, name, duration(ms)), {
    [t('Open terminal')]: () => commands.executeCommand(COMMANDS.openTerminal, where),
    [t('Make current')]: () => makeCurrent(app, moment.sandbox, branch),
  });
  return branch;
}

async function makeCurrent(app: App, sandbox: string, branch: string): Promise<void> {
  const promote = () => app.helper.ask('branch/promote', { sandbox, branch });
  const { moved, closed } = await app.moves.around(sandbox, () => busy(promote));
  const words = [t('Live fork {0} is current now, in {1}.', branch, duration(moved.rollbackMs))];
  if (closed > 0) words.push(notOpenThen(closed));
  tell(app.log, words.join(' '), {
    ...(moved.saved === null ? {} : { [t('Undo')]: () => undo(app, sandbox) }),
  });
}

async function remove(app: App, moment: Moment): Promise<void> {
  const yes = t('Delete');
  const question = t('Delete checkpoint {0}, “{1}”?', moment.checkpoint.id, oneLine(nameOf(moment.checkpoint), 60));
  const detail = t('Nobody can go back to it afterwards. This can’t be undone.');
  if ((await window.showWarningMessage(question, { modal: true, detail }, yes)) !== yes) return;
  await window.withProgress({ location: ProgressLocation.Window, title: t('Deleting {0}', moment.checkpoint.id) }, () =>
    app.helper.ask('checkpoint/delete', ids(moment)),
  );
}

async function targetFork(app: App, argument: unknown, ask: string) {
  const given = { sandbox: field(argument, 'sandbox'), branch: field(argument, 'branch') };
  if (given.sandbox && given.branch) return { sandbox: given.sandbox, branch: given.branch };
  const sandbox = await targetSandbox(app, argument);
  const forks = sandbox?.branches.filter((b) => b.role === 'fork') ?? [];
  if (!sandbox || forks.length === 0) {
    window.setStatusBarMessage(t('There is no live fork'), 3_000);
    return undefined;
  }
  const items = forks.map((b) => ({
    label: t('Live fork {0}', b.id),
    description: t('after {0}', b.checkpoint),
    branch: b.id,
  }));
  const chosen = items.length === 1 ? items[0] : await window.showQuickPick(items, { placeHolder: ask });
  return chosen && { sandbox: sandbox.id, branch: chosen.branch };
}

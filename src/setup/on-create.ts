import { Buffer } from 'node:buffer';
import { type CancellationToken, ProgressLocation, window, workspace } from 'vscode';
import type { Sandbox } from '../../helper/protocol/model.ts';
import type { App } from '../app.ts';
import { SETTINGS } from '../ids.ts';
import { t } from '../l10n.ts';
import { tell } from '../report.ts';
import { duration } from '../views/words.ts';
import { chooseOnCreate, outcomeOf } from './on-create-model.ts';

/** What the checkpoint after it is called, as on the command line. */
const AFTER_SET_UP = 'after set-up';

/**
 * The command that sets a new sandbox up. The user's own setting is taken as it is; what comes with the folder (its settings, its
 * devcontainer.json) is somebody else's text: it is shown in full, and run when somebody says so.
 * @returns undefined: none. null: make no sandbox
 */
export async function onCreateCommand(app: App, folder: string): Promise<string | undefined | null> {
  const inspected = workspace.getConfiguration().inspect<string>(SETTINGS.onCreate);
  const asked = app.helper.ask('workspace/onCreate', { workspace: folder });
  const fromFolder = await asked.then(
    ({ command }) => command,
    () => null, // a helper of before
  );
  const choice = chooseOnCreate(
    inspected?.globalValue,
    inspected?.workspaceFolderValue ?? inspected?.workspaceValue,
    fromFolder,
    workspace.isTrusted,
  );
  if (!choice) return undefined;
  if (!choice.ask) return choice.command;
  const run = t('Run it');
  const skip = t('Not this time');
  const question =
    choice.from === 'settings'
      ? t('Run the command that this folder’s settings name, in the new sandbox?')
      : t('Run the postCreateCommand of this folder’s devcontainer.json, in the new sandbox?');
  const answer = await window.showWarningMessage(question, { modal: true, detail: choice.command }, run, skip);
  if (answer === undefined) return null;
  return answer === run ? choice.command : undefined;
}

/** Runs it once; what it says is in the log. A failure leaves the sandbox as it is, and says so. */
export async function setUpSandbox(app: App, { id, name }: Sandbox, line: string): Promise<void> {
  const title = t('Setting up {0}: {1}', name, line.split('\n')[0]!.slice(0, 60));
  const options = { location: ProgressLocation.Notification, title, cancellable: true };
  const ran = await window.withProgress(options, (progress, token) => runShown(app, id, line, progress, token));
  const outcome = outcomeOf(ran.exitCode);
  if (outcome === 'done' && ran.checkpoint) {
    const params = { sandbox: id, checkpoint: ran.checkpoint.id, label: AFTER_SET_UP };
    await app.helper.ask('checkpoint/label', params);
    window.setStatusBarMessage(t('{0} is set up, in {1}', name, duration(ran.durationMs)), 5_000);
    return;
  }
  const words =
    outcome === 'cancelled'
      ? t('The set-up of {0} was cancelled; the sandbox is there.', name)
      : t(
          'The set-up of {0} failed with exit code {1}; the sandbox is there.{2}',
          name,
          ran.exitCode,
          ran.hint ? ` ${ran.hint}` : '',
        );
  tell(app.log, words, { [t('Show output')]: () => app.log.show() });
}

async function runShown(
  app: App,
  sandbox: string,
  line: string,
  progress: { report(value: { message: string }): void },
  token: CancellationToken,
) {
  const stream = `on-create-${sandbox}`;
  app.log.info(`${sandbox}$ ${line}`);
  const heard = app.helper.onNotification('run/output', (part) => {
    if (part.stream !== stream) return;
    const text = Buffer.from(part.data, 'base64').toString('utf8').trimEnd();
    const last = text.split('\n').at(-1);
    if (text) app.log.info(text);
    if (last) progress.report({ message: last.slice(0, 80) });
  });
  try {
    return await app.helper.ask('run', { sandbox, line, stream }, { token, timeoutMs: 0 });
  } finally {
    heard.dispose();
  }
}

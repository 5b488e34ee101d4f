import { ProgressLocation, type Uri, window, workspace } from 'vscode';
import type { Sandbox } from '../helper/protocol/model.ts';
import type { App, Feature } from './app.ts';
import { HelperError } from './connection/errors.ts';
import { COMMANDS, SETTINGS } from './ids.ts';
import { t } from './l10n.ts';
import { register } from './register.ts';
import { onCreateCommand, setUpSandbox } from './setup/on-create.ts';
import { pickSandbox, targetSandbox } from './targets.ts';
import { bytes, checkpoints, duration, files } from './views/words.ts';

/** Making, starting, stopping and removing sandboxes. */
export const sandboxes: Feature = (app) =>
  register(app, {
    [COMMANDS.createSandbox]: async (argument) => {
      const folder = await targetFolder(argument as Uri | undefined);
      return folder && create(app, folder);
    },
    [COMMANDS.startSandbox]: async (argument) => {
      const sandbox = await targetSandbox(app, argument);
      if (!sandbox) return;
      await during(t('Starting {0}', sandbox.name), () => app.helper.ask('sandbox/start', { sandbox: sandbox.id }));
      app.store.show(sandbox.id);
    },
    [COMMANDS.stopSandbox]: async (argument) => {
      const sandbox = await targetSandbox(app, argument);
      if (sandbox) await during(t('Stopping {0}', sandbox.name), () => stop(app, sandbox));
    },
    [COMMANDS.removeSandbox]: async (argument) => {
      const sandbox = await targetSandbox(app, argument, t('Remove which sandbox?'));
      if (sandbox) await remove(app, sandbox);
    },
    [COMMANDS.selectSandbox]: async () => {
      const sandbox = await pickSandbox(app, t('Show which sandbox?'));
      if (sandbox) app.store.show(sandbox.id);
    },
    [COMMANDS.refresh]: async () => {
      const { sandboxes: all } = await app.helper.ask('sandbox/list', {});
      app.store.setSandboxes(all);
    },
  });

function during<T>(title: string, work: () => Promise<T>): Thenable<T> {
  return window.withProgress({ location: ProgressLocation.Window, title }, work);
}

async function targetFolder(argument: Uri | undefined): Promise<string | undefined> {
  if (argument?.scheme === 'file') return argument.fsPath;
  const folders = (workspace.workspaceFolders ?? []).filter((f) => f.uri.scheme === 'file');
  if (folders.length === 1) return folders[0]!.uri.fsPath;
  if (folders.length > 1) {
    const items = folders.map((f) => ({ label: f.name, description: f.uri.fsPath }));
    return (await window.showQuickPick(items, { placeHolder: t('A sandbox of which folder?') }))?.description;
  }
  const chosen = await window.showOpenDialog({
    canSelectFolders: true,
    canSelectFiles: false,
    openLabel: t('Start sandbox'),
    title: t('A sandbox of which folder?'),
  });
  return chosen?.[0]?.fsPath;
}

/** The setting's variables with the values they have here: only what is listed enters a sandbox. */
export function listedVariables(names: readonly string[], env: NodeJS.ProcessEnv): Record<string, string> {
  const found = names.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]] as const]));
  return Object.fromEntries(found);
}

export async function create(app: App, folder: string, name?: string): Promise<Sandbox | undefined> {
  const settings = workspace.getConfiguration();
  const at = app.helper.place.toHelperPath(folder);
  const exclude = await leftOut(app, at, settings.get<string[]>(SETTINGS.exclude, []));
  if (!exclude) return undefined;
  const onCreate = await onCreateCommand(app, at);
  if (onCreate === null) return undefined;
  const base = settings.get<string>(SETTINGS.base, '');
  const title = t('Starting a sandbox of {0}', at.split('/').at(-1) ?? at);
  const options = { location: ProgressLocation.Notification, title, cancellable: true };
  const { sandbox } = await window.withProgress(options, (progress, token) =>
    app.helper.ask(
      'sandbox/create',
      {
        workspace: at,
        network: settings.get<'none' | 'nat'>(SETTINGS.network, 'none'),
        env: listedVariables(settings.get<string[]>(SETTINGS.environment, []), process.env),
        exclude,
        ...(name === undefined ? {} : { name }),
        ...(base ? { base } : {}),
        ...(settings.get<boolean>(SETTINGS.root, false) ? { root: true } : {}),
      },
      { token, progress },
    ),
  );
  app.store.sandboxChanged(sandbox);
  app.store.show(sandbox.id);
  if (onCreate !== undefined) await setUpSandbox(app, sandbox, onCreate);
  return sandbox;
}

/** What not to copy in. A large folder is shown with its size and time first. Undefined: think again. */
async function leftOut(app: App, folder: string, exclude: string[]): Promise<string[] | undefined> {
  const askAbove = workspace.getConfiguration().get<number>(SETTINGS.askAbove, 500) * 1_000_000;
  const size = await app.helper.ask('workspace/measure', { workspace: folder, exclude }).catch((error) => {
    // An older helper can't say; then it is copied without being asked about.
    if (error instanceof HelperError && error.code === 'internal') return undefined;
    throw error;
  });
  if (!size || size.bytes <= askAbove) return exclude;
  const more = size.complete ? '' : t('more than ');
  const all = t('Copy all of it');
  const some = t('Leave out…');
  const question = t('Copy {0}{1} in {2} into the sandbox?', more, bytes(size.bytes), files(size.files));
  const detail = t('That may take {0}. Your folder is not touched.', duration(size.estimatedMs));
  const answer = await window.showInformationMessage(question, { modal: true, detail }, all, some);
  if (answer === all) return exclude;
  if (answer !== some) return undefined;
  const items = size.entries.map((entry) => ({
    label: entry.name,
    description: `${bytes(entry.bytes)} · ${files(entry.files)}`,
    picked: REBUILT.has(entry.name),
  }));
  const chosen = await window.showQuickPick(items, { canPickMany: true, placeHolder: t('Leave out what is ticked') });
  return chosen && [...exclude, ...chosen.map((item) => item.label)];
}

/** What a build makes again. */
const REBUILT: ReadonlySet<string> = new Set([
  'node_modules',
  '.venv',
  'venv',
  'target',
  'dist',
  'build',
  '.next',
  '.cache',
]);

async function stop(app: App, sandbox: Sandbox): Promise<void> {
  await app.helper.ask('sandbox/stop', { sandbox: sandbox.id });
}

async function remove(app: App, sandbox: Sandbox): Promise<void> {
  const yes = t('Remove');
  const question = t('Remove the sandbox {0}?', sandbox.name);
  const detail = t(
    'Its {0} and everything that runs in it go, for good. The folder {1} stays as it is.',
    checkpoints(sandbox.checkpoints),
    sandbox.workspace,
  );
  if ((await window.showWarningMessage(question, { modal: true, detail }, yes)) !== yes) return;
  await during(t('Removing {0}', sandbox.name), () => app.helper.ask('sandbox/remove', { sandbox: sandbox.id }));
}

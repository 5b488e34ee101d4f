/** *Use the sandbox for agent commands*: what an agent outside runs in a terminal goes to the sandbox. Shown before it is written, and undone. */
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigurationTarget, Disposable, window, workspace } from 'vscode';
import type { App, Feature } from '../app.ts';
import { HelperError } from '../connection/errors.ts';
import { COMMANDS } from '../ids.ts';
import { t } from '../l10n.ts';
import { register } from '../register.ts';
import { tell } from '../report.ts';
import { targetSandbox } from '../targets.ts';
import { listed } from './agent-words.ts';
import { type Current, type Os, planSettings, planUndo, type SettingChange, shellScript } from './settings-plan.ts';

/** What was written in this workspace, and for which sandbox. */
interface Written {
  sandbox: string;
  changes: SettingChange[];
}
const MEMORY = 'agentCommands';

export const agentCommands: Feature = (app) => {
  const written = app.context.workspaceState.get<Written>(MEMORY);
  // The program moves with each version of the extension.
  if (written) writeShell(app, written.sandbox);
  return Disposable.from(
    register(app, {
      [COMMANDS.useForAgents]: (argument) => use(app, argument),
      [COMMANDS.stopUseForAgents]: () => stop(app),
    }),
  );
};

async function use(app: App, argument: unknown): Promise<void> {
  await app.helper.connect();
  const sandbox = await targetSandbox(app, argument, t('Run agents’ commands in which sandbox?'));
  if (!sandbox) return;
  if (app.context.workspaceState.get<Written>(MEMORY)) await restore(app);
  const shell = writeShell(app, sandbox.id);
  const changes = planSettings(osOf(process.platform), shell, current);
  const question = t('Send what agents run in terminals to {0}?', sandbox.name);
  const write = t('Write settings');
  const detail = [
    t('These settings of the workspace are written:'),
    ...changes.map((one) => `${one.setting} = ${JSON.stringify(one.after)}`),
    ...(changes.some(({ why }) => why === 'ownSandbox')
      ? [t('VS Code’s own agent sandbox is on: commands in it can’t reach this one, so it is turned off here.')]
      : []),
    t('An agent outside keeps its memory over a rollback: its next result says that it was rolled back.'),
  ].join('\n\n');
  if ((await window.showInformationMessage(question, { modal: true, detail }, write)) !== write) return;
  // Noted before, so that a setting that can't be written (a policy may hold it) leaves none of the others behind.
  await app.context.workspaceState.update(MEMORY, { sandbox: sandbox.id, changes } satisfies Written);
  await apply(changes).catch(async (error) => {
    await restore(app);
    throw error;
  });
  tell(app.log, t('What agents run in terminals goes to {0} now. Each command is a step.', sandbox.name), {
    [t('Undo')]: () => stop(app),
  });
}

async function stop(app: App): Promise<void> {
  if (!app.context.workspaceState.get<Written>(MEMORY)) {
    tell(app.log, t('Agents’ commands run outside: no setting was written for them here.'));
    return;
  }
  const left = await restore(app);
  const words = [t('Agents’ commands run outside again.')];
  if (left.length) words.push(t('Left as they are, since they were changed meanwhile: {0}.', listed(left, 4)));
  tell(app.log, words.join(' '));
}

async function restore(app: App): Promise<string[]> {
  const { changes } = app.context.workspaceState.get<Written>(MEMORY)!;
  const { back, left } = planUndo(changes, current);
  await apply(back);
  await app.context.workspaceState.update(MEMORY, undefined);
  return left;
}

async function apply(changes: readonly SettingChange[]): Promise<void> {
  for (const { setting, after } of changes)
    await workspace.getConfiguration().update(setting, after, ConfigurationTarget.Workspace);
}

function current(setting: string): Current {
  const found = workspace.getConfiguration().inspect(setting);
  return {
    known: found?.defaultValue !== undefined,
    workspace: found?.workspaceValue,
    value: workspace.getConfiguration().get(setting),
  };
}

/** The executable that takes a shell's place, for this workspace. */
function writeShell(app: App, sandbox: string): string {
  const folder = app.context.storageUri?.fsPath;
  if (!folder) throw new HelperError('invalidRequest', t('Open a folder first: the settings are its own.'));
  const { command, args, env } = app.helper.place.connect();
  mkdirSync(folder, { recursive: true });
  const path = join(folder, 'sandbox-shell');
  const words = args.flatMap((word) => (word === 'connect' ? ['as-shell', sandbox, '--'] : [word]));
  writeFileSync(path, shellScript(command, words, env));
  chmodSync(path, 0o755);
  return path;
}

function osOf(platform: NodeJS.Platform): Os {
  return platform === 'darwin' ? 'osx' : platform === 'win32' ? 'windows' : 'linux';
}

import { commands, window, workspace } from 'vscode';
import type { App, Feature } from '../app.ts';
import { COMMANDS } from '../ids.ts';
import { t } from '../l10n.ts';
import { register } from '../register.ts';
import { targetSandbox } from '../targets.ts';
import { fileUri } from './file-system.ts';

/** The sandbox's own files as a folder of the editor, written to straight away. */
export const sandboxFolder: Feature = (app) =>
  register(app, {
    [COMMANDS.openSandboxFolder]: async (argument) => {
      const found = await target(app, argument);
      if (found) await commands.executeCommand('vscode.openFolder', found.uri, { forceNewWindow: true });
    },
    [COMMANDS.addSandboxFolder]: async (argument) => {
      const found = await target(app, argument);
      if (!found) return;
      const folders = workspace.workspaceFolders ?? [];
      if (folders.some(({ uri }) => uri.toString() === found.uri.toString())) {
        window.setStatusBarMessage(t('{0} is in the workspace already', found.name), 4_000);
        return;
      }
      workspace.updateWorkspaceFolders(folders.length, 0, { uri: found.uri, name: found.name });
    },
  });

async function target(app: App, argument: unknown) {
  const sandbox = await targetSandbox(app, argument, t('Open the files of which sandbox?'));
  if (!sandbox) return undefined;
  const uri = fileUri({ sandbox: sandbox.id, at: 'head', path: sandbox.workspace });
  return { uri, name: t('{0} (sandbox)', sandbox.name) };
}

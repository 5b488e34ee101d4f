/** Windows that need no Linux machine of their own: what its commands do there. The machine itself is loaded only where it is wanted. */
import { commands } from 'vscode';
import type { App, Feature } from '../app.ts';
import { COMMANDS, SETTINGS } from '../ids.ts';
import { t } from '../l10n.ts';
import { register } from '../register.ts';
import { tell } from '../report.ts';

export const noLinuxMachine: Feature = (app) =>
  register(app, {
    [COMMANDS.setUpMachine]: () => noMachine(app),
    [COMMANDS.startMachine]: () => noMachine(app),
    [COMMANDS.stopMachine]: () => noMachine(app),
    [COMMANDS.suspendMachine]: () => noMachine(app),
    [COMMANDS.deleteMachine]: () => noMachine(app),
    [COMMANDS.openMachineShell]: () => noMachine(app),
  });

async function noMachine(app: App): Promise<void> {
  const { place } = app.helper;
  tell(app.log, t('Sandboxes run on this machine itself ({0}).', place.name), {
    [t('Open settings')]: () => commands.executeCommand('workbench.action.openSettings', SETTINGS.place),
  });
}

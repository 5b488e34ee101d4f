import { commands, Disposable, type Terminal, ThemeIcon, window, workspace } from 'vscode';
import { shellLine, shellWord } from '../../helper/protocol/shell-word.ts';
import type { App, Feature } from '../app.ts';
import { COMMANDS, SETTINGS, WALKTHROUGH } from '../ids.ts';
import { t } from '../l10n.ts';
import { register } from '../register.ts';

/** Installing and starting a helper, where people see what happens; and the way back to it. */
export const setUp: Feature = (app) => {
  let running: Terminal | undefined;
  return Disposable.from(
    register(app, {
      [COMMANDS.setUp]: () => {
        if (app.helper.place.name === 'multipass') return commands.executeCommand(COMMANDS.setUpMachine);
        if (running) return running.show();
        running = start(app);
        return undefined;
      },
      [COMMANDS.reconnect]: async () => {
        const state = await app.helper.reconnect();
        if (state.kind === 'ready') window.setStatusBarMessage(`$(check) ${t('Connected to the helper')}`, 3_000);
      },
      [COMMANDS.showLog]: () => app.log.show(),
      [COMMANDS.openWalkthrough]: () =>
        commands.executeCommand(
          'workbench.action.openWalkthrough',
          `${app.context.extension.id}#${WALKTHROUGH}`,
          false,
        ),
    }),
    workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration(SETTINGS.helperPath) && app.helper.state.kind !== 'idle')
        void app.helper.reconnect();
    }),
    window.onDidCloseTerminal((terminal) => {
      if (terminal !== running) return;
      running = undefined;
      void app.helper.reconnect();
    }),
  );
};

function start(app: App): Terminal | undefined {
  const executable = app.helper.place.setUp();
  if (!executable) {
    void window.showErrorMessage(t('This installation of the extension comes without its set-up. Install it again.'));
    return undefined;
  }
  // The terminal stays after the end, so that what was said can be read; closing it connects.
  const line = shellLine([executable.command, ...executable.args]);
  const after = `status=$?; echo; if [ $status = 0 ]; then echo ${shellWord(t('Done. Press Enter to go on.'))}; else echo ${shellWord(t('Set-up did not finish. Press Enter to close.'))}; fi; read -r _; exit $status`;
  const terminal = window.createTerminal({
    name: t('Teleport Env: set up'),
    iconPath: new ThemeIcon('tools'),
    shellPath: '/bin/sh',
    shellArgs: ['-c', `${line}; ${after}`],
    env: { ...executable.env },
    isTransient: true,
  });
  terminal.show();
  return terminal;
}

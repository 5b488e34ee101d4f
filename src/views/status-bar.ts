import { commands, Disposable, QuickPickItemKind, StatusBarAlignment, ThemeColor, window } from 'vscode';
import type { App, Feature } from '../app.ts';
import { COMMANDS, type CommandId } from '../ids.ts';
import { t } from '../l10n.ts';
import { register } from '../register.ts';
import { statusOf } from './status-model.ts';

export const statusBar: Feature = (app) => {
  const { helper, store } = app;
  const item = window.createStatusBarItem('teleportEnv.status', StatusBarAlignment.Left, 10);
  item.name = 'Teleport Env';
  item.command = COMMANDS.showActions;
  const show = () => {
    const sandbox = store.shown;
    const status = statusOf(helper.state, sandbox, sandbox && store.checkpoint(sandbox.id, sandbox.current));
    if (!status) return item.hide();
    item.text = status.text;
    item.tooltip = status.tooltip;
    item.accessibilityInformation = { label: status.spoken, role: 'button' };
    item.backgroundColor = status.warning ? new ThemeColor('statusBarItem.warningBackground') : undefined;
    item.show();
  };
  show();
  return Disposable.from(
    item,
    helper.onDidChangeState(show),
    store.onDidChange(show),
    register(app, { [COMMANDS.showActions]: () => showActions(app) }),
  );
};

async function showActions(app: App): Promise<void> {
  const sandbox = app.store.shown;
  const items: { label: string; command?: CommandId; kind?: QuickPickItemKind }[] = [];
  const add = (icon: string, text: string, command: CommandId) => items.push({ label: `$(${icon}) ${text}`, command });
  const line = (label: string) => items.push({ label, kind: QuickPickItemKind.Separator });
  if (app.helper.state.kind !== 'ready') {
    add('debug-disconnect', t('Reconnect'), COMMANDS.reconnect);
    add('output', t('Show log'), COMMANDS.showLog);
  } else if (!sandbox) {
    add('add', t('Start a sandbox of this folder'), COMMANDS.createSandbox);
    if (app.store.sandboxes.length > 0) add('list-selection', t('Show another sandbox'), COMMANDS.selectSandbox);
    add('beaker', t('Try it on a sample'), COMMANDS.tryIt);
  } else {
    line(sandbox.name);
    if (sandbox.state === 'running') {
      add('device-camera', t('Checkpoint now'), COMMANDS.checkpoint);
      add('debug-reverse-continue', t('Roll back to…'), COMMANDS.rollback);
    }
    if (sandbox.canUndo) add('discard', t('Undo rollback'), COMMANDS.undoRollback);
    if (sandbox.state === 'running') {
      add('terminal', t('Open terminal'), COMMANDS.openTerminal);
      add('check-all', t('Apply to workspace…'), COMMANDS.apply);
      add('sparkle', t('Model gateway…'), COMMANDS.modelGateway);
      add('sync', t('Follow the sandbox in the workspace, or stop'), COMMANDS.toggleFollow);
      add('folder-opened', t('Open sandbox as folder'), COMMANDS.openSandboxFolder);
      add('debug-stop', t('Stop sandbox'), COMMANDS.stopSandbox);
    } else add('play', t('Start sandbox'), COMMANDS.startSandbox);
    line('');
    if (app.store.sandboxes.length > 1) add('list-selection', t('Show another sandbox'), COMMANDS.selectSandbox);
  }
  line('');
  add('checklist', t('Doctor'), COMMANDS.doctor);
  const chosen = await window.showQuickPick(items, { placeHolder: t('Teleport Env') });
  if (chosen?.command) await commands.executeCommand(chosen.command);
}

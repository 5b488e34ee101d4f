import {
  commands,
  ProgressLocation,
  type QuickInputButton,
  type QuickPickItem,
  QuickPickItemKind,
  ThemeIcon,
  Uri,
  window,
} from 'vscode';
import type { BridgeResult } from '../../helper/protocol/bridge.ts';
import type { App, Feature } from '../app.ts';
import { COMMANDS } from '../ids.ts';
import { t } from '../l10n.ts';
import { register } from '../register.ts';
import { report } from '../report.ts';
import { field, targetSandbox } from '../targets.ts';
import { files } from '../views/words.ts';
import { type ApplyLine, applyLines, outcomeWords } from './apply-model.ts';
import { fileUri, nothingUri } from './file-system.ts';

type Plan = BridgeResult<'apply/plan'>;
interface Item extends QuickPickItem {
  readonly line?: ApplyLine;
}

/** The sandbox's files into the workspace: what would happen first, then what was ticked. */
export const apply: Feature = (app) =>
  register(app, {
    [COMMANDS.apply]: async (argument) => {
      const sandbox = await targetSandbox(app, argument, t('Apply which sandbox?'));
      if (!sandbox) return;
      const from = field(argument, 'id') ?? field(argument, 'branch');
      const params = { sandbox: sandbox.id, ...(from === undefined ? {} : { from: from as never }) };
      const plan = await window.withProgress(
        { location: ProgressLocation.Window, title: t('Comparing with the workspace') },
        () => app.helper.ask('apply/plan', params),
      );
      if (plan.changes.length === 0) {
        window.setStatusBarMessage(t('The workspace has all of {0}: nothing to apply', sandbox.name), 5_000);
        return;
      }
      const chosen = await choose(app, sandbox.id, sandbox.workspace, plan);
      if (!chosen) return;
      const done = await window.withProgress(
        { location: ProgressLocation.Notification, title: t('Applying {0}', files(chosen.length)), cancellable: true },
        (progress, token) =>
          app.helper.ask(
            'apply/perform',
            {
              ...params,
              paths: chosen.map((line) => line.path),
              force: chosen.filter((line) => line.force).map((line) => line.path),
            },
            { progress, token },
          ),
      );
      const bad = done.conflicts.length + done.failed.length > 0;
      const show = bad ? window.showWarningMessage : window.showInformationMessage;
      void show(outcomeWords(done));
    },
  });

function choose(app: App, sandbox: string, workspace: string, plan: Plan): Promise<ApplyLine[] | undefined> {
  const { fine, conflicting, impossible } = applyLines(plan.changes);
  const one: QuickInputButton = { iconPath: new ThemeIcon('diff'), tooltip: t('Show changes') };
  const all: QuickInputButton = { iconPath: new ThemeIcon('diff-multiple'), tooltip: t('Show all changes') };
  const items = (lines: ApplyLine[]): Item[] =>
    lines.map((line) => ({ label: line.label, description: line.description, line, buttons: [one] }));
  const group = (label: string, lines: ApplyLine[]): Item[] =>
    lines.length > 0 ? [{ label, kind: QuickPickItemKind.Separator }, ...items(lines)] : [];

  const pick = window.createQuickPick<Item>();
  pick.title = t('Apply to workspace: {0}', plan.to);
  pick.placeholder = t('Untick what to leave alone. Nothing in .git is ever written.');
  pick.canSelectMany = true;
  pick.ignoreFocusOut = true;
  pick.matchOnDescription = true;
  pick.buttons = [all];
  pick.items = [
    ...group(t('Ready to apply'), fine),
    ...group(t('Conflicts: tick to overwrite'), conflicting),
    ...group(t('Can’t be applied'), impossible),
  ];
  pick.selectedItems = pick.items.filter((item) => item.line?.picked);
  const sides = (path: string) => sidesOf(sandbox, workspace, plan, path);
  return new Promise((resolve) => {
    let result: ApplyLine[] | undefined;
    pick.onDidTriggerItemButton(({ item }) => {
      const [left, right] = sides(item.line!.path);
      const title = t('{0} (workspace ↔ sandbox)', item.line!.label);
      void commands.executeCommand('vscode.diff', left ?? nothingUri('/'), right ?? nothingUri('/'), title);
    });
    pick.onDidTriggerButton(() => {
      const resources = plan.changes
        .filter((c) => c.type === 'file')
        .map((c) => [Uri.file(`${plan.to}/${c.path}`), ...sides(c.path)]);
      void commands
        .executeCommand('vscode.changes', t('Workspace ↔ sandbox: {0}', files(resources.length)), resources)
        .then(undefined, (error) => report(app.log, error));
    });
    pick.onDidAccept(() => {
      const cannot = new Set(impossible);
      result = pick.selectedItems.flatMap((item) => (item.line && !cannot.has(item.line) ? [item.line] : []));
      pick.hide();
    });
    pick.onDidHide(() => {
      pick.dispose();
      resolve(result && result.length > 0 ? result : undefined);
    });
    pick.show();
  });
}

/** What the workspace has, and what it would have. */
function sidesOf(sandbox: string, workspace: string, plan: Plan, path: string): [Uri | undefined, Uri | undefined] {
  const change = plan.changes.find((c) => c.path === path)!;
  const absent = change.conflict === 'gone' || (change.kind === 'added' && change.conflict === null);
  const before = change.kind === 'renamed' ? (change.from ?? path) : path;
  return [
    absent ? undefined : Uri.file(`${plan.to}/${before}`),
    change.kind === 'deleted' ? undefined : fileUri({ sandbox, at: plan.from, path: `${workspace}/${path}` }),
  ];
}

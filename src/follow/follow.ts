import { commands, Disposable, StatusBarAlignment, ThemeColor, type Uri, window, workspace } from 'vscode';
import type { FollowConflict } from '../../helper/protocol/bridge.ts';
import type { Sandbox } from '../../helper/protocol/model.ts';
import type { App, Feature } from '../app.ts';
import { HelperError } from '../connection/errors.ts';
import { fileUri, nothingUri } from '../documents/file-system.ts';
import { COMMANDS } from '../ids.ts';
import { t } from '../l10n.ts';
import { register } from '../register.ts';
import { tell } from '../report.ts';
import { field, targetSandbox } from '../targets.ts';
import { files } from '../views/words.ts';
import { Following } from './following.ts';
import { followWords, newConflicts, reasonWord } from './model.ts';
import { Comparison } from './scm.ts';

/** The workspace follows the sandbox, or is compared with it. */
export const follow: Feature = (app) => {
  const { store, helper } = app;
  const following = new Following(app);
  const comparison = new Comparison(app, following);
  const item = statusItem(app, following);
  const each = (uris: readonly Uri[]) => {
    const bySandbox = new Map<Sandbox, string[]>();
    for (const uri of uris)
      for (const { sandbox, path } of following.ownersOf(uri))
        bySandbox.set(sandbox, [...(bySandbox.get(sandbox) ?? []), path]);
    for (const [sandbox, paths] of bySandbox) {
      if (following.status(sandbox.id)?.on) following.guarded(following.enter(sandbox, paths));
      else comparison.later();
    }
  };
  /** Unsaved text that is no more: what waited for that can come. */
  const settled = (uri: Uri) => {
    for (const { sandbox, path } of following.ownersOf(uri))
      if (following.status(sandbox.id)?.conflicts.some((one) => one.path === path && one.reason === 'unsaved'))
        following.guarded(following.sync(sandbox.id));
  };
  const look = () => {
    if (helper.state.kind === 'ready')
      for (const sandbox of store.sandboxes) following.guarded(following.look(sandbox));
  };
  look();
  return Disposable.from(
    following,
    comparison,
    item,
    helper.onDidChangeState(({ kind }) => {
      if (kind === 'ready') look();
      else following.forget();
    }),
    store.onDidChange(({ kind }) => {
      if (kind === 'sandboxes' || kind === 'sandbox') look();
    }),
    workspace.onDidChangeWorkspaceFolders(look),
    workspace.onDidSaveTextDocument(({ uri }) => each([uri])),
    workspace.onDidSaveNotebookDocument(({ uri }) => each([uri])),
    workspace.onDidCreateFiles((event) => each(event.files)),
    workspace.onDidDeleteFiles((event) => each(event.files)),
    workspace.onDidRenameFiles((event) => each(event.files.flatMap((one) => [one.oldUri, one.newUri]))),
    workspace.onDidChangeTextDocument(({ document }) => {
      if (!document.isDirty) settled(document.uri);
    }),
    workspace.onDidCloseTextDocument(({ uri }) => settled(uri)),
    following.onDidChange(({ sandbox, before, now }) => {
      const found = store.sandbox(sandbox);
      if (found && now.on) say(app, following, found, newConflicts(before?.conflicts ?? [], now.conflicts));
    }),
    register(app, {
      [COMMANDS.toggleFollow]: async (argument) => {
        const sandbox = await targetSandbox(app, argument, t('Follow which sandbox?'));
        if (!sandbox) return;
        if (!following.folderOf(sandbox))
          throw new HelperError(
            'workspaceMissing',
            t('{0} is not open in this window, so nothing here can follow {1}.', sandbox.workspace, sandbox.name),
            t('Open that folder first.'),
          );
        await following.look(sandbox);
        await following.set(sandbox, !following.status(sandbox.id)?.on);
      },
      [COMMANDS.followConflicts]: async (argument) => {
        const sandbox = await targetSandbox(app, argument);
        if (sandbox) await chooseConflict(following, sandbox);
      },
      [COMMANDS.takeSandboxFile]: (argument, ...rest) =>
        ofFiles(app, argument, rest, (sandbox, paths) => takeTheirs(app, following, comparison, sandbox, paths)),
      [COMMANDS.takeWorkspaceFile]: (argument, ...rest) =>
        ofFiles(app, argument, rest, (sandbox, paths) => takeMine(following, comparison, sandbox, paths)),
      [COMMANDS.compareFile]: (argument, ...rest) =>
        ofFiles(app, argument, rest, (sandbox, paths) => compare(following, sandbox, paths[0]!)),
      [COMMANDS.takeAllSandboxFiles]: async () => {
        const sandbox = app.store.shown;
        if (sandbox) await takeTheirs(app, following, comparison, sandbox, comparison.fine());
      },
    }),
  );
};

/** Lines of the Source Control view, one or several. */
async function ofFiles(
  app: App,
  argument: unknown,
  rest: unknown[],
  act: (sandbox: Sandbox, paths: string[]) => Promise<unknown>,
): Promise<void> {
  const several = rest.length > 1 ? rest : Array.isArray(rest[0]) ? rest[0] : [];
  const chosen = [argument, ...several].flatMap((one) => {
    const path = field(one, 'path');
    return path === undefined ? [] : [{ path, sandbox: field(one, 'sandbox') }];
  });
  const sandbox = app.store.sandbox(chosen[0]?.sandbox ?? '') ?? app.store.shown;
  const paths = [...new Set(chosen.map((one) => one.path))];
  if (sandbox && paths.length > 0) await act(sandbox, paths);
}

async function takeTheirs(app: App, following: Following, comparison: Comparison, sandbox: Sandbox, paths: string[]) {
  for (const path of following.unsaved(sandbox).filter((one) => paths.includes(one))) {
    await window.showTextDocument(following.uriOf(sandbox, path), { preview: false });
    await commands.executeCommand('workbench.action.files.revert');
  }
  const done = await app.helper.ask('apply/perform', { sandbox: sandbox.id, paths, force: paths });
  const bad = [...done.failed.map((one) => `${one.path}: ${one.message}`), ...done.conflicts.map((one) => one.path)];
  await after(following, comparison, sandbox);
  if (bad.length > 0) throw new HelperError('conflicts', t('Not taken: {0}', bad.join(', ')));
}

async function takeMine(following: Following, comparison: Comparison, sandbox: Sandbox, paths: string[]) {
  for (const path of following.unsaved(sandbox).filter((one) => paths.includes(one)))
    await workspace.textDocuments.find((one) => one.uri.path === following.uriOf(sandbox, path).path)?.save();
  await following.enter(sandbox, paths, true);
  await after(following, comparison, sandbox);
}

async function after(following: Following, comparison: Comparison, sandbox: Sandbox): Promise<void> {
  if (following.status(sandbox.id)?.on) await following.sync(sandbox.id);
  comparison.later(0);
}

async function compare(following: Following, sandbox: Sandbox, path: string): Promise<void> {
  const here = following.uriOf(sandbox, path);
  const there = fileUri({ sandbox: sandbox.id, at: 'head', path: `${sandbox.workspace}/${path}` });
  const exists = async (uri: Uri) =>
    workspace.fs.stat(uri).then(
      () => true,
      () => false,
    );
  const [mine, theirs] = await Promise.all([exists(here), exists(there)]);
  const title = t('{0} (sandbox ↔ workspace)', path);
  await commands.executeCommand(
    'vscode.diff',
    theirs ? there : nothingUri(path),
    mine ? here : nothingUri(path),
    title,
  );
}

async function chooseConflict(following: Following, sandbox: Sandbox): Promise<void> {
  const conflicts = following.status(sandbox.id)?.conflicts ?? [];
  if (conflicts.length === 0) {
    window.setStatusBarMessage(t('Nothing stands in the way of following {0}', sandbox.name), 4_000);
    return;
  }
  const items = conflicts.map((one) => ({ label: one.path, description: reasonWord(one), path: one.path }));
  const placeHolder = t('Changed both here and in {0}', sandbox.name);
  const one =
    items.length === 1 ? items[0] : await window.showQuickPick(items, { placeHolder, matchOnDescription: true });
  if (!one) return;
  const target = { sandbox: sandbox.id, path: one.path };
  const ways = [
    { label: `$(diff) ${t('Compare')}`, command: COMMANDS.compareFile },
    { label: `$(cloud-download) ${t('Take the sandbox’s')}`, command: COMMANDS.takeSandboxFile },
    { label: `$(home) ${t('Take mine')}`, command: COMMANDS.takeWorkspaceFile },
    { label: `$(sync-ignored) ${t('Stop following')}`, command: COMMANDS.toggleFollow },
  ];
  const title = `${one.path}: ${one.description}`;
  const way = await window.showQuickPick(ways, { title, placeHolder: t('Whose version shall it be?') });
  if (way) await commands.executeCommand(way.command, target);
}

/** Each conflict is said once, with its ways on. */
function say(app: App, following: Following, sandbox: Sandbox, conflicts: FollowConflict[]): void {
  const [first] = conflicts;
  if (!first) return;
  const open = (command: string) => () => commands.executeCommand(command, { sandbox: sandbox.id, path: first.path });
  if (conflicts.length > 1)
    tell(app.log, t('{0} did not follow {1}: changed both here and there.', files(conflicts.length), sandbox.name), {
      [t('Show')]: () => chooseConflict(following, sandbox),
    });
  else
    tell(app.log, t('{0} did not follow {1}: {2}.', first.path, sandbox.name, reasonWord(first)), {
      [t('Take the sandbox’s')]: open(COMMANDS.takeSandboxFile),
      [t('Take mine')]: open(COMMANDS.takeWorkspaceFile),
      [t('Compare')]: open(COMMANDS.compareFile),
    });
}

function statusItem({ store, helper }: App, following: Following): Disposable {
  const item = window.createStatusBarItem('teleportEnv.follow', StatusBarAlignment.Left, 9);
  item.name = t('Teleport Env: follow');
  const show = () => {
    const sandbox = store.shown;
    const status = sandbox && following.folderOf(sandbox) ? following.status(sandbox.id) : undefined;
    if (!status || helper.state.kind !== 'ready') return item.hide();
    const { text, tooltip, warning } = followWords(sandbox!.name, status);
    item.text = text;
    item.tooltip = tooltip;
    item.command = warning ? COMMANDS.followConflicts : COMMANDS.toggleFollow;
    item.backgroundColor = warning ? new ThemeColor('statusBarItem.warningBackground') : undefined;
    item.show();
  };
  show();
  return Disposable.from(item, following.onDidChange(show), store.onDidChange(show), helper.onDidChangeState(show));
}

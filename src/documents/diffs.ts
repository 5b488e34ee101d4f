import { commands, type Uri, window } from 'vscode';
import type { Change } from '../../helper/protocol/model.ts';
import type { App, Feature } from '../app.ts';
import { HelperError } from '../connection/errors.ts';
import { COMMANDS, VIEWS } from '../ids.ts';
import { t } from '../l10n.ts';
import { register } from '../register.ts';
import { field, targetMoment } from '../targets.ts';
import { nameOf, oneLine } from '../views/words.ts';
import { isTooLarge, MOST_FILES, pairOf, pairsOf, titleOf, tooLargeWords } from './comparison.ts';
import { fileUri, nothingUri } from './file-system.ts';

/** What changed: in a step, since then, between two moments. */
export const diffs: Feature = (app) =>
  register(app, {
    [COMMANDS.showChanges]: async (argument) => {
      const [sandbox, from, to] = ['sandbox', 'from', 'to'].map((name) => field(argument, name));
      if (sandbox && from && to) return compare(app, sandbox, from, to, between(app, sandbox, from, to));
      const branch = field(argument, 'branch');
      if (sandbox && branch) return sinceCheckpoint(app, sandbox, branch);
      const moment = await targetMoment(app, argument, t('Show what changed in which step?'));
      if (!moment) return;
      const { id, parent } = moment.checkpoint;
      if (parent === null) return say(t('The sandbox began here: there is nothing before it to compare with.'));
      return compare(app, moment.sandbox, parent, id, `“${oneLine(nameOf(moment.checkpoint), 40)}” (${id})`);
    },
    [COMMANDS.compareWithCurrent]: async (argument) => {
      const moment = await targetMoment(app, argument, t('Compare which moment with the current state?'));
      const head = moment && app.store.sandbox(moment.sandbox)?.head;
      if (!moment) return;
      if (!head) throw new HelperError('notRunning', t('The sandbox is not running.'), t('Start it first.'));
      return compare(
        app,
        moment.sandbox,
        moment.checkpoint.id,
        head,
        between(app, moment.sandbox, moment.checkpoint.id, head),
      );
    },
    [COMMANDS.compareWithSelected]: async (argument) => {
      const from = app.selection.comparing;
      const moment = await targetMoment(app, argument, t('Compare with which moment?'));
      if (!from || !moment || from.sandbox !== moment.sandbox) return;
      app.selection.comparing = undefined;
      const to = moment.checkpoint.id;
      return compare(app, from.sandbox, from.id, to, between(app, from.sandbox, from.id, to));
    },
    [COMMANDS.showFileChange]: async (argument) => {
      const [sandbox, branch, path] = ['sandbox', 'branch', 'path'].map((name) => field(argument, name));
      if (sandbox && branch && path) return showFile(app, sandbox, branch, path);
    },
    [COMMANDS.openFileAt]: async (argument) => {
      const moment = await targetMoment(app, argument, t('Open a file as of which moment?'));
      return moment && openFile(app, moment.sandbox, moment.checkpoint.id);
    },
  });

function say(message: string): void {
  window.setStatusBarMessage(message, 5_000);
}

function placeName(app: App, sandbox: string, at: string): string {
  if (at === app.store.sandbox(sandbox)?.head) return t('Current');
  if (at.startsWith('b')) return t('Live fork {0}', at);
  const checkpoint = app.store.checkpoint(sandbox, at);
  return checkpoint ? `“${oneLine(nameOf(checkpoint), 30)}” (${at})` : at;
}

function between(app: App, sandbox: string, from: string, to: string): string {
  return `${placeName(app, sandbox, from)} ↔ ${placeName(app, sandbox, to)}`;
}

async function sinceCheckpoint(app: App, sandbox: string, branch: string): Promise<void> {
  const from = app.store.sandbox(sandbox)?.branches.find((b) => b.id === branch)?.checkpoint;
  if (from) await compare(app, sandbox, from, branch, between(app, sandbox, from, branch));
}

async function compare(app: App, sandbox: string, from: string, to: string, title: string): Promise<void> {
  const { changes } = await window.withProgress({ location: { viewId: VIEWS.timeline } }, () =>
    app.helper.ask('diff', { sandbox, from, to }),
  );
  const pairs = pairsOf(changes);
  const tooLarge = tooLargeWords(changes);
  if (pairs.length === 0)
    return say(tooLarge ? t('{0}: no file to show. {1}', title, tooLarge) : t('{0}: no file changed', title));
  const shown = pairs.slice(0, MOST_FILES);
  const resources = shown.map(({ path, before, after }): [Uri, Uri | undefined, Uri | undefined] => [
    fileUri({ sandbox, at: after === undefined ? from : to, path }),
    before === undefined ? undefined : fileUri({ sandbox, at: from, path: before }),
    after === undefined ? undefined : fileUri({ sandbox, at: to, path: after }),
  ]);
  await commands.executeCommand('vscode.changes', titleOf(title, shown.length, pairs.length), resources);
  if (tooLarge) say(tooLarge);
}

async function showFile(app: App, sandbox: string, branch: string, path: string): Promise<void> {
  const from = app.store.sandbox(sandbox)?.branches.find((b) => b.id === branch)?.checkpoint;
  const known = app.details.get(sandbox, branch)?.changes?.find((c) => c.path === path);
  if (!from) throw new HelperError('unknownBranch', t('There is no branch {0} any more.', branch));
  const change: Change = known ?? { path, kind: 'changed', type: 'file' };
  if (isTooLarge(change)) return say(tooLargeWords([change])!);
  if (change.type === 'folder' || change.type === 'other') return say(t('{0} has no text to compare', path));
  const { before, after } = pairOf(change);
  const left = before === undefined ? nothingUri(path) : fileUri({ sandbox, at: from, path: before });
  const right = after === undefined ? nothingUri(path) : fileUri({ sandbox, at: branch, path: after });
  const title = `${path.split('/').at(-1)} (${between(app, sandbox, from, branch)})`;
  await commands.executeCommand('vscode.diff', left, right, title, { preview: true });
}

/** Walks down from the workspace. */
async function openFile(app: App, sandbox: string, at: string): Promise<void> {
  const workspace = app.store.sandbox(sandbox)?.workspace ?? '/';
  let path = workspace;
  for (;;) {
    const { entries } = await app.helper.ask('file/list', { sandbox, at: at as never, path });
    const up =
      path === '/' ? [] : [{ label: '$(arrow-up) ..', to: path.slice(0, path.lastIndexOf('/')) || '/', folder: true }];
    const items = entries
      .map(({ name, stat }) => ({ name, folder: stat.type === 'folder' }))
      .sort((a, b) => Number(b.folder) - Number(a.folder) || a.name.localeCompare(b.name))
      .map(({ name, folder }) => ({
        label: `$(${folder ? 'folder' : 'file'}) ${name}`,
        to: `${path === '/' ? '' : path}/${name}`,
        folder,
      }));
    const chosen = await window.showQuickPick([...up, ...items], { placeHolder: path });
    if (!chosen) return;
    if (chosen.folder) path = chosen.to;
    else return void (await commands.executeCommand('vscode.open', fileUri({ sandbox, at, path: chosen.to })));
  }
}

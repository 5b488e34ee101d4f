import { Disposable, EventEmitter, type FileDecoration, ThemeColor, Uri, window, workspace } from 'vscode';
import type { Feature } from '../app.ts';
import { ENTRY_SCHEME, SETTINGS } from '../ids.ts';
import { t } from '../l10n.ts';

const SETTLE_MS = 500;

/** A mark at the workspace's files that the shown sandbox has otherwise, and the quiet colour of the timeline's other limbs. */
export const decorations: Feature = (app) => {
  const { store, helper, log } = app;
  const changed = new EventEmitter<Uri[] | undefined>();
  let marked = new Set<string>();
  let timer: NodeJS.Timeout | undefined;

  const update = async () => {
    const sandbox = store.shown;
    const wanted = workspace.getConfiguration().get<boolean>(SETTINGS.decorations, true);
    const folder = sandbox && helper.place.fromHelperPath(sandbox.workspace);
    const here = workspace.workspaceFolders?.some((f) => f.uri.fsPath === folder);
    let found = new Set<string>();
    if (wanted && here && sandbox?.head && helper.state.kind === 'ready') {
      const { changes } = await helper.ask('diff', { sandbox: sandbox.id, from: 'k0', path: sandbox.workspace });
      found = new Set(changes.filter((c) => c.type !== 'folder').map((c) => helper.place.fromHelperPath(c.path)));
    }
    const touched = [...marked, ...found].filter((path) => marked.has(path) !== found.has(path));
    marked = found;
    if (touched.length > 0) changed.fire(touched.map((path) => Uri.file(path)));
  };
  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(() => void update().catch((error) => log.debug(`decorations: ${String(error)}`)), SETTLE_MS);
  };
  const provider = {
    onDidChangeFileDecorations: changed.event,
    provideFileDecoration: (uri: Uri): FileDecoration | undefined => {
      if (uri.scheme === ENTRY_SCHEME) return { color: new ThemeColor('descriptionForeground') };
      if (uri.scheme !== 'file' || !marked.has(uri.fsPath)) return undefined;
      return { badge: '◆', tooltip: t('Changed in the sandbox'), propagate: false };
    },
  };
  later();
  return Disposable.from(
    changed,
    window.registerFileDecorationProvider(provider),
    store.onDidChange((change) => {
      if (change.kind !== 'entry') later();
    }),
    workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration(SETTINGS.decorations)) later();
    }),
    { dispose: () => clearTimeout(timer) },
  );
};

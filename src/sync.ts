import { commands, Disposable, workspace } from 'vscode';
import type { App, Feature } from './app.ts';
import { HelperError } from './connection/errors.ts';
import { CONTEXT_KEYS, type ContextKey } from './ids.ts';
import { report } from './report.ts';
import { situationOf } from './setup/situation.ts';
import { STORED, type Store } from './views/store.ts';
import { FIRST_PAGE } from './views/timeline-view.ts';

/** Remembered per workspace: which sandbox the timeline showed, so that the same one is there after a reload. */
const SHOWN = 'shown';

/** Fills the cache from what the helper tells, and tells VS Code how things stand. */
export const sync: Feature = (app) => {
  const { helper, store, context, log } = app;
  let listed = false;
  let asked = 0;

  const load = async () => {
    const round = ++asked;
    const { sandboxes } = await helper.ask('sandbox/list', {});
    if (round !== asked) return;
    listed = true;
    const before = store.shown;
    // Where that chooses another to show, its timeline is asked for by whoever hears of it.
    store.setSandboxes(sandboxes);
    if (store.shown === undefined || store.shown.id === before?.id) await loadTimeline(app);
    tell();
  };
  const guarded = (work: Promise<unknown>) =>
    void work.catch((error) => {
      // Nobody asked for it, the views say how the connection stands, and with the next one it is asked for again.
      if (error instanceof HelperError && (error.code === 'lost' || error.code === 'unanswered')) return;
      report(log, error);
    });

  const keys = new Map<ContextKey, unknown>();
  const set = (key: ContextKey, value: unknown) => {
    if (keys.get(key) === value) return;
    keys.set(key, value);
    void commands.executeCommand('setContext', key, value);
  };
  const tell = () => {
    const state = helper.state;
    const situation = situationOf({
      connection: state,
      trusted: workspace.isTrusted,
      folder: (workspace.workspaceFolders ?? []).some((f) => f.uri.scheme === 'file'),
      sandboxes: store.sandboxes.length,
      listed,
    });
    set(CONTEXT_KEYS.situation, situation);
    set(CONTEXT_KEYS.helperReady, state.kind === 'ready' && !state.handshake.needs.some((n) => n.status === 'missing'));
    set(CONTEXT_KEYS.sandbox, state.kind === 'ready' ? (store.shown?.state ?? 'none') : 'none');
    set(CONTEXT_KEYS.canUndo, store.shown?.canUndo ?? false);
    set(CONTEXT_KEYS.filtered, app.selection.filter !== undefined);
    set(CONTEXT_KEYS.comparing, app.selection.comparing !== undefined);
  };
  tell();

  return Disposable.from(
    ...STORED.map((name) => helper.onNotification(name, (params) => store.take(name, params as never))),
    helper.onDidChangeState((state) => {
      listed &&= state.kind === 'ready';
      tell();
      if (state.kind === 'ready') guarded(load());
    }),
    store.onDidChange((change) => {
      if (change.kind === 'sandboxes') chooseShown(app);
      if (change.kind === 'shown') {
        void context.workspaceState.update(SHOWN, store.shown?.id);
        guarded(loadTimeline(app));
      }
      tell();
    }),
    app.selection.onDidChange(tell),
    workspace.onDidGrantWorkspaceTrust(tell),
    workspace.onDidChangeWorkspaceFolders(tell),
  );
};

export function wasShown(app: Pick<App, 'context'>): boolean {
  return app.context.workspaceState.get(SHOWN) !== undefined;
}

async function loadTimeline({ helper, store }: App): Promise<void> {
  const sandbox = store.shown;
  if (!sandbox || helper.state.kind !== 'ready') return;
  // As far back as was shown already.
  const limit = Math.max(FIRST_PAGE, store.timeline(sandbox.id)?.checkpoints.length ?? 0);
  const { checkpoints, current, more } = await helper.ask('checkpoint/list', { sandbox: sandbox.id, limit });
  store.setTimeline(sandbox.id, { checkpoints, current, more });
}

function chooseShown({ context, store, helper }: App): void {
  if (store.shown) return;
  const folders = (workspace.workspaceFolders ?? []).map((f) => f.uri.fsPath);
  const here = (at: string) => folders.includes(helper.place.fromHelperPath(at));
  store.show(preferred(store, context.workspaceState.get<string>(SHOWN), here));
}

/** The one that was shown before, else the open folder's, else the only one. */
export function preferred(
  store: Store,
  before: string | undefined,
  isOpen: (workspace: string) => boolean,
): string | undefined {
  const all = store.sandboxes;
  if (before && store.sandbox(before)) return before;
  const here = all.find((s) => isOpen(s.workspace));
  return (here ?? (all.length === 1 ? all[0] : undefined))?.id;
}

import { isAbsolute, posix, relative, sep } from 'node:path';
import { Disposable, EventEmitter, ThemeIcon, type Uri, workspace } from 'vscode';
import type { App, Feature } from '../app.ts';
import { COMMANDS, SCHEME } from '../ids.ts';
import { t } from '../l10n.ts';
import { nameOf } from './words.ts';

/** VS Code's own Timeline, as far as we use it: not in the published types yet, and only in some editors for everybody. */
interface TimelineApi {
  registerTimelineProvider?(scheme: string | string[], provider: object): Disposable;
}

const MOST_STEPS = 60;

/** In VS Code's own Timeline, for the file at hand: the steps that touched it. Where there is no such thing, nothing. */
export const fileTimeline: Feature = (app) => {
  const { registerTimelineProvider } = workspace as TimelineApi;
  if (typeof registerTimelineProvider !== 'function') return Disposable.from();
  const changed = new EventEmitter<undefined>();
  try {
    const provider = {
      id: 'teleport-env',
      label: t('Teleport Env'),
      onDidChange: changed.event,
      provideTimeline: async (uri: Uri) => ({ items: await itemsFor(app, uri) }),
    };
    return Disposable.from(
      changed,
      registerTimelineProvider.call(workspace, ['file', SCHEME], provider),
      app.store.onDidChange((change) => {
        if (change.kind === 'timeline' || change.kind === 'shown') changed.fire(undefined);
      }),
    );
  } catch (error) {
    // An editor that has it, but not for us.
    app.log.debug(`no timeline provider: ${String(error)}`);
    return changed;
  }
};

async function itemsFor({ store, helper }: App, uri: Uri): Promise<object[]> {
  const sandbox = store.shown;
  const timeline = sandbox && store.timeline(sandbox.id);
  const path = sandbox && insidePath(helper.place.fromHelperPath(sandbox.workspace), sandbox.workspace, uri.fsPath);
  if (!sandbox || !timeline || helper.state.kind !== 'ready' || path === null) return [];
  const steps = timeline.checkpoints.filter((c) => c.parent !== null && c.filesChanged > 0).slice(0, MOST_STEPS);
  const touched = await Promise.all(
    steps.map(async (step) => {
      const params = { sandbox: sandbox.id, from: step.parent!, to: step.id, path };
      const { changes } = await helper.ask('diff', params).catch(() => ({ changes: [] }));
      return changes.length > 0;
    }),
  );
  return steps
    .filter((_, i) => touched[i])
    .map((step) => ({
      id: step.id,
      label: nameOf(step),
      timestamp: Date.parse(step.createdAt),
      description: sandbox.name,
      iconPath: new ThemeIcon('history'),
      contextValue: 'teleportEnv:entry',
      command: {
        command: COMMANDS.showChanges,
        title: t('Show changes'),
        arguments: [{ kind: 'entry', sandbox: sandbox.id, id: step.id }],
      },
    }));
}

/** A file of the folder as the sandbox has it; null for one that is elsewhere. */
export function insidePath(folder: string, workspace: string, file: string): string | null {
  const below = relative(folder, file);
  if (below === '' || below === '..' || below.startsWith(`..${sep}`) || isAbsolute(below)) return null;
  return posix.join(workspace, ...below.split(sep));
}

import { Disposable, EventEmitter, ThemeIcon, type Uri, workspace } from 'vscode';
import type { Sandbox } from '../../helper/protocol/model.ts';
import type { App, Feature } from '../app.ts';
import { addressOf, NOTHING } from '../documents/address.ts';
import { COMMANDS, SCHEME } from '../ids.ts';
import { t } from '../l10n.ts';
import { insidePath, offer, type TimelineApi, touching } from './file-timeline-model.ts';
import { nameOf } from './words.ts';

/** In VS Code's own Timeline, for the file at hand: the steps that touched it. Where there is no such thing, nothing. */
export const fileTimeline: Feature = (app) => {
  const changed = new EventEmitter<undefined>();
  const provider = {
    id: 'teleport-env',
    label: t('Teleport Env'),
    onDidChange: changed.event,
    provideTimeline: async (uri: Uri) => ({ items: await itemsFor(app, uri) }),
  };
  // The window's name for a file: where the extension runs on another machine than the window, that is not `file`.
  const schemes = ['file', 'vscode-remote', SCHEME];
  const registered = offer(workspace as TimelineApi<object, Disposable>, schemes, provider, (error) =>
    app.log.debug(`no timeline provider: ${String(error)}`),
  );
  if (!registered) return changed;
  return Disposable.from(
    changed,
    registered,
    app.store.onDidChange((change) => {
      if (change.kind === 'timeline' || change.kind === 'shown') changed.fire(undefined);
    }),
  );
};

async function itemsFor({ store, helper }: App, uri: Uri): Promise<object[]> {
  const sandbox = store.shown;
  const timeline = sandbox && store.timeline(sandbox.id);
  if (!sandbox || !timeline || helper.state.kind !== 'ready') return [];
  const path = pathOf(uri, sandbox, helper.place.fromHelperPath(sandbox.workspace));
  if (path === null) return [];
  const steps = await touching(helper.ask, sandbox.id, timeline.checkpoints, path);
  return steps.map((step) => ({
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

function pathOf(uri: Uri, { id, workspace: inside }: Sandbox, folder: string): string | null {
  if (uri.scheme !== SCHEME) return insidePath(folder, inside, uri.fsPath);
  const address = addressOf(uri);
  return address && address !== NOTHING && address.sandbox === id ? address.path : null;
}

import { commands, type ExtensionContext, l10n, workspace } from 'vscode';
import { mcpServer } from './agents/mcp.ts';
import { apiOf, type TeleportEnvApi } from './api.ts';
import type { App } from './app.ts';
import { nativePlace } from './connection/native.ts';
import { openDoors } from './doors/doors.ts';
import { CONTEXT_KEYS, SETTINGS } from './ids.ts';
import { useTranslation } from './l10n.ts';
import { machineOf, realProbes } from './setup/machine.ts';
import { wantsMachine } from './setup/wants-machine.ts';
import { Signal } from './signal.ts';
import { RUN_LANGUAGE } from './stepping/ids.ts';

/**
 * What a window reads of us when it opens. All else is loaded by whoever comes to one of the doors; or, once this has returned, where
 * the workspace has something of ours already, or a document about a run is open.
 */
export function activate(context: ExtensionContext): TeleportEnvApi {
  useTranslation((text, ...values) => l10n.t(text, ...values));
  const native = wantsMachine() ? undefined : nativeIn(context);
  const changed = new Signal<void>();
  let app: App | undefined;
  let loading: Promise<App> | undefined;
  const wholly = async () => {
    const { whole } = await import('./whole.ts');
    app = await whole(context, doors, native);
    context.subscriptions.push(app.store.onDidChange(() => changed.emit()));
    return app;
  };
  const load = () => {
    loading ??= wholly().catch((error) => {
      loading = undefined; // whoever asks next tries again
      throw error;
    });
    return loading;
  };
  const doors = openDoors(load);
  const isRun = ({ languageId }: { languageId: string }) => languageId === RUN_LANGUAGE;
  context.subscriptions.push(
    doors,
    workspace.onDidOpenTextDocument((document) => {
      if (isRun(document)) void load();
    }),
  );
  if (native) context.subscriptions.push(mcpServer(context, native));
  else void commands.executeCommand('setContext', CONTEXT_KEYS.machine, true);
  if (context.workspaceState.keys().length > 0 || workspace.textDocuments.some(isRun)) void load();
  return apiOf(load, () => app, changed.listen);
}

/** This very machine, as the place where sandboxes are. */
function nativeIn({ extensionPath }: ExtensionContext) {
  const setting = <T>(id: string, fallback: T) => workspace.getConfiguration().get<T>(id, fallback);
  return nativePlace(() => ({
    extensionPath,
    helperPath: setting(SETTINGS.helperPath, ''),
    execPath: process.execPath,
    platform: process.platform,
    survivesReload: setting(SETTINGS.survivesReload, true),
    packaging: machineOf(realProbes).packaging,
  }));
}

import { type ExtensionContext, type LogOutputChannel, l10n, window, workspace } from 'vscode';
import { agentCommands } from './agents/agent-commands.ts';
import { mcpServer } from './agents/mcp.ts';
import { runAgent } from './agents/run-agent.ts';
import { sandboxTasks } from './agents/tasks.ts';
import { agentTools } from './agents/tools.ts';
import { apiOf, type TeleportEnvApi } from './api.ts';
import type { App, Feature } from './app.ts';
import { Helper } from './connection/helper.ts';
import { nativePlace } from './connection/native.ts';
import { apply } from './documents/apply.ts';
import { decorations } from './documents/decorations.ts';
import { diffs } from './documents/diffs.ts';
import { exportPatch } from './documents/export-patch.ts';
import { fileSystem } from './documents/file-system.ts';
import { git } from './documents/git.ts';
import { sandboxFolder } from './documents/sandbox-folder.ts';
import { follow } from './follow/follow.ts';
import { gateway } from './gateway/gateway.ts';
import { SETTINGS } from './ids.ts';
import { useTranslation } from './l10n.ts';
import { moments } from './moments.ts';
import { oldCheckpoints } from './old-checkpoints.ts';
import { ports } from './ports/ports.ts';
import { sandboxes } from './sandboxes.ts';
import { doctor } from './setup/doctor.ts';
import { Trouble } from './setup/log-tail.ts';
import { machineOf, realProbes } from './setup/machine.ts';
import { noLinuxMachine, wantsMachine } from './setup/no-machine.ts';
import { setUp } from './setup/set-up.ts';
import { tryIt } from './setup/try-it.ts';
import { runDocuments, stepping } from './stepping/debugger.ts';
import { runs } from './stepping/documents.ts';
import { tryInFork } from './stepping/try-in-fork.ts';
import { sync, wasShown } from './sync.ts';
import { commandEntries } from './terminal/command-entries.ts';
import { links } from './terminal/links.ts';
import { Moves } from './terminal/moves.ts';
import { placeOf, terminals } from './terminal/terminals.ts';
import { Details } from './views/details.ts';
import { fileTimeline } from './views/file-timeline.ts';
import { sandboxesView } from './views/sandboxes-view.ts';
import { Selection } from './views/selection.ts';
import { statusBar } from './views/status-bar.ts';
import { Store } from './views/store.ts';
import { timelineView } from './views/timeline-view.ts';

/** In the order in which they hear of things: the cache first. */
const FEATURES: readonly Feature[] = [
  sync,
  sandboxesView,
  timelineView,
  statusBar,
  moments,
  sandboxes,
  terminals,
  links,
  ports,
  commandEntries,
  fileSystem,
  diffs,
  apply,
  exportPatch,
  git,
  oldCheckpoints,
  sandboxFolder,
  follow,
  decorations,
  fileTimeline,
  stepping,
  runDocuments,
  runs,
  tryInFork,
  gateway,
  agentTools,
  runAgent,
  agentCommands,
  mcpServer,
  sandboxTasks,
  setUp,
  tryIt,
  doctor,
];

export async function activate(context: ExtensionContext): Promise<TeleportEnvApi> {
  useTranslation((text, ...values) => l10n.t(text, ...values));
  const trouble = new Trouble();
  const log = trouble.heardFrom(window.createOutputChannel('Teleport Env', { log: true }));
  const setting = <T>(id: string, fallback: T) => workspace.getConfiguration().get<T>(id, fallback);
  const inMachine = wantsMachine() ? await loadMachine(context, log) : undefined;
  const native = nativePlace(() => ({
    extensionPath: context.extensionPath,
    helperPath: setting(SETTINGS.helperPath, ''),
    execPath: process.execPath,
    platform: process.platform,
    survivesReload: setting(SETTINGS.survivesReload, true),
    packaging: machineOf(realProbes).packaging,
  }));
  const place = inMachine?.place ?? native;
  const client = `vscode ${context.extension.packageJSON.version}`;
  const helper = new Helper(
    place,
    log,
    client,
    () => setting(SETTINGS.helperStart, true),
    () => workspace.isTrusted,
  );
  const store = new Store();
  const details = new Details(helper.ask, store);
  const moves = new Moves({ helper, store, log }, placeOf);
  const app: App = { context, log, trouble, helper, store, details, selection: new Selection(), moves };
  context.subscriptions.push(log, helper, details, moves, ...FEATURES.map((feature) => feature(app)));
  context.subscriptions.push((inMachine?.feature ?? noLinuxMachine)(app));
  // Where a sandbox was at work, its status and terminals are there again without a view being opened.
  if (wasShown(app)) void helper.connect();
  return apiOf(app);
}

/** With all that it needs to speak to Multipass: most of the extension's code, and no Linux window needs it. */
async function loadMachine(context: ExtensionContext, log: LogOutputChannel) {
  const { linuxMachine, linuxMachineFeature } = await import('./setup/linux-machine.ts');
  const { machine, place } = linuxMachine(context, log);
  return { place, feature: linuxMachineFeature(machine) };
}

import { type ExtensionContext, type LogOutputChannel, l10n, window, workspace } from 'vscode';
import { agentCommands } from './agents/agent-commands.ts';
import { runAgent } from './agents/run-agent.ts';
import { sandboxTasks } from './agents/tasks.ts';
import { agentTools } from './agents/tools.ts';
import type { App, Feature } from './app.ts';
import { Helper } from './connection/helper.ts';
import type { Place } from './connection/place.ts';
import { apply } from './documents/apply.ts';
import { decorations } from './documents/decorations.ts';
import { diffs } from './documents/diffs.ts';
import { exportPatch } from './documents/export-patch.ts';
import { fileSystem } from './documents/file-system.ts';
import { git } from './documents/git.ts';
import { sandboxFolder } from './documents/sandbox-folder.ts';
import type { Doors } from './doors/doors.ts';
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
import { noLinuxMachine } from './setup/no-machine.ts';
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
  sandboxTasks,
  setUp,
  tryIt,
  doctor,
];

/** All that is behind the doors, joined together. `native`: the place where sandboxes are, if they need no machine of their own. */
export async function whole(context: ExtensionContext, doors: Doors, native: Place | undefined): Promise<App> {
  useTranslation((text, ...values) => l10n.t(text, ...values));
  const trouble = new Trouble();
  const log = trouble.heardFrom(window.createOutputChannel('Teleport Env', { log: true }));
  const inMachine = native ? undefined : await loadMachine(context, log);
  const place = native ?? inMachine!.place;
  const client = `vscode ${context.extension.packageJSON.version}`;
  const helper = new Helper(
    place,
    log,
    client,
    () => workspace.getConfiguration().get(SETTINGS.helperStart, true),
    () => workspace.isTrusted,
  );
  const store = new Store();
  const details = new Details(helper.ask, store);
  const moves = new Moves({ helper, store, log }, placeOf);
  const app: App = { context, doors, log, trouble, helper, store, details, selection: new Selection(), moves };
  context.subscriptions.push(log, helper, details, moves, ...FEATURES.map((feature) => feature(app)));
  context.subscriptions.push((inMachine?.feature ?? noLinuxMachine)(app));
  // Where a sandbox was at work, its status and terminals are there again without a view being opened.
  if (wasShown(app)) void helper.connect();
  return app;
}

/** With all that it needs to speak to Multipass: most of the extension's code, and no Linux window needs it. */
async function loadMachine(context: ExtensionContext, log: LogOutputChannel) {
  const { linuxMachine, linuxMachineFeature } = await import('./setup/linux-machine.ts');
  const { machine, place } = linuxMachine(context, log);
  return { place, feature: linuxMachineFeature(machine) };
}

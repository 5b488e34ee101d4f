import { statfs } from 'node:fs/promises';
import { cpus, homedir, totalmem } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  commands,
  Disposable,
  type ExtensionContext,
  type LogOutputChannel,
  Position,
  ProgressLocation,
  Selection,
  type TerminalLink,
  Uri,
  window,
  workspace,
} from 'vscode';
import { mcpServer } from '../agents/mcp.ts';
import type { App, Feature } from '../app.ts';
import { MultipassError } from '../connection/multipass/errors.ts';
import type { Report, Step } from '../connection/multipass/launch-output.ts';
import { linksIn } from '../connection/multipass/links.ts';
import { Machine } from '../connection/multipass/machine.ts';
import { type Payload, payloadOf } from '../connection/multipass/payload.ts';
import { atRest, helperError, multipassPlace } from '../connection/multipass/place.ts';
import { defaultSize, type Host } from '../connection/multipass/plan.ts';
import { multipassRunner, runProgram } from '../connection/multipass/runner.ts';
import { Storage } from '../connection/multipass/storage.ts';
import { BUILT_FOR_THE_HOST } from '../connection/multipass/workspace/exclusions.ts';
import type { Place } from '../connection/place.ts';
import { COMMANDS, SETTINGS } from '../ids.ts';
import { t } from '../l10n.ts';
import { register } from '../register.ts';
import { type MachineView, machineView } from './machine-view.ts';

const setting = <T>(id: string, fallback: T) => workspace.getConfiguration().get<T>(id, fallback);

/** Somebody wrote it, whatever it says. */
const chosen = (id: string): boolean => {
  const { globalValue, workspaceValue } = workspace.getConfiguration().inspect(id) ?? {};
  return globalValue !== undefined || workspaceValue !== undefined;
};

/** Ubuntu's newest with long support, and the one before it, for a Multipass that is older than that. */
const IMAGE = '26.04';
const OLDER_IMAGE = '24.04';

/** The machine, and the place that it is for the rest of the extension. */
export function linuxMachine(context: ExtensionContext, log: LogOutputChannel): { machine: Machine; place: Place } {
  let payload: Payload | undefined;
  let freeDisk: number | undefined;
  // Multipass keeps its machines on the system's disk, as homes usually are.
  void statfs(homedir()).then(
    (disk) => {
      freeDisk = disk.bavail * disk.bsize;
    },
    () => {},
  );
  const machine = new Machine(() => {
    const host: Host = { platform: process.platform, cpus: cpus().length, memory: totalmem(), freeDisk };
    const size = defaultSize(host);
    const or = (id: string, fallback: number) => setting(id, 0) || fallback;
    return {
      runner: multipassRunner(setting(SETTINGS.multipassPath, '') || 'multipass'),
      run: runProgram,
      storage: new Storage(Uri.joinPath(context.globalStorageUri, 'machine').fsPath),
      host,
      settings: {
        name: setting(SETTINGS.machineName, 'teleport-env'),
        image: setting(SETTINGS.machineImage, IMAGE),
        ...(chosen(SETTINGS.machineImage) ? {} : { otherImage: OLDER_IMAGE }),
        cpus: or(SETTINGS.machineCpus, size.cpus),
        memory: or(SETTINGS.machineMemory, size.memory),
        disk: or(SETTINGS.machineDisk, size.disk),
      },
      payload: () => {
        payload ??= payloadOf(context.extensionPath);
        return payload;
      },
    };
  });
  const place = multipassPlace({
    machine,
    during: (title, work) => during(title, work, PATIENCE_MS),
    exclude: () => setting<string[]>(SETTINGS.machineLeaveOut, [...BUILT_FOR_THE_HOST]),
    log: (text) => log.info(text),
    survivesReload: () => setting(SETTINGS.survivesReload, true),
  });
  return { machine, place };
}

/** Making the machine, and what one does with it. */
export function linuxMachineFeature(machine: Machine): Feature {
  return (app) => {
    const { name } = machine.settings;
    const view = machineView(app, machine);
    return Disposable.from(
      view,
      mcpServer(app.context, app.helper.place, app.helper),
      register(app, {
        [COMMANDS.setUpMachine]: () => setUpMachine(app, machine, view),
        [COMMANDS.startMachine]: () => app.helper.reconnect(),
        [COMMANDS.stopMachine]: () => view.during(putToRest(app, machine, view, 'stop')),
        [COMMANDS.suspendMachine]: () => view.during(putToRest(app, machine, view, 'suspend')),
        [COMMANDS.deleteMachine]: () => view.during(deleteMachine(app, machine, view)),
        [COMMANDS.openMachineShell]: async () => {
          await inWords(during(name, (report, signal) => machine.prepare(report, signal), PATIENCE_MS));
          const { command, args } = machine.terminalProgram(['bash', '-l']);
          window.createTerminal({ name: t('{0} (machine)', name), shellPath: command, shellArgs: [...args] }).show();
        },
      }),
      window.registerTerminalLinkProvider({
        provideTerminalLinks: ({ line }): FileLink[] =>
          linksIn(line).flatMap(({ start, length, path, line: at = 1, column = 1 }) => {
            const file = machine.toHost(path);
            return file === null ? [] : [{ startIndex: start, length, file, at: new Position(at - 1, column - 1) }];
          }),
        handleTerminalLink: async ({ file, at }: FileLink) => {
          const editor = await window.showTextDocument(Uri.file(file));
          editor.selection = new Selection(at, at);
          editor.revealRange(editor.selection);
        },
      }),
    );
  };
}

interface FileLink extends TerminalLink {
  readonly file: string;
  readonly at: Position;
}

/** Ends with the doctor run inside. */
async function setUpMachine(app: App, machine: Machine, view: MachineView): Promise<void> {
  const work = during(t('Linux machine'), async (report, signal) => {
    await machine.launch(report, signal);
    report({ stage: 'doctor', message: t('Asking the doctor inside') });
    app.log.info(await machine.doctor(signal));
  });
  await inWords(work).finally(() => view.refresh());
  const state = await app.helper.reconnect();
  if (state.kind === 'ready') await commands.executeCommand(COMMANDS.doctor);
}

/** Let go of first: a lost connection would be tried again, and Multipass starts a machine that is spoken to. */
async function putToRest(app: App, machine: Machine, view: MachineView, how: 'stop' | 'suspend'): Promise<void> {
  const { name } = machine.settings;
  await app.helper.rest(atRest(name, how === 'suspend').message);
  const title = how === 'suspend' ? t('Suspending {0}', name) : t('Stopping {0}', name);
  try {
    await inWords(during(title, (_, signal) => machine[how](signal)));
  } catch (error) {
    void app.helper.reconnect();
    throw error;
  } finally {
    view.refresh();
  }
}

/** What multipass fails with, as the error that people see. */
async function inWords<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw error instanceof MultipassError ? helperError(error) : error;
  }
}

async function deleteMachine(app: App, machine: Machine, view: MachineView): Promise<void> {
  const { name } = machine.settings;
  const yes = t('Delete');
  const detail = t('All sandboxes in it go with it, for good. The folders of this computer stay as they are.');
  const answer = await window.showWarningMessage(t('Delete the machine {0}?', name), { modal: true, detail }, yes);
  if (answer !== yes) return;
  await app.helper.rest(atRest(name, false).message);
  const work = during(t('Deleting {0}', name), (_, signal) => machine.remove(signal));
  await inWords(work).finally(() => view.refresh());
  await app.helper.reconnect();
}

/** Short work shows nothing: a machine that runs is connected to in less. */
const PATIENCE_MS = 1_500;

/** Shown where people see it, with each stage and a way to cancel, once it takes longer than `patienceMs`. */
async function during<T>(
  title: string,
  work: (report: Report, signal: AbortSignal) => Promise<T>,
  patienceMs = 0,
): Promise<T> {
  const abort = new AbortController();
  let last: Step | undefined;
  let show = (step: Step) => {
    last = step;
  };
  const working = work((step) => show(step), abort.signal);
  const over = working.then(
    () => true,
    () => true,
  );
  if (patienceMs > 0 && (await Promise.race([over, sleep(patienceMs, false)]))) return await working;
  const options = { location: ProgressLocation.Notification, title, cancellable: true };
  return await window.withProgress(options, (progress, token) => {
    token.onCancellationRequested(() => abort.abort());
    let shown = 0;
    show = ({ message, done, total }) => {
      const part = done !== undefined && total ? (100 * done) / total : undefined;
      progress.report(part === undefined ? { message } : { message, increment: Math.max(0, part - shown) });
      if (part !== undefined) shown = Math.max(shown, part);
    };
    if (last) show(last);
    return working;
  });
}

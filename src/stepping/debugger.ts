/** Stepping with the editor's own debugger: what joins the debug adapter to VS Code. */
import {
  type CancellationToken,
  commands,
  DebugAdapterInlineImplementation,
  type DebugConfiguration,
  Disposable,
  debug,
  Uri,
  window,
  workspace,
} from 'vscode';
import type { App, Feature } from '../app.ts';
import { COMMANDS } from '../ids.ts';
import { t } from '../l10n.ts';
import { register } from '../register.ts';
import { report } from '../report.ts';
import { pickSandbox } from '../targets.ts';
import type { RunTo } from './base-session.ts';
import { DEBUG_TYPE, RUN_LANGUAGE } from './ids.ts';
import type { World } from './world.ts';

export const stepping: Feature = (app) =>
  Disposable.from(
    app.doors.adapter.leadsTo({
      // The adapter is loaded when somebody steps, not when the window opens.
      createDebugAdapterDescriptor: async () => {
        const { StepSession } = await import('./session.ts');
        return new DebugAdapterInlineImplementation(new StepSession(worldOf(app)));
      },
    }),
    app.doors.configuration.leadsTo({
      resolveDebugConfiguration: (_folder, configuration, token) => resolve(app, configuration, token),
    }),
    register(app, {
      [COMMANDS.stepThrough]: (argument) =>
        start(argument instanceof Uri ? argument : window.activeTextEditor?.document.uri),
      [COMMANDS.runToHere]: (argument) => runToHere(argument),
    }),
  );

/** The extension as the debug adapter sees it. */
export function worldOf({ helper }: Pick<App, 'helper'>): World {
  return {
    ask: (method, params, { patient = false } = {}) => helper.ask(method, params, patient ? { timeoutMs: 0 } : {}),
    on: (name, listener) => {
      const listening = helper.onNotification(name, listener);
      return () => listening.dispose();
    },
    read: async (program) => (await workspace.openTextDocument(uriOf(program))).getText(),
    uri: (program) => uriOf(program).toString(),
  };
}

/** A path, or the address of a document that is not on disk. */
function uriOf(program: string): Uri {
  return /^[a-z][a-z0-9+.-]+:/i.test(program) ? Uri.parse(program, true) : Uri.file(program);
}

function programOf(uri: Uri): string {
  return uri.scheme === 'file' ? uri.fsPath : uri.toString();
}

async function start(uri: Uri | undefined, more: object = {}): Promise<void> {
  if (!uri) {
    window.setStatusBarMessage(t('Open a script, a run document or a transcript first'), 4_000);
    return;
  }
  const name = t('Step through {0}', uri.path.split('/').at(-1)!);
  const folder = workspace.getWorkspaceFolder(uri);
  const configuration = { type: DEBUG_TYPE, request: 'launch', name, program: programOf(uri), ...more };
  // A run that was written down is walked as it stands there: where to save it is no question of that.
  await debug.startDebugging(folder, configuration, { suppressSaveBeforeStart: uri.scheme === 'untitled' });
}

/** Fills in what was left out: the open document, and a sandbox, which is made where there is none. */
async function resolve(
  app: App,
  configuration: DebugConfiguration,
  token: CancellationToken | undefined,
): Promise<DebugConfiguration | undefined> {
  try {
    const program: unknown = configuration.program;
    const document = window.activeTextEditor?.document;
    const wanted = typeof program === 'string' && program !== '' ? program : document && programOf(document.uri);
    if (wanted === undefined) throw new Error(t('Open a script, a run document or a transcript first.'));
    await app.helper.connect();
    const sandbox = configuration.sandbox ?? (await sandboxFor(app));
    if (sandbox === undefined || token?.isCancellationRequested) return undefined;
    // F5 without a configuration comes with nothing at all.
    const name = configuration.name || t('Step through');
    return { ...configuration, name, type: DEBUG_TYPE, request: 'launch', program: wanted, sandbox };
  } catch (error) {
    report(app.log, error);
    return undefined;
  }
}

async function sandboxFor(app: App): Promise<string | undefined> {
  const { sandboxes } = await app.helper.ask('sandbox/list', {});
  app.store.setSandboxes(sandboxes);
  if (app.store.shown) return app.store.shown.id;
  if (sandboxes.length === 0) await commands.executeCommand(COMMANDS.createSandbox);
  return (app.store.shown ?? (await pickSandbox(app, t('Step in which sandbox?'))))?.id;
}

/** From a lens: on with the walk that is under way in that document, or a new one. */
async function runToHere(argument: unknown): Promise<void> {
  const { uri, line } = argument as { uri: string; line: number };
  const program = programOf(Uri.parse(uri, true));
  const active = debug.activeDebugSession;
  const walking = active?.type === DEBUG_TYPE && active.configuration.program === program;
  if (walking && !((await active.customRequest('runTo', { line })) as RunTo).over) return;
  await start(Uri.parse(uri, true), { runTo: line });
}

/** Run documents have lenses and hints: those come over the connection, so that is wanted when one is opened. */
export const runDocuments: Feature = (app) => {
  const look = (language: string) => {
    if (language === RUN_LANGUAGE && workspace.isTrusted) app.helper.glance();
  };
  for (const { languageId } of workspace.textDocuments) look(languageId);
  return workspace.onDidOpenTextDocument(({ languageId }) => look(languageId));
};

import { randomUUID } from 'node:crypto';
import {
  Disposable,
  type ExtensionTerminalOptions,
  type Terminal,
  TerminalExitReason,
  type TerminalOptions,
  TerminalProfile,
  ThemeIcon,
  window,
} from 'vscode';
import type { Sandbox } from '../../helper/protocol/model.ts';
import type { App, Feature } from '../app.ts';
import type { ShownSession } from '../connection/place.ts';
import { COMMANDS } from '../ids.ts';
import { t } from '../l10n.ts';
import { register } from '../register.ts';
import { report } from '../report.ts';
import { field, targetSandbox } from '../targets.ts';
import { SessionTerminal } from './session-terminal.ts';
import { shellIntegrationVariables } from './shell-integration.ts';

/** Terminals whose shells live in a sandbox. */
export const terminals: Feature = (app) =>
  Disposable.from(
    app.doors.profile.leadsTo({
      provideTerminalProfile: async () => {
        try {
          const options = await optionsFor(app, undefined);
          return options && new TerminalProfile(options);
        } catch (error) {
          report(app.log, error);
          return undefined;
        }
      },
    }),
    window.onDidCloseTerminal((terminal) => {
      const place = placeOf(terminal);
      // Closed by hand: the shell goes. A window that goes takes no shell along.
      if (!place || terminal.exitStatus?.reason !== TerminalExitReason.User) return;
      const { sandbox, branch, session } = place;
      app.helper
        .ask('session/close', { sandbox, session, ...(branch === undefined ? {} : { branch }) } as never)
        .catch((error) => app.log.debug(`closing ${session}: ${String(error)}`));
    }),
    register(app, {
      [COMMANDS.openTerminal]: async (argument) => {
        const options = await optionsFor(app, argument);
        if (options) window.createTerminal(options as TerminalOptions).show();
      },
    }),
  );

/** A terminal of its own for a program in the head. */
export async function openProgram(
  app: App,
  sandbox: Sandbox,
  program: { argv: string[]; env: Record<string, string>; name: string; icon: string },
): Promise<void> {
  const { session } = await app.helper.ask('session/open', {
    sandbox: sandbox.id,
    kind: 'terminal',
    cwd: sandbox.workspace,
    argv: program.argv,
    env: program.env,
    attach: false,
  });
  const options = shownBy(
    app,
    { sandbox: sandbox.id, branch: undefined, session, hold: true },
    {
      name: program.name,
      iconPath: new ThemeIcon(program.icon),
    },
  );
  window.createTerminal(options as TerminalOptions).show();
}

async function optionsFor(
  app: App,
  argument: unknown,
): Promise<TerminalOptions | ExtensionTerminalOptions | undefined> {
  const { helper, context } = app;
  await helper.connect();
  const sandbox = await targetSandbox(app, argument, t('A terminal in which sandbox?'));
  if (!sandbox) return undefined;
  if (sandbox.head === null) await helper.ask('sandbox/start', { sandbox: sandbox.id });
  const given = field(argument, 'branch');
  // The head's terminal follows the head.
  const branch = given === sandbox.head ? undefined : given;
  const nonce = nonceFor(context.globalState, sandbox.id);
  const { session } = await helper.ask('session/open', {
    sandbox: sandbox.id,
    kind: 'terminal',
    cwd: sandbox.workspace,
    env: shellIntegrationVariables(nonce),
    attach: false,
    ...(branch === undefined ? {} : { branch }),
  });
  const place: ShownSession = { sandbox: sandbox.id, branch, session };
  const shared = {
    name: branch === undefined ? sandbox.name : t('{0} (live fork {1})', sandbox.name, branch),
    iconPath: new ThemeIcon(branch === undefined ? 'history' : 'git-branch'),
    shellIntegrationNonce: nonce,
  };
  return shownBy(app, place, shared);
}

/** By a process of its own, which a reload of the window leaves running, where there can be one. */
function shownBy(
  app: App,
  place: ShownSession,
  shared: { name: string; iconPath: ThemeIcon; shellIntegrationNonce?: string },
): TerminalOptions | ExtensionTerminalOptions {
  const shell = app.helper.place.shell(place);
  if (!shell) return { ...shared, pty: new SessionTerminal(app, place) };
  return { ...shared, shellPath: shell.command, shellArgs: [...shell.args], env: { ...shell.env } };
}

/**
 * One per sandbox, and kept: it is in the memory of the sandbox's shells, so those of an earlier moment know this one
 * and no other.
 */
function nonceFor(memory: App['context']['globalState'], sandbox: string): string {
  const key = `nonce/${sandbox}`;
  const known = memory.get<string>(key);
  if (known) return known;
  const made = randomUUID();
  void memory.update(key, made);
  return made;
}

/** Which session a terminal shows, also after the window was reloaded; undefined for other people's terminals. */
export function placeOf(terminal: Pick<Terminal, 'creationOptions'>): ShownSession | undefined {
  const options = terminal.creationOptions;
  if ('pty' in options) return options.pty instanceof SessionTerminal ? options.pty.place : undefined;
  const args = (options as TerminalOptions).shellArgs;
  if (!Array.isArray(args)) return undefined;
  const at = args.indexOf('shell');
  const session = args[args.indexOf('--session') + 1];
  const sandbox = args[at + 1];
  if (at < 1 || !args.includes('--session') || !session || !sandbox) return undefined;
  return { sandbox, session, branch: args.includes('--branch') ? args[args.indexOf('--branch') + 1] : undefined };
}

import { Disposable, type TerminalShellExecution, window, workspace } from 'vscode';
import type { Feature } from '../app.ts';
import { SETTINGS } from '../ids.ts';
import { placeOf } from './terminals.ts';

/** Each command that ends in a sandbox's terminal becomes a timeline entry by itself. */
export const commandEntries: Feature = (app) => {
  const { helper, store, log } = app;
  const began = new WeakMap<TerminalShellExecution, number>();
  return Disposable.from(
    window.onDidStartTerminalShellExecution(({ terminal, execution }) => {
      if (placeOf(terminal)) began.set(execution, Date.now());
    }),
    window.onDidEndTerminalShellExecution(({ terminal, execution, exitCode }) => {
      const place = placeOf(terminal);
      const line = execution.commandLine.value.trim();
      // Without an exit code nothing is known to have ended: an empty line, or a terminal that went back.
      if (
        !place ||
        !line ||
        exitCode === undefined ||
        !workspace.getConfiguration().get<boolean>(SETTINGS.checkpointCommands, true)
      )
        return;
      if (store.sandbox(place.sandbox)?.state === 'restoring') return;
      const start = began.get(execution);
      helper
        .ask('checkpoint/create', {
          sandbox: place.sandbox,
          command: line,
          exitCode,
          ...(place.branch === undefined ? {} : { branch: place.branch as never }),
          ...(start === undefined ? {} : { durationMs: Date.now() - start }),
        })
        // Nobody asked for it, so nobody is bothered: the log says why there is no entry.
        .catch((error) =>
          log.info(`no checkpoint after "${line}": ${error instanceof Error ? error.message : String(error)}`),
        );
    }),
  );
};

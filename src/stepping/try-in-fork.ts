/** The way out of a dangerous command: run it in a live fork, look at what it did, then keep that or not. */
import { commands, ProgressLocation, window } from 'vscode';
import type { App, Feature } from '../app.ts';
import { COMMANDS } from '../ids.ts';
import { t } from '../l10n.ts';
import { register } from '../register.ts';
import { field, targetSandbox } from '../targets.ts';
import { duration, files, oneLine } from '../views/words.ts';

export const tryInFork: Feature = (app) =>
  register(app, {
    [COMMANDS.tryInFork]: async (argument) => {
      const line = field(argument, 'command') ?? selected();
      if (!line?.trim()) return;
      const sandbox = await targetSandbox(app, argument, t('Try it in a fork of which sandbox?'));
      if (sandbox) await attempt(app, sandbox.id, line);
    },
  });

function selected(): string | undefined {
  const editor = window.activeTextEditor;
  return (
    editor && (editor.document.getText(editor.selection) || editor.document.lineAt(editor.selection.active.line).text)
  );
}

async function attempt(app: App, sandbox: string, line: string): Promise<void> {
  const { ask } = app.helper;
  const title = t('Trying “{0}” in a fork', oneLine(line, 40));
  const { branch, from, ran } = await window.withProgress({ location: ProgressLocation.Window, title }, async () => {
    const { checkpoint } = await ask('checkpoint/create', {
      sandbox,
      label: t('before trying {0}', oneLine(line, 40)),
    });
    const forked = await ask('branch/fork', { sandbox, checkpoint: checkpoint.id });
    const result = await ask('run', { sandbox, branch: forked.branch, line }, { timeoutMs: 0 });
    return { branch: forked.branch, from: checkpoint.id, ran: result };
  });
  const changed = ran.checkpoint?.filesChanged ?? 0;
  if (changed > 0) void commands.executeCommand(COMMANDS.showChanges, { sandbox, from, to: branch });
  const [keep, discard] = [t('Keep'), t('Discard')];
  const how = [`exit ${ran.exitCode}`, duration(ran.durationMs), files(changed)].join(' · ');
  const chosen = await window.showInformationMessage(t('Tried in live fork {0}: {1}', branch, how), keep, discard);
  // Nothing chosen: it stays a live fork, which the Sandboxes view offers to keep or discard.
  if (chosen === keep) await commands.executeCommand(COMMANDS.makeCurrent, { sandbox, branch });
  if (chosen === discard) await ask('branch/discard', { sandbox, branch });
}

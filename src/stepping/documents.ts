/** Runs as documents: a timeline written down, a transcript opened as what it is. */
import { Uri, window, workspace } from 'vscode';
import type { Feature } from '../app.ts';
import { COMMANDS } from '../ids.ts';
import { t } from '../l10n.ts';
import { register } from '../register.ts';
import { targetSandbox } from '../targets.ts';
import { RUN_LANGUAGE } from './ids.ts';

export const runs: Feature = (app) =>
  register(app, {
    [COMMANDS.recordRun]: async (argument) => {
      const sandbox = await targetSandbox(app, argument, t('Write down the run of which sandbox?'));
      if (sandbox) await show((await app.helper.ask('document/record', { sandbox: sandbox.id })).text);
    },
    [COMMANDS.openTranscript]: async (argument) => {
      const uri = argument instanceof Uri ? argument : window.activeTextEditor?.document.uri;
      if (!uri) return;
      const text = Buffer.from(await workspace.fs.readFile(uri)).toString('utf8');
      const document = await app.helper.ask('document/read', { text });
      await show(document.text);
    },
  });

/** Not on disk yet: whoever wants to keep it saves it. */
async function show(content: string): Promise<void> {
  await window.showTextDocument(await workspace.openTextDocument({ language: RUN_LANGUAGE, content }));
}

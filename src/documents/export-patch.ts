import { Buffer } from 'node:buffer';
import { window, workspace } from 'vscode';
import type { Feature } from '../app.ts';
import { COMMANDS } from '../ids.ts';
import { t } from '../l10n.ts';
import { register } from '../register.ts';
import { tell } from '../report.ts';
import { field, targetSandbox } from '../targets.ts';
import { files } from '../views/words.ts';

/** What a sandbox changed, or one step of it, as a patch file. */
export const exportPatch: Feature = (app) =>
  register(app, {
    [COMMANDS.exportPatch]: async (argument) => {
      const sandbox = await targetSandbox(app, argument, t('Export the changes of which sandbox?'));
      if (!sandbox) return;
      const step = app.store.checkpoint(sandbox.id, field(argument, 'id') ?? '');
      const range = step?.parent ? { from: step.parent as never, to: step.id as never } : {};
      const { patch, files: count } = await app.helper.ask('apply/patch', { sandbox: sandbox.id, ...range });
      if (count === 0) {
        window.setStatusBarMessage(t('Nothing changed: there is no patch to export'), 5_000);
        return;
      }
      const document = await workspace.openTextDocument({ content: patch, language: 'diff' });
      await window.showTextDocument(document);
      const name = `${sandbox.name.replace(/[^\w.-]+/g, '-')}${step ? `-${step.id}` : ''}.patch`;
      tell(app.log, t('A patch of {0}.', files(count)), {
        [t('Save as…')]: async () => {
          const folder = workspace.workspaceFolders?.[0]?.uri;
          const target = await window.showSaveDialog({
            filters: { [t('Patch')]: ['patch', 'diff'] },
            ...(folder ? { defaultUri: folder.with({ path: `${folder.path}/${name}` }) } : {}),
          });
          if (target) await workspace.fs.writeFile(target, Buffer.from(patch, 'utf8'));
        },
      });
    },
  });

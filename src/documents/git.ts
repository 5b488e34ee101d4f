import { extensions, ProgressLocation, type Uri, window } from 'vscode';
import type { App, Feature } from '../app.ts';
import { COMMANDS } from '../ids.ts';
import { t } from '../l10n.ts';
import { register } from '../register.ts';
import { tell } from '../report.ts';
import { field, targetSandbox } from '../targets.ts';
import { arrivedWords, branchWords, nameFor, whyNoBranch } from './git-model.ts';

/** A sandbox's commits to the user's own repository: as refs apart, or as a branch. Nothing is checked out by itself. */
export const git: Feature = (app) =>
  register(app, {
    [COMMANDS.createGitBranch]: async (argument) => {
      const sandbox = await targetSandbox(app, argument, t('A git branch from which sandbox?'));
      if (!sandbox) return;
      const name = await window.showInputBox({
        prompt: t('A branch of your repository with what {0} committed, and what it did not', sandbox.name),
        value: nameFor(sandbox.name),
        validateInput: whyNoBranch,
      });
      if (name === undefined) return;
      const from = field(argument, 'id') ?? field(argument, 'branch');
      const params = { sandbox: sandbox.id, name, ...(from === undefined ? {} : { from: from as never }) };
      const options = {
        location: ProgressLocation.Notification,
        title: t('Making the branch {0}', name),
        cancellable: true,
      };
      const made = await window.withProgress(options, (progress, token) =>
        app.helper.ask('git/branch', params, { token, progress }),
      );
      const repository = openRepository(app.helper.place.fromHelperPath(made.to));
      const checkOut = { [t('Check out')]: () => repository?.checkout(made.branch) };
      tell(app.log, branchWords(made), repository ? checkOut : {});
    },
    [COMMANDS.fetchCommits]: async (argument) => {
      const sandbox = await targetSandbox(app, argument, t('Fetch the commits of which sandbox?'));
      if (!sandbox) return;
      const arrived = await fetchCommits(app, sandbox.id);
      tell(app.log, arrivedWords(arrived, sandbox.name));
    },
  });

function fetchCommits(app: App, sandbox: string) {
  const options = { location: ProgressLocation.Window, title: t('Fetching commits') };
  return window.withProgress(options, (progress) => app.helper.ask('git/fetch', { sandbox }, { progress }));
}

/** Of VS Code's own git extension, what is used here: its API, version 1. */
interface GitRepository {
  readonly rootUri: Uri;
  checkout(name: string): Promise<void>;
}

function openRepository(folder: string): GitRepository | undefined {
  const own = extensions.getExtension<{ enabled: boolean; getAPI(version: 1): { repositories: GitRepository[] } }>(
    'vscode.git',
  );
  if (!own?.isActive || !own.exports.enabled) return undefined;
  return own.exports.getAPI(1).repositories.find(({ rootUri }) => rootUri.fsPath === folder);
}

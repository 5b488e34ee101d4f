import { commands, Range, type TerminalLink, type TerminalLinkProvider, Uri, window } from 'vscode';
import type { App, Feature } from '../app.ts';
import { HelperError } from '../connection/errors.ts';
import { fileUri } from '../documents/file-system.ts';
import { t } from '../l10n.ts';
import { report } from '../report.ts';
import { insidePath } from '../views/file-timeline-model.ts';
import { type Named, namedIn, placesOf } from './links-model.ts';
import { placeOf } from './terminals.ts';

interface FileLink extends TerminalLink {
  readonly sandbox: string;
  readonly at: string;
  readonly path: string;
  readonly named: Named;
}

/** Files that a sandbox's terminal names are the sandbox's: the folder outside may not have them, or not as they are there. */
export const links: Feature = (app) => {
  const provider: TerminalLinkProvider<FileLink> = {
    provideTerminalLinks: async ({ line, terminal }) => {
      const place = placeOf(terminal);
      const sandbox = place && app.store.sandbox(place.sandbox);
      if (!place || !sandbox || app.helper.state.kind !== 'ready') return [];
      const at = place.branch ?? 'head';
      const cwd = terminal.shellIntegration?.cwd?.path ?? sandbox.workspace;
      const found = await Promise.all(
        namedIn(line).map(async (named): Promise<FileLink | undefined> => {
          for (const path of placesOf(named.path, cwd, sandbox.workspace))
            if (await isFile(app, sandbox.id, at, path))
              return {
                startIndex: named.start,
                length: named.length,
                tooltip: t('Open this file of the sandbox'),
                sandbox: sandbox.id,
                at,
                path,
                named,
              };
          return undefined;
        }),
      );
      return found.filter((link) => link !== undefined);
    },
    handleTerminalLink: async ({ sandbox, at, path, named }) => {
      try {
        const uri = (await followed(app, sandbox, at, path)) ?? fileUri({ sandbox, at, path });
        const [row, column] = [(named.line ?? 1) - 1, (named.column ?? 1) - 1];
        const selection = new Range(row, column, row, column);
        await commands.executeCommand('vscode.open', uri, named.line === undefined ? {} : { selection });
      } catch (error) {
        report(app.log, error);
      }
    },
  };
  return window.registerTerminalLinkProvider(provider);
};

async function isFile({ helper }: App, sandbox: string, at: string, path: string): Promise<boolean> {
  try {
    return (await helper.ask('file/stat', { sandbox, at: at as never, path })).type === 'file';
  } catch (error) {
    // There is none: no link. And what else went wrong is no reason to disturb who points at a line.
    if (error instanceof HelperError) return false;
    throw error;
  }
}

/** Where the folder outside follows the sandbox, its file is the same one, and the one that people have open. */
async function followed({ helper, store }: App, id: string, at: string, path: string): Promise<Uri | undefined> {
  const sandbox = store.sandbox(id);
  if (at !== 'head' || !sandbox || insidePath(sandbox.workspace, '/', path) === null) return undefined;
  const { on } = await helper.ask('follow/get', { sandbox: id });
  return on ? Uri.file(helper.place.fromHelperPath(path)) : undefined;
}

import type { Disposable, ExtensionContext, LogOutputChannel } from 'vscode';
import type { Helper } from './connection/helper.ts';
import type { Doors } from './doors/doors.ts';
import type { Trouble } from './setup/log-tail.ts';
import type { Moves } from './terminal/moves.ts';
import type { Details } from './views/details.ts';
import type { Selection } from './views/selection.ts';
import type { Store } from './views/store.ts';

/** What every feature is given. */
export interface App {
  readonly context: ExtensionContext;
  readonly doors: Doors;
  readonly log: LogOutputChannel;
  readonly trouble: Trouble;
  readonly helper: Helper;
  readonly store: Store;
  readonly details: Details;
  readonly selection: Selection;
  readonly moves: Moves;
}

/** One thing that the extension does: joins itself to VS Code, and leaves when disposed. */
export type Feature = (app: App) => Disposable;

import { Disposable, type FileChangeEvent, FileChangeType, type Uri, workspace } from 'vscode';
import type { NotificationParams } from '../../helper/protocol/methods.ts';
import type { Helper } from '../connection/helper.ts';
import type { Address } from './address.ts';

const TYPES = {
  created: FileChangeType.Created,
  changed: FileChangeType.Changed,
  deleted: FileChangeType.Deleted,
} as const;

interface Watched {
  readonly uri: Uri;
  readonly address: Address;
  /** The helper's name for it, of the present connection. */
  id: string | undefined;
}

/** What the editor wants to hear of in live branches. The helper tells; a new connection is asked anew. */
export class FolderWatches implements Disposable {
  private readonly watched = new Set<Watched>();
  private readonly listening: Disposable;

  constructor(
    private readonly helper: Helper,
    private readonly fire: (events: FileChangeEvent[]) => void,
  ) {
    this.listening = Disposable.from(
      helper.onNotification('files/changed', (params) => this.hear(params)),
      helper.onDidChangeState(({ kind }) => {
        for (const one of this.watched) {
          one.id = undefined;
          if (kind === 'ready') void this.ask(one);
        }
      }),
    );
  }

  add(uri: Uri, address: Address): Disposable {
    const one: Watched = { uri, address, id: undefined };
    this.watched.add(one);
    if (this.helper.state.kind === 'ready') void this.ask(one);
    return new Disposable(() => {
      this.watched.delete(one);
      this.end(one.id);
    });
  }

  dispose(): void {
    this.listening.dispose();
    this.watched.clear();
  }

  private async ask(one: Watched): Promise<void> {
    const { sandbox, at, path } = one.address;
    try {
      const branch = at === 'head' ? {} : { branch: at };
      const { watch } = await this.helper.ask('file/watch', { sandbox, path, ...branch });
      if (this.watched.has(one)) one.id = watch;
      else this.end(watch);
    } catch {
      // Logged where it was asked. Checkpoints and rollbacks are heard all the same.
    }
  }

  private end(watch: string | undefined): void {
    if (watch !== undefined && this.helper.state.kind === 'ready')
      this.helper.ask('file/unwatch', { watch }).catch(() => undefined); // the connection went, and it with it
  }

  private hear({ watch, changes, more }: NotificationParams<'files/changed'>): void {
    const one = [...this.watched].find(({ id }) => id === watch);
    if (!one) return;
    const events: FileChangeEvent[] = changes.map(({ path, kind }) => ({
      type: TYPES[kind],
      uri: one.uri.with({ path }),
    }));
    if (more) {
      const open = workspace.textDocuments.filter(({ uri }) => uri.toString().startsWith(one.uri.toString()));
      for (const { uri } of [one, ...open]) events.push({ type: FileChangeType.Changed, uri });
    }
    this.fire(events);
  }
}

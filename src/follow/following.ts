import { type Disposable, EventEmitter, Uri, workspace } from 'vscode';
import type { FollowStatus } from '../../helper/protocol/bridge.ts';
import type { Sandbox } from '../../helper/protocol/model.ts';
import type { App } from '../app.ts';
import { HelperError } from '../connection/errors.ts';
import { report } from '../report.ts';
import { within } from './model.ts';

/** Said by the connection's own state already. */
const SILENT: ReadonlySet<string> = new Set(['noHelper', 'lost', 'unanswered', 'cancelled', 'unknownSandbox']);

/** Which sandboxes of folders in this window are followed, and the requests that do it. Decides nothing. */
export class Following implements Disposable {
  private readonly statuses = new Map<string, FollowStatus>();
  /** Head and checkpoint at the last request, so that one moment is taken once. */
  private readonly moments = new Map<string, string>();
  private readonly running = new Map<string, { again: boolean }>();
  private readonly emitter = new EventEmitter<{
    sandbox: string;
    before: FollowStatus | undefined;
    now: FollowStatus;
  }>();
  readonly onDidChange = this.emitter.event;

  constructor(private readonly app: App) {}

  status(sandbox: string): FollowStatus | undefined {
    return this.statuses.get(sandbox);
  }

  /** The folder of this window that is the sandbox's workspace. */
  folderOf(sandbox: Sandbox): Uri | undefined {
    const path = this.app.helper.place.fromHelperPath(sandbox.workspace);
    return workspace.workspaceFolders?.find(({ uri }) => uri.scheme === 'file' && uri.fsPath === path)?.uri;
  }

  uriOf(sandbox: Sandbox, path: string): Uri {
    return Uri.joinPath(this.folderOf(sandbox) ?? Uri.file(sandbox.workspace), path);
  }

  /** Sandboxes of this window's folders, with the path below each; for a file of the workspace. */
  ownersOf(uri: Uri): { sandbox: Sandbox; path: string }[] {
    if (uri.scheme !== 'file') return [];
    return this.app.store.sandboxes.flatMap((sandbox) => {
      const folder = this.folderOf(sandbox);
      const path = folder && within(folder.path, uri.path);
      return path === undefined ? [] : [{ sandbox, path }];
    });
  }

  /** Paths with unsaved text. */
  unsaved(sandbox: Sandbox): string[] {
    const documents = [...workspace.textDocuments, ...workspace.notebookDocuments].filter((one) => one.isDirty);
    const of = documents.flatMap(({ uri }) => this.ownersOf(uri).filter((owner) => owner.sandbox.id === sandbox.id));
    return of.map(({ path }) => path);
  }

  /** How it stands, for sandboxes that are new here; those that are followed take what they missed. */
  async look(sandbox: Sandbox): Promise<void> {
    if (!this.folderOf(sandbox)) return;
    if (!this.statuses.has(sandbox.id))
      this.told(sandbox.id, await this.app.helper.ask('follow/get', { sandbox: sandbox.id }));
    const moment = `${sandbox.head} ${sandbox.current}`;
    if (!this.statuses.get(sandbox.id)?.on || this.moments.get(sandbox.id) === moment) return;
    this.moments.set(sandbox.id, moment);
    await this.sync(sandbox.id);
  }

  async set(sandbox: Sandbox, on: boolean): Promise<void> {
    this.told(sandbox.id, await this.app.helper.ask('follow/set', { sandbox: sandbox.id, on }));
    if (on) await this.sync(sandbox.id);
  }

  /** One at a time; asked for meanwhile, once more after it. */
  async sync(id: string): Promise<void> {
    const running = this.running.get(id);
    if (running) {
      running.again = true;
      return;
    }
    const turn = { again: true };
    this.running.set(id, turn);
    try {
      while (turn.again) {
        turn.again = false;
        const sandbox = this.app.store.sandbox(id);
        if (!sandbox || !this.statuses.get(id)?.on) return;
        const { written, ...status } = await this.app.helper.ask(
          'follow/sync',
          { sandbox: id, unsaved: this.unsaved(sandbox) },
          { timeoutMs: 0 },
        );
        this.app.log.debug(
          `follow ${id}: ${status.at}, ${written.length} written, ${status.conflicts.length} conflicts`,
        );
        this.told(id, status);
      }
    } finally {
      this.running.delete(id);
    }
  }

  /** Saved, made or removed in the workspace. */
  async enter(sandbox: Sandbox, paths: string[], force = false): Promise<void> {
    const { entered, ...status } = await this.app.helper.ask('follow/enter', { sandbox: sandbox.id, paths, force });
    this.app.log.debug(`follow ${sandbox.id}: ${entered.length} entered`);
    this.told(sandbox.id, status);
  }

  forget(): void {
    this.statuses.clear();
    this.moments.clear();
  }

  guarded(work: Promise<unknown>): void {
    work.catch((error) => {
      if (error instanceof HelperError && SILENT.has(error.code)) this.app.log.debug(`follow: ${error.message}`);
      else report(this.app.log, error);
    });
  }

  dispose(): void {
    this.emitter.dispose();
  }

  private told(sandbox: string, now: FollowStatus): void {
    const before = this.statuses.get(sandbox);
    this.statuses.set(sandbox, now);
    this.emitter.fire({ sandbox, before, now });
  }
}

import { Disposable, type SourceControl, type SourceControlResourceState, scm, type Uri } from 'vscode';
import type { Sandbox } from '../../helper/protocol/model.ts';
import type { App } from '../app.ts';
import { fileUri } from '../documents/file-system.ts';
import { COMMANDS } from '../ids.ts';
import { t } from '../l10n.ts';
import type { Following } from './following.ts';
import { linesOfConflicts, linesOfPlan, type ScmLine } from './model.ts';

/** Steps come in bursts, and each comparison looks at all that the sandbox changed. */
const SETTLE_MS = 250;

interface Line extends SourceControlResourceState {
  readonly sandbox: string;
  readonly path: string;
}

/** The shown sandbox beside the workspace, in the Source Control view; with Follow on, only what could not follow. */
export class Comparison implements Disposable {
  private control: { readonly of: string; readonly name: string; readonly scm: SourceControl } | undefined;
  private groups: ReturnType<SourceControl['createResourceGroup']>[] = [];
  private lines: ScmLine[] = [];
  private timer: NodeJS.Timeout | undefined;
  private round = 0;
  private seen = '';
  private readonly listening: Disposable;

  constructor(
    private readonly app: App,
    private readonly following: Following,
  ) {
    this.listening = Disposable.from(
      app.store.onDidChange(({ kind }) => {
        if (kind !== 'entry') this.momentChanged();
      }),
      app.helper.onDidChangeState(() => this.later()),
      following.onDidChange(() => this.later(0)),
    );
    this.later();
  }

  /** What could be taken from the sandbox without a conflict. */
  fine(): string[] {
    return this.lines.filter((line) => !line.conflict).map((line) => line.path);
  }

  later(afterMs = SETTLE_MS): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.following.guarded(this.update()), afterMs);
  }

  dispose(): void {
    clearTimeout(this.timer);
    this.listening.dispose();
    this.remove();
  }

  private momentChanged(): void {
    const { shown } = this.app.store;
    const moment = shown ? `${shown.id} ${shown.name} ${shown.head} ${shown.current}` : '';
    if (moment === this.seen) return;
    this.seen = moment;
    this.later();
  }

  private async update(): Promise<void> {
    const round = ++this.round;
    const { store, helper } = this.app;
    const sandbox = store.shown;
    const folder = sandbox && this.following.folderOf(sandbox);
    const status = sandbox && this.following.status(sandbox.id);
    if (!folder || !sandbox || !status || helper.state.kind !== 'ready') return this.remove();
    if (status.on && status.conflicts.length === 0) return this.remove();
    const lines = status.on
      ? linesOfConflicts(status.conflicts)
      : linesOfPlan((await helper.ask('apply/plan', { sandbox: sandbox.id })).changes);
    if (round !== this.round) return;
    this.lines = lines;
    this.show(sandbox, folder);
  }

  private show(sandbox: Sandbox, folder: Uri): void {
    if (this.control?.of !== sandbox.id || this.control.name !== sandbox.name) {
      this.remove();
      const control = scm.createSourceControl('teleportEnv', t('Sandbox {0}', sandbox.name), folder);
      control.inputBox.visible = false;
      control.quickDiffProvider = { provideOriginalResource: (uri) => this.original(sandbox, uri) };
      this.groups = [
        control.createResourceGroup('conflicts', t('Changed on both sides')),
        control.createResourceGroup('changes', t('In the sandbox, not in the workspace')),
      ];
      for (const group of this.groups) group.hideWhenEmpty = true;
      this.control = { of: sandbox.id, name: sandbox.name, scm: control };
    }
    const [conflicts, changes] = this.groups;
    const states = (wanted: boolean) =>
      this.lines.filter((line) => line.conflict === wanted).map((line) => this.stateOf(sandbox, line));
    conflicts!.resourceStates = states(true);
    changes!.resourceStates = states(false);
    this.control.scm.count = this.lines.length;
  }

  private stateOf(sandbox: Sandbox, line: ScmLine): Line {
    const target = { sandbox: sandbox.id, path: line.path };
    return {
      ...target,
      resourceUri: this.following.uriOf(sandbox, line.path),
      command: { command: COMMANDS.compareFile, title: t('Compare'), arguments: [target] },
      contextValue: line.conflict ? 'conflict' : 'change',
      decorations: {
        strikeThrough: line.deleted,
        tooltip: `${line.letter} · ${line.tooltip}`,
      },
    };
  }

  /** The gutter compares with the sandbox's file, for what differs. */
  private original(sandbox: Sandbox, uri: Uri): Uri | undefined {
    const path = this.following.ownersOf(uri).find((owner) => owner.sandbox.id === sandbox.id)?.path;
    const line = this.lines.find((one) => one.path === path);
    if (!line || line.deleted) return undefined;
    return fileUri({ sandbox: sandbox.id, at: 'head', path: `${sandbox.workspace}/${path}` });
  }

  private remove(): void {
    this.control?.scm.dispose();
    this.control = undefined;
    this.groups = [];
    this.lines = [];
  }
}

import { Buffer } from 'node:buffer';
import { commands, EventEmitter, type Pseudoterminal, ThemeIcon, Uri, window, workspace } from 'vscode';
import type { App, Feature } from '../app.ts';
import { COMMANDS, VIEWS } from '../ids.ts';
import { t } from '../l10n.ts';
import { register } from '../register.ts';
import { tell, wordsOf } from '../report.ts';
import { sampleSteps, words } from './try-it-model.ts';

const NAME = 'try-it';

/** A bundled sample that wrecks itself and comes back, told in a terminal that only shows. */
export const tryIt: Feature = (app) =>
  register(app, {
    [COMMANDS.tryIt]: async () => {
      await app.helper.connect();
      const sample = new Sample(app);
      window.createTerminal({ name: t('Try it'), iconPath: new ThemeIcon('beaker'), pty: sample }).show();
      return sample.finished;
    },
  });

class Sample implements Pseudoterminal {
  private readonly writer = new EventEmitter<string>();
  readonly onDidWrite = this.writer.event;
  private settle!: (worked: boolean) => void;
  readonly finished = new Promise<boolean>((resolve) => {
    this.settle = resolve;
  });
  private closed = false;

  constructor(private readonly app: App) {}

  open(): void {
    void this.play();
  }

  close(): void {
    this.closed = true;
    this.settle(false);
  }

  private async play(): Promise<void> {
    const { helper, store } = this.app;
    this.say(words.begin());
    let sandbox: string | undefined;
    try {
      const old = store.sandboxes.find((s) => s.name === NAME);
      if (old) await helper.ask('sandbox/remove', { sandbox: old.id });
      const folder = await this.folder();
      const made = await helper.ask('sandbox/create', {
        workspace: helper.place.toHelperPath(folder.fsPath),
        name: NAME,
      });
      sandbox = made.sandbox.id;
      store.sandboxChanged(made.sandbox);
      store.show(sandbox);
      void commands.executeCommand(`${VIEWS.timeline}.focus`, { preserveFocus: true });
      const worked = await this.steps(sandbox);
      this.say(worked ? words.good() : words.bad(t('the program did not count on.')));
      this.settle(worked);
    } catch (error) {
      this.say(words.bad(wordsOf(error)));
      this.settle(false);
    }
    if (!this.closed && sandbox) this.offer(sandbox);
  }

  private async steps(sandbox: string): Promise<boolean> {
    const { helper } = this.app;
    let good = 'k0';
    let exitCode = 0;
    for (const step of sampleSteps()) {
      this.say(words.step(step.say));
      if (step.line !== undefined) {
        this.say(words.line(step.line));
        const ran = await helper.ask('run', { sandbox, line: step.line, timeoutMs: 20_000 });
        this.say(words.output(Buffer.from(ran.output, 'base64').toString('utf8')));
        exitCode = ran.exitCode;
      } else if (step.act === 'checkpoint') {
        const { checkpoint } = await helper.ask('checkpoint/create', { sandbox, label: t('before the accident') });
        good = checkpoint.id;
        this.say(words.checkpoint(good, checkpoint.stoppedMs));
      } else {
        const moved = await helper.ask('checkpoint/rollback', { sandbox, checkpoint: good });
        this.say(words.rollback(good, moved.rollbackMs));
      }
    }
    return exitCode === 0;
  }

  /** A copy of the bundled sample in the extension's own storage. */
  private async folder(): Promise<Uri> {
    const { extensionUri, globalStorageUri } = this.app.context;
    const target = Uri.joinPath(globalStorageUri, NAME);
    await workspace.fs.copy(Uri.joinPath(extensionUri, 'media', NAME), target, { overwrite: true });
    return target;
  }

  private offer(sandbox: string): void {
    const folder = workspace.workspaceFolders?.[0];
    tell(this.app.log, t('That was the sample.'), {
      ...(folder && workspace.isTrusted
        ? { [t('Start a sandbox of this folder')]: () => commands.executeCommand(COMMANDS.createSandbox, folder.uri) }
        : {}),
      [t('Remove the sample')]: () => this.app.helper.ask('sandbox/remove', { sandbox }),
    });
  }

  private say(text: string): void {
    if (!this.closed) this.writer.fire(text);
  }
}

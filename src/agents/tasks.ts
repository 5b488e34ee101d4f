/** Tasks whose command runs in a sandbox, with a checkpoint after it: `{ "type": "teleport-env", "line": "npm test" }`. */
import {
  CustomExecution,
  type Disposable,
  EventEmitter,
  type Pseudoterminal,
  Task,
  type TaskDefinition,
  TaskScope,
} from 'vscode';
import type { App, Feature } from '../app.ts';
import { t } from '../l10n.ts';
import { wordsOf } from '../report.ts';
import { pickSandbox } from '../targets.ts';

interface Definition extends TaskDefinition {
  line: string;
  /** Name or id; left out: the one that the timeline shows. */
  sandbox?: string;
  /** Go back to before it when it fails. */
  undoOnFail?: boolean;
}

export const sandboxTasks: Feature = (app) =>
  app.doors.tasks.leadsTo({
    provideTasks: () => [],
    resolveTask: (task) => {
      const definition = task.definition as Definition;
      if (typeof definition.line !== 'string') return undefined;
      const run = new CustomExecution(async (resolved) => new Run(app, resolved as Definition));
      return new Task(
        definition,
        task.scope ?? TaskScope.Workspace,
        task.name,
        'Teleport Env',
        run,
        task.problemMatchers ?? [],
      );
    },
  });

/** A terminal that shows one line's output. */
class Run implements Pseudoterminal {
  private readonly writer = new EventEmitter<string>();
  private readonly closer = new EventEmitter<number>();
  readonly onDidWrite = this.writer.event;
  readonly onDidClose = this.closer.event;
  private listening: Disposable | undefined;

  constructor(
    private readonly app: App,
    private readonly definition: Definition,
  ) {}

  open(): void {
    this.run().then(
      (code) => this.closer.fire(code),
      (error) => {
        this.write(`${wordsOf(error)}\n`);
        this.closer.fire(1);
      },
    );
  }

  close(): void {
    this.listening?.dispose();
  }

  private write(text: string): void {
    this.writer.fire(text.replace(/\r?\n/g, '\r\n'));
  }

  /** With this side's paths, which problem matchers look for. */
  private async run(): Promise<number> {
    const { helper, store } = this.app;
    const { line, undoOnFail = false } = this.definition;
    await helper.connect();
    const sandbox =
      this.definition.sandbox ?? (store.shown ?? (await pickSandbox(this.app, t('Run it in which sandbox?'))))?.id;
    if (sandbox === undefined) return 1;
    const stream = `task-${Date.now()}-${Math.random()}`;
    const decoder = new TextDecoder();
    const here = helper.place.outputHere?.() ?? { push: (text: string) => text, end: () => '' };
    this.listening = helper.onNotification('run/output', (part) => {
      if (part.stream === stream)
        this.write(here.push(decoder.decode(Buffer.from(part.data, 'base64'), { stream: true })));
    });
    const ran = await helper.ask('run', { sandbox, line, undoOnFail, stream }, { timeoutMs: 0 });
    this.listening.dispose();
    this.write(here.end());
    const made = ran.checkpoint ? ` · ${ran.checkpoint.id}` : ran.undone ? ` · ${t('undone')}` : '';
    this.write(`\x1b[2mexit ${ran.exitCode}${made}\x1b[22m\n`);
    return ran.exitCode;
  }
}

/**
 * A walk through the steps of a document in a sandbox, forwards and backwards. A position is a place between statements;
 * every position that was reached has a checkpoint, its mark, and going back to a position is a rollback to its mark.
 */
import type { DocumentStep, SteppedLine } from '../../helper/protocol/bridge.ts';
import type { NotificationParams } from '../../helper/protocol/methods.ts';
import type { Facts } from './conditions.ts';
import type { World } from './world.ts';

export interface Ran extends Facts {
  durationMs: number;
  filesChanged: number;
  checkpoint: string;
  /** The shell is gone: `exit`, or a failure under `set -e`. */
  ended: boolean;
}

type Moved = NotificationParams<'head/moved'>;

export class Walk {
  position = 0;
  private readonly marks: (string | undefined)[] = [];
  private readonly ran: (Ran | undefined)[] = [];
  /** Processes that were there when the statement under way began. */
  private before: Set<number> | null = null;
  /** Something was done by hand since the mark. */
  private touched = false;
  /** Heads that this walk moved to, and where it is moving to: the answer and the notification come in any order. */
  private readonly own = new Set<string>();
  private target: string | null = null;
  private streams = 0;

  constructor(
    private readonly world: World,
    readonly sandbox: string,
    readonly steps: readonly DocumentStep[],
  ) {}

  get atEnd(): boolean {
    return this.position >= this.steps.length;
  }

  known = (step: number): Ran | undefined => this.ran[step];

  /** The checkpoint of a position that was reached. */
  mark(position: number): string | undefined {
    return this.marks[position];
  }

  /** Keeps where it begins. */
  async begin(label: string): Promise<void> {
    const { checkpoint } = await this.world.ask(
      'checkpoint/create',
      { sandbox: this.sandbox, label },
      { patient: true },
    );
    this.marks[0] = checkpoint.id;
  }

  /** Runs the next statement. `paths`: whether to find out which paths it changed. */
  async forward(output: (data: Buffer) => void, paths: boolean): Promise<Ran> {
    const at = this.position;
    const { command, note } = this.steps[at]!;
    const { sandbox } = this;
    const { processes } = await this.world.ask('process/list', { sandbox });
    this.before = new Set(processes.map(({ pid }) => pid));
    const stream = `step-${process.pid}-${Date.now()}-${++this.streams}`;
    const stop = this.world.on('run/output', (part) => {
      if (part.stream === stream) output(Buffer.from(part.data, 'base64'));
    });
    try {
      const params = { sandbox, line: command, stream, ...(note === null ? {} : { note: note.slice(0, 100_000) }) };
      const { exitCode, durationMs, checkpoint } = await this.world.ask('run', params, { patient: true });
      const before = this.marks[at]!;
      const after = checkpoint?.id ?? before;
      const changed = paths && after !== before ? await this.changes(before, after) : [];
      const ended = await this.shellEnded(exitCode, command);
      const filesChanged = checkpoint?.filesChanged ?? 0;
      const ran: Ran = { exitCode, durationMs, filesChanged, checkpoint: after, changed, ended };
      this.ran[at] = ran;
      // What came after was another future.
      this.ran.length = at + 1;
      this.marks.length = at + 1;
      this.marks.push(after);
      this.position = at + 1;
      this.touched = false;
      return ran;
    } finally {
      stop();
      this.before = null;
    }
  }

  private async changes(from: string, to: string): Promise<string[]> {
    const { changes } = await this.world.ask('diff', { sandbox: this.sandbox, from, to });
    return changes.flatMap(({ path, from: old }) => (old === undefined ? [path] : [path, old]));
  }

  /** Asked only where it may be. */
  private async shellEnded(exitCode: number, command: string): Promise<boolean> {
    if (exitCode === 0 && !/\b(?:exit|exec|logout|kill)\b/.test(command)) return false;
    const { sessions } = await this.world.ask('session/list', { sandbox: this.sandbox });
    return !sessions.some(({ kind, running }) => kind === 'shell' && running);
  }

  /** The changed paths of a statement that ran, found out later. */
  async changedBy(step: number): Promise<readonly string[]> {
    const [ran, from] = [this.ran[step], this.marks[step]];
    if (!ran || from === undefined) return [];
    if (ran.changed.length === 0 && ran.filesChanged > 0) ran.changed = await this.changes(from, ran.checkpoint);
    return ran.changed;
  }

  /** Takes the sandbox to a position that was reached. @returns milliseconds that it took */
  async goTo(position: number): Promise<number> {
    const checkpoint = this.marks[position];
    if (checkpoint === undefined) throw new Error(`position ${position} was not reached`);
    const ms = await this.rollback(checkpoint, await this.nothingToLose());
    this.position = position;
    this.touched = false;
    return ms;
  }

  private async rollback(checkpoint: string, discard: boolean): Promise<number> {
    this.target = checkpoint;
    try {
      const params = { sandbox: this.sandbox, checkpoint, discard };
      const { head, rollbackMs } = await this.world.ask('checkpoint/rollback', params, { patient: true });
      this.own.add(head);
      return rollbackMs;
    } finally {
      this.target = null;
    }
  }

  /** Leaves statements out: the position moves, the sandbox stays. */
  skipTo(position: number): void {
    const here = this.marks[this.position];
    for (let at = this.position + 1; at <= position; at++) this.marks[at] = here;
    this.position = position;
  }

  /**
   * Whether all that there is was kept by the last step already, so that going back need not keep it again: nothing done by
   * hand, no terminal, no process but the shell, no file changed since.
   */
  private async nothingToLose(): Promise<boolean> {
    const { sandbox } = this;
    const mark = this.marks[this.position];
    if (this.touched || mark === undefined) return false;
    const [{ sessions }, { processes }, { changes }] = await Promise.all([
      this.world.ask('session/list', { sandbox }),
      this.world.ask('process/list', { sandbox }),
      this.world.ask('diff', { sandbox, from: mark }),
    ]);
    return processes.length <= 1 && changes.length === 0 && !sessions.some((s) => s.running && s.kind !== 'shell');
  }

  /** A line by hand, with a checkpoint: coming back to this position brings back what it did. */
  async byHand(line: string, output: (data: Buffer) => void): Promise<number> {
    const stream = `hand-${process.pid}-${Date.now()}-${++this.streams}`;
    const stop = this.world.on('run/output', (part) => {
      if (part.stream === stream) output(Buffer.from(part.data, 'base64'));
    });
    this.touched = true;
    try {
      const ran = await this.world.ask('run', { sandbox: this.sandbox, line, stream }, { patient: true });
      if (ran.checkpoint) {
        this.marks[this.position] = ran.checkpoint.id;
        this.touched = false;
      }
      return ran.exitCode;
    } finally {
      stop();
    }
  }

  /**
   * Ctrl-C for the statement under way: SIGINT for what it started. Where it started nothing (the shell itself is busy) the
   * sandbox goes back to before it, and the statement fails as cancelled.
   */
  async interrupt(): Promise<void> {
    const { sandbox, before } = this;
    if (!before) return;
    const { processes } = await this.world.ask('process/list', { sandbox });
    const pids = processes.map(({ pid }) => pid).filter((pid) => !before.has(pid));
    if (pids.length > 0) {
      const argv = ['kill', '-INT', '--', ...pids.map(String)];
      await this.world.ask('session/open', { sandbox, kind: 'process', argv });
      return;
    }
    await this.rollback(this.marks[this.position]!, true);
  }

  get running(): boolean {
    return this.before !== null;
  }

  /** Somebody else moved the sandbox. @returns whether that is a place of this walk */
  follow(moved: Moved): 'own' | 'known' | 'unknown' {
    if (moved.sandbox !== this.sandbox || moved.cause === 'rotate') return 'own';
    if (this.own.has(moved.head) || this.target === moved.checkpoint) return 'own';
    const candidates = this.marks.flatMap((mark, at) => (mark === moved.checkpoint ? [at] : []));
    if (candidates.length === 0) {
      this.marks[this.position] = moved.checkpoint;
      return 'unknown';
    }
    const near = (at: number) => Math.abs(at - this.position);
    this.position = candidates.sort((a, b) => near(a) - near(b))[0]!;
    this.touched = false;
    return 'known';
  }

  /** For the document's lenses and hints. */
  stepped(): SteppedLine[] {
    return this.steps.flatMap((step, at): SteppedLine[] => {
      const before = this.marks[at];
      if (before === undefined) return [];
      const ran = this.ran[at];
      return [
        {
          line: step.range.start.line,
          before,
          after: ran?.checkpoint ?? null,
          exitCode: ran?.exitCode ?? null,
          durationMs: ran?.durationMs ?? null,
          filesChanged: ran?.filesChanged ?? null,
        },
      ];
    });
  }
}

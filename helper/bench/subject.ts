/** One sandbox under measurement: rollbacks that are checked, not assumed. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Connection } from '../client/connection.ts';
import type { HeadMoved } from '../protocol/methods.ts';
import type { Checkpoint, StepTime } from '../protocol/model.ts';
import { filesSum, type Payload, PERIOD_MS } from './inside.ts';

export interface Rolled {
  /** From sending the request to holding the reply and the answer of the restored shell. */
  ms: number;
  /** From sending the request to holding the reply. */
  replyMs: number;
  moved: HeadMoved;
}

/** What a moment is known by. */
interface Witness {
  /** What variable MARK of the shell is. */
  mark: string;
  /** How far the program had counted, by the file that it writes. */
  count: number;
  files: string;
  processes: string[];
  more: string;
}

/** Writing and reading the count, and what a busy machine adds. */
const SLACK = 5;
const GOES_ON_MS = 10_000;

export class Subject {
  readonly connection: Connection;
  readonly workspace: string;
  readonly id: string;
  private readonly payload: Payload | null;
  private readonly known = new Map<string, Witness>();

  private constructor(connection: Connection, workspace: string, id: string, payload: Payload | null) {
    this.connection = connection;
    this.workspace = workspace;
    this.id = id;
    this.payload = payload;
  }

  /** @param files of its workspace, or what is run there: then its checkpoints can be witnessed. Not started yet */
  static async create(connection: Connection, of: Record<string, string> | Payload): Promise<Subject> {
    const payload = 'argv' in of ? (of as Payload) : null;
    const workspace = mkdtempSync(join(tmpdir(), 'teleport-bench-ws-'));
    const files = payload ? payload.files : (of as Record<string, string>);
    for (const [name, text] of Object.entries(files)) writeFileSync(join(workspace, name), text);
    try {
      const { sandbox } = await connection.request('sandbox/create', { workspace });
      return new Subject(connection, workspace, sandbox.id, payload);
    } catch (error) {
      rmSync(workspace, { recursive: true, force: true });
      throw error;
    }
  }

  async remove(): Promise<void> {
    try {
      await this.connection.request('sandbox/remove', { sandbox: this.id });
    } finally {
      rmSync(this.workspace, { recursive: true, force: true });
    }
  }

  /** In the persistent shell. @throws Error where the line fails */
  async run(line: string, branch?: string): Promise<string> {
    const ran = await this.connection.request('run', { sandbox: this.id, branch, line, checkpoint: false });
    const text = Buffer.from(ran.output, 'base64').toString();
    if (ran.exitCode !== 0)
      throw new Error(`in the sandbox, ${JSON.stringify(line)} ended with ${ran.exitCode}: ${text}`);
    return text;
  }

  async checkpoint(): Promise<{ checkpoint: Checkpoint; steps: StepTime[]; ms: number }> {
    const begun = performance.now();
    const { checkpoint, steps } = await this.connection.request('checkpoint/create', { sandbox: this.id });
    return { checkpoint, steps, ms: performance.now() - begun };
  }

  /** A checkpoint that can be gone back to by `rollback`, which then compares. What runs now is what it is compared with. */
  async witnessed(mark: string): Promise<string> {
    await this.run(`MARK=${mark}`);
    // Before the checkpoint, since it may write files: they are the same at the moment and when it is looked at again.
    const seen = await this.look();
    for (;;) {
      const { checkpoint } = await this.checkpoint();
      const count = Number(await this.read('count.txt', checkpoint.id));
      this.known.set(checkpoint.id, { mark, count, ...seen });
      if (count) return checkpoint.id; // else it was just being written
    }
  }

  /** Says what is gone to next; makes a checkpoint, which is one way to. */
  async expect(checkpoints: string[]): Promise<void> {
    await this.connection.request('checkpoint/create', { sandbox: this.id, expect: checkpoints });
  }

  private async look(): Promise<Pick<Witness, 'files' | 'processes' | 'more'>> {
    const { moving, more = 'true' } = this.payload!;
    const { processes } = await this.connection.request('process/list', { sandbox: this.id });
    return {
      processes: processes.map(({ pid, command }) => `${pid} ${command}`).sort(),
      more: await this.run(more),
      files: await this.run(filesSum(moving)),
    };
  }

  private async read(path: string, at: string): Promise<string> {
    const file = { sandbox: this.id, at, path: join(this.workspace, path) };
    return Buffer.from((await this.connection.request('file/read', file)).data, 'base64').toString();
  }

  /** Until the newest state of that checkpoint says verified: its standby is there. */
  async verified(id: string): Promise<void> {
    // Checkpoints of 1 GB, one after another, wait for the disk, and programs that wait for it for memory.
    let state: Checkpoint['state'] | undefined;
    for (const deadline = performance.now() + 180_000; performance.now() < deadline; ) {
      const { checkpoints } = await this.connection.request('checkpoint/list', { sandbox: this.id });
      state = checkpoints.find((c) => c.id === id)?.state;
      if (state?.broken) throw new Error(`${id} is broken: ${state.broken}`);
      if (state?.verified && state.durable) return;
      await sleep(25);
    }
    const lacks = [state?.verified ? '' : 'verified', state?.durable ? '' : 'durable'].filter(Boolean).join(' and ');
    throw new Error(`${id} was not ${lacks} within three minutes`);
  }

  /**
   * Back to a witnessed checkpoint, and what variable MARK is there: sent along with the rollback or, `asked: 'then'`, when its reply
   * is here. After what is timed all else is compared, too.
   * @throws Error where anything is not as it was
   */
  async rollback(checkpoint: string, asked: 'along' | 'then' = 'along'): Promise<Rolled> {
    const expected = this.known.get(checkpoint);
    if (!expected) throw new Error(`${checkpoint} was not witnessed`);
    const begun = performance.now();
    let replyMs = 0;
    const rolling = this.connection
      .request('checkpoint/rollback', { sandbox: this.id, checkpoint, discard: true })
      .finally(() => (replyMs = performance.now() - begun));
    if (asked === 'then') await rolling;
    const [moved, answer] = await Promise.all([rolling, this.run('echo $MARK')]);
    const ms = performance.now() - begun;
    const differs = (what: string, is: unknown, was: unknown): void => {
      if (String(is) !== String(was))
        throw new Error(`after the rollback to ${checkpoint} the ${what}: ${is}, not ${was}`);
    };
    differs('shell said', answer.trim(), expected.mark);
    const { files, processes, more } = await this.look();
    differs('files are', files, expected.files);
    differs('processes are', processes, expected.processes);
    differs('programs answered', more, expected.more);
    await this.checkCount(checkpoint, expected.count, begun);
    return { ms, replyMs, moved };
  }

  /** It goes on from where it was: in memory, that is, since the program never reads the file. */
  private async checkCount(checkpoint: string, from: number, begun: number): Promise<void> {
    const count = async (): Promise<number> => Number(await this.read('count.txt', 'head')) || (await count());
    const first = await count();
    let now = first;
    for (const deadline = performance.now() + GOES_ON_MS; now <= first; now = await count()) {
      if (performance.now() > deadline) throw new Error(`after the rollback to ${checkpoint} nothing counts any more`);
      await sleep(5);
    }
    const most = from + (performance.now() - begun) / PERIOD_MS + SLACK;
    if (now < from || now > most)
      throw new Error(`after the rollback to ${checkpoint} the counter is at ${now}, not at ${from}`);
  }
}

/** One sandbox under measurement: rollbacks that are checked, not assumed. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Connection } from '../client/connection.ts';
import type { HeadMoved } from '../protocol/methods.ts';
import type { Checkpoint, StepTime } from '../protocol/model.ts';

export interface Rolled {
  /** From sending the request to holding the reply and the answer of the restored shell. */
  ms: number;
  /** From sending the request to holding the reply. */
  replyMs: number;
  moved: HeadMoved;
}

export class Subject {
  readonly connection: Connection;
  readonly workspace: string;
  readonly id: string;

  private constructor(connection: Connection, workspace: string, id: string) {
    this.connection = connection;
    this.workspace = workspace;
    this.id = id;
  }

  static async create(connection: Connection, files: Record<string, string>): Promise<Subject> {
    const workspace = mkdtempSync(join(tmpdir(), 'teleport-bench-ws-'));
    for (const [name, text] of Object.entries(files)) writeFileSync(join(workspace, name), text);
    try {
      const { sandbox } = await connection.request('sandbox/create', { workspace });
      return new Subject(connection, workspace, sandbox.id);
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
   * Back to the checkpoint, and what variable MARK is there: sent along with the rollback or, `asked: 'then'`, when its reply is here.
   * @throws Error where it is not `expected`
   */
  async rollback(checkpoint: string, expected: string, asked: 'along' | 'then' = 'along'): Promise<Rolled> {
    const begun = performance.now();
    let replyMs = 0;
    const rolling = this.connection
      .request('checkpoint/rollback', { sandbox: this.id, checkpoint, discard: true })
      .finally(() => (replyMs = performance.now() - begun));
    if (asked === 'then') await rolling;
    const [moved, answer] = await Promise.all([rolling, this.run('echo $MARK')]);
    const ms = performance.now() - begun;
    if (answer.trim() !== expected)
      throw new Error(`after the rollback to ${checkpoint} the shell said ${answer}, not ${expected}`);
    return { ms, replyMs, moved };
  }
}

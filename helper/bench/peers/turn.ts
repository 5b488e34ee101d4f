/** The peers of a workload: asked in turn with ours, and a row each. One that fails is left out, with the error that it ended with. */
import { add, type Bench } from '../bench.ts';
import type { PythonPeer } from './python-peer.ts';

/** A peer that took so long for its rollbacks, all together, is asked for no more of them: it has shown what there is to see. */
const MOST_MS = 90_000;

export interface Way {
  subject: string;
  peer: PythonPeer;
  /** Of the rows: exactly what was run. */
  context: string;
  /** It measures checkpoints, too. */
  checkpoints: boolean;
}

function tookLong({ rollback }: Pick<Measured, 'rollback'>): boolean {
  return rollback.reduce((sum, ms) => sum + ms, 0) > MOST_MS;
}

interface Measured extends Way {
  rollback: number[];
  checkpoint: number[];
  stopped: number[];
}

export class Peers {
  private readonly bench: Bench;
  private readonly workload: string;
  private ways: Measured[] = [];
  private readonly all: PythonPeer[] = [];

  constructor(bench: Bench, workload: string) {
    this.bench = bench;
    this.workload = workload;
  }

  /** Begins each, and prepares those that make checkpoints by `asks`. */
  async begin(ways: Way[], ...asks: string[]): Promise<void> {
    for (const way of ways) {
      this.all.push(way.peer);
      this.ways.push({ ...way, rollback: [], checkpoint: [], stopped: [] });
    }
    await this.each(async ({ peer, checkpoints }) => {
      await peer.begin();
      if (checkpoints) for (const ask of asks) await peer.ask(ask);
    });
  }

  /** One rollback by each, checked by itself. */
  rollback(moment = 'base'): Promise<void> {
    return this.each(async (way) => {
      if (tookLong(way)) return;
      way.rollback.push((await way.peer.ask(`rollback ${moment}`))[0]);
    });
  }

  /** One checkpoint by each that makes any. @param before a line of bash, in its folder */
  checkpoint(before?: string): Promise<void> {
    return this.each(async ({ peer, checkpoints, checkpoint, stopped }) => {
      if (!checkpoints) return;
      if (before) await peer.ask(`do ${before}`);
      const [ms, stoppedMs] = await peer.ask('checkpoint made');
      checkpoint.push(ms);
      if (stoppedMs) stopped.push(stoppedMs);
    });
  }

  private async each(work: (way: Measured) => Promise<void>): Promise<void> {
    for (const way of [...this.ways]) {
      try {
        await work(way);
      } catch (error) {
        const why = (error as Error).message;
        this.ways = this.ways.filter((other) => other !== way);
        this.leaveOut(way.subject, why);
      }
    }
  }

  leaveOut(subject: string, why: string): void {
    this.bench.leftOut.push({ workload: this.workload, figure: 'rollback', subject, why });
    this.bench.say(`${this.workload}: ${subject}: ${why}`);
  }

  addRows(): void {
    for (const { subject, context, rollback, checkpoint, stopped } of this.ways) {
      const row = { workload: this.workload, subject, context };
      const few = tookLong({ rollback }) ? `these took more than ${MOST_MS / 1000} s` : undefined;
      if (rollback.length) add(this.bench, { ...row, few, figure: 'rollback' }, rollback);
      if (checkpoint.length) add(this.bench, { ...row, figure: 'checkpoint, to done' }, checkpoint);
      const byCriu = `${context}; by CRIU's own account, the copy not counted`;
      if (stopped.length) add(this.bench, { ...row, context: byCriu, figure: 'checkpoint, payload stopped' }, stopped);
    }
  }

  async end(): Promise<void> {
    for (const peer of this.all) await peer.end();
  }
}

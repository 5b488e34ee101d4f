/**
 * Branches to be, each with a number, a control group and a CRIU that waits in namespaces of its own: a cold restore then begins at
 * once instead of some 5 ms later (10-30 ms where control groups of v1 are to be joined). One per sandbox at rest, more while many are
 * asked for.
 */
import { Cgroup } from '../engine/cgroup.ts';
import { beginRestore } from '../engine/criu-ahead.ts';
import type { CriuProcess } from '../engine/criu-process.ts';
import type { Machine } from '../engine/machine.ts';

export interface Begun {
  /** Of the branch to be. */
  id: string;
  criu: CriuProcess;
}

const MOST = 3;
/** Takes within that time are a burst. */
const BURST_MS = 500;

export class RestoresAhead {
  private readonly machine: Machine;
  private readonly nextId: () => string;
  private readonly groupOf: (id: string) => string;
  private readonly inBackground: (work: () => Promise<void>) => void;
  private begun: Begun[] = [];
  private taken: number[] = [];

  constructor(
    machine: Machine,
    nextId: () => string,
    groupOf: (id: string) => string,
    inBackground: (work: () => Promise<void>) => void,
  ) {
    this.machine = machine;
    this.nextId = nextId;
    this.groupOf = groupOf;
    this.inBackground = inBackground;
  }

  take(): Begun | null {
    this.taken = [...this.taken.slice(1 - MOST), performance.now()];
    for (let one = this.begun.shift(); one; one = this.begun.shift()) {
      if (one.criu.waiting) return one;
      this.dropLater(one);
    }
    return null;
  }

  /** Takes about 4 ms each: not while anybody waits for an answer. */
  fill(): void {
    const since = performance.now() - BURST_MS;
    // What has been killed meanwhile is none.
    for (const one of this.begun.filter(({ criu }) => !criu.waiting)) this.dropLater(one);
    this.begun = this.begun.filter(({ criu }) => criu.waiting);
    const wanted = Math.min(MOST, 1 + this.taken.filter((at) => at > since).length);
    while (this.begun.length < wanted) {
      const id = this.nextId();
      const { path } = Cgroup.make(this.groupOf(id));
      this.begun.push({ id, criu: beginRestore(this.machine, path) });
    }
  }

  private dropLater(one: Begun): void {
    this.inBackground(() => this.drop(one));
  }

  private async drop({ id, criu }: Begun): Promise<void> {
    criu.kill();
    await new Cgroup(this.groupOf(id)).end();
  }

  async close(): Promise<void> {
    await Promise.all(this.begun.splice(0).map((one) => this.drop(one)));
  }
}

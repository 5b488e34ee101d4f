/** Takes a checkpoint whenever files of a branch's workspace changed and then rested, for as long as an agent runs in it. */
import type { Branch } from '../branch.ts';
import { type House, tellLost } from './house.ts';
import { EVERY_MS, isDue, lookAt, nextLook, quietLabel } from './quiet.ts';

export class QuietWatch {
  private readonly branch: Branch;
  private readonly house: House;
  private readonly agent: string;
  private since: number;
  private known: string;
  private busy = '';
  private pending = false;
  /** How long looking took last; making a checkpoint is no looking, however long it takes. */
  private lookMs = 0;
  private timer: NodeJS.Timeout | undefined;
  over = false;

  constructor(branch: Branch, house: House, agent: string) {
    this.branch = branch;
    this.house = house;
    this.agent = agent;
    this.known = branch.record.checkpoint;
    this.since = Date.parse(house.catalogue.checkpoint(this.known).createdAt);
    this.later(EVERY_MS);
  }

  private later(ms: number): void {
    if (!this.over) this.timer = setTimeout(() => void this.tick(), ms).unref();
  }

  private async tick(): Promise<void> {
    try {
      if (this.branch.over) return this.stop();
      if (this.mayHaveChanged()) await this.look();
    } catch {
      // Its files are being replaced under the look: the next one tells.
    }
    this.later(nextLook(this.lookMs));
  }

  /** While nothing in there ran, nothing was written. */
  private mayHaveChanged(): boolean {
    const busy = this.branch.processorTime();
    const same = busy === this.busy;
    this.busy = busy;
    return !same || this.pending;
  }

  private async look(atOnce = false): Promise<void> {
    const { checkpoint } = this.branch.record;
    if (checkpoint !== this.known) {
      // Somebody else took one meanwhile.
      this.keptBy(checkpoint);
    }
    const begun = performance.now();
    const { newest, changed } = lookAt(this.branch.layout.upper, this.house.record.workspace, this.since);
    this.lookMs = performance.now() - begun;
    this.pending = newest > this.since;
    if (!(atOnce ? this.pending : isDue(newest, this.since, Date.now()))) return;
    const label = quietLabel(this.agent, changed);
    try {
      const made = await this.house.createCheckpointAfter(this.known, { kind: 'auto', label }, this.branch.id);
      // Somebody else's came first, such as that of a hook: what changed after that one is still to be kept.
      if (!made) return atOnce && !this.branch.over ? await this.look(true) : undefined;
      this.since = newest;
      this.keptBy(made.checkpoint.id);
    } catch (error) {
      this.since = newest;
      tellLost(this.house, this.branch, this.agent, error); // tried again when the next file changes
    }
    this.pending = false;
  }

  private keptBy(checkpoint: string): void {
    this.known = checkpoint;
    this.since = Math.max(this.since, Date.parse(this.house.catalogue.checkpoint(checkpoint).createdAt));
  }

  /** The agent ended: what it changed last is kept without waiting. */
  async end(): Promise<void> {
    this.stop();
    if (!this.branch.over) await this.look(true).catch(() => {});
  }

  stop(): void {
    this.over = true;
    clearTimeout(this.timer);
  }
}

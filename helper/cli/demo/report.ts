import type { Context } from '../context.ts';
import { write } from '../io.ts';
import { duration, printable, table } from '../text.ts';

/** Tells the demonstration as it goes, and sums it up. Silent with --json but for the sum. */
export class Report {
  readonly #checks: { check: string; ok: boolean; detail?: string }[] = [];
  readonly #times = new Map<string, number[]>();

  constructor(private readonly ctx: Context) {}

  get ok(): boolean {
    return this.#checks.every(({ ok }) => ok);
  }

  async title(text: string): Promise<void> {
    await this.#say(`\n${this.ctx.style.bold(text)}\n`);
  }

  async tell(text: string): Promise<void> {
    await this.#say(`  ${printable(text)}\n`);
  }

  async check(check: string, ok: boolean, detail?: string): Promise<void> {
    this.#checks.push({ check, ok, detail: ok ? undefined : detail });
    const mark = ok ? this.ctx.style.good('✓') : this.ctx.style.bad('✗');
    await this.#say(`  ${mark} ${printable(check)}${detail === undefined || ok ? '' : `: ${printable(detail)}`}\n`);
  }

  took(what: string, ms: number): void {
    this.#times.set(what, [...(this.#times.get(what) ?? []), ms]);
  }

  async timed<T>(what: string, act: () => Promise<T>): Promise<T> {
    const started = performance.now();
    const result = await act();
    this.took(what, performance.now() - started);
    return result;
  }

  async finish(): Promise<void> {
    const latencies = [...this.#times].map(([what, ms]) => ({ what, ...summary(ms) }));
    const header = ['', 'n', 'min', 'median', 'max'].map(this.ctx.style.dim);
    const rows = latencies.map(({ what, n, min, median, max }) => [
      what,
      String(n),
      ...[min, median, max].map(duration),
    ]);
    const failed = this.#checks.filter(({ ok }) => !ok).length;
    const sum =
      failed === 0 ? `${this.#checks.length} checks passed` : `${failed} of ${this.#checks.length} checks failed`;
    const mark = failed === 0 ? this.ctx.style.good('✓') : this.ctx.style.bad('✗');
    await this.ctx.answer(
      { ok: this.ok, checks: this.#checks, latencies },
      `\n${table([header, ...rows], [1, 2, 3, 4])}\n${mark} ${sum}\n`,
    );
  }

  async #say(text: string): Promise<void> {
    if (!this.ctx.json) await write(this.ctx.io.stdout, text);
  }
}

function summary(values: number[]): { n: number; min: number; median: number; max: number } {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { n: sorted.length, min: sorted[0]!, median, max: sorted.at(-1)! };
}

/** What an operation did and how long each part took, for `--verbose`. */
export class Steps {
  private readonly list: { step: string; ms: number }[] = [];
  private readonly begun = performance.now();
  private last = this.begun;

  /** The part that just ended. */
  done(step: string): void {
    const now = performance.now();
    this.list.push({ step, ms: round(now - this.last) });
    this.last = now;
  }

  get all(): { step: string; ms: number }[] {
    return [...this.list];
  }

  /** Milliseconds since the beginning. */
  get total(): number {
    return round(performance.now() - this.begun);
  }
}

/** To a hundredth of a millisecond. */
export function round(ms: number): number {
  return Math.round(ms * 100) / 100;
}

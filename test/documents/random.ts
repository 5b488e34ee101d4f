/**
 * Random numbers, the same in every run unless one asks for others: `SEED=random npx mocha …` looks further, `SEED=42` looks
 * again.
 */
export class Random {
  readonly seed = process.env.SEED === 'random' ? Date.now() % 1_000_000 : Number(process.env.SEED) || 1;
  #state = this.seed;

  next(): number {
    // mulberry32
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  below(n: number): number {
    return Math.floor(this.next() * n);
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)]!;
  }

  some<T>(most: number, make: () => T): T[] {
    return Array.from({ length: this.below(most) + 1 }, make);
  }
}

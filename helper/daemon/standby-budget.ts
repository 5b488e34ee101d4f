/** What the standbys of all sandboxes take together: of memory, and of the processors' time where programs need all of it. */
import { isTimely, type Load } from '../sandbox/policy.ts';

export interface User {
  /** Of memory. */
  readonly bytes: number;
}

export class StandbyBudget {
  private readonly users = new Set<User>();
  private readonly load: () => Load;
  private last: { begun: Load; tookMs: number } | null = null;

  /** @param load tells how busy the machine is */
  constructor(load: () => Load) {
    this.load = load;
  }

  add(user: User): void {
    this.users.add(user);
  }

  /** Of one that has none any more. */
  delete(user: User): void {
    this.users.delete(user);
  }

  get bytes(): number {
    return [...this.users].reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Whether one may be made that nobody asked for: programs left time, or the last one is long enough ago. */
  isTimely(): boolean {
    return this.last === null || isTimely(this.last.begun, this.last.tookMs, this.load());
  }

  /** One was begun; it counts until the next is. */
  async timed<T>(make: () => Promise<T>): Promise<T> {
    const begun = this.load();
    this.last = { begun, tookMs: 0 };
    try {
      return await make();
    } finally {
      this.last = { begun, tookMs: this.load().at - begun.at };
    }
  }
}

/** What the standbys of all sandboxes take together: of memory, and of the processors' time where programs need all of it. */
import { type Load, restMs } from '../sandbox/policy.ts';

export interface User {
  /** Of memory. */
  readonly bytes: number;
}

export class StandbyBudget {
  private readonly users = new Set<User>();
  private readonly load: () => Load;
  /** Of those that nobody asked for: when the first of the last ones was begun, what they took, and how many are under way. */
  private begun: Load | null = null;
  private tookMs = 0;
  private underWay = 0;

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

  /** How long one that nobody asked for is to wait, as far as is known now: milliseconds. */
  restMs(): number {
    return this.begun ? restMs(this.begun, this.underWay ? Number.POSITIVE_INFINITY : this.tookMs, this.load()) : 0;
  }

  /** One that nobody asked for is begun. @returns to be called when it is made */
  begin(): () => void {
    const load = this.load();
    if (!this.underWay) {
      this.begun = load;
      this.tookMs = 0;
    }
    this.underWay++;
    const begun = performance.now();
    return () => {
      this.underWay--;
      this.tookMs += performance.now() - begun;
    };
  }
}

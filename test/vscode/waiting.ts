import { setTimeout as delay } from 'node:timers/promises';

/** Asks until the answer is something, and returns that. */
export async function waitFor<T>(ask: () => Promise<T>, milliseconds = 20_000): Promise<NonNullable<T>> {
  const end = Date.now() + milliseconds;
  for (;;) {
    const answer = await ask();
    if (answer) return answer as NonNullable<T>;
    if (Date.now() > end) throw new Error(`not so within ${milliseconds / 1000} s`);
    await delay(50);
  }
}

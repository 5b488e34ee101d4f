/**
 * Notices that the computer slept: a timer that comes much too late. A connection through a virtual machine's network is
 * then often dead without anybody being told, so it is asked something at once.
 */
const TICK_MS = 5_000;
/** So late, it was no busy processor. */
const LATE_MS = 15_000;

export interface Clock {
  now(): number;
  every(ms: number, tick: () => void): () => void;
}

const realClock: Clock = {
  now: Date.now,
  every: (ms, tick) => {
    const timer = setInterval(tick, ms);
    timer.unref();
    return () => clearInterval(timer);
  },
};

/** @returns what ends the watching */
export function watchForSleep(ask: () => Promise<unknown>, gone: () => void, clock: Clock = realClock): () => void {
  let last = clock.now();
  let asking = false;
  let over = false;
  const stop = clock.every(TICK_MS, () => {
    const late = clock.now() - last - TICK_MS;
    last = clock.now();
    if (late < LATE_MS || asking) return;
    asking = true;
    ask().then(
      () => {
        asking = false;
      },
      () => {
        if (over) return;
        over = true;
        stop();
        gone();
      },
    );
  });
  return () => {
    over = true;
    stop();
  };
}

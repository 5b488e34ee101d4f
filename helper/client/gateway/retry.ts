/** When the gateway asks the provider once more by itself. Bounded: what it can't settle soon is the client's own business. */

/** Attempts in all. */
export const ATTEMPTS = 3;
/** Longer waits are passed on: the client inside knows better whether it has the time. */
export const LONGEST_WAIT_MS = 20_000;
const FIRST_WAIT_MS = 500;

/** Of RFC 9110 and Anthropic's 529 (overloaded). 501 and 505 will not become better. */
export function mayRecover(status: number): boolean {
  return status === 408 || status === 409 || status === 429 || (status >= 500 && status !== 501 && status !== 505);
}

/** Milliseconds that the provider asks to wait, or null where it does not say. Seconds or a date, as RFC 9110 has it. */
export function retryAfter(headers: Record<string, unknown>, now: number): number | null {
  const precise = headers['retry-after-ms'];
  if (typeof precise === 'string' && /^\d+(\.\d+)?$/.test(precise)) return Number(precise);
  const value = headers['retry-after'];
  if (typeof value !== 'string') return null;
  if (/^\d+(\.\d+)?$/.test(value)) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? null : Math.max(0, date - now);
}

/**
 * Milliseconds to wait before attempt `attempt` + 1, or null: no more.
 * @param attempt those made, 1 or more
 * @param asked by {@link retryAfter}
 * @param random from 0 to 1, so that clients that failed together do not come again together
 */
export function waitBefore(attempt: number, asked: number | null, random: number): number | null {
  if (attempt >= ATTEMPTS) return null;
  if (asked !== null) return asked <= LONGEST_WAIT_MS ? asked : null;
  return FIRST_WAIT_MS * 2 ** (attempt - 1) * (1 - random / 4);
}

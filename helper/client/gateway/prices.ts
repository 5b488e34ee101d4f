/** What tokens cost: by a table that the user gives. There are no prices in here, because they would be wrong before long. */
import type { Prices } from '../../protocol/gateway.ts';
import type { ModelUsage } from '../../protocol/usage.ts';
import type { Took } from './answer.ts';

const MILLION = 1_000_000;

/** Exact names go before patterns, longer patterns before shorter ones. */
export function priceOf(prices: Prices, model: string): Prices[string] | undefined {
  if (Object.hasOwn(prices, model)) return prices[model];
  const fits = Object.keys(prices).filter((name) => name.endsWith('*') && model.startsWith(name.slice(0, -1)));
  const best = fits.sort((a, b) => b.length - a.length)[0];
  return best === undefined ? undefined : prices[best];
}

/** One answer, `took` null where its provider did not say what it took. */
export function usageOf(took: Took | null, prices: Prices): ModelUsage {
  const { model, inputTokens, cachedTokens, cacheWriteTokens, outputTokens } = took ?? {
    model: null,
    inputTokens: 0,
    cachedTokens: 0,
    cacheWriteTokens: 0,
    outputTokens: 0,
  };
  const price = took && model !== null ? priceOf(prices, model) : undefined;
  const plain = Math.max(0, inputTokens - cachedTokens - cacheWriteTokens);
  const cost = price
    ? (plain * price.input +
        cachedTokens * (price.cachedInput ?? price.input) +
        cacheWriteTokens * (price.cacheWrite ?? price.input) +
        outputTokens * price.output) /
      MILLION
    : 0;
  return { requests: 1, inputTokens, cachedTokens, outputTokens, cost, unpriced: price ? 0 : 1 };
}

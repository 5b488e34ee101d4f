/** What a sandbox's programs had of models. */
import * as z from 'zod';

const Count = z.number().int().min(0);

export const ModelUsage = z.object({
  /** Answers that a model gave. */
  requests: Count,
  /** What was read from a cache included. */
  inputTokens: Count,
  /** Of the input, what the provider had in its cache. */
  cachedTokens: Count,
  outputTokens: Count,
  /** By the user's own prices, in their currency: of the requests whose model has one. */
  cost: z.number().min(0),
  /** Requests whose model has no known price. */
  unpriced: Count,
});
export type ModelUsage = z.infer<typeof ModelUsage>;

export const NO_USAGE: ModelUsage = Object.freeze({
  requests: 0,
  inputTokens: 0,
  cachedTokens: 0,
  outputTokens: 0,
  cost: 0,
  unpriced: 0,
});

export function addUsage(a: ModelUsage, b: ModelUsage): ModelUsage {
  return {
    requests: a.requests + b.requests,
    inputTokens: a.inputTokens + b.inputTokens,
    cachedTokens: a.cachedTokens + b.cachedTokens,
    outputTokens: a.outputTokens + b.outputTokens,
    cost: a.cost + b.cost,
    unpriced: a.unpriced + b.unpriced,
  };
}

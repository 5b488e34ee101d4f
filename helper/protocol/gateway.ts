/** What a model gateway is set up with, by the command line and by the extension alike. */
import * as z from 'zod';

const Price = z.number().min(0);

/**
 * What tokens cost, by model; `name*` is for all that begin so. In any one currency, for a million tokens. There are no prices in the
 * product: they would be wrong before long.
 */
export const Prices = z.record(
  z.string().min(1).max(200),
  z.strictObject({
    input: Price,
    output: Price,
    /** Read from the provider's cache; left out: as other input. */
    cachedInput: Price.optional(),
    /** Written to it; left out: as other input. */
    cacheWrite: Price.optional(),
  }),
);
export type Prices = z.infer<typeof Prices>;

export const ProviderName = z.enum(['openai', 'anthropic']);
export type ProviderName = z.infer<typeof ProviderName>;

const Seconds = z.number().min(0.1).max(3600);

export const GatewaySettings = z.object({
  providers: z
    .array(
      z.object({
        name: ProviderName,
        /** Left out: the provider's own. Anything that speaks its protocol. */
        baseUrl: z
          .url({ protocol: /^https?$/ })
          .max(2000)
          .optional(),
        /** Null: the endpoint wants none. */
        key: z.string().min(1).max(10_000).nullable(),
      }),
    )
    .min(1),
  /** By all programs of the sandbox ever, rolled back or not. Left out: no limit. */
  budget: z
    .object({ tokens: z.number().int().min(0).optional(), requests: z.number().int().min(0).optional() })
    .default({}),
  prices: Prices.default({}),
  /** How long a model may take to begin to answer. */
  answerSeconds: Seconds.default(300),
  /** How long it may be silent in the middle of an answer. */
  silenceSeconds: Seconds.default(120),
  /** Conversations are kept as documents that can be stepped through. */
  transcripts: z.boolean().default(true),
});
export type GatewaySettings = z.output<typeof GatewaySettings>;

import type { BridgeParams } from '../../helper/protocol/bridge.ts';
import type { ProviderName } from '../../helper/protocol/gateway.ts';

type Settings = BridgeParams<'gateway/start'>['settings'];

/** What the user set, as read from the configuration: nothing of it is to be trusted. */
export interface Configured {
  readonly baseUrls: Readonly<Record<string, unknown>>;
  readonly prices: Readonly<Record<string, unknown>>;
  /** 0: none. */
  readonly budgetTokens: number;
  readonly budgetRequests: number;
  readonly transcripts: boolean;
}

/**
 * What the gateway is started with, or null where there is nobody to speak to: neither a key nor an endpoint of one's own, which
 * may want none.
 */
export function settingsOf(
  keys: Readonly<Partial<Record<ProviderName, string>>>,
  { baseUrls, prices, budgetTokens, budgetRequests, transcripts }: Configured,
): Settings | null {
  const providers = (['openai', 'anthropic'] as const).flatMap((name) => {
    const baseUrl = baseUrls[name];
    const own = typeof baseUrl === 'string' && baseUrl.trim() !== '' ? { baseUrl: baseUrl.trim() } : {};
    const key = keys[name] ?? null;
    return key === null && !('baseUrl' in own) ? [] : [{ name, key, ...own }];
  });
  if (providers.length === 0) return null;
  return {
    providers,
    budget: {
      ...(budgetTokens > 0 ? { tokens: budgetTokens } : {}),
      ...(budgetRequests > 0 ? { requests: budgetRequests } : {}),
    },
    // Checked by whoever starts it, who says what is wrong with which model.
    prices: prices as Settings['prices'],
    transcripts,
  };
}

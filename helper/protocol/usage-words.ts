/** How model usage is said. Apart from its schema, so that who only says it loads no schemas. */
import type { ModelUsage } from './usage.ts';

export function tokensOf({ inputTokens, outputTokens }: ModelUsage): number {
  return inputTokens + outputTokens;
}

/** `0.0412`, `1.20`: cents matter, and below them two figures. */
export function costText(cost: number): string {
  if (cost === 0 || cost >= 1) return cost.toFixed(2);
  return cost >= 0.0001 ? String(Number(cost.toFixed(4))) : '< 0.0001';
}

/** What a sandbox's programs may use of models. */
import type { GatewaySettings } from '../../protocol/gateway.ts';
import type { ModelUsage } from '../../protocol/usage.ts';
import { tokensOf } from '../../protocol/usage-words.ts';

/** Why no more is asked for, or null. What is under way counts when its answer is there: a budget may be overrun by that. */
export function refusal(
  budget: GatewaySettings['budget'],
  used: ModelUsage,
  underWay: number,
  sandbox: string,
): string | null {
  const { tokens, requests } = budget;
  const of = (limit: string, has: string) =>
    `the budget of ${limit} that ${sandbox} may use of models is used up (${has}). ` +
    'Whoever runs the sandbox can raise it; no request was made.';
  if (tokens !== undefined && tokensOf(used) >= tokens) return of(`${tokens} tokens`, `${tokensOf(used)} used`);
  if (requests !== undefined && used.requests + underWay >= requests)
    return of(`${requests} requests`, `${used.requests + underWay} made`);
  return null;
}

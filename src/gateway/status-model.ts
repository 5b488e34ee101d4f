import type { Sandbox } from '../../helper/protocol/model.ts';
import { tokensOf } from '../../helper/protocol/usage-words.ts';
import { t } from '../l10n.ts';
import { usage } from '../views/words.ts';

export interface GatewayStatus {
  readonly text: string;
  readonly tooltip: string;
  readonly spoken: string;
}

/** Null where the shown sandbox has no model gateway. */
export function gatewayStatus(sandbox: Pick<Sandbox, 'name' | 'gateway' | 'usage'> | undefined): GatewayStatus | null {
  if (!sandbox?.gateway) return null;
  const used = sandbox.usage;
  const facts = used ? usage(used) : t('nothing asked yet');
  const words = t('Programs in {0} can ask models; the key stays out here. {1}', sandbox.name, facts);
  return { text: `$(sparkle) ${used ? short(tokensOf(used)) : t('models')}`, tooltip: words, spoken: words };
}

/** For a shell that was there before the gateway. */
export function exportLine(variables: Readonly<Record<string, string>>): string {
  return `export ${Object.entries(variables)
    .map(([name, value]) => `${name}='${value.replaceAll("'", `'\\''`)}'`)
    .join(' ')}`;
}

/** `950 tokens`, `12.4k tokens`, `1.2M tokens`. */
function short(tokens: number): string {
  if (tokens < 1000) return t('{0} tokens', tokens);
  if (tokens < 1_000_000) return t('{0}k tokens', Math.round(tokens / 100) / 10);
  return t('{0}M tokens', Math.round(tokens / 100_000) / 10);
}

/** What people read about agents. Plain functions. */
import type { Agent } from '../../helper/protocol/agents.ts';
import { t } from '../l10n.ts';

/** How its steps come about. */
export function agentDescription({ hooks, quiet }: Pick<Agent, 'hooks' | 'quiet'>): string {
  if (hooks.kind === 'none') return t('a step whenever files rest after a change');
  return quiet ? t('each tool call is a step, or each rest after a change') : t('each tool call is a step');
}

/** At most that many names, and how many more there are. */
export function listed(names: readonly string[], most: number): string {
  const shown = names.slice(0, most).join(', ');
  return names.length > most ? t('{0} and {1} more', shown, names.length - most) : shown;
}

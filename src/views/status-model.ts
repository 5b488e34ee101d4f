import type { Checkpoint, Sandbox } from '../../helper/protocol/model.ts';
import type { ConnectionState } from '../connection/state.ts';
import { t } from '../l10n.ts';
import { nameOf, oneLine, stateOf } from './words.ts';

export interface Status {
  readonly text: string;
  readonly tooltip: string;
  readonly spoken: string;
  readonly warning: boolean;
}

/** One item: the sandbox and its last checkpoint. Null: nothing to show. */
export function statusOf(
  connection: ConnectionState,
  sandbox: Sandbox | undefined,
  checkpoint: Checkpoint | undefined,
): Status | null {
  const again = connection.kind === 'waiting' || (connection.kind === 'connecting' && connection.attempt > 1);
  if (again || (connection.kind === 'connecting' && connection.slow)) {
    const text = again ? t('helper unreachable, trying again') : t('no answer from the helper yet');
    return {
      text: `$(debug-disconnect) Teleport Env: ${text}`,
      tooltip: text,
      spoken: `Teleport Env: ${text}`,
      warning: true,
    };
  }
  if (connection.kind !== 'ready' || !sandbox) return null;
  const place =
    sandbox.state !== 'running' ? stateOf(sandbox) : checkpoint ? oneLine(nameOf(checkpoint), 30) : sandbox.current;
  const icon = sandbox.state === 'starting' || sandbox.state === 'restoring' ? '$(loading~spin)' : '$(history)';
  return {
    text: `${icon} ${plain(sandbox.name)}: ${plain(place)}`,
    tooltip: t('Sandbox {0}, {1}. After “{2}”. Click for what you can do.', sandbox.name, stateOf(sandbox), place),
    spoken: t('Sandbox {0}, {1}, after {2}', sandbox.name, stateOf(sandbox), place),
    warning: sandbox.state === 'failed',
  };
}

/** A name may hold what a status bar takes for an icon. */
function plain(text: string): string {
  return text.replace(/\$\(/g, '$\u200b(');
}

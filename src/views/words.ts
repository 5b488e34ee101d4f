import type { Checkpoint, Sandbox } from '../../helper/protocol/model.ts';
import type { ModelUsage } from '../../helper/protocol/usage.ts';
import { costText } from '../../helper/protocol/usage-words.ts';
import { t } from '../l10n.ts';

/** Names of moments, times and sizes as people read them. */

const LONGEST_NAME = 80;

/** What a checkpoint is called: the label somebody gave it, else the command that it follows, else what made it. */
export function nameOf(checkpoint: Pick<Checkpoint, 'id' | 'kind' | 'label' | 'command'>): string {
  const own = checkpoint.label ?? checkpoint.command;
  if (own?.trim()) return oneLine(own);
  switch (checkpoint.kind) {
    case 'root':
      return t('sandbox created');
    case 'saved':
      return t('saved before rollback');
    case 'auto':
      return t('saved by itself');
    default:
      return checkpoint.id;
  }
}

export function oneLine(text: string, longest = LONGEST_NAME): string {
  const line = text.trim().replace(/\s+/g, ' ');
  return line.length <= longest ? line : `${line.slice(0, longest - 1)}…`;
}

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** `now`, `40 s`, `4 min`, `3 h`, `2 d`, then the date. */
export function ago(iso: string, now: number): string {
  const then = Date.parse(iso);
  const ms = now - then;
  if (ms < 5_000) return t('now');
  if (ms < MINUTE) return t('{0} s', Math.floor(ms / 10_000) * 10 || 5);
  if (ms < HOUR) return t('{0} min', Math.floor(ms / MINUTE));
  if (ms < DAY) return t('{0} h', Math.floor(ms / HOUR));
  if (ms < 7 * DAY) return t('{0} d', Math.floor(ms / DAY));
  return new Date(then).toLocaleDateString();
}

/** `1.3 ms`, `46 ms`, `2.1 s`, `3 min`. */
export function duration(ms: number): string {
  if (ms < 10) return t('{0} ms', Math.round(ms * 10) / 10);
  if (ms < 1_000) return t('{0} ms', Math.round(ms));
  if (ms < MINUTE) return t('{0} s', Math.round(ms / 100) / 10);
  return t('{0} min', Math.round(ms / MINUTE));
}

export function bytes(count: number): string {
  if (count < 1_000) return t('{0} B', count);
  if (count < 1_000_000) return t('{0} kB', Math.round(count / 1_000));
  if (count < 1_000_000_000) return t('{0} MB', Math.round(count / 100_000) / 10);
  return t('{0} GB', Math.round(count / 100_000_000) / 10);
}

export function files(count: number): string {
  return count === 1 ? t('1 file') : t('{0} files', count.toLocaleString('en'));
}

export function processes(count: number): string {
  return count === 1 ? t('1 process') : t('{0} processes', count);
}

/** `2 model requests · 12,400 tokens in (8,000 cached) · 950 out · cost 0.0412`; the cost only where every request has a known price. */
export function usage({ requests, inputTokens, cachedTokens, outputTokens, cost, unpriced }: ModelUsage): string {
  const number = (n: number) => n.toLocaleString('en');
  const parts = [
    requests === 1 ? t('1 model request') : t('{0} model requests', number(requests)),
    cachedTokens > 0
      ? t('{0} tokens in ({1} cached)', number(inputTokens), number(cachedTokens))
      : t('{0} tokens in', number(inputTokens)),
    t('{0} out', number(outputTokens)),
  ];
  if (requests > 0 && unpriced === 0) parts.push(t('cost {0}', costText(cost)));
  return parts.join(' · ');
}

export function checkpoints(count: number): string {
  return count === 1 ? t('1 checkpoint') : t('{0} checkpoints', count.toLocaleString('en'));
}

export function stateOf(sandbox: Pick<Sandbox, 'state'>): string {
  switch (sandbox.state) {
    case 'starting':
      return t('starting');
    case 'running':
      return t('running');
    case 'restoring':
      return t('restoring');
    case 'stopped':
      return t('stopped');
    case 'failed':
      return t('failed');
  }
}

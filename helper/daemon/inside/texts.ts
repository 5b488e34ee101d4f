/** What processes inside are answered, for people and as JSON. */
import type { Answer } from '../../engine/init-client.ts';
import { type Fault, TeleportError } from '../../protocol/errors.ts';
import type { Checkpoint } from '../../protocol/model.ts';

/** As the command line outside has them. */
const EXIT: Record<Fault, number> = { caller: 1, machine: 2, internal: 3 };

export function answer(json: boolean, data: object, text: string): Answer {
  return { code: 0, out: json ? `${JSON.stringify(data)}\n` : text };
}

export function failure(error: unknown, json: boolean): Answer {
  const known = error instanceof TeleportError ? error : new TeleportError('internal', (error as Error).message);
  const { code, message, hint = null, fault, process, resource } = known;
  if (json)
    return { code: EXIT[fault], out: `${JSON.stringify({ error: { code, message, hint, process, resource } })}\n` };
  const culprit = process ? ` (process ${process.pid}, ${process.command}${resource ? `: ${resource}` : ''})` : '';
  return { code: EXIT[fault], err: `✗ ${message}${culprit}${hint ? ` — ${hint}` : ''}\n` };
}

function nameOf({ label, command, kind }: Checkpoint): string {
  const name =
    label ??
    command ??
    { root: 'sandbox created', saved: 'saved before a rollback', auto: 'files changed' }[kind as string];
  return (name ?? '').split('\n')[0]!;
}

function files(count: number): string {
  return `${count} ${count === 1 ? 'file' : 'files'} changed`;
}

export function taken(made: Checkpoint, json: boolean): Answer {
  const { id: checkpoint, stoppedMs, filesChanged } = made;
  const text = `✓ checkpoint ${checkpoint} · ${files(filesChanged)} · ${Math.round(stoppedMs)} ms\n`;
  return answer(json, { checkpoint, filesChanged, stoppedMs, restored: false }, text);
}

/** To whoever asked for a checkpoint and was waiting in it: it is gone back to, so they learn so. */
export function restored(to: Checkpoint, json: boolean): Answer {
  const { id: checkpoint, filesChanged, stoppedMs } = to;
  const name = nameOf(to);
  return answer(
    json,
    { checkpoint, filesChanged, stoppedMs, restored: true },
    `✓ back at ${checkpoint}${name ? ` "${name}"` : ''}: what came after it is undone\n`,
  );
}

export function listed(checkpoints: Checkpoint[], current: string, json: boolean): Answer {
  const rows = checkpoints.map((one) => {
    const { id, filesChanged, exitCode } = one;
    const parts = [id.padEnd(4), nameOf(one)];
    if (exitCode !== null && exitCode !== 0) parts.push(`exit ${exitCode}`);
    parts.push(files(filesChanged));
    if (id === current) parts.push('← current');
    return parts.join('  ');
  });
  const data = checkpoints.map(({ id, parent, kind, label, command, exitCode, filesChanged, createdAt }) => ({
    id,
    parent,
    kind,
    label,
    command,
    exitCode,
    filesChanged,
    createdAt,
  }));
  return answer(json, { checkpoints: data, current }, `${rows.join('\n')}\n`);
}

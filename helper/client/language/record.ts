/** A sandbox's timeline as a run document: the way from its beginning to a checkpoint. */
import { TeleportError } from '../../protocol/errors.ts';
import type { Checkpoint } from '../../protocol/model.ts';
import type { Requester } from '../connection.ts';
import type { RecordedStep } from '../documents/model.ts';
import { writeRunDocument } from '../documents/run-document.ts';

export async function recordRun(
  helper: Requester,
  params: { sandbox: string; to?: string },
): Promise<{ text: string; steps: number }> {
  const { sandbox } = await helper.request('sandbox/get', { sandbox: params.sandbox });
  const { checkpoints, current } = await helper.request('checkpoint/list', { sandbox: sandbox.id });
  const steps = wayTo(checkpoints, params.to ?? current);
  const text = writeRunDocument(steps, { title: `Run of ${sandbox.name}`, sandbox: sandbox.name });
  return { text, steps: steps.length };
}

/** The commands on the way to a checkpoint, oldest first. @throws TeleportError `unknownCheckpoint` */
export function wayTo(checkpoints: Checkpoint[], to: string): RecordedStep[] {
  const byId = new Map(checkpoints.map((one) => [one.id, one]));
  if (!byId.has(to)) throw new TeleportError('unknownCheckpoint', `there is no checkpoint ${to}`);
  const steps: RecordedStep[] = [];
  for (let one = byId.get(to); one; one = one.parent === null ? undefined : byId.get(one.parent)) {
    const { id, command, exitCode, durationMs, filesChanged, label, note } = one;
    if (command === null) continue;
    steps.push({
      command,
      note: [label, note].filter(Boolean).join('\n\n') || null,
      outcome: {
        ...(exitCode === null ? {} : { exitCode }),
        ...(durationMs === null ? {} : { durationMs }),
        filesChanged,
        checkpoint: id,
      },
    });
  }
  return steps.reverse();
}

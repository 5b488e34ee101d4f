/** What changed, and what there is to go back to. */
import * as z from 'zod';
import { BranchId, CheckpointId, InsidePath } from '../../../protocol/ids.ts';
import type { Checkpoint } from '../../../protocol/model.ts';
import { patchBetween } from '../../apply/index.ts';
import { type Answer, files, shortened, tool } from '../tool.ts';
import { changeLine, Sandbox } from './common.ts';

const At = z.union([CheckpointId, BranchId]);
const MOST_PATHS = 100;

export const diff = tool({
  name: 'diff',
  title: 'Show what changed',
  description:
    'Lists paths that differ between two moments of the sandbox, or between a moment and now; with patch also the text, for files below the workspace.',
  input: z.strictObject({
    from: At.optional().describe('A checkpoint (k3) or live fork (b2). Left out: the beginning, k0.'),
    to: At.optional().describe('Left out: now.'),
    path: InsidePath.optional().describe('Only at or below that absolute path.'),
    patch: z.boolean().default(false).describe('The changes below the workspace as a patch.'),
    sandbox: Sandbox,
  }),
  destructive: false,
  readOnly: true,
  act: async ({ sandbox: named, from = 'k0', to, path, patch }, { room, signal }) => {
    const { id } = await room.sandbox(named);
    const { changes } = await room.request('diff', { sandbox: id, from, to, path }, { signal });
    const made = patch
      ? shortened((await patchBetween(await room.helper(), { sandbox: id, from, to }, { signal })).patch)
      : null;
    const listed = changes.slice(0, MOST_PATHS);
    const more = changes.length - listed.length;
    const lines = listed.map(changeLine);
    if (more > 0) lines.push(`… and ${more} more`);
    return {
      text: [lines.join('\n') || 'Nothing changed.', made?.text].filter(Boolean).join('\n\n'),
      data: { changes: listed, more, ...(made ? { patch: made.text, truncated: made.leftOut > 0 } : {}) },
      sandbox: id,
    };
  },
});

export const log = tool({
  name: 'log',
  title: 'List the checkpoints',
  description:
    'The sandbox’s checkpoints, newest first: what was run, how it ended, how many files changed. Marks the one that now stands on.',
  input: z.strictObject({
    limit: z.number().int().min(1).max(1000).default(30).describe('At most that many.'),
    before: CheckpointId.optional().describe('Only older ones than that.'),
    sandbox: Sandbox,
  }),
  destructive: false,
  readOnly: true,
  act: async ({ sandbox: named, limit, before }, { room, signal }): Promise<Answer> => {
    const { id } = await room.sandbox(named);
    const listed = await room.request('checkpoint/list', { sandbox: id, limit, before }, { signal });
    const { checkpoints, current, more } = listed;
    return {
      text: checkpoints.map((one) => logLine(one, one.id === current)).join('\n'),
      data: {
        current,
        more,
        checkpoints: checkpoints.map((one) => ({
          id: one.id,
          parent: one.parent,
          kind: one.kind,
          label: one.label,
          command: one.command,
          exitCode: one.exitCode,
          filesChanged: one.filesChanged,
          createdAt: one.createdAt,
        })),
      },
      sandbox: id,
    };
  },
});

function logLine(one: Checkpoint, current: boolean): string {
  const title =
    one.label ??
    one.command ??
    { root: 'sandbox created', saved: 'saved before a rollback' }[one.kind as string] ??
    one.kind;
  const parts = [`${one.id} ${title.split('\n')[0]}`];
  if (one.exitCode !== null) parts.push(`exit ${one.exitCode}`);
  parts.push(files(one.filesChanged));
  if (one.parent) parts.push(`after ${one.parent}`);
  if (current) parts.push('current');
  return parts.join(' · ');
}

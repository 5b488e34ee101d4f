/** Out of the sandbox, into the real folder. */
import * as z from 'zod';
import { performPrepared, prepareApply } from '../../apply/index.ts';
import { files, tool } from '../tool.ts';
import { changeLine, Sandbox } from './common.ts';

export const apply = tool({
  name: 'apply',
  title: 'Apply to the real folder',
  description:
    'Writes the sandbox’s changes to the real folder that it was made from. Files that changed there meanwhile are conflicts and left alone unless forced. Ask the user before. With dryRun it only tells what it would do.',
  input: z.strictObject({
    dryRun: z.boolean().default(false).describe('Only tell.'),
    paths: z
      .array(z.string().min(1).max(4096))
      .max(100_000)
      .optional()
      .describe('Only these, relative to the folder. Left out: all.'),
    force: z.boolean().default(false).describe('Also overwrite what changed in the folder meanwhile.'),
    sandbox: Sandbox,
  }),
  destructive: true,
  readOnly: false,
  act: async ({ sandbox: named, dryRun, paths, force }, { room, signal, progress }) => {
    const { id } = await room.sandbox(named);
    const options = { env: room.options.env, signal };
    const prepared = await prepareApply(await room.helper(), { sandbox: id }, options);
    const { to, plan } = prepared;
    if (dryRun) {
      const changes = plan.steps.map(({ change }) => change).filter(({ path }) => !paths || paths.includes(path));
      const lines = changes.map((one) => `${changeLine(one)}${one.conflict ? ` (conflict: ${one.conflict})` : ''}`);
      return { text: [`Would apply to ${to}:`, ...lines].join('\n'), data: { to, changes }, sandbox: id };
    }
    const done = await performPrepared(
      prepared,
      { paths, force },
      { ...options, onProgress: (path) => progress(path) },
    );
    const applied = done.applied.map(({ path }) => path);
    const conflicts = done.conflicts.map(({ path, conflict }) => ({ path, conflict }));
    const lines = [
      `Applied ${files(applied.length).replace(' changed', '')} to ${to}.`,
      ...conflicts.map(({ path, conflict }) => `Left alone: ${path} (${conflict}).`),
      ...done.failed.map(({ path, message }) => `Failed: ${path}: ${message}.`),
    ];
    return { text: lines.join('\n'), data: { to, applied, conflicts, failed: done.failed }, sandbox: id };
  },
});

import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { PlannedChange } from '../../protocol/bridge.ts';
import type { TeleportError } from '../../protocol/errors.ts';
import type { Context } from '../context.ts';
import { define } from '../define.ts';
import { CommandFailure } from '../failure.ts';
import { folderPath } from '../options.ts';
import { asPlace, only } from '../target.ts';
import { count, printable, table } from '../text.ts';
import { changeTable } from './changes.ts';

interface ApplyOptions {
  to?: string;
  patch?: boolean;
  force?: boolean;
  from?: string;
  dryRun?: boolean;
}

/** What stands in the way, in words. */
const CONFLICTS: Record<NonNullable<PlannedChange['conflict']>, string> = {
  changed: 'changed in the workspace as well',
  exists: 'there is another one in the workspace',
  gone: 'deleted in the workspace',
  type: 'a folder or link stands there',
  unwritable: 'no permission to write there',
};

export function registerApply(program: Command, ctx: Context): void {
  define<ApplyOptions>(program, ctx, {
    usage: 'apply [SANDBOX]',
    summary: "bring the sandbox's files to the workspace",
    answers: 'applied, conflicts, left, to; patch, files with --patch; planned with --dry-run',
    examples: ['apply', 'apply api --dry-run', 'apply --patch > work.patch'],
    options: (command) =>
      command
        .option('--to <dir>', 'to another folder', folderPath)
        .option('--patch', 'print a patch for git apply instead, of all since the sandbox was made')
        .option('--force', 'overwrite what changed in the workspace too')
        .option('--from <place>', 'as of a checkpoint or live fork (default: as it is now)')
        .option('--dry-run', 'only say what would be done'),
    action: async (ctx, words, options) => {
      const { id, workspace } = await ctx.sandbox(only(words, options.sandbox));
      const from = options.from === undefined ? undefined : asPlace(options.from);
      // Comparing and patching are only loaded by who needs them.
      const apply = await import('../../client/apply/index.ts');
      const helper = await ctx.helper();
      if (options.patch) {
        const { patch, files, left } = await apply.patchBetween(helper, { sandbox: id, to: from });
        await ctx.remark(leftTable(ctx, left));
        return await ctx.answer({ patch, files, applied: [], conflicts: [], left }, patch);
      }
      const to = resolve(ctx.io.cwd, options.to ?? workspace);
      const env = { env: ctx.io.env };
      const prepared = await apply.prepareApply(helper, { sandbox: id, from, to }, env);
      const changes = prepared.plan.steps.map((step) => step.change);
      const { left } = prepared.plan;
      const refused = changes.filter((change) => change.conflict && !(options.force && apply.forcible(change)));
      if (options.dryRun)
        return await ctx.answer(
          { applied: [], planned: changes, conflicts: refused, left },
          `${changeTable(ctx, changes)}${conflictTable(ctx, refused)}`,
        );
      if (refused.length > 0) throw refusal(ctx, refused);
      const done = await apply.performPrepared(prepared, { force: options.force ?? false }, env);
      if (done.conflicts.length > 0) throw refusal(ctx, done.conflicts);
      if (done.failed.length > 0) {
        const [first] = done.failed;
        throw new CommandFailure(
          'workspaceUnwritable',
          `${count(done.failed.length, 'path')} could not be written; ${printable(first!.path)}: ${first!.message}`,
          {
            json: { applied: done.applied, conflicts: [], failed: done.failed },
            human: changeTable(ctx, done.applied),
          },
        );
      }
      await ctx.answer(
        { applied: done.applied, conflicts: [], left, to: prepared.to },
        `${changeTable(ctx, done.applied)}${leftTable(ctx, left)}${ctx.style.good('✓')} ${
          done.applied.length === 0
            ? 'nothing to apply'
            : `${count(done.applied.length, 'path')} applied to ${printable(to)}`
        }\n`,
      );
    },
  });
}

/** @throws never; makes the error for it. Nothing of the plan was written. */
function refusal(ctx: Context, conflicts: PlannedChange[]): TeleportError {
  const only = conflicts.every((change) => change.conflict === 'unwritable');
  const details = { json: { applied: [], conflicts }, human: ctx.json ? '' : conflictTable(ctx, conflicts) };
  if (only)
    return new CommandFailure(
      'workspaceUnwritable',
      `no permission to write ${count(conflicts.length, 'path')}; nothing was written`,
      details,
      'apply to another folder with --to, or make a patch with --patch',
    );
  return new CommandFailure(
    'conflicts',
    `${count(conflicts.length, 'conflict')}; nothing was written`,
    details,
    '--force overwrites them, --patch makes a patch to merge by hand',
  );
}

function conflictTable(ctx: Context, conflicts: PlannedChange[]): string {
  return table(
    conflicts.map(({ path, conflict }) => [
      ctx.errorStyle.bad('conflict'),
      printable(path),
      conflict ? CONFLICTS[conflict] : '',
    ]),
  );
}

function leftTable(ctx: Context, left: { path: string; reason: string }[]): string {
  return table(left.map(({ path, reason }) => [ctx.style.dim('left'), printable(path), ctx.style.dim(reason)]));
}

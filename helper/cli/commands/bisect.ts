import type { Command } from 'commander';
import { TeleportError } from '../../protocol/errors.ts';
import type { Checkpoint } from '../../protocol/model.ts';
import { shellLine } from '../../protocol/shell-word.ts';
import type { Context } from '../context.ts';
import { define } from '../define.ts';
import { seconds } from '../options.ts';
import { runProcess } from '../process.ts';
import { only } from '../target.ts';
import { printable, shorten } from '../text.ts';
import { quoted, titleOf } from './checkpoint.ts';
import { discard } from './fork.ts';

export function registerBisect(program: Command, ctx: Context): void {
  define<{ timeout?: number }>(program, ctx, {
    usage: 'bisect [SANDBOX] -- CMD…',
    summary: 'find the first checkpoint at which a command fails, by trying it in live forks',
    answers: 'checkpoint (null: it fails nowhere), parent, tried',
    examples: ['bisect -- npm test', "bisect api -- sh -c 'test -e config.json'"],
    takesTail: true,
    options: (command) => command.option('--timeout <seconds>', 'for each try; too slow counts as failing', seconds),
    action: async (ctx, words, options) => {
      const argv = ctx.tail ?? [];
      if (argv.length === 0)
        throw new TeleportError('invalidRequest', 'no command is given', {
          hint: 'put it after --: bisect -- npm test',
        });
      const sandbox = await ctx.sandbox(only(words, options.sandbox));
      const helper = await ctx.helper();
      const list = await helper.request('checkpoint/list', { sandbox: sandbox.id, limit: 100_000 });
      const line = lineOf(list.checkpoints, list.current);
      const tried: { checkpoint: string; exitCode: number }[] = [];
      const first = await firstFailing(line, async (checkpoint) => {
        const { branch } = await helper.request('branch/fork', { sandbox: sandbox.id, checkpoint: checkpoint.id });
        try {
          const { exitCode } = await runProcess(ctx, { sandbox: sandbox.id, branch, argv, timeoutMs: options.timeout });
          tried.push({ checkpoint: checkpoint.id, exitCode });
          const verdict = exitCode === 0 ? ctx.errorStyle.good('passes') : ctx.errorStyle.bad(`exit ${exitCode}`);
          await ctx.remark(`${ctx.errorStyle.dim(checkpoint.id)}  ${verdict}\n`);
          return exitCode !== 0;
        } finally {
          await discard(helper, sandbox.id, branch);
        }
      });
      const command = printable(shorten(shellLine(argv), 60));
      await ctx.answer(
        { checkpoint: first?.id ?? null, parent: first?.parent ?? null, tried },
        first
          ? `${ctx.style.good('✓')} ${command} fails since ${first.id} ${quoted(shorten(titleOf(first), 60))}\n`
          : `${ctx.style.good('✓')} ${command} fails at no checkpoint\n`,
      );
    },
  });
}

/** From the root to the current one: each the parent of the next. Those that can't be gone back to are left out. */
export function lineOf(checkpoints: Checkpoint[], current: string): Checkpoint[] {
  const byId = new Map(checkpoints.map((checkpoint) => [checkpoint.id, checkpoint]));
  const line: Checkpoint[] = [];
  for (let at = byId.get(current); at; at = at.parent === null ? undefined : byId.get(at.parent)) {
    if (at.state.broken === undefined) line.push(at);
    byId.delete(at.id);
  }
  return line.reverse();
}

/** Binary search: it is taken that what failed once fails ever after. Null: even the last one passes. */
export async function firstFailing<T>(line: T[], fails: (item: T) => Promise<boolean>): Promise<T | null> {
  if (line.length === 0 || !(await fails(line.at(-1)!))) return null;
  let passing = -1;
  let failing = line.length - 1;
  while (failing - passing > 1) {
    const middle = Math.floor((passing + failing) / 2);
    if (await fails(line[middle]!)) failing = middle;
    else passing = middle;
  }
  return line[failing]!;
}

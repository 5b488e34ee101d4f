import type { Command } from 'commander';
import type { Connection } from '../../client/connection.ts';
import { asText } from '../bytes.ts';
import type { Context } from '../context.ts';
import { define } from '../define.ts';
import { write } from '../io.ts';
import { expecting, seconds } from '../options.ts';
import { asBranch, asCheckpoint, asCheckpoints, splitWords } from '../target.ts';
import { count, duration } from '../text.ts';
import { changeTable } from './changes.ts';
import { stepText } from './checkpoint.ts';
import { splitLine } from './run.ts';

interface TryOptions {
  keep?: boolean;
  timeout?: number;
}

export function registerFork(program: Command, ctx: Context): void {
  define<{ expect?: string }>(program, ctx, {
    usage: 'fork [SANDBOX] CHECKPOINT',
    summary: 'one more live copy of a checkpoint, beside the current one',
    answers: 'branch, checkpoint, path, ms, steps',
    examples: ['fork k3', 'exec --branch b4 -- npm test'],
    options: expecting,
    action: async (ctx, words, options) => {
      const split = splitWords(words, ['CHECKPOINT'], options.sandbox);
      const checkpoint = asCheckpoint(split.rest[0]!);
      const expect = asCheckpoints(options.expect);
      const { id } = await ctx.sandbox(split.sandbox);
      const { branch, path, ms, steps } = await (await ctx.helper()).request('branch/fork', {
        sandbox: id,
        checkpoint,
        expect,
      });
      await ctx.answer(
        { branch, checkpoint, path, ms, steps },
        `${stepText(ctx, steps)}${ctx.style.good('✓')} live fork ${branch} of ${checkpoint} in ${duration(ms)}\n`,
      );
    },
  });
  define<{ discard?: boolean }>(program, ctx, {
    usage: 'keep [SANDBOX] BRANCH',
    summary: 'make a live fork the current one; what was current is saved first',
    answers: 'head, checkpoint, saved',
    examples: ['keep b4', 'keep api b4 --discard'],
    options: (command) => command.option('--discard', 'drop what was current instead'),
    action: async (ctx, words, options) => {
      const { sandbox: named, branch } = branchOf(words, options.sandbox);
      const { id } = await ctx.sandbox(named);
      const discard = options.discard ?? false;
      const moved = await (await ctx.helper()).request('branch/promote', { sandbox: id, branch, discard });
      const saved = moved.saved === null ? '' : `; what was current is ${moved.saved}`;
      await ctx.answer({ ...moved }, `${ctx.style.good('✓')} ${branch} is the current one${saved}\n`);
    },
  });
  define(program, ctx, {
    usage: 'discard [SANDBOX] BRANCH',
    summary: 'end a live fork; its files and processes are dropped',
    answers: 'discarded',
    examples: ['discard b4'],
    action: async (ctx, words, options) => {
      const { sandbox: named, branch } = branchOf(words, options.sandbox);
      const { id } = await ctx.sandbox(named);
      await (await ctx.helper()).request('branch/discard', { sandbox: id, branch });
      await ctx.answer({ discarded: branch }, `${ctx.style.good('✓')} ${branch} is gone\n`);
    },
  });
  define<TryOptions>(program, ctx, {
    usage: "try [SANDBOX] -- 'SHELL LINE'",
    summary: 'run a line in a live fork: what would it do?',
    answers: 'exitCode, output, changes, branch, checkpoint, kept, durationMs',
    examples: ["try -- 'git rebase main'", "try api --keep -- 'npm update'"],
    takesTail: true,
    options: (command) =>
      command
        .option('--keep', 'make the fork the current one')
        .option('--timeout <seconds>', 'end it after that', seconds),
    action: async (ctx, words, options) => {
      const { sandbox: named, line } = splitLine(words, ctx.tail, options.sandbox);
      const { id } = await ctx.sandbox(named);
      await tryLine(ctx, id, line, options);
    },
  });
}

function branchOf(words: string[], given?: string): { sandbox?: string; branch: string } {
  const { sandbox, rest } = splitWords(words, ['BRANCH'], given);
  return { sandbox, branch: asBranch(rest[0]!) };
}

async function tryLine(
  ctx: Context,
  sandbox: string,
  line: string,
  { keep = false, timeout }: TryOptions,
): Promise<void> {
  const helper = await ctx.helper();
  const { checkpoint } = await helper.request('checkpoint/create', {
    sandbox,
    note: `before trying: ${line}`.slice(0, 1000),
  });
  const { branch } = await helper.request('branch/fork', { sandbox, checkpoint: checkpoint.id });
  let kept = false;
  try {
    const result = await helper.request('run', { sandbox, branch, line, checkpoint: false, timeoutMs: timeout });
    const { changes } = await helper.request('diff', { sandbox, from: checkpoint.id, to: branch });
    if (keep) {
      await helper.request('branch/promote', { sandbox, branch });
      kept = true;
    }
    const { exitCode, durationMs } = result;
    const output = Buffer.from(result.output, 'base64');
    const { text, encoding } = asText(output);
    if (!ctx.json) {
      await write(ctx.io.stdout, output);
      if (output.length > 0 && output.at(-1) !== 0x0a) await write(ctx.io.stdout, '\n');
      ctx.exitCode = exitCode;
    }
    const mark = exitCode === 0 ? ctx.style.good('✓') : ctx.style.bad('✗');
    const parts = [`exit ${exitCode}`, duration(durationMs), `${count(changes.length, 'path')} changed`];
    await ctx.answer(
      {
        exitCode,
        output: text,
        ...(encoding ? { encoding } : {}),
        changes,
        branch,
        checkpoint: checkpoint.id,
        kept,
        durationMs,
      },
      `${changeTable(ctx, changes)}${mark} ${parts.join(' · ')} · ${kept ? `${branch} is the current one` : 'nothing kept'}\n`,
    );
  } finally {
    if (!kept) await discard(helper, sandbox, branch);
  }
}

/** Best effort: what went wrong before matters more than a fork left over, which gc finds. */
export async function discard(helper: Connection, sandbox: string, branch: string): Promise<void> {
  await helper.request('branch/discard', { sandbox, branch }).catch(() => {});
}

import type { Command } from 'commander';
import { TeleportError } from '../../protocol/errors.ts';
import type { HeadMoved } from '../../protocol/methods.ts';
import type { Checkpoint, Sandbox } from '../../protocol/model.ts';
import type { Context } from '../context.ts';
import { define } from '../define.ts';
import { expecting } from '../options.ts';
import { asCheckpoint, asCheckpoints, only, splitWords } from '../target.ts';
import { count, duration, printable, shorten, table } from '../text.ts';

export function registerCheckpoint(program: Command, ctx: Context): void {
  define<{ label?: string; filesOnly?: boolean; branch?: string; expect?: string }>(program, ctx, {
    usage: 'checkpoint [SANDBOX]',
    summary: 'keep this moment: files, processes, memory, terminals',
    answers: 'checkpoint, stoppedMs, totalMs, filesChanged, bytes, steps',
    examples: ['checkpoint', "checkpoint api --label 'before the rewrite'"],
    options: (command) =>
      expecting(
        command
          .option('-l, --label <label>', 'a name for it')
          .option('--branch <branch>', 'of that live fork')
          .option('--files-only', 'without processes, where one of them cannot be kept'),
      ),
    action: async (ctx, words, { sandbox: named, label, filesOnly = false, branch, expect: expected }) => {
      const expect = asCheckpoints(expected);
      const sandbox = await ctx.sandbox(only(words, named));
      const helper = await ctx.helper();
      const { checkpoint, steps } = await helper.request('checkpoint/create', {
        sandbox: sandbox.id,
        branch,
        label,
        filesOnly,
        expect,
      });
      const { id, stoppedMs, totalMs, filesChanged, bytes } = checkpoint;
      const name = checkpoint.label === null ? '' : ` ${quoted(checkpoint.label)}`;
      await ctx.answer(
        { checkpoint: id, stoppedMs, totalMs, filesChanged, bytes, steps },
        `${stepText(ctx, steps)}${ctx.style.good('✓')} ${id}${name} · stopped ${duration(stoppedMs)} · ${count(filesChanged, 'file')} changed\n`,
      );
    },
  });
  define<{ discard?: boolean; expect?: string }>(program, ctx, {
    usage: 'rollback [SANDBOX] CHECKPOINT',
    summary: 'go back to a checkpoint; where you were is kept',
    answers: 'head, checkpoint, rollbackMs, path (warm or cold), saved (null: nothing was kept), steps',
    examples: ['rollback k3', 'rollback api k3 --verbose', 'rollback k3 --discard', 'rollback k3 --expect k5,k7'],
    options: (command) => expecting(command.option('--discard', 'do not keep where you were')),
    action: async (ctx, words, { sandbox: named, discard = false, expect: expected }) => {
      const split = splitWords(words, ['CHECKPOINT'], named);
      const checkpoint = asCheckpoint(split.rest[0]!);
      const expect = asCheckpoints(expected);
      const sandbox = await ctx.sandbox(split.sandbox);
      const helper = await ctx.helper();
      const moved = await helper.request('checkpoint/rollback', {
        sandbox: sandbox.id,
        checkpoint,
        discard,
        untilGone: ctx.verbose,
        expect,
      });
      await ctx.answer(moved, ctx.json ? '' : await movedText(ctx, sandbox, moved));
    },
  });
  define(program, ctx, {
    usage: 'undo [SANDBOX]',
    summary: 'undo the last rollback',
    answers: 'head, checkpoint, rollbackMs, path, saved, steps',
    examples: ['undo', 'undo api'],
    action: async (ctx, words, options) => {
      const sandbox = await ctx.sandbox(only(words, options.sandbox));
      const moved = await (await ctx.helper()).request('checkpoint/undo', {
        sandbox: sandbox.id,
        untilGone: ctx.verbose,
      });
      await ctx.answer(moved, ctx.json ? '' : await movedText(ctx, sandbox, moved));
    },
  });
  define<{ clear?: boolean }>(program, ctx, {
    usage: 'label [SANDBOX] CHECKPOINT LABEL',
    summary: 'give a checkpoint a name',
    answers: 'checkpoint, label',
    examples: ["label k3 'before the rewrite'", 'label api k3 --clear'],
    options: (command) => command.option('--clear', 'take its name away'),
    action: async (ctx, words, { sandbox: named, clear }) => {
      const split = splitWords(words, clear ? ['CHECKPOINT'] : ['CHECKPOINT', 'LABEL'], named);
      const checkpoint = asCheckpoint(split.rest[0]!);
      const label = split.rest[1] ?? null;
      const { id } = await ctx.sandbox(split.sandbox);
      await (await ctx.helper()).request('checkpoint/label', { sandbox: id, checkpoint, label });
      const what = label === null ? 'has no label now' : quoted(label);
      await ctx.answer({ checkpoint, label }, `${ctx.style.good('✓')} ${checkpoint} ${what}\n`);
    },
  });
  define(program, ctx, {
    usage: 'delete [SANDBOX] CHECKPOINT',
    summary: 'delete a checkpoint that nothing else stands on, also a damaged one',
    answers: 'deleted',
    examples: ['delete k3', 'delete api k3'],
    action: async (ctx, words, { sandbox: named }) => {
      const split = splitWords(words, ['CHECKPOINT'], named);
      const checkpoint = asCheckpoint(split.rest[0]!);
      const { id } = await ctx.sandbox(split.sandbox);
      await (await ctx.helper()).request('checkpoint/delete', { sandbox: id, checkpoint });
      await ctx.answer({ deleted: checkpoint }, `${ctx.style.good('✓')} ${checkpoint} deleted\n`);
    },
  });
}

/** `✓ back at k3 "before the rewrite" in 1.3 ms (k5 keeps where you were)`, after its steps with --verbose. */
export async function movedText(ctx: Context, sandbox: Sandbox, moved: HeadMoved): Promise<string> {
  const name = await nameOf(ctx, sandbox, moved.checkpoint);
  const kept = moved.saved ? ` (${moved.saved} keeps where you were)` : '';
  return `${stepText(ctx, moved.steps)}${ctx.style.good('✓')} back at ${moved.checkpoint}${name} in ${duration(moved.rollbackMs)}${kept}\n`;
}

/** Asked for after the fact, so that it costs the rollback nothing; without it the line is still true. */
async function nameOf(ctx: Context, sandbox: Sandbox, id: string): Promise<string> {
  try {
    const { checkpoints } = await (await ctx.helper()).request('checkpoint/list', { sandbox: sandbox.id });
    const found = checkpoints.find((checkpoint) => checkpoint.id === id);
    return found ? ` ${quoted(shorten(titleOf(found), 60))}` : '';
  } catch (error) {
    if (error instanceof TeleportError) return '';
    throw error;
  }
}

/** With --verbose, each step and its time. */
export function stepText(ctx: Context, steps: { step: string; ms: number }[]): string {
  if (!ctx.verbose || steps.length === 0) return '';
  return table(
    steps.map(({ step, ms }) => [`  ${printable(step)}`, ctx.style.dim(`${ms.toFixed(2)} ms`)]),
    [1],
  );
}

/** What people call it: their label, the command, or how it came about. */
export function titleOf({ label, command, kind }: Checkpoint): string {
  if (label !== null) return printable(label);
  if (command !== null) return printable(command);
  return {
    root: 'sandbox created',
    saved: '(saved before rollback)',
    auto: '(automatic)',
    explicit: '(checkpoint)',
    run: '(command)',
  }[kind];
}

export function quoted(text: string): string {
  return `"${printable(text)}"`;
}

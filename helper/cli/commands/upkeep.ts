import type { Command } from 'commander';
import { TeleportError } from '../../protocol/errors.ts';
import type { Need } from '../../protocol/model.ts';
import type { Context } from '../context.ts';
import { define } from '../define.ts';
import { positive, size, span } from '../options.ts';
import { only } from '../target.ts';
import { bytes, count, printable } from '../text.ts';

interface GcOptions {
  keep?: number;
  maxBytes?: number;
  maxAge?: number;
  dryRun?: boolean;
}

export function registerUpkeep(program: Command, ctx: Context): void {
  define<GcOptions>(program, ctx, {
    usage: 'gc [SANDBOX]',
    summary: 'delete old checkpoints; labelled ones and those in use stay',
    answers: 'deleted, freedBytes, dryRun',
    examples: ['gc --keep 100', 'gc api --max-age 7d --dry-run'],
    options: (command) =>
      command
        .option('--keep <count>', 'keep at most so many, the newest', positive)
        .option('--max-bytes <size>', 'until they take at most that', size)
        .option('--max-age <time>', 'those older than that', span)
        .option('--dry-run', 'only say what would go'),
    action: async (ctx, words, { sandbox: given, keep, maxBytes, maxAge, dryRun = false }) => {
      const named = only(words, given);
      const sandbox = named === undefined ? undefined : (await ctx.sandbox(named)).id;
      const answer = await (await ctx.helper()).request('gc', { sandbox, keep, maxBytes, maxAgeMs: maxAge, dryRun });
      const what = `${count(answer.deleted.length, 'checkpoint')}, ${bytes(answer.freedBytes)}`;
      const unlimited = [keep, maxBytes, maxAge].every((limit) => limit === undefined);
      const more = unlimited ? ' (say what may stay: --keep, --max-bytes, --max-age)' : '';
      await ctx.answer(
        { ...answer, dryRun },
        `${ctx.style.good('✓')} ${dryRun ? 'would delete' : 'deleted'} ${what}${more}\n`,
      );
    },
  });
  define(program, ctx, {
    usage: 'doctor',
    summary: 'what this machine has and lacks, and what to do about it',
    answers: 'ok, needs',
    examples: ['doctor', 'doctor --json'],
    action: async (ctx) => {
      const needs = await askNeeds(ctx);
      const ok = needs.every(({ status }) => status !== 'missing');
      await ctx.answer({ ok, needs }, needs.map((need) => needText(ctx, need)).join(''));
      if (!ok) ctx.exitCode = 2;
    },
  });
}

/** A helper that can't be reached is itself the first finding. */
async function askNeeds(ctx: Context): Promise<Need[]> {
  try {
    const helper = await ctx.helper();
    const { needs } = await helper.request('doctor', {});
    const { helperVersion, pid } = helper.helper;
    return [
      { id: 'helper', title: 'Helper', status: 'ok', detail: `version ${helperVersion}, process ${pid}` },
      ...needs,
    ];
  } catch (error) {
    if (!(error instanceof TeleportError) || error.fault === 'internal') throw error;
    // The machine can be looked at without a helper, and shows why none runs.
    const { examine } = await import('../../daemon/main.ts');
    const helper: Need = {
      id: 'helper',
      title: 'Helper',
      status: 'missing',
      detail: error.message,
      remedy: error.hint,
    };
    return [helper, ...(await examine())];
  }
}

function needText(ctx: Context, { title, status, detail, remedy }: Need): string {
  const { style } = ctx;
  const mark = { ok: style.good('✓'), warning: style.warn('!'), missing: style.bad('✗') }[status];
  const hint = status !== 'ok' && remedy ? `    ${style.dim('→')} ${printable(remedy)}\n` : '';
  return `${mark} ${printable(title)}  ${style.dim(printable(detail))}\n${hint}`;
}

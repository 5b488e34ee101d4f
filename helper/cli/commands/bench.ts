import type { Command } from 'commander';
import { TeleportError } from '../../protocol/errors.ts';
import type { Context } from '../context.ts';
import { define } from '../define.ts';
import { positive } from '../options.ts';
import { interruptible } from './run.ts';

interface BenchWords {
  rounds: number;
  seedCheckout?: string;
  out?: string;
  add?: boolean;
}

export function registerBench(program: Command, ctx: Context): void {
  define<BenchWords>(program, ctx, {
    usage: 'bench [WORKLOAD…]',
    summary: 'measure rollbacks and checkpoints beside other ways to do it',
    answers: 'machine, date, rows, leftOut',
    examples: ['bench counter agent', 'bench --out build/bench --seed-checkout ../teleport-env-python'],
    options: (command) =>
      command
        .option('--rounds <count>', 'rollbacks of each kind', positive, 30)
        .option('--seed-checkout <dir>', 'a checkout of the original to measure beside ours')
        .option('--out <dir>', 'write bench.json, bench.md and bench.svg there')
        .option('--add', 'to the figures that are there, but for those measured anew'),
    action: async (ctx, workloads, { rounds, seedCheckout, out, add }) => {
      const { bench } = await import('../../bench/main.ts');
      const program = [...process.execArgv, process.argv[1]!];
      const say = (text: string): void => {
        if (!ctx.json) ctx.io.stderr.write(`${text}\n`);
      };
      const options = { program, workloads, rounds, seedCheckout, out, add, say };
      const { result } = await interruptible(ctx, (signal) => bench({ ...options, signal }));
      if (!result) throw new TeleportError('cancelled', 'the benchmark was broken off: nothing of it is left');
      await ctx.answer(result.report, `\n${result.text}`);
    },
  });
}

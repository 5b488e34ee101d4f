import { posix } from 'node:path';
import type { Command } from 'commander';
import { TeleportError } from '../../protocol/errors.ts';
import { fitsJson } from '../bytes.ts';
import type { Context } from '../context.ts';
import { define } from '../define.ts';
import { parsePairs } from '../environment.ts';
import { collect, seconds } from '../options.ts';
import { runProcess } from '../process.ts';
import { only } from '../target.ts';
import { duration } from '../text.ts';

interface ExecOptions {
  branch?: string;
  timeout?: number;
  cwd?: string;
  env?: string[];
}

export function registerExec(program: Command, ctx: Context): void {
  define<ExecOptions>(program, ctx, {
    usage: 'exec [SANDBOX] -- CMD…',
    summary: 'run one process inside, with its own input and output; takes no checkpoint',
    answers: 'exitCode, stdout, stderr, durationMs, timedOut; encoding is base64 where it is not text',
    examples: ['exec -- ls -la', "exec api --timeout 5 -- python3 -c 'print(1)'", 'exec api -- tar c . > copy.tar'],
    takesTail: true,
    options: (command) =>
      command
        .option('--branch <branch>', 'in that live fork')
        .option('--timeout <seconds>', 'kill it after that', seconds)
        .option('--cwd <dir>', 'start there (default: the workspace)')
        .option('--env <NAME[=VALUE]>', 'a variable for it (repeatable)', collect),
    action: async (ctx, words, options) => {
      if (ctx.tail === undefined || ctx.tail.length === 0)
        throw new TeleportError('invalidRequest', 'no command is given', { hint: 'put it after --: exec -- ls -la' });
      const sandbox = await ctx.sandbox(only(words, options.sandbox));
      const stdout: Buffer[] = [];
      const stderr: Buffer[] = [];
      const started = performance.now();
      const { exitCode, timedOut } = await runProcess(ctx, {
        sandbox: sandbox.id,
        branch: options.branch,
        argv: ctx.tail,
        cwd: options.cwd === undefined ? undefined : posix.resolve(sandbox.workspace, options.cwd),
        env: parsePairs(options.env ?? [], ctx.io.env),
        timeoutMs: options.timeout,
        stdin: ctx.io.stdin,
        output: (stream, data) => {
          if (ctx.json) (stream === 'stdout' ? stdout : stderr).push(data);
          else ctx.stream(stream, data);
        },
      });
      const durationMs = Math.round((performance.now() - started) * 10) / 10;
      await ctx.answer({ exitCode, ...collected(stdout, stderr), durationMs, timedOut }, '');
      if (timedOut) await ctx.remark(`${ctx.errorStyle.bad('✗')} killed after ${duration(options.timeout!)}\n`);
      // In JSON it is told; there, our own exit code says whether the call itself went well.
      if (!ctx.json) ctx.exitCode = exitCode;
    },
  });
}

/** Both as text where both are UTF-8; else both as base64, so that one word says how to read them. */
function collected(stdout: Buffer[], stderr: Buffer[]): { stdout: string; stderr: string; encoding?: 'base64' } {
  const [out, err] = [Buffer.concat(stdout), Buffer.concat(stderr)];
  if (fitsJson(out) && fitsJson(err)) return { stdout: out.toString('utf8'), stderr: err.toString('utf8') };
  return { stdout: out.toString('base64'), stderr: err.toString('base64'), encoding: 'base64' };
}

import { randomUUID } from 'node:crypto';
import type { Command } from 'commander';
import { TeleportError } from '../../protocol/errors.ts';
import type { Result } from '../../protocol/methods.ts';
import { shellLine } from '../../protocol/shell-word.ts';
import { asText } from '../bytes.ts';
import type { Context } from '../context.ts';
import { define } from '../define.ts';
import { write } from '../io.ts';
import { expecting, seconds } from '../options.ts';
import { asCheckpoints, only } from '../target.ts';
import { count, duration, printable } from '../text.ts';

interface RunOptions {
  checkpoint: boolean;
  undoOnFail?: boolean;
  label?: string;
  branch?: string;
  timeout?: number;
  expect?: string;
  sandbox?: string;
}

export function registerRun(program: Command, ctx: Context): void {
  define<RunOptions>(program, ctx, {
    usage: "run [SANDBOX] -- 'SHELL LINE'",
    summary: "run a line in the sandbox's shell, then take a checkpoint",
    answers:
      'exitCode, output, truncated, durationMs, checkpoint (null: none), filesChanged, undone; encoding is base64 where it is not text',
    examples: ["run -- 'cd src && npm test'", "run api 'sed -i s/v1/v2/g *'", 'run --undo-on-fail -- make'],
    takesTail: true,
    options: (command) =>
      expecting(
        command
          .option('--no-checkpoint', 'take none')
          .option('--undo-on-fail', 'when it fails, go back to before it')
          .option('--label <label>', 'for the checkpoint')
          .option('--branch <branch>', 'in that live fork')
          .option('--timeout <seconds>', 'end it after that', seconds),
      ),
    action: async (ctx, words, options) => {
      const { sandbox: named, line } = splitLine(words, ctx.tail, options.sandbox);
      const expect = asCheckpoints(options.expect);
      const sandbox = await ctx.sandbox(named);
      if (ctx.tail === undefined && words.length === 1 && named === undefined) await refuseName(ctx, line);
      await runLine(ctx, line, {
        sandbox: sandbox.id,
        branch: options.branch,
        checkpoint: options.checkpoint,
        undoOnFail: options.undoOnFail ?? false,
        label: options.label,
        timeoutMs: options.timeout,
        expect,
      });
    },
  });
}

/** After `--` all words are the line. Without it the last word is, and one before it the sandbox. */
export function splitLine(
  words: string[],
  tail: string[] | undefined,
  given?: string,
): { sandbox?: string; line: string } {
  if (tail !== undefined) {
    if (tail.length === 0) throw new TeleportError('invalidRequest', 'nothing comes after --');
    // One word is a shell line; several are a command that some shell has split already.
    return { sandbox: only(words, given), line: tail.length === 1 ? tail[0]! : shellLine(tail) };
  }
  const most = given === undefined ? 2 : 1;
  if (words.length === 0 || words.length > most)
    throw new TeleportError('invalidRequest', 'one shell line is expected', {
      hint: "put it after --: run -- 'npm test'",
    });
  return { sandbox: given ?? (words.length === 2 ? words[0] : undefined), line: words.at(-1)! };
}

/** `run api`, with the line forgotten, must not run `api`. */
async function refuseName(ctx: Context, line: string): Promise<void> {
  const { sandboxes } = await (await ctx.helper()).request('sandbox/list', {});
  if (sandboxes.some(({ id, name }) => id === line || name === line))
    throw new TeleportError('invalidRequest', `${printable(line)} is a sandbox, and no line is given`, {
      hint: `to run a command of that name: run -- ${printable(line)}`,
    });
}

async function runLine(
  ctx: Context,
  line: string,
  params: {
    sandbox: string;
    branch?: string;
    checkpoint: boolean;
    undoOnFail: boolean;
    label?: string;
    timeoutMs?: number;
    expect?: string[];
  },
): Promise<void> {
  const { stdout } = ctx.io;
  const helper = await ctx.helper();
  const stream = ctx.json ? undefined : randomUUID();
  let last = 0x0a;
  const stop = helper.on('run/output', (part) => {
    if (part.stream !== stream) return;
    const data = Buffer.from(part.data, 'base64');
    last = data.at(-1) ?? last;
    ctx.stream('stdout', data);
  });
  const { result, interrupted } = await interruptible(ctx, (signal) =>
    helper.request('run', { ...params, line, stream }, { signal }),
  ).finally(stop);
  if (interrupted || !result) {
    if (ctx.json) throw new TeleportError('cancelled', 'cancelled');
    // As a shell has it for a command that Ctrl-C ended.
    ctx.exitCode = 130;
    return await ctx.remark(`${ctx.errorStyle.bad('✗')} cancelled\n`);
  }
  if (ctx.json) return await ctx.answer(runJson(result), '');
  if (stdout.isTTY && last !== 0x0a) await write(stdout, '\n');
  await ctx.remark(runText(ctx, result));
  ctx.exitCode = result.exitCode;
}

/** Ctrl-C cancels the request; so does a reader that is gone. */
export async function interruptible<T>(
  ctx: Context,
  act: (signal: AbortSignal) => Promise<T>,
): Promise<{ result?: T; interrupted: boolean }> {
  const abort = new AbortController();
  const cancel = () => abort.abort();
  const stops = (['SIGINT', 'SIGTERM', 'SIGHUP'] as const).map((signal) => ctx.io.onSignal(signal, cancel));
  ctx.unread.signal.addEventListener('abort', cancel);
  try {
    return { result: await act(abort.signal), interrupted: false };
  } catch (error) {
    if (abort.signal.aborted && error instanceof TeleportError && error.code === 'cancelled')
      return { interrupted: true };
    throw error;
  } finally {
    for (const stop of stops) stop();
    ctx.unread.signal.removeEventListener('abort', cancel);
  }
}

function runJson(result: Result<'run'>): object {
  const { text, encoding } = asText(Buffer.from(result.output, 'base64'));
  return {
    exitCode: result.exitCode,
    output: text,
    ...(encoding ? { encoding } : {}),
    truncated: result.truncated,
    durationMs: result.durationMs,
    checkpoint: result.checkpoint?.id ?? null,
    filesChanged: result.checkpoint?.filesChanged ?? null,
    undone: result.undone,
    ...(result.hint ? { hint: result.hint } : {}),
  };
}

function runText(ctx: Context, { exitCode, durationMs, checkpoint, undone, hint }: Result<'run'>): string {
  const style = ctx.errorStyle;
  const parts = [duration(durationMs)];
  if (exitCode !== 0) parts.unshift(`exit ${exitCode}`);
  if (checkpoint) parts.push(`${count(checkpoint.filesChanged, 'file')} changed`, `checkpoint ${checkpoint.id}`);
  if (undone) parts.push('undone');
  const why = hint ? `  ${printable(hint)}\n` : '';
  return `${exitCode === 0 ? style.good('✓') : style.bad('✗')} ${parts.join(' · ')}\n${why}`;
}

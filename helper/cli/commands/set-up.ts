import { randomUUID } from 'node:crypto';
import type { Connection } from '../../client/connection.ts';
import { TeleportError } from '../../protocol/errors.ts';
import type { Result } from '../../protocol/methods.ts';
import type { Context } from '../context.ts';
import { duration, printable } from '../text.ts';
import { interruptible } from './run.ts';

/** `--on-create`, without a value: what devcontainer.json names. */
export async function setUpLine(given: string | true | undefined, workspace: string): Promise<string | undefined> {
  if (given !== true) return given;
  const { postCreateCommand } = await import('../../client/on-create.ts');
  const line = await postCreateCommand(workspace);
  if (line !== undefined) return line;
  throw new TeleportError('invalidRequest', `${workspace} has no devcontainer.json with a postCreateCommand`, {
    hint: "name the command: --on-create 'npm ci'",
  });
}

/** Runs it; its output goes to stderr, since the answer is the sandbox. The exit code becomes ours. */
export async function runSetUp(
  ctx: Context,
  helper: Connection,
  sandbox: string,
  line: string,
): Promise<Result<'run'> | undefined> {
  const { setUp } = await import('../../client/on-create.ts');
  const stream = randomUUID();
  const stop = helper.on('run/output', (part) => {
    if (part.stream === stream && !ctx.json) ctx.io.stderr.write(Buffer.from(part.data, 'base64'));
  });
  const { result } = await interruptible(ctx, (signal) => setUp(helper, { sandbox, line, stream }, { signal })).finally(
    stop,
  );
  ctx.exitCode = result?.exitCode ?? 130;
  if (!result) {
    await ctx.remark(`${ctx.errorStyle.bad('✗')} set-up cancelled; the sandbox is there\n`);
    return undefined;
  }
  const took = duration(result.durationMs);
  if (result.exitCode === 0)
    await ctx.remark(`${ctx.errorStyle.good('✓')} set up · ${took} · checkpoint ${result.checkpoint?.id}\n`);
  else
    await ctx.remark(
      `${ctx.errorStyle.bad('✗')} set-up failed: exit ${result.exitCode} · ${took}; the sandbox is there\n`,
    );
  if (result.hint) await ctx.remark(`  ${printable(result.hint)}\n`);
  return result;
}

import { constants } from 'node:os';
import type { Command } from 'commander';
import { TeleportError } from '../../protocol/errors.ts';
import type { Sandbox } from '../../protocol/model.ts';
import { shellLine } from '../../protocol/shell-word.ts';
import type { Context } from '../context.ts';
import { define } from '../define.ts';
import { runProcess } from '../process.ts';
import { contains, only } from '../target.ts';
import { Shell } from './shell.ts';

/**
 * What stands in for a shell where an agent outside looks for one: a terminal, `-c COMMAND` as editors and build tools call shells, or
 * one word that is the command, as CLAUDE_CODE_SHELL_PREFIX has it. Each command is a step.
 */
export function registerAsShell(program: Command, ctx: Context): void {
  define(program, ctx, {
    usage: 'as-shell [SANDBOX] [-- ARGS…]',
    summary: 'stand in for a shell: what an agent outside runs goes inside, each command a step',
    examples: ['as-shell api', "as-shell api -- -c 'npm test'"],
    hidden: true,
    takesTail: true,
    action: async (ctx, words, { sandbox: given }) => {
      if (ctx.json)
        throw new TeleportError('invalidRequest', 'a shell has no JSON answer', { hint: 'use run or exec' });
      let sandbox = await ctx.sandbox(only(words, given));
      const helper = await ctx.helper();
      if (sandbox.head === null) ({ sandbox } = await helper.request('sandbox/start', { sandbox: sandbox.id }));
      const command = commandOf(ctx.tail ?? []);
      if (command === null) ctx.exitCode = await new Shell(ctx, sandbox.id, {}, {}).run();
      else await runStep(ctx, sandbox, command);
    },
  });
}

/** Null: a terminal is wanted. */
export function commandOf(args: readonly string[]): string | null {
  const rest = [...args];
  while (rest[0]?.startsWith('-')) {
    const flag = rest.shift()!;
    if (flag === '--') break;
    if (/^-[a-z]*c$/.test(flag)) return rest[0] ?? '';
  }
  if (rest.length === 0) return null;
  return rest.length === 1 ? rest[0]! : shellLine(rest);
}

async function runStep(ctx: Context, sandbox: Sandbox, command: string): Promise<void> {
  const { knownCheckpoint, rememberCheckpoint, wasRolledBack } = await import('../../client/agents/known.ts');
  const { rolledBackNews } = await import('../../protocol/agent-news.ts');
  const { env, cwd, stdin, stdout, stderr } = ctx.io;
  const helper = await ctx.helper();
  const known = knownCheckpoint(env, sandbox.id);
  if (known !== null) {
    const { checkpoints, current } = await helper.request('checkpoint/list', { sandbox: sandbox.id });
    const at = checkpoints.find(({ id }) => id === current);
    if (wasRolledBack(checkpoints, known, current)) stderr.write(`${rolledBackNews(at ?? { id: current }, null)}\n`);
  }
  const begun = performance.now();
  const { exitCode } = await runProcess(ctx, {
    sandbox: sandbox.id,
    argv: ['bash', '-c', command],
    ...(contains(sandbox.workspace, cwd) ? { cwd } : {}),
    ...(stdin.isTTY ? {} : { stdin }),
    output: (stream, data) => void (stream === 'stdout' ? stdout : stderr).write(data),
  });
  ctx.exitCode = exitCode;
  if (exitCode === 128 + constants.signals.SIGINT) return; // it was cancelled, and whoever did that waits for nothing more
  const durationMs = Math.round(performance.now() - begun);
  const { checkpoint } = await helper.request('checkpoint/create', {
    sandbox: sandbox.id,
    command,
    exitCode,
    durationMs,
  });
  rememberCheckpoint(env, sandbox.id, checkpoint.id);
}

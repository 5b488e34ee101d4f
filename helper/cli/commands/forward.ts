import type { Command } from 'commander';
import { TeleportError } from '../../protocol/errors.ts';
import type { Port } from '../../protocol/model.ts';
import type { Context } from '../context.ts';
import { define } from '../define.ts';
import { wholeNumber } from '../options.ts';
import { only, splitWords } from '../target.ts';
import { brief, printable, table } from '../text.ts';

interface ForwardOptions {
  local?: number;
  branch?: string;
}

export function registerForward(program: Command, ctx: Context): void {
  define<ForwardOptions>(program, ctx, {
    usage: 'forward [SANDBOX] PORT',
    summary: 'reach a port of a sandbox from here, until Ctrl-C',
    answers: 'sandbox, branch, port, local, url',
    examples: ['forward 3000', 'forward api 3000 --local 8080', 'forward 3000 --branch b4'],
    options: (command) =>
      command
        .option('--local <port>', 'the port here (default: the same, if it is free)', wholeNumber)
        .option('--branch <branch>', 'of that live fork'),
    action: async (ctx, words, options) => {
      const { sandbox: named, rest } = splitWords(words, ['PORT'], options.sandbox);
      await forward(ctx, named, asPort(rest[0]!), options);
    },
  });
  define<{ branch?: string }>(program, ctx, {
    usage: 'ports [SANDBOX]',
    summary: 'what a sandbox listens on',
    answers: 'branch, ports',
    examples: ['ports', 'ports api --branch b4'],
    options: (command) => command.option('--branch <branch>', 'of that live fork'),
    action: async (ctx, words, options) => {
      const { id: sandbox } = await ctx.sandbox(only(words, options.sandbox));
      const found = await (await ctx.helper()).request('port/list', { sandbox, branch: options.branch });
      await ctx.answer(found, portTable(ctx, found.ports));
    },
  });
}

async function forward(ctx: Context, named: string | undefined, port: number, options: ForwardOptions): Promise<void> {
  const { PortForward } = await import('../../client/forward.ts');
  const { id: sandbox } = await ctx.sandbox(named);
  const { local, branch } = options;
  const helper = await ctx.helper();
  // A branch that is not there is told now and not at the first connection.
  await helper.request('port/list', { sandbox, branch });
  const open = await PortForward.open(helper, { sandbox, branch, port, local });
  open.onRefused = (error) => void ctx.remark(`${ctx.errorStyle.bad('✗')} ${printable(error.message)}\n`);
  const url = `http://localhost:${open.localPort}`;
  await ctx.answer(
    { sandbox, branch: branch ?? null, port, local: open.localPort, url },
    `${ctx.style.good('✓')} port ${port}${branch ? ` of ${branch}` : ''} is at ${ctx.style.bold(url)} · Ctrl-C ends it\n`,
  );
  await new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) ctx.io.onSignal(signal, resolve);
    ctx.unread.signal.addEventListener('abort', () => resolve());
    helper.lost.addEventListener('abort', () => resolve());
  });
  open.close();
  if (helper.lost.aborted) throw new TeleportError('noHelper', 'the helper ended');
}

function asPort(word: string): number {
  const port = /^[0-9]{1,5}$/.test(word) ? Number(word) : 0;
  if (port >= 1 && port <= 65_535) return port;
  throw new TeleportError('invalidRequest', `${brief(word)} is no port`, {
    hint: 'a port is a number up to 65535',
  });
}

function portTable(ctx: Context, ports: Port[]): string {
  if (!ports.length) return ctx.io.stdout.isTTY ? ctx.style.dim('Nothing listens.\n') : '';
  return table(ports.map(({ port, pid, command }) => [String(port), String(pid ?? ''), printable(command ?? '')]));
}

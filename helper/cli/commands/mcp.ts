import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { define } from '../define.ts';
import { only } from '../target.ts';

export function registerMcp(program: Command, ctx: Context): void {
  define(program, ctx, {
    usage: 'mcp [SANDBOX]',
    summary: 'serve agents over the Model Context Protocol, on standard input and output',
    examples: ['mcp', 'mcp api', 'mcp --help'],
    action: async (ctx, words, { sandbox }) => {
      const { serveMcp } = await import('../../client/mcp/server.ts');
      const { env, cwd } = ctx.io;
      await serveMcp({ connect: () => ctx.helper(), sandbox: only(words, sandbox), env, cwd });
    },
  });
}

import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { define } from '../define.ts';
import { only } from '../target.ts';

/** How agents are told of it, once; each then starts it by itself in the folder that it works in. */
const ADDING = `
An agent starts it by itself, in the folder that it works in. To tell it so, once:
  claude mcp add teleport-env -- teleport-env mcp
  codex mcp add teleport-env -- teleport-env mcp
  gemini mcp add teleport-env teleport-env mcp
In VS Code the extension does that.
`;

export function registerMcp(program: Command, ctx: Context): void {
  define(program, ctx, {
    usage: 'mcp [SANDBOX]',
    summary: 'serve agents over the Model Context Protocol, on standard input and output',
    examples: ['mcp', 'mcp api'],
    options: (command) => command.addHelpText('after', ADDING),
    action: async (ctx, words, { sandbox }) => {
      const { serveMcp } = await import('../../client/mcp/server.ts');
      const { env, cwd, stdin } = ctx.io;
      if (stdin.isTTY)
        await ctx.remark('This is for an agent, which starts it by itself: teleport-env mcp --help. Ctrl-C ends it.\n');
      await serveMcp({ connect: () => ctx.helper(), sandbox: only(words, sandbox), env, cwd });
    },
  });
}

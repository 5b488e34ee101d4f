import type { Command } from 'commander';
import { AGENTS } from '../../protocol/agents.ts';
import { TeleportError } from '../../protocol/errors.ts';
import { shellWord } from '../../protocol/shell-word.ts';
import type { Context } from '../context.ts';
import { define } from '../define.ts';
import { parsePairs } from '../environment.ts';
import { collect } from '../options.ts';
import { splitWords } from '../target.ts';
import { count, printable } from '../text.ts';
import { Shell } from './shell.ts';

interface AgentOptions {
  signIn?: boolean;
  env?: string[];
}

export function registerAgent(program: Command, ctx: Context): void {
  const names = AGENTS.map(({ id }) => id).join(', ');
  define<AgentOptions>(program, ctx, {
    usage: 'agent [SANDBOX] NAME [-- ARGS…]',
    summary: 'run a coding agent inside: each of its tool calls is a step',
    examples: ['agent claude-code', 'agent api qwen-code -- -p "mend the tests"', 'agent api other -- my-agent --fast'],
    takesTail: true,
    options: (command) =>
      command
        .option('--sign-in', 'copy its configuration and sign-in in, and pass its keys (memory images then hold them)')
        .option('-e, --env <name=value>', 'a variable for it; may be repeated', collect)
        .addHelpText(
          'after',
          `\nNAME is one of ${names}.\nA rollback takes the agent's memory back too: it goes on from that moment.\n`,
        ),
    action: async (ctx, words, options) => {
      if (ctx.json)
        throw new TeleportError('invalidRequest', 'an agent runs in a terminal, which has no JSON answer', {
          hint: 'for one outside: teleport-env mcp',
        });
      const { sandbox: named, rest } = splitWords(words, ['NAME'], options.sandbox);
      const { namedAgent, prepareAgent, signInOf } = await import('../../client/agents/index.ts');
      const agent = namedAgent(rest[0]!);
      const sandbox = await ctx.sandbox(named);
      const { env } = ctx.io;
      const given = [...(ctx.tail ?? [])];
      const program = agent.binary === null ? given.shift() : undefined;
      const signIn = options.signIn ?? false;
      const wanted = { agent: agent.id, program, words: given, signIn };
      const ready = await prepareAgent(await ctx.helper(), { sandbox: sandbox.id }, env, wanted);
      if (ready.copied.length)
        await ctx.remark(ctx.errorStyle.dim(`copied in: ${ready.copied.map(printable).join(', ')}\n`));
      const left = signInOf(agent, env.HOME ?? '/', env);
      if (!signIn && left.files.length + left.variables.length > 0)
        await ctx.remark(
          ctx.errorStyle.dim(
            `not brought along without --sign-in: ${[...left.files, ...left.variables].slice(0, 4).map(printable).join(', ')}${left.files.length + left.variables.length > 4 ? ' …' : ''}\n`,
          ),
        );
      if (sandbox.network === 'none' && agent.hosts.length && !sandbox.gateway)
        await ctx.remark(
          ctx.errorStyle.dim(
            `${printable(sandbox.name)} has no network, and ${agent.name} has to reach ${count(agent.hosts.length, 'host')}; to allow it: teleport-env network ${shellWord(printable(sandbox.name))} nat, or serve its model: teleport-env gateway\n`,
          ),
        );
      const more = parsePairs(options.env ?? [], env);
      const command = { argv: ready.argv, env: { ...ready.env, ...more } };
      ctx.exitCode = await new Shell(ctx, sandbox.id, {}, command).run();
    },
  });
}

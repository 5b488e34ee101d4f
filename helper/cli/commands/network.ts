import type { Command } from 'commander';
import { TeleportError } from '../../protocol/errors.ts';
import type { Sandbox } from '../../protocol/model.ts';
import type { Context } from '../context.ts';
import { define } from '../define.ts';
import { brief, printable } from '../text.ts';

export function registerNetwork(program: Command, ctx: Context): void {
  define<{ lan?: boolean }>(program, ctx, {
    usage: 'network [SANDBOX] [none|nat]',
    summary: 'show, allow or take away the network of a sandbox, while it runs',
    answers: 'sandbox, network, lan',
    examples: ['network', 'network nat', 'network api nat --lan', 'network api none'],
    options: (command) => command.option('--lan', 'with nat: this host and its local networks too'),
    action: async (ctx, words, options) => {
      const { sandbox: named, network } = split(words, options.sandbox);
      if (options.lan && network !== 'nat') throw new TeleportError('invalidRequest', '--lan goes with nat');
      let sandbox = await ctx.sandbox(named);
      if (network !== undefined) {
        const helper = await ctx.helper();
        const params = { sandbox: sandbox.id, network, lan: options.lan ?? false };
        ({ sandbox } = await helper.request('network/set', params));
      }
      const { id, lan = false } = sandbox;
      const mark = network === undefined ? '' : `${ctx.style.good('✓')} `;
      await ctx.answer({ sandbox: id, network: sandbox.network, lan }, `${mark}${sentence(sandbox)}\n`);
    },
  });
}

/** The mode is the last word, where there is one that is a mode. */
function split(words: string[], given?: string): { sandbox?: string; network?: 'none' | 'nat' } {
  const last = words.at(-1);
  const network = last === 'none' || last === 'nat' ? last : undefined;
  const rest = network ? words.slice(0, -1) : words;
  const word = rest[0];
  if (rest.length > (given === undefined ? 1 : 0))
    throw new TeleportError('invalidRequest', `${brief(rest.at(-1)!)} is no network: none or nat`);
  return { sandbox: given ?? word, network };
}

function sentence({ name, network, lan }: Sandbox): string {
  const who = printable(name);
  if (network === 'none') return `${who} has no network (none)`;
  if (lan) return `${who} reaches the internet, this host and its local networks (nat, lan)`;
  return `${who} reaches the internet, but neither this host nor its local networks (nat)`;
}

import type { Command } from 'commander';
import { TeleportError } from '../../protocol/errors.ts';
import type { Sandbox } from '../../protocol/model.ts';
import { type Candidate, complete, fromBash, type Kind } from '../completion.ts';
import { SCRIPTS, SHELLS, type ShellName } from '../completion-scripts.ts';
import type { Context } from '../context.ts';
import { define } from '../define.ts';
import { write } from '../io.ts';
import { chooseSandbox, only } from '../target.ts';
import { brief, count } from '../text.ts';
import { titleOf } from './checkpoint.ts';

export function registerCompletion(program: Command, ctx: Context): void {
  define(program, ctx, {
    usage: 'completion bash|zsh|fish',
    summary: 'print what a shell needs to complete commands, sandboxes and checkpoints',
    examples: [
      'completion bash > ~/.local/share/bash-completion/completions/teleport-env',
      'completion zsh > /usr/local/share/zsh/site-functions/_teleport-env',
      'completion fish > ~/.config/fish/completions/teleport-env.fish',
    ],
    action: async (ctx, words) => {
      const shell = only(words) as ShellName | undefined;
      if (!shell || !SHELLS.includes(shell))
        throw new TeleportError('invalidRequest', `for which shell? ${SHELLS.join(', ')}`);
      await ctx.answer({ script: SCRIPTS[shell] }, SCRIPTS[shell]);
    },
  });
  define<{ shell?: string }>(program, ctx, {
    usage: 'complete -- WORD…',
    summary: 'what can stand where the cursor is, for the scripts of completion',
    examples: ['complete -- rollback k'],
    hidden: true,
    takesTail: true,
    options: (command) => command.option('--shell <shell>', 'whose words they are'),
    action: async (ctx, _words, { shell }) => {
      const words = shell === 'bash' ? fromBash(ctx.tail ?? []) : (ctx.tail ?? []);
      const { candidates, kinds, prefix } = complete(program, words);
      for (const { kind, sandbox } of kinds) candidates.push(...(await ask(ctx, kind, sandbox)));
      // bash replaces what comes after the =, the others the whole word.
      const start = (words.at(-1) ?? '').slice(prefix.length);
      const lines = candidates
        .filter(({ value }) => value.startsWith(start))
        .map(({ value, about }) => `${shell === 'bash' ? '' : prefix}${value}\t${brief(about)}\n`);
      if (kinds.some(({ kind }) => kind === 'file')) lines.push(':files\n');
      await write(ctx.io.stdout, lines.join(''));
    },
  });
}

/** A helper that does not run is not started for a TAB, and what it says of a wrong word is for the call itself to say. */
async function ask(ctx: Context, kind: Kind, named: string | undefined): Promise<Candidate[]> {
  if (kind === 'file') return [];
  try {
    const helper = await ctx.helper({ start: false });
    const { sandboxes } = await helper.request('sandbox/list', {});
    if (kind === 'sandbox') return sandboxes.map(asCandidate);
    const { id: sandbox, branches } = chooseSandbox(sandboxes, named, ctx.io.cwd);
    if (kind === 'branch')
      return branches
        .filter(({ role }) => role !== 'standby')
        .map(({ id, role, checkpoint }) => ({ value: id, about: `${role}, of ${checkpoint}` }));
    if (kind === 'port') {
      const { ports } = await helper.request('port/list', { sandbox });
      return ports.map(({ port, command = '' }) => ({ value: String(port), about: command }));
    }
    const { checkpoints } = await helper.request('checkpoint/list', { sandbox, limit: 500 });
    return checkpoints.map((checkpoint) => ({ value: checkpoint.id, about: titleOf(checkpoint) }));
  } catch (error) {
    if (error instanceof TeleportError) return [];
    throw error;
  }
}

/** By its name, where every shell takes that as it stands or quotes it well; else by its id. */
function asCandidate({ id, name, workspace, state, checkpoints }: Sandbox): Candidate {
  const plain = /^[\p{L}\p{N}_][\p{L}\p{N}_.@%+,/ -]*$/u.test(name);
  const about = `${state}, ${count(checkpoints, 'checkpoint')}, ${workspace}`;
  return plain ? { value: name, about } : { value: id, about: `${name}, ${about}` };
}

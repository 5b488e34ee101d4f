import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { define } from '../define.ts';
import { folderPath } from '../options.ts';
import { asPlace, only, splitWords } from '../target.ts';
import { count, printable, table } from '../text.ts';

interface GitOptions {
  from?: string;
  to?: string;
}

/** Commits leave a sandbox by these alone: `apply` writes nothing into `.git`. */
export function registerGit(program: Command, ctx: Context): void {
  const git = program
    .command('git')
    .summary("bring the sandbox's commits to your repository")
    .description("Bring the sandbox's commits to your repository. Your git checks each object; nothing is checked out.")
    .usage('fetch|branch …')
    .helpOption('-h, --help', 'show this help')
    .addHelpText('after', '\nExamples:\n  $ teleport-env git fetch api\n  $ teleport-env git branch api api/fix\n');
  define<GitOptions>(git, ctx, {
    usage: 'fetch [SANDBOX]',
    summary: 'commits made inside arrive as refs/teleport-env/SANDBOX/…',
    examples: ['git fetch api', 'git fetch api --from k4'],
    options: places,
    action: async (ctx, words, options) => {
      const { id } = await ctx.sandbox(only(words, options.sandbox));
      const { fetchCommits, targetOf } = await import('../../client/git/arrive.ts');
      const helper = await ctx.helper();
      const target = await targetOf(helper, { sandbox: id, to: folder(ctx, options) }, { env: ctx.io.env });
      const from = placeOf(options) ?? target.sandbox.head ?? target.sandbox.current;
      const { arrived } = await fetchCommits(helper, target, from);
      const moved = arrived.refs.filter((ref) => ref.moved);
      const rows = moved.map(({ ref, commit, commits, submodule }) => [
        printable(submodule === undefined ? ref : `${submodule}: ${ref}`),
        ctx.style.dim(commit.slice(0, 10)),
        commits === null ? '' : count(commits, 'new commit'),
      ]);
      const mark = ctx.style.good('✓');
      await ctx.answer(
        arrived,
        `${table(rows)}${leftTable(ctx, arrived.left)}${mark} ${moved.length === 0 ? 'nothing new' : `${count(moved.length, 'ref')} arrived in ${printable(arrived.to)}`}\n`,
      );
    },
  });
  define<GitOptions & { uncommitted: boolean }>(git, ctx, {
    usage: 'branch [SANDBOX] NAME',
    summary: "make a branch of the sandbox's commits, and of what is not committed there",
    examples: ['git branch api api/fix', 'git branch api just-commits --no-uncommitted'],
    options: (command) => places(command).option('--no-uncommitted', 'without what is not committed'),
    action: async (ctx, words, options) => {
      const { sandbox: named, rest } = splitWords(words, ['NAME'], options.sandbox);
      const { id } = await ctx.sandbox(named);
      const { branchFromSandbox } = await import('../../client/git/branch.ts');
      const params = {
        sandbox: id,
        name: rest[0]!,
        from: placeOf(options),
        to: folder(ctx, options),
        uncommitted: options.uncommitted,
      };
      const made = await branchFromSandbox(await ctx.helper(), params as never, { env: ctx.io.env });
      const extra =
        made.uncommitted === null
          ? ''
          : `, the last of what was not committed inside (${count(made.uncommitted, 'path')})`;
      await ctx.answer(
        made,
        `${leftTable(ctx, made.left)}${ctx.style.good('✓')} branch ${printable(made.branch)} at ${made.commit.slice(0, 10)}: ${count(made.commits, 'new commit')}${extra}\n`,
      );
    },
  });
}

function leftTable({ style }: Context, left: { path: string; reason: string }[]): string {
  return table(left.map(({ path, reason }) => [style.dim('left'), printable(path), style.dim(reason)]));
}

function places(command: Command): Command {
  return command
    .option('--from <place>', 'as of a checkpoint or live fork (default: as it is now)')
    .option('--to <dir>', "another folder with a repository (default: the sandbox's workspace)", folderPath);
}

function placeOf({ from }: GitOptions): string | undefined {
  return from === undefined ? undefined : asPlace(from);
}

function folder(ctx: Context, { to }: GitOptions): string | undefined {
  return to === undefined ? undefined : resolve(ctx.io.cwd, to);
}

import { posix } from 'node:path';
import type { Command } from 'commander';
import type { Checkpoint } from '../../protocol/model.ts';
import { tokensOf } from '../../protocol/usage-words.ts';
import type { Context } from '../context.ts';
import { define } from '../define.ts';
import { write } from '../io.ts';
import { positive } from '../options.ts';
import { asPlace, contains, only, splitDiff, splitWords } from '../target.ts';
import { age, bytes, count, printable, shorten, table } from '../text.ts';
import { changeTable } from './changes.ts';
import { titleOf } from './checkpoint.ts';

export function registerLook(program: Command, ctx: Context): void {
  define<{ limit?: number }>(program, ctx, {
    usage: 'log [SANDBOX]',
    summary: 'its checkpoints, newest first',
    answers: 'checkpoints, head, current, more',
    examples: ['log', 'log api --limit 20', 'log --json'],
    options: (command) => command.option('-n, --limit <count>', 'only the newest', positive),
    action: async (ctx, words, options) => {
      const { id } = await ctx.sandbox(only(words, options.sandbox));
      const list = await (await ctx.helper()).request('checkpoint/list', {
        sandbox: id,
        limit: options.limit ?? 100_000,
      });
      const { checkpoints, head, current, more } = list;
      await ctx.answer({ checkpoints, head, current, more }, logText(ctx, checkpoints, current));
    },
  });
  define<{ path?: string }>(program, ctx, {
    usage: 'diff [SANDBOX] FROM [TO]',
    summary: 'which paths changed between two checkpoints, or since one',
    answers: 'changes',
    examples: ['diff k3', 'diff k3 k5', 'diff api k3 --path src'],
    options: (command) => command.option('--path <path>', 'only there'),
    action: async (ctx, words, options) => {
      const { sandbox: named, from, to } = splitDiff(words, options.sandbox);
      const sandbox = await ctx.sandbox(named);
      const path = options.path === undefined ? undefined : insidePath(options.path, sandbox.workspace, ctx.io.cwd);
      const { changes } = await (await ctx.helper()).request('diff', { sandbox: sandbox.id, from, to, path });
      await ctx.answer({ changes }, changeTable(ctx, changes, sandbox.workspace));
    },
  });
  define(program, ctx, {
    usage: 'cat [SANDBOX] CHECKPOINT PATH',
    summary: 'a file as it was',
    examples: ['cat k3 config.json', 'cat api k3 /etc/hosts > hosts'],
    action: async (ctx, words, options) => {
      const { sandbox: named, rest } = splitWords(words, ['CHECKPOINT', 'PATH'], options.sandbox);
      const at = asPlace(rest[0]!);
      const sandbox = await ctx.sandbox(named);
      const { remotePlace } = await import('../../client/apply/place.ts');
      const place = remotePlace(await ctx.helper(), sandbox.id, at);
      for await (const part of place.read(insidePath(rest[1]!, sandbox.workspace, ctx.io.cwd))) {
        if (ctx.unread.signal.aborted) return;
        await write(ctx.io.stdout, part);
      }
    },
  });
  define<{ branch?: string }>(program, ctx, {
    usage: 'ps [SANDBOX]',
    summary: 'its processes',
    answers: 'processes',
    examples: ['ps', 'ps api --branch b4'],
    options: (command) => command.option('--branch <branch>', 'of that live fork'),
    action: async (ctx, words, { sandbox: named, branch }) => {
      const { id } = await ctx.sandbox(only(words, named));
      const { processes } = await (await ctx.helper()).request('process/list', { sandbox: id, branch });
      const rows = processes.map(({ pid, ppid, state, rss, command }) => [
        String(pid),
        String(ppid),
        state,
        bytes(rss),
        printable(command),
      ]);
      const header = ['PID', 'PPID', 'S', 'MEMORY', 'COMMAND'].map(ctx.style.dim);
      await ctx.answer({ processes }, rows.length === 0 ? '' : table([header, ...rows], [0, 1, 3]));
    },
  });
}

/** A path inside: relative ones start where the caller stands in the workspace, or at its top. */
export function insidePath(path: string, workspace: string, cwd: string): string {
  return posix.resolve(contains(workspace, cwd) ? cwd : workspace, path);
}

/** `k4  ○ sed -i s/v1/v2/g *   3 files   12 s`. A checkpoint whose parent is not the line below says which one it is. */
export function logText(ctx: Context, checkpoints: Checkpoint[], current: string, now = Date.now()): string {
  const { style } = ctx;
  const columns = ctx.io.stdout.isTTY ? (ctx.io.stdout.columns ?? 80) : 120;
  return table(
    checkpoints.map((checkpoint, i) => {
      const { id, parent, label, exitCode, filesChanged, createdAt, kind, state, usage } = checkpoint;
      const title = shorten(titleOf(checkpoint), Math.max(20, columns - 50));
      const notes = [];
      if (id === current) notes.push('← current');
      if (parent !== null && parent !== checkpoints[i + 1]?.id) notes.push(style.dim(`from ${parent}`));
      if (state.broken !== undefined) notes.push(style.bad(`broken: ${shorten(printable(state.broken), 60)}`));
      if (state.filesOnly && kind !== 'root') notes.push(style.dim('files only'));
      return [
        id,
        `${id === current ? '◉' : '○'} ${label === null ? title : style.bold(title)}`,
        exitCode ? style.bad(`exit ${exitCode}`) : '',
        filesChanged === 0 || parent === null ? '' : count(filesChanged, 'file'),
        usage ? `${tokensOf(usage).toLocaleString('en')} tokens` : '',
        style.dim(age(createdAt, now)),
        notes.join('  '),
      ];
    }),
  );
}

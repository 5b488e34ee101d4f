import { realpath } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { Connection } from '../../client/connection.ts';
import type { Params } from '../../protocol/methods.ts';
import type { Sandbox } from '../../protocol/model.ts';
import type { Context } from '../context.ts';
import { define } from '../define.ts';
import { insideEnv, parsePairs } from '../environment.ts';
import { collect, folderPath, oneOf, positive, size } from '../options.ts';
import { only } from '../target.ts';
import { count, duration, printable, table } from '../text.ts';
import { runSetUp, setUpLine } from './set-up.ts';

interface UpOptions {
  workspace?: string;
  name?: string;
  base?: string;
  network?: 'none' | 'nat';
  exclude?: string[];
  env?: string[];
  new?: boolean;
  root?: boolean;
  onCreate?: string | true;
  processes?: number;
  memory?: number;
  disk?: number;
}

export function registerSandbox(program: Command, ctx: Context): void {
  define<UpOptions>(program, ctx, {
    usage: 'up',
    summary: 'make a sandbox of a folder, or find and start the one that it has',
    answers: 'sandbox, name, workspace, head, checkpoint, created; setUp with --on-create',
    examples: ['up', 'up --workspace ~/api --name api --network nat', "up --on-create 'npm ci' --memory 4G"],
    options: (command) =>
      command
        .option('--workspace <dir>', 'the folder (default: the current one)', folderPath)
        .option('--name <name>', "a name of your own (default: the folder's)")
        .option('--base <dir|image.tar>', "stand on another system than the host's")
        .option('--network <kind>', 'none or nat', oneOf('none', 'nat'))
        .option('--exclude <name>', "leave out of the copy; a name in the workspace's top level (repeatable)", collect)
        .option('--env <NAME[=VALUE]>', 'a variable for inside (repeatable)', collect)
        .option(
          '--on-create [line]',
          "run this in a new sandbox (without a line: devcontainer.json's postCreateCommand)",
        )
        .option('--processes <number>', 'how many it may have', positive)
        .option('--memory <size>', 'how much it may take, such as 4G', size)
        .option('--disk <size>', 'how much its checkpoints may take', size)
        .option('--root', 'its programs run as root inside, where the administrator allows it')
        .option('--new', 'make one even where the folder has one already'),
    action: up,
  });
  define(program, ctx, {
    usage: 'list',
    summary: 'your sandboxes',
    answers: 'sandboxes',
    examples: ['list', 'list --json'],
    action: async (ctx) => {
      const { sandboxes } = await (await ctx.helper()).request('sandbox/list', {});
      await ctx.answer({ sandboxes }, listText(ctx, sandboxes));
    },
  });
  define(program, ctx, {
    usage: 'start [SANDBOX]',
    summary: 'start a sandbox where it was stopped',
    answers: 'sandbox, head, checkpoint',
    examples: ['start api'],
    action: async (ctx, words, options) => {
      const { id } = await ctx.sandbox(only(words, options.sandbox));
      const { sandbox } = await (await ctx.helper()).request('sandbox/start', { sandbox: id });
      await ctx.answer(
        { sandbox: sandbox.id, head: sandbox.head, checkpoint: sandbox.current },
        `${ctx.style.good('✓')} ${printable(sandbox.name)} runs, from ${sandbox.current}\n`,
      );
    },
  });
  define<{ discard?: boolean }>(program, ctx, {
    usage: 'stop [SANDBOX]',
    summary: 'save a sandbox and end its processes',
    answers: 'sandbox, saved',
    examples: ['stop api', 'stop api --discard'],
    options: (command) => command.option('--discard', 'do not save it as it is now'),
    action: async (ctx, words, options) => {
      const { id } = await ctx.sandbox(only(words, options.sandbox));
      const { discard = false } = options;
      const { sandbox, saved } = await (await ctx.helper()).request('sandbox/stop', { sandbox: id, discard });
      const kept = saved ? ` (${saved} keeps where it was)` : '';
      await ctx.answer({ sandbox: id, saved }, `${ctx.style.good('✓')} ${printable(sandbox.name)} stopped${kept}\n`);
    },
  });
  define(program, ctx, {
    usage: 'rm [SANDBOX]',
    summary: 'delete a sandbox with all its checkpoints, for good; the workspace stays',
    answers: 'removed',
    examples: ['rm api'],
    action: async (ctx, words, options) => {
      const { id, name } = await ctx.sandbox(only(words, options.sandbox));
      await (await ctx.helper()).request('sandbox/remove', { sandbox: id });
      await ctx.answer({ removed: id }, `${ctx.style.good('✓')} ${printable(name)} (${id}) deleted\n`);
    },
  });
}

async function up(ctx: Context, words: string[], options: UpOptions): Promise<void> {
  const helper = await ctx.helper();
  const started = performance.now();
  const asked = resolve(ctx.io.cwd, only(words, options.workspace) ?? '.');
  // What is wrong with it is for the helper to say.
  const workspace = await realpath(asked).catch(() => asked);
  const line = await setUpLine(options.onCreate, workspace);
  const found = options.new ? undefined : await findExisting(helper, workspace, options);
  const made = found ?? (await create(ctx, helper, workspace, options));
  const { sandbox, head, checkpoint } = made;
  const took = duration(performance.now() - started);
  const what = found ? 'runs' : `made of ${printable(workspace)}`;
  const ran = line !== undefined && !found ? await runSetUp(ctx, helper, sandbox.id, line) : undefined;
  const setUp = ran ? { setUp: { exitCode: ran.exitCode, checkpoint: ran.checkpoint?.id ?? null } } : {};
  await ctx.answer(
    {
      sandbox: sandbox.id,
      name: sandbox.name,
      workspace: sandbox.workspace,
      head,
      checkpoint,
      created: !found,
      ...setUp,
    },
    `${ctx.style.good('✓')} ${ctx.style.bold(printable(sandbox.name))} (${sandbox.id}) ${what} · ${took}\n`,
  );
}

/** `up` twice is `up` once: the folder's sandbox, unless something else is asked for than it is. */
async function findExisting(helper: Connection, workspace: string, options: UpOptions) {
  if (options.base !== undefined) return undefined;
  const { sandboxes } = await helper.request('sandbox/list', {});
  const uid = process.getuid?.();
  const matches = sandboxes.filter(
    (sandbox) =>
      sandbox.workspace === workspace &&
      (uid === undefined || sandbox.owner === uid) &&
      (options.name === undefined || sandbox.name === options.name) &&
      (options.network === undefined || sandbox.network === options.network) &&
      (!options.root || sandbox.root === true || sandbox.owner === 0),
  );
  if (matches.length !== 1) return undefined;
  let [sandbox] = matches as [Sandbox];
  if (sandbox.head === null) sandbox = (await helper.request('sandbox/start', { sandbox: sandbox.id })).sandbox;
  return { sandbox, head: sandbox.head, checkpoint: 'k0' };
}

async function create(ctx: Context, helper: Connection, workspace: string, options: UpOptions) {
  const { stderr } = ctx.io;
  const live = stderr.isTTY && !ctx.json;
  let shown = false;
  const { withGit } = await import('../../client/create.ts');
  const asked = {
    workspace,
    name: options.name,
    base: options.base === undefined ? undefined : resolve(ctx.io.cwd, options.base),
    network: options.network ?? ('none' as const),
    ...limitsOf(options),
    ...(options.root ? { root: true } : {}),
    exclude: options.exclude ?? [],
    env: { ...insideEnv(ctx.io.env), ...parsePairs(options.env ?? [], ctx.io.env) },
  };
  const { params, notes } = await withGit(asked, ctx.io.env);
  for (const note of notes) await ctx.remark(`${ctx.errorStyle.warn('!')} ${printable(note)}\n`);
  const answer = await helper.request('sandbox/create', params, {
    onProgress: ({ message, done, total }) => {
      if (!live) return;
      shown = true;
      stderr.write(`\r\x1b[K${printable(message)}${total ? ` ${done ?? 0}/${total}` : ''}`);
    },
  });
  if (shown) stderr.write('\r\x1b[K');
  return answer;
}

/** Only what was asked for: the rest is for the helper to choose. */
function limitsOf({ processes, memory, disk }: UpOptions): Pick<Params<'sandbox/create'>, 'limits'> {
  const limits = { processes, memory, disk };
  return Object.values(limits).some((limit) => limit !== undefined) ? { limits } : {};
}

function listText(ctx: Context, sandboxes: Sandbox[]): string {
  const { style } = ctx;
  if (sandboxes.length === 0) return ctx.io.stdout.isTTY ? style.dim('No sandboxes. Make one: teleport-env up\n') : '';
  return table(
    sandboxes.map((sandbox) => [
      sandbox.state === 'running' ? style.good('●') : sandbox.state === 'failed' ? style.bad('✗') : '○',
      style.bold(printable(sandbox.name)),
      sandbox.id,
      stateText(sandbox),
      count(sandbox.checkpoints, 'checkpoint'),
      style.dim(printable(sandbox.workspace)),
    ]),
  );
}

function stateText(sandbox: Sandbox): string {
  if (sandbox.state === 'failed') return `failed: ${printable(sandbox.problem ?? 'unknown reason')}`;
  if (sandbox.state !== 'running') return sandbox.state;
  const head = sandbox.branches.find(({ id }) => id === sandbox.head);
  return head ? `running · ${count(head.processes, 'process', 'processes')}` : 'running';
}

/** The tools, in the order in which an agent needs them. */
import { z } from 'zod';
import { BranchId, CheckpointId, InsidePath } from '../../protocol/ids.ts';
import type { Change, Checkpoint } from '../../protocol/model.ts';
import { patchBetween, performPrepared, prepareApply } from '../apply/index.ts';
import { insideEnvironment } from './environment.ts';
import { type Answer, files, shortened, type Tool, tool } from './tool.ts';

const Sandbox = z
  .string()
  .min(1)
  .max(255)
  .optional()
  .describe('Its name or id. Left out: the one in use, or the current folder’s.');
const At = z.union([CheckpointId, BranchId]);
const MOST_PATHS = 100;

const create = tool({
  name: 'create',
  title: 'Create a sandbox',
  description:
    'Makes a sandbox: an isolated copy of a folder with its own live processes, that can be taken back to any earlier moment. Commands run in it leave the real folder alone until apply. One sandbox per task is enough; it becomes the one that the other tools use.',
  input: z.strictObject({
    workspace: z
      .string()
      .startsWith('/')
      .max(4096)
      .optional()
      .describe('The folder to copy in, absolute. Left out: the current one.'),
    name: z.string().min(1).max(255).optional().describe('A name for it. Left out: the folder’s.'),
    exclude: z
      .array(z.string().min(1).max(255))
      .max(1000)
      .default([])
      .describe('Top-level names to leave out of the copy.'),
  }),
  destructive: false,
  readOnly: false,
  act: async ({ workspace, name, exclude }, { room, signal, progress }) => {
    const params = {
      workspace: workspace ?? room.options.cwd,
      name,
      exclude,
      env: insideEnvironment(room.options.env),
    };
    const made = await room.request('sandbox/create', params, {
      signal,
      onProgress: ({ message }) => progress(message),
    });
    const { id, name: called, workspace: folder } = room.use(made.sandbox);
    return {
      text: `Sandbox ${called} (${id}) holds a copy of ${folder}, at the same path inside. Checkpoint ${made.checkpoint} is its beginning.`,
      data: { sandbox: id, name: called, workspace: folder, checkpoint: made.checkpoint },
      sandbox: id,
    };
  },
});

const run = tool({
  name: 'run',
  title: 'Run a command in the sandbox',
  description:
    'Runs a line in the sandbox’s persistent bash (working directory, variables, functions and background jobs carry over) and takes a checkpoint after it, so that rollback can undo it. There is no terminal: nothing can be typed into a program. Start servers in the background with &.',
  input: z.strictObject({
    line: z.string().min(1).max(1_000_000).describe('What bash is given; may have several lines.'),
    sandbox: Sandbox,
    branch: BranchId.optional().describe('A live fork to run in, instead of the current branch.'),
    label: z.string().max(1000).optional().describe('A name for the checkpoint.'),
    note: z.string().max(100_000).optional().describe('Why: shown with the step.'),
    undoOnFail: z.boolean().default(false).describe('When the exit code is not 0, go back to before it at once.'),
    timeoutSeconds: z
      .number()
      .positive()
      .max(86_400)
      .default(600)
      .describe('What the line started is killed after that.'),
  }),
  destructive: false,
  readOnly: false,
  act: async (
    { line, sandbox: named, branch, label, note, undoOnFail, timeoutSeconds },
    { room, signal, progress },
  ) => {
    const { id } = await room.sandbox(named);
    const stream = `mcp-${++streams}`;
    const helper = await room.helper();
    const stop = helper.on('run/output', (part) => {
      const last = Buffer.from(part.data, 'base64').toString('utf8').trimEnd().split('\n').at(-1);
      if (part.stream === stream && last) progress(last);
    });
    const timeoutMs = Math.ceil(timeoutSeconds * 1000);
    const ran = await helper
      .request('run', { sandbox: id, branch, line, label, note, undoOnFail, timeoutMs, stream }, { signal })
      .finally(stop);
    const { checkpoint, exitCode, durationMs, undone } = ran;
    if (undone) room.expected(id, (await room.request('sandbox/get', { sandbox: id })).sandbox.head ?? '');
    const { text: output, leftOut } = shortened(Buffer.from(ran.output, 'base64').toString('utf8'));
    const head = [`exit ${exitCode}`, `${Math.round(durationMs)} ms`];
    if (checkpoint) head.push(files(checkpoint.filesChanged), `checkpoint ${checkpoint.id}`);
    if (undone) head.push('undone: the sandbox is as it was before');
    return {
      text: `${head.join(' · ')}\n${output}`,
      data: {
        exitCode,
        output,
        truncated: ran.truncated || leftOut > 0,
        durationMs,
        checkpoint: checkpoint?.id ?? null,
        filesChanged: checkpoint?.filesChanged ?? null,
        undone,
      },
      sandbox: id,
    };
  },
});
let streams = 0;

const checkpoint = tool({
  name: 'checkpoint',
  title: 'Take a checkpoint',
  description:
    'Keeps this moment of the sandbox (files, processes, memory) under a label, to go back to. run takes one after each line by itself: this is for naming a moment, such as before a risky change.',
  input: z.strictObject({
    label: z.string().max(1000).optional().describe('A name for it.'),
    sandbox: Sandbox,
    branch: BranchId.optional().describe('Of that live fork.'),
  }),
  destructive: false,
  readOnly: false,
  act: async ({ sandbox: named, branch, label }, { room, signal }) => {
    const { id } = await room.sandbox(named);
    const made = (await room.request('checkpoint/create', { sandbox: id, branch, label }, { signal })).checkpoint;
    const { stoppedMs, filesChanged } = made;
    return {
      text: `Checkpoint ${made.id}: ${files(filesChanged)} since the one before.`,
      data: { checkpoint: made.id, filesChanged, stoppedMs },
      sandbox: id,
    };
  },
});

const rollback = tool({
  name: 'rollback',
  title: 'Roll the sandbox back',
  description:
    'Takes the whole sandbox back to a checkpoint: files, processes, memory, the shell with its variables. Where it was is kept as a checkpoint of its own, unless discard is true. The real folder is not touched, and what went out over the network does not come back.',
  input: z.strictObject({
    checkpoint: CheckpointId.describe('Where to go, such as k3. log lists them.'),
    sandbox: Sandbox,
    discard: z.boolean().default(false).describe('Do not keep where it is now. This cannot be undone.'),
  }),
  destructive: true,
  readOnly: false,
  act: async ({ sandbox: named, checkpoint, discard }, { room, signal }) => {
    const { id } = await room.sandbox(named);
    const moved = await room.request('checkpoint/rollback', { sandbox: id, checkpoint, discard }, { signal });
    room.expected(id, moved.head);
    const kept = moved.saved ? ` ${moved.saved} keeps where it was.` : '';
    return {
      text: `Rolled back to ${moved.checkpoint} in ${moved.rollbackMs.toFixed(1)} ms.${kept} Everything after ${moved.checkpoint} is undone.`,
      data: { checkpoint: moved.checkpoint, rollbackMs: moved.rollbackMs, saved: moved.saved },
      sandbox: id,
    };
  },
});

const fork = tool({
  name: 'fork',
  title: 'Fork the sandbox',
  description:
    'Makes a second live copy of a moment, beside the current one, to try something without risk: pass its id as branch to run, checkpoint and diff. End with keep_fork (it becomes the sandbox) or discard_fork.',
  input: z.strictObject({
    checkpoint: CheckpointId.optional().describe('Of which moment. Left out: of now, for which a checkpoint is taken.'),
    sandbox: Sandbox,
  }),
  destructive: false,
  readOnly: false,
  act: async ({ sandbox: named, checkpoint: from }, { room, signal }) => {
    const { id } = await room.sandbox(named);
    const moment = from ?? (await room.request('checkpoint/create', { sandbox: id }, { signal })).checkpoint.id;
    const { branch, ms } = await room.request('branch/fork', { sandbox: id, checkpoint: moment }, { signal });
    return {
      text: `Live fork ${branch} of ${moment}, in ${ms.toFixed(1)} ms.`,
      data: { branch, checkpoint: moment, ms },
      sandbox: id,
    };
  },
});

const keepFork = tool({
  name: 'keep_fork',
  title: 'Make a live fork the sandbox',
  description:
    'Makes a live fork the current branch. What was current is kept as a checkpoint, unless discard is true.',
  input: z.strictObject({
    branch: BranchId.describe('The fork’s id.'),
    sandbox: Sandbox,
    discard: z.boolean().default(false).describe('Do not keep what was current. This cannot be undone.'),
  }),
  destructive: true,
  readOnly: false,
  act: async ({ sandbox: named, branch, discard }, { room, signal }) => {
    const { id } = await room.sandbox(named);
    const moved = await room.request('branch/promote', { sandbox: id, branch, discard }, { signal });
    room.expected(id, moved.head);
    const kept = moved.saved ? ` ${moved.saved} keeps what was current before.` : '';
    return { text: `Live fork ${branch} is current now.${kept}`, data: { branch, saved: moved.saved }, sandbox: id };
  },
});

const discardFork = tool({
  name: 'discard_fork',
  title: 'Discard a live fork',
  description:
    'Ends a live fork with all that was done in it since its last checkpoint. The current branch is not touched.',
  input: z.strictObject({ branch: BranchId.describe('The fork’s id.'), sandbox: Sandbox }),
  destructive: true,
  readOnly: false,
  act: async ({ sandbox: named, branch }, { room, signal }) => {
    const { id } = await room.sandbox(named);
    await room.request('branch/discard', { sandbox: id, branch }, { signal });
    return { text: `Live fork ${branch} is gone.`, data: { branch }, sandbox: id };
  },
});

const diff = tool({
  name: 'diff',
  title: 'Show what changed',
  description:
    'Lists paths that differ between two moments of the sandbox, or between a moment and now; with patch also the text, for files below the workspace.',
  input: z.strictObject({
    from: At.optional().describe('A checkpoint (k3) or live fork (b2). Left out: the beginning, k0.'),
    to: At.optional().describe('Left out: now.'),
    path: InsidePath.optional().describe('Only at or below that absolute path.'),
    patch: z.boolean().default(false).describe('The changes below the workspace as a patch.'),
    sandbox: Sandbox,
  }),
  destructive: false,
  readOnly: true,
  act: async ({ sandbox: named, from = 'k0', to, path, patch }, { room, signal }) => {
    const { id } = await room.sandbox(named);
    const { changes } = await room.request('diff', { sandbox: id, from, to, path }, { signal });
    const made = patch
      ? shortened((await patchBetween(await room.helper(), { sandbox: id, from, to }, { signal })).patch)
      : null;
    const listed = changes.slice(0, MOST_PATHS);
    const more = changes.length - listed.length;
    const lines = listed.map(changeLine);
    if (more > 0) lines.push(`… and ${more} more`);
    return {
      text: [lines.join('\n') || 'Nothing changed.', made?.text].filter(Boolean).join('\n\n'),
      data: { changes: listed, more, ...(made ? { patch: made.text, truncated: made.leftOut > 0 } : {}) },
      sandbox: id,
    };
  },
});

function changeLine({ kind, path, from }: Change): string {
  return from === undefined ? `${kind} ${path}` : `${kind} ${from} → ${path}`;
}

const log = tool({
  name: 'log',
  title: 'List the checkpoints',
  description:
    'The sandbox’s checkpoints, newest first: what was run, how it ended, how many files changed. Marks the one that now stands on.',
  input: z.strictObject({
    limit: z.number().int().min(1).max(1000).default(30).describe('At most that many.'),
    before: CheckpointId.optional().describe('Only older ones than that.'),
    sandbox: Sandbox,
  }),
  destructive: false,
  readOnly: true,
  act: async ({ sandbox: named, limit, before }, { room, signal }): Promise<Answer> => {
    const { id } = await room.sandbox(named);
    const listed = await room.request('checkpoint/list', { sandbox: id, limit, before }, { signal });
    const { checkpoints, current, more } = listed;
    return {
      text: checkpoints.map((one) => logLine(one, one.id === current)).join('\n'),
      data: {
        current,
        more,
        checkpoints: checkpoints.map((one) => ({
          id: one.id,
          parent: one.parent,
          kind: one.kind,
          label: one.label,
          command: one.command,
          exitCode: one.exitCode,
          filesChanged: one.filesChanged,
          createdAt: one.createdAt,
        })),
      },
      sandbox: id,
    };
  },
});

function logLine(one: Checkpoint, current: boolean): string {
  const title =
    one.label ??
    one.command ??
    { root: 'sandbox created', saved: 'saved before a rollback' }[one.kind as string] ??
    one.kind;
  const parts = [`${one.id} ${title.split('\n')[0]}`];
  if (one.exitCode !== null) parts.push(`exit ${one.exitCode}`);
  parts.push(files(one.filesChanged));
  if (one.parent) parts.push(`after ${one.parent}`);
  if (current) parts.push('current');
  return parts.join(' · ');
}

const apply = tool({
  name: 'apply',
  title: 'Apply to the real folder',
  description:
    'Writes the sandbox’s changes to the real folder that it was made from. Files that changed there meanwhile are conflicts and left alone unless forced. Ask the user before. With dryRun it only tells what it would do.',
  input: z.strictObject({
    dryRun: z.boolean().default(false).describe('Only tell.'),
    paths: z
      .array(z.string().min(1).max(4096))
      .max(100_000)
      .optional()
      .describe('Only these, relative to the folder. Left out: all.'),
    force: z.boolean().default(false).describe('Also overwrite what changed in the folder meanwhile.'),
    sandbox: Sandbox,
  }),
  destructive: true,
  readOnly: false,
  act: async ({ sandbox: named, dryRun, paths, force }, { room, signal, progress }) => {
    const { id } = await room.sandbox(named);
    const options = { env: room.options.env, signal };
    const prepared = await prepareApply(await room.helper(), { sandbox: id }, options);
    const { to, plan } = prepared;
    if (dryRun) {
      const changes = plan.steps.map(({ change }) => change).filter(({ path }) => !paths || paths.includes(path));
      const lines = changes.map((one) => `${changeLine(one)}${one.conflict ? ` (conflict: ${one.conflict})` : ''}`);
      return { text: [`Would apply to ${to}:`, ...lines].join('\n'), data: { to, changes }, sandbox: id };
    }
    const done = await performPrepared(
      prepared,
      { paths, force },
      { ...options, onProgress: (path) => progress(path) },
    );
    const applied = done.applied.map(({ path }) => path);
    const conflicts = done.conflicts.map(({ path, conflict }) => ({ path, conflict }));
    const lines = [
      `Applied ${files(applied.length).replace(' changed', '')} to ${to}.`,
      ...conflicts.map(({ path, conflict }) => `Left alone: ${path} (${conflict}).`),
      ...done.failed.map(({ path, message }) => `Failed: ${path}: ${message}.`),
    ];
    return { text: lines.join('\n'), data: { to, applied, conflicts, failed: done.failed }, sandbox: id };
  },
});

export const TOOLS: readonly Tool[] = [
  create,
  run,
  checkpoint,
  rollback,
  fork,
  keepFork,
  discardFork,
  diff,
  log,
  apply,
];

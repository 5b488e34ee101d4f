/** Making a sandbox, and running commands in it. */
import * as z from 'zod';
import { BranchId } from '../../../protocol/ids.ts';
import { withGit } from '../../create.ts';
import { insideEnvironment } from '../environment.ts';
import { files, shortened, tool } from '../tool.ts';
import { Expect, Sandbox } from './common.ts';

export const create = tool({
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
    const asked = {
      workspace: workspace ?? room.options.cwd,
      name,
      exclude,
      env: insideEnvironment(room.options.env),
    };
    const { params, notes } = await withGit(asked, room.options.env, signal);
    const made = await room.request('sandbox/create', params, {
      signal,
      onProgress: ({ message }) => progress(message),
    });
    const { id, name: called, workspace: folder } = room.use(made.sandbox);
    return {
      text: `Sandbox ${called} (${id}) holds a copy of ${folder}, at the same path inside. Checkpoint ${made.checkpoint} is its beginning.${notes.map((note) => ` Note: ${note}.`).join('')}`,
      data: { sandbox: id, name: called, workspace: folder, checkpoint: made.checkpoint, notes },
      sandbox: id,
    };
  },
});

export const run = tool({
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
    expect: Expect,
  }),
  destructive: false,
  readOnly: false,
  act: async (
    { line, sandbox: named, branch, label, note, undoOnFail, timeoutSeconds, expect },
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
      .request('run', { sandbox: id, branch, line, label, note, undoOnFail, timeoutMs, stream, expect }, { signal })
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

/** Keeping a moment, going back, and trying beside. */
import * as z from 'zod';
import { BranchId, CheckpointId } from '../../../protocol/ids.ts';
import { files, tool } from '../tool.ts';
import { Expect, Sandbox } from './common.ts';

export const checkpoint = tool({
  name: 'checkpoint',
  title: 'Take a checkpoint',
  description:
    'Keeps this moment of the sandbox (files, processes, memory) under a label, to go back to. run takes one after each line by itself: this is for naming a moment, such as before a risky change.',
  input: z.strictObject({
    label: z.string().max(1000).optional().describe('A name for it.'),
    sandbox: Sandbox,
    branch: BranchId.optional().describe('Of that live fork.'),
    expect: Expect,
  }),
  destructive: false,
  readOnly: false,
  act: async ({ sandbox: named, branch, label, expect }, { room, signal }) => {
    const { id } = await room.sandbox(named);
    const params = { sandbox: id, branch, label, expect };
    const made = (await room.request('checkpoint/create', params, { signal })).checkpoint;
    const { stoppedMs, filesChanged } = made;
    return {
      text: `Checkpoint ${made.id}: ${files(filesChanged)} since the one before.`,
      data: { checkpoint: made.id, filesChanged, stoppedMs },
      sandbox: id,
    };
  },
});

export const rollback = tool({
  name: 'rollback',
  title: 'Roll the sandbox back',
  description:
    'Takes the whole sandbox back to a checkpoint: files, processes, memory, the shell with its variables. Where it was is kept as a checkpoint of its own, unless discard is true. The real folder is not touched, and what went out over the network does not come back.',
  input: z.strictObject({
    checkpoint: CheckpointId.describe('Where to go, such as k3. log lists them.'),
    sandbox: Sandbox,
    discard: z.boolean().default(false).describe('Do not keep where it is now. This cannot be undone.'),
    expect: Expect,
  }),
  destructive: true,
  readOnly: false,
  act: async ({ sandbox: named, checkpoint, discard, expect }, { room, signal }) => {
    const { id } = await room.sandbox(named);
    const moved = await room.request('checkpoint/rollback', { sandbox: id, checkpoint, discard, expect }, { signal });
    room.expected(id, moved.head);
    const kept = moved.saved ? ` ${moved.saved} keeps where it was.` : '';
    return {
      text: `Rolled back to ${moved.checkpoint} in ${moved.rollbackMs.toFixed(1)} ms.${kept} Everything after ${moved.checkpoint} is undone.`,
      data: { checkpoint: moved.checkpoint, rollbackMs: moved.rollbackMs, saved: moved.saved },
      sandbox: id,
    };
  },
});

export const fork = tool({
  name: 'fork',
  title: 'Fork the sandbox',
  description:
    'Makes a second live copy of a moment, beside the current one, to try something without risk: pass its id as branch to run, checkpoint and diff. End with keep_fork (it becomes the sandbox) or discard_fork.',
  input: z.strictObject({
    checkpoint: CheckpointId.optional().describe('Of which moment. Left out: of now, for which a checkpoint is taken.'),
    sandbox: Sandbox,
    expect: Expect,
  }),
  destructive: false,
  readOnly: false,
  act: async ({ sandbox: named, checkpoint: from, expect }, { room, signal }) => {
    const { id } = await room.sandbox(named);
    // With the first request: what does not exist is refused before anything is done.
    const moment = from ?? (await room.request('checkpoint/create', { sandbox: id, expect }, { signal })).checkpoint.id;
    const { branch, ms } = await room.request('branch/fork', { sandbox: id, checkpoint: moment, expect }, { signal });
    return {
      text: `Live fork ${branch} of ${moment}, in ${ms.toFixed(1)} ms.`,
      data: { branch, checkpoint: moment, ms },
      sandbox: id,
    };
  },
});

export const keepFork = tool({
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

export const discardFork = tool({
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

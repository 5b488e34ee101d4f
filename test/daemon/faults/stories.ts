/** What a helper does to a sandbox, each with the points on its way at which it may end. */
import type { FaultPoint } from '../../../helper/engine/fault.ts';
import type { Told, World } from './world.ts';

export interface Story {
  points: readonly FaultPoint[];
  /** What goes before, without faults. */
  prepare?(world: World, sandbox: string, told: Told): Promise<void>;
  act(world: World, sandbox: string, told: Told): Promise<unknown>;
  /** Values that the head may have afterwards. */
  heads(told: Told): string[];
  /** Checkpoints that may be gone afterwards. */
  gone?(told: Told): string[];
  /** Where the head moved, what it left can be gone back to. */
  saves?: boolean;
  /** How many of the newest checkpoints are gone back to afterwards. */
  look?: number;
}

const CAPTURE: FaultPoint[] = [
  'capture:begun',
  'criu:pre-dump',
  'criu:query-ext-files',
  'capture:stopped',
  'capture:copied',
  'criu:post-dump',
  'capture:dumped',
  'take:quiesced',
  'take:captured',
  'take:pinned',
  'take:written',
  'take:done',
  'record:part',
];
const ROTATE: FaultPoint[] = ['capture:moving', 'capture:moved', 'take:captured', 'take:pinned'];
const BRANCH: FaultPoint[] = [
  'branch:prepared',
  'criu:pre-restore',
  'criu:setup-namespaces',
  'criu:post-restore',
  'criu:pre-resume',
  'branch:restoring',
  'criu:post-resume',
  'branch:live',
  'branch:recorded',
  'branch:answers',
];
const HEAD: FaultPoint[] = ['head:obtained', 'head:recorded', 'branch:retired', 'record:part'];

const many = (world: World, sandbox: string, told: Told): Promise<void> => world.many(sandbox, told);
const old = (told: Told): string => told.checkpoints.get(told.target)!;

export const STORIES: Record<string, Story> = {
  checkpoint: { points: CAPTURE, act: (world, sandbox) => world.checkpoint(sandbox), heads: (t) => [t.head] },
  'checkpoint, rotating': {
    points: [...ROTATE, 'take:replaced', 'take:written', 'take:done', ...BRANCH, 'branch:retired', 'record:part'],
    prepare: many,
    act: (world, sandbox) => world.checkpoint(sandbox),
    heads: (t) => [t.head],
  },
  'rollback, cold': {
    points: [...HEAD, ...BRANCH],
    prepare: async (world, sandbox, told) => {
      await world.connection.request('sandbox/stop', { sandbox, discard: false });
      await world.connection.request('sandbox/start', { sandbox });
      told.checkpoints.set((await world.get(sandbox)).current, told.head);
    },
    act: (world, sandbox, t) => world.rollback(sandbox, t.target),
    heads: (t) => [t.head, old(t)],
  },
  'rollback that saves': {
    points: [...CAPTURE, ...HEAD, 'head:saved', 'head:thawed'],
    act: (world, sandbox, t) => world.rollback(sandbox, t.target, false),
    heads: (t) => [t.head, old(t)],
    saves: true,
  },
  'rollback that saves, rotating': {
    points: [...ROTATE, ...HEAD, ...BRANCH, 'head:saved', 'head:thawed', 'take:written', 'take:done'],
    prepare: many,
    act: (world, sandbox, t) => world.rollback(sandbox, t.target, false),
    heads: (t) => [t.head, old(t)],
    saves: true,
  },
  fork: {
    points: [...BRANCH, 'head:thawed'],
    act: (world, sandbox, t) => world.connection.request('branch/fork', { sandbox, checkpoint: t.target }),
    heads: (t) => [t.head],
  },
  stop: {
    points: ['take:written', 'take:done', 'capture:dumped', 'branch:retired', 'record:part'],
    act: (world, sandbox) => world.connection.request('sandbox/stop', { sandbox }),
    heads: (t) => [t.head],
  },
  delete: {
    points: ['delete:reparented', 'delete:manifest', 'record:part'],
    act: (world, sandbox, t) => world.connection.request('checkpoint/delete', { sandbox, checkpoint: t.target }),
    heads: (t) => [t.head],
    gone: (t) => [t.target],
  },
  gc: {
    points: ['delete:reparented', 'delete:manifest', 'record:part'],
    act: (world, sandbox) => world.connection.request('gc', { sandbox, keep: 3 }),
    heads: (t) => [t.head],
    gone: (t) => [...t.checkpoints.keys()],
  },
  flatten: {
    points: ['flatten:part', 'flatten:part#20' as FaultPoint, 'flatten:made', 'flatten:done'],
    prepare: (world, sandbox, told) => world.deepen(sandbox, told),
    act: async (world, sandbox) => {
      const base = await world.base(sandbox);
      await world.checkpoint(sandbox);
      await world.flattened(sandbox, base);
    },
    heads: (t) => [t.head],
    look: 3, // what was made flat, what lies on it and what it lay on
  },
};

/** Every story at every of its points. */
export const ALL: [name: string, point: FaultPoint][] = Object.entries(STORIES).flatMap(([name, { points }]) =>
  points.map((point): [string, FaultPoint] => [name, point]),
);

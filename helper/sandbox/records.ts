/** What is written to disk about sandboxes, checkpoints and branches. Parsed by these schemas whenever it is read. */
import * as z from 'zod';
import { BranchId, CheckpointId, SandboxId } from '../protocol/ids.ts';
import { CheckpointKind, Limits, Network } from '../protocol/model.ts';
import { ModelUsage } from '../protocol/usage.ts';

/** Apart from the product's version: an older helper refuses a newer format by name. */
export const FORMAT = 1;

export const SandboxRecord = z.object({
  format: z.literal(FORMAT),
  id: SandboxId,
  name: z.string(),
  owner: z.object({
    uid: z.number().int(),
    gid: z.number().int(),
    groups: z.array(z.number().int()),
    home: z.string(),
  }),
  /** Stands at this path inside. */
  workspace: z.string(),
  /** Top-level names of it that were not copied in. */
  exclude: z.array(z.string()).optional(),
  hostname: z.string(),
  /** Root folder under everything: `/`, or another base. */
  base: z.string(),
  network: Network,
  /** `nat` reaches the host and its local networks too. */
  lan: z.boolean().optional(),
  /** Its programs are root's. */
  root: z.boolean().optional(),
  limits: Limits.optional(),
  env: z.record(z.string(), z.string()),
  createdAt: z.string(),
  /** The checkpoint that the head stands on, or stood on when there was one. */
  current: CheckpointId,
  head: BranchId.nullable(),
  /** Numbers below these may have been given, and are never given again; written ahead, so that a crash repeats none. */
  next: z.object({ checkpoint: z.number().int(), branch: z.number().int(), session: z.number().int() }),
  /** What a rollback left, newest last: undo goes there. */
  undo: z.array(CheckpointId),
  /** Of models, by all its branches ever. */
  used: ModelUsage.optional(),
});
export type SandboxRecord = z.infer<typeof SandboxRecord>;

export const Manifest = z.object({
  format: z.literal(FORMAT),
  id: CheckpointId,
  /** The moment before it, for people. */
  parent: CheckpointId.nullable(),
  /** The checkpoint below whose layer this one's lies: the one its branch was made of. */
  base: CheckpointId.nullable(),
  kind: CheckpointKind,
  label: z.string().nullable(),
  command: z.string().nullable(),
  exitCode: z.number().int().nullable(),
  durationMs: z.number().nullable(),
  createdAt: z.string(),
  filesChanged: z.number().int(),
  bytes: z.number().int(),
  /** Bytes of its image, with what that shares with others. Earlier helpers did not note them. */
  memory: z.number().int().optional(),
  processes: z.number().int(),
  stoppedMs: z.number(),
  totalMs: z.number(),
  note: z.string().nullable(),
  hint: z.string().optional(),
  usage: ModelUsage.optional(),
  filesOnly: z.boolean(),
  /** Its layer and all below it but the root's are there as one, too: `flat`. */
  flat: z.boolean().optional(),
  /** What lay below it was deleted: `flat` stands for its layer, and its base is the root. */
  alone: z.boolean().optional(),
  /** Its layer is the upperdir itself, moved. */
  rotated: z.boolean(),
  verified: z.boolean(),
  broken: z.string().optional(),
  /** All of it was synced. Where not, it is good only for the boot that it was made in. */
  durable: z.boolean(),
  bootId: z.string(),
  criu: z.string(),
  kernel: z.string(),
  /** Of the memory image, by file: size and CRC-32. Known once it is durable. */
  sums: z.record(z.string(), z.tuple([z.number(), z.union([z.number(), z.array(z.number())])])).optional(),
  /** The one whose image has the blocks of the memory that was not written in between, and their bytes. Good without it, too. */
  took: z.object({ from: CheckpointId, bytes: z.number().int() }).optional(),
  /** Layers of pinned base files, by name, newest first. */
  pins: z.array(z.string()),
});
export type Manifest = z.infer<typeof Manifest>;

export const BranchRecord = z.object({
  format: z.literal(FORMAT),
  id: BranchId,
  role: z.enum(['head', 'fork', 'standby']),
  /** The checkpoint that it was made of: its lower layers are that one's. */
  base: CheckpointId,
  /** The newest checkpoint of its line. */
  checkpoint: CheckpointId,
  pid: z.number().int(),
  startTime: z.string(),
  cgroup: z.string(),
  createdAt: z.string(),
  bootId: z.string(),
  /** Made of a standby or directly, it has run: only a standby that never ran is still its checkpoint. */
  activated: z.boolean(),
  /** The checkpoints whose layers are mounted in it. Made flat later on, it keeps those it has. */
  layers: z.array(CheckpointId).optional(),
  /** Of models, since `checkpoint`. */
  used: ModelUsage.optional(),
});
export type BranchRecord = z.infer<typeof BranchRecord>;

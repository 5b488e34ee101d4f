import * as z from 'zod';
import { BranchId, CheckpointId, SandboxId, SessionId } from './ids.ts';
import { ModelUsage } from './usage.ts';

/** How far a checkpoint has come. `memory`: usable, lost with the machine; `durable`: synced to disk. */
export const CheckpointState = z.object({
  durable: z.boolean(),
  /** It was restored once since it was made. */
  verified: z.boolean(),
  /** It was restored and that failed: why. It can't be gone back to. */
  broken: z.string().optional(),
  /** Only files were saved (asked for where processes can't be carried). */
  filesOnly: z.boolean(),
});

/** What made a checkpoint. `root`: the sandbox was created; `saved`: the head as it was before a rollback; `run`: after a command; `explicit`: somebody asked. */
export const CheckpointKind = z.enum(['root', 'explicit', 'run', 'saved', 'auto']);

export const Checkpoint = z.object({
  id: CheckpointId,
  parent: CheckpointId.nullable(),
  kind: CheckpointKind,
  label: z.string().nullable(),
  /** The command whose result this is, for `run`. */
  command: z.string().nullable(),
  exitCode: z.number().int().nullable(),
  /** Milliseconds the command took, for `run`. */
  durationMs: z.number().nullable(),
  /** ISO 8601, UTC. */
  createdAt: z.string(),
  /** Paths added, changed or deleted against the parent. */
  filesChanged: z.number().int(),
  /** On the volume: layer and image. */
  bytes: z.number().int(),
  /** Processes in the image, our init not counted. */
  processes: z.number().int(),
  /** How long the payload was stopped, and the whole from request to usable. */
  stoppedMs: z.number(),
  totalMs: z.number(),
  state: CheckpointState,
  /** The helper's word on why the command failed and what would let it succeed. */
  hint: z.string().optional(),
  /** What models were asked through the gateway since the parent. */
  usage: ModelUsage.optional(),
  /** Free text by the caller: a thought, a step's name. */
  note: z.string().nullable(),
});
export type Checkpoint = z.infer<typeof Checkpoint>;

export const BranchRole = z.enum(['head', 'fork', 'standby']);
export const Branch = z.object({
  id: BranchId,
  role: BranchRole,
  /** The newest checkpoint that this branch descends from. */
  checkpoint: CheckpointId,
  createdAt: z.string(),
  /** Processes inside, our init not counted. */
  processes: z.number().int(),
  /** Names of the agents that were started in it as such. A rollback takes their memory back too. */
  agents: z.array(z.string()).optional(),
});
export type Branch = z.infer<typeof Branch>;

export const SandboxState = z.enum(['starting', 'running', 'restoring', 'stopped', 'failed']);
const Limit = z.number().int().min(1).nullable();
/** What may be taken, null for no limit. Processes and memory (bytes): by each branch; disk (bytes): by all checkpoints. */
export const Limits = z.object({ processes: Limit, memory: Limit, disk: Limit });
export type Limits = z.infer<typeof Limits>;
export const Network = z.enum(['none', 'nat']);
export const Sandbox = z.object({
  id: SandboxId,
  name: z.string(),
  workspace: z.string(),
  owner: z.number().int(),
  state: SandboxState,
  /** Why it is in `failed`. */
  problem: z.string().optional(),
  network: Network,
  /** `nat` reaches the host and its local networks too. */
  lan: z.boolean().optional(),
  limits: Limits.optional(),
  /** Its programs run as root inside. */
  root: z.boolean().optional(),
  /** Top-level names of the workspace that were not copied in: the sandbox's own of that name never go back. */
  exclude: z.array(z.string()).optional(),
  createdAt: z.string(),
  head: BranchId.nullable(),
  /** The checkpoint the head stands on; where a start begins. */
  current: CheckpointId,
  branches: z.array(Branch),
  checkpoints: z.number().int(),
  /** There is a rollback that can be undone. */
  canUndo: z.boolean(),
  /** A client serves as the model gateway: the names of the variables that sessions get by it. */
  gateway: z.object({ variables: z.array(z.string()) }).optional(),
  /** All that models were asked, whatever was rolled back since. */
  usage: ModelUsage.optional(),
});
export type Sandbox = z.infer<typeof Sandbox>;

export const ChangeKind = z.enum(['added', 'changed', 'deleted', 'renamed', 'mode', 'link']);
export const Change = z.object({
  path: z.string(),
  /** Its bytes, where they are not UTF-8: `path` shows U+FFFD for those that are none, and does not name it. */
  pathBase64: z.base64().optional(),
  kind: ChangeKind,
  /** Where it came from, for `renamed`. */
  from: z.string().optional(),
  fromBase64: z.base64().optional(),
  /** What it is now (before, for `deleted`). */
  type: z.enum(['file', 'folder', 'symlink', 'other']),
  size: z.number().int().optional(),
});
export type Change = z.infer<typeof Change>;

export const Process = z.object({
  pid: z.number().int(),
  ppid: z.number().int(),
  /** As in ps: R, S, D, T, Z. */
  state: z.string(),
  command: z.string(),
  /** Resident, in bytes. */
  rss: z.number().int(),
  uid: z.number().int(),
});
export type Process = z.infer<typeof Process>;

/** A TCP port that something inside listens on, on loopback or on every address. */
export const Port = z.object({
  port: z.number().int(),
  /** Who listens, where that can be told. */
  pid: z.number().int().optional(),
  command: z.string().optional(),
});
export type Port = z.infer<typeof Port>;

/** `process`: own pipes for stdout and stderr; `terminal`: a PTY; `shell`: the persistent shell that `run` uses; `dial`: a connection to a port. */
export const SessionKind = z.enum(['process', 'terminal', 'shell', 'dial']);
export const Session = z.object({
  id: SessionId,
  branch: BranchId,
  kind: SessionKind,
  title: z.string(),
  running: z.boolean(),
  exitCode: z.number().int().nullable(),
});
export type Session = z.infer<typeof Session>;

export const FileStat = z.object({
  type: z.enum(['file', 'folder', 'symlink', 'other']),
  size: z.number().int(),
  mode: z.number().int(),
  /** Milliseconds since the epoch. */
  mtimeMs: z.number(),
  target: z.string().optional(),
  /** Its bytes, where they are not UTF-8. */
  targetBase64: z.base64().optional(),
});
export type FileStat = z.infer<typeof FileStat>;

/** One step of an operation with its time, as `--verbose` prints it. */
export const StepTime = z.object({ step: z.string(), ms: z.number() });
export type StepTime = z.infer<typeof StepTime>;

export const Need = z.object({
  id: z.string(),
  title: z.string(),
  status: z.enum(['ok', 'warning', 'missing']),
  detail: z.string(),
  /** What to do, where it is not ok. */
  remedy: z.string().optional(),
});
export type Need = z.infer<typeof Need>;

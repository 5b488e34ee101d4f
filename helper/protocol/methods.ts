import * as z from 'zod';
import { BranchId, CheckpointId, InsidePath, SandboxId, SessionId } from './ids.ts';
import {
  Change,
  Checkpoint,
  FileStat,
  Limits,
  Need,
  Network,
  Port,
  Process,
  Sandbox,
  Session,
  StepTime,
} from './model.ts';
import { ModelUsage } from './usage.ts';

/** Version N of the helper serves clients of version N and N-1. */
export const PROTOCOL_VERSION = 1;

const Name = z
  .string()
  .min(1)
  .max(255)
  .refine((s) => !s.includes('\0'), 'a name holds no NUL');
/** A sandbox by id or by its owner's name for it. */
const SandboxRef = z.union([SandboxId, Name]);
const Label = z.string().max(1000);
const Env = z.record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/), z.string());
/** Bytes travel as base64. */
const Bytes = z.base64();
const Millis = z
  .number()
  .int()
  .min(1)
  .max(2 ** 31 - 1);
/** One line: it is written into a file of git's. */
const GitValue = z
  .string()
  .max(255)
  .refine((s) => !/[\x00-\x1f\x7f]/.test(s), 'a value of git is one line');
/** What of the caller's git a new sandbox gets. Their identity, never credentials. */
const Git = z.object({
  name: GitValue.optional(),
  email: GitValue.optional(),
  /** Folders outside of the workspace that its `.git` leads to (worktrees, submodules): copied in at their own paths. */
  folders: z.array(z.string().max(4096)).max(16).default([]),
});
const PortNumber = z.number().int().min(1).max(65_535);
const Size = z.number().int().min(1).max(10_000);
/** A token chosen by the client, repeated in `progress` notifications about this request. */
const progress = z.string().max(100).optional();
const inSandbox = { sandbox: SandboxRef };
/** Left out: the head. */
const inBranch = { sandbox: SandboxRef, branch: BranchId.optional() };
/**
 * Checkpoints that the caller is likely to go to next: what stands by for them is made ahead. Holds until it comes again; `[]` takes it
 * back. One that does not exist is refused (`unknownCheckpoint`) before anything is done; one that is deleted later is passed over.
 */
const expect = z.array(CheckpointId).max(16).optional();
/** Answer only once nothing of the old head is left; `steps` then tells how it went. It usually goes in the background. */
const untilGone = z.boolean().default(false);
const Empty = z.object({});
/** A connection that a program inside made to the gateway. Never given twice by one daemon. */
const GatewayConnection = z.number().int().min(1);

/**
 * Where the model gateway listens, on 127.0.0.1 of each branch's own network. Above the ports that the kernel gives by itself
 * (up to 60999), so that no connection of a restored program has it.
 */
export const GATEWAY_PORT = 61_077;

/** What a rollback, undo or change of head answers. */
const HeadMoved = z.object({
  head: BranchId,
  checkpoint: CheckpointId,
  /** In the helper, from the request to the new head being ready. */
  rollbackMs: z.number(),
  /** `warm`: a standby was thawed; `cold`: an image was restored. */
  path: z.enum(['warm', 'cold']),
  /** The checkpoint that keeps the abandoned head, or null where it was discarded. */
  saved: CheckpointId.nullable(),
  steps: z.array(StepTime),
});
export type HeadMoved = z.infer<typeof HeadMoved>;

/** Two places to compare: checkpoints, or live branches. */
const At = z.union([CheckpointId, BranchId]);
/** A place to read files; `head`: wherever the head is at that moment, or was when the sandbox was stopped. */
const Where = z.union([At, z.literal('head')]);
/** Chosen by the helper, unique among the client's. */
const WatchId = z.string().regex(/^w[0-9]{1,9}$/);
const Permissions = z.number().int().min(0).max(0o777);

/** Every request that a client can make, with what it takes and what it answers. */
export const METHODS = {
  /** The first request of a connection. */
  initialize: {
    params: z.object({ protocolVersion: z.number().int(), client: z.string().max(200) }),
    result: z.object({
      protocolVersion: z.number().int(),
      helperVersion: z.string(),
      /** Of the daemon. */
      pid: z.number().int(),
      uid: z.number().int(),
      needs: z.array(Need),
    }),
  },
  doctor: { params: Empty, result: z.object({ needs: z.array(Need) }) },
  /** Ends the daemon; sandboxes go on and are found again by the next one. Root only. */
  shutdown: { params: Empty, result: Empty },

  'sandbox/create': {
    params: z.object({
      workspace: z.string().max(4096),
      name: Name.optional(),
      /** A folder or an image tar to stand under the sandbox instead of the host's own root file system. */
      base: z.string().max(4096).optional(),
      network: Network.default('none'),
      lan: z.boolean().default(false),
      /** Left out: generous ones for processes and memory, none for disk. */
      limits: Limits.partial().default({}),
      env: Env.default({}),
      /** Top-level names of the workspace to leave out of the copy. */
      exclude: z.array(z.string().max(255)).default([]),
      git: Git.optional(),
      /** Its programs run as root inside, where the administrator allows it to the caller. */
      root: z.boolean().default(false),
      progress,
    }),
    result: z.object({ sandbox: Sandbox, head: BranchId, checkpoint: CheckpointId }),
  },
  'sandbox/list': { params: Empty, result: z.object({ sandboxes: z.array(Sandbox) }) },
  'sandbox/get': { params: z.object(inSandbox), result: z.object({ sandbox: Sandbox }) },
  /** Makes a head of `current` where there is none. */
  'sandbox/start': { params: z.object(inSandbox), result: z.object({ sandbox: Sandbox }) },
  /** Saves the head (unless `discard`) and ends every branch. */
  'sandbox/stop': {
    params: z.object({ ...inSandbox, discard: z.boolean().default(false) }),
    result: z.object({ sandbox: Sandbox, saved: CheckpointId.nullable() }),
  },
  /** At once and for every branch; processes go on. Losing a network resets connections to the outside. `lan`: the host and its local networks too. */
  'network/set': {
    params: z.object({ ...inSandbox, network: Network, lan: z.boolean().default(false) }),
    result: z.object({ sandbox: Sandbox }),
  },
  /** The sandbox, its branches and its checkpoints, for good. The workspace is not touched. */
  'sandbox/remove': { params: z.object(inSandbox), result: Empty },

  'checkpoint/create': {
    params: z.object({
      ...inBranch,
      label: Label.optional(),
      note: z.string().max(100_000).optional(),
      /** The command whose result this is; makes it a checkpoint of kind `run`. */
      command: z.string().max(1_000_000).optional(),
      exitCode: z.number().int().optional(),
      durationMs: z.number().optional(),
      filesOnly: z.boolean().default(false),
      expect,
    }),
    result: z.object({ checkpoint: Checkpoint, steps: z.array(StepTime) }),
  },
  /** Newest first. `before`: only older ones than that. */
  'checkpoint/list': {
    params: z.object({
      ...inSandbox,
      limit: z.number().int().min(1).max(100_000).optional(),
      before: CheckpointId.optional(),
    }),
    result: z.object({
      checkpoints: z.array(Checkpoint),
      head: BranchId.nullable(),
      current: CheckpointId,
      more: z.boolean(),
    }),
  },
  'checkpoint/label': {
    params: z.object({ ...inSandbox, checkpoint: CheckpointId, label: Label.nullable() }),
    result: z.object({ checkpoint: Checkpoint }),
  },
  /** Refused (`checkpointInUse`) while a checkpoint or branch is built on it. */
  'checkpoint/delete': { params: z.object({ ...inSandbox, checkpoint: CheckpointId }), result: Empty },
  'checkpoint/rollback': {
    params: z.object({
      ...inSandbox,
      checkpoint: CheckpointId,
      discard: z.boolean().default(false),
      untilGone,
      expect,
    }),
    result: HeadMoved,
  },
  'checkpoint/undo': { params: z.object({ ...inSandbox, untilGone }), result: HeadMoved },

  'branch/fork': {
    params: z.object({ ...inSandbox, checkpoint: CheckpointId, expect }),
    result: z.object({ branch: BranchId, path: z.enum(['warm', 'cold']), ms: z.number(), steps: z.array(StepTime) }),
  },
  /** Makes a live fork the head; the old head is saved unless `discard`. */
  'branch/promote': {
    params: z.object({ ...inSandbox, branch: BranchId, discard: z.boolean().default(false) }),
    result: HeadMoved,
  },
  'branch/discard': { params: z.object({ ...inSandbox, branch: BranchId }), result: Empty },

  'session/open': {
    params: z.object({
      ...inBranch,
      /** `dial`: a connection to `port` inside, its bytes as stdout; cut by every dump and rollback. */
      kind: z.enum(['process', 'terminal', 'dial']),
      port: PortNumber.optional(),
      /** Left out: the user's login shell (for a terminal). */
      argv: z.array(z.string()).min(1).optional(),
      cwd: InsidePath.optional(),
      env: Env.default({}),
      cols: Size.optional(),
      rows: Size.optional(),
      /** The process is killed after that, in every branch that goes on from a moment at which it ran. */
      timeoutMs: Millis.optional(),
      /** Without: who opens it is not attached; somebody else will be. */
      attach: z.boolean().default(true),
    }),
    result: z.object({ session: SessionId }),
  },
  /** Sends this client the session's output from now on; for a terminal, `scrollback` is what came before. */
  'session/attach': {
    params: z.object({ ...inBranch, session: SessionId, cols: Size.optional(), rows: Size.optional() }),
    result: z.object({ session: Session, scrollback: Bytes }),
  },
  'session/write': {
    params: z.object({ ...inBranch, session: SessionId, data: Bytes, eof: z.boolean().default(false) }),
    result: Empty,
  },
  'session/resize': { params: z.object({ ...inBranch, session: SessionId, cols: Size, rows: Size }), result: Empty },
  'session/signal': {
    params: z.object({ ...inBranch, session: SessionId, signal: z.number().int().min(1).max(64) }),
    result: Empty,
  },
  /** Hangs up: the session's processes get SIGHUP, its record goes. */
  'session/close': { params: z.object({ ...inBranch, session: SessionId }), result: Empty },
  'session/list': { params: z.object(inBranch), result: z.object({ sessions: z.array(Session) }) },

  /** A line in the sandbox's persistent shell, then a checkpoint. Output comes in `run/output` notifications when `stream` is given, and whole (its last 10 MB) in the answer. */
  run: {
    params: z.object({
      ...inBranch,
      line: z.string().max(10_000_000),
      checkpoint: z.boolean().default(true),
      /** On a non-zero exit code, roll the head back to where it was before: to a checkpoint of its own, where there is something that none has. */
      undoOnFail: z.boolean().default(false),
      label: Label.optional(),
      note: z.string().max(100_000).optional(),
      timeoutMs: Millis.optional(),
      stream: z.string().max(100).optional(),
      expect,
    }),
    result: z.object({
      exitCode: z.number().int(),
      output: Bytes,
      truncated: z.boolean(),
      durationMs: z.number(),
      checkpoint: Checkpoint.nullable(),
      undone: z.boolean(),
      /** Why it failed and what would let it succeed, where that is known. */
      hint: z.string().optional(),
    }),
  },

  /** What changed between two places; `to` left out: the head. */
  diff: {
    params: z.object({
      ...inSandbox,
      from: At,
      to: At.optional(),
      /** Only at or below this path. */ path: InsidePath.optional(),
    }),
    result: z.object({ changes: z.array(Change) }),
  },
  'file/stat': { params: z.object({ ...inSandbox, at: Where, path: InsidePath }), result: FileStat },
  'file/list': {
    params: z.object({ ...inSandbox, at: Where, path: InsidePath }),
    result: z.object({
      entries: z.array(
        z.object({ name: z.string(), /** As in a change. */ nameBase64: z.base64().optional(), stat: FileStat }),
      ),
    }),
  },
  /** At most `length` bytes from `offset`; follows symlinks inside the sandbox only. */
  'file/read': {
    params: z.object({
      ...inSandbox,
      at: Where,
      path: InsidePath,
      offset: z.number().int().min(0).default(0),
      length: z.number().int().min(1).max(8_388_608).default(8_388_608),
    }),
    result: z.object({ data: Bytes, size: z.number().int(), eof: z.boolean() }),
  },
  /**
   * Bytes into a file of a live branch, in place and with the rights of the sandbox's user; symlinks are followed inside. A
   * file of more than `data` holds comes in several, of which only the last has `truncate`. What does not fit is taken back.
   */
  'file/write': {
    params: z.object({
      ...inBranch,
      path: InsidePath,
      /** At most 8 MiB. */
      data: z.base64().max(11_184_812),
      offset: z.number().int().min(0).default(0),
      /** The file ends after these bytes. */
      truncate: z.boolean().default(true),
      /** Make it where there is none (`unknownPath` otherwise). */
      create: z.boolean().default(true),
      /** Take one that is there (`pathExists` otherwise). */
      overwrite: z.boolean().default(true),
      /** Left out: as they are; 0o644 for a new one. */
      mode: Permissions.optional(),
      /** What the caller last saw there, null for nothing: `conflicts` where it is another file by now. */
      expected: z.object({ size: z.number().int(), mtimeMs: z.number() }).nullable().optional(),
    }),
    result: z.object({ stat: FileStat }),
  },
  'file/mkdir': { params: z.object({ ...inBranch, path: InsidePath, mode: Permissions.optional() }), result: Empty },
  'file/symlink': {
    params: z.object({ ...inBranch, path: InsidePath, target: z.string().min(1).max(4095) }),
    result: Empty,
  },
  'file/rename': {
    params: z.object({ ...inBranch, from: InsidePath, to: InsidePath, overwrite: z.boolean().default(false) }),
    result: Empty,
  },
  /** A link itself, not what it leads to. `folderNotEmpty` unless `recursive`. */
  'file/remove': {
    params: z.object({ ...inBranch, path: InsidePath, recursive: z.boolean().default(false) }),
    result: Empty,
  },
  /**
   * `files/changed` tells this client what changes at or below `path` from now on: of the head, wherever it goes (a rollback
   * tells what it changed), or of one branch. `live` false: this machine can't tell but at checkpoints and rollbacks.
   */
  'file/watch': {
    params: z.object({ ...inBranch, path: InsidePath }),
    result: z.object({ watch: WatchId, live: z.boolean() }),
  },
  'file/unwatch': { params: z.object({ watch: WatchId }), result: Empty },
  /** Looked up now, by number; `ports/changed` tells of what is found by itself. */
  'port/list': { params: z.object(inBranch), result: z.object({ branch: BranchId, ports: z.array(Port) }) },
  'process/list': { params: z.object(inBranch), result: z.object({ processes: z.array(Process) }) },
  /**
   * Makes this client the sandbox's model gateway, until it disconnects or closes it: what connects to {@link GATEWAY_PORT}
   * inside is told to it by `gateway/…` notifications, byte by byte. `env`: variables that sessions get from now on, before those of
   * the sandbox. Asked again by the same client, it replaces `env`; by another, `gatewayTaken`.
   */
  'gateway/open': {
    params: z.object({ ...inSandbox, env: Env }),
    result: z.object({ port: PortNumber, used: ModelUsage }),
  },
  'gateway/close': { params: z.object(inSandbox), result: Empty },
  /** Answered when there is room for more. `end`: nothing follows, the connection is closed. One that is gone takes nothing and fails not. */
  'gateway/write': {
    params: z.object({ connection: GatewayConnection, data: Bytes, end: z.boolean().default(false) }),
    result: Empty,
  },
  /** What a request took, for the branch's next checkpoint. Of the sandbox's gateway only. */
  'gateway/used': {
    params: z.object({ ...inSandbox, branch: BranchId, usage: ModelUsage }),
    result: z.object({ used: ModelUsage }),
  },
  gc: {
    params: z.object({
      sandbox: SandboxRef.optional(),
      /** Keep at most that many checkpoints, the newest. */
      keep: z.number().int().min(1).optional(),
      maxBytes: z.number().int().min(0).optional(),
      maxAgeMs: z.number().int().min(0).optional(),
      dryRun: z.boolean().default(false),
    }),
    result: z.object({
      deleted: z.array(z.object({ sandbox: SandboxId, checkpoint: CheckpointId })),
      freedBytes: z.number().int(),
    }),
  },
} as const;

/** What the helper tells every client about sandboxes that are theirs, so that nobody polls. */
export const NOTIFICATIONS = {
  'sandbox/changed': z.object({ sandbox: Sandbox }),
  'sandbox/removed': z.object({ sandbox: SandboxId }),
  'checkpoint/added': z.object({ sandbox: SandboxId, checkpoint: Checkpoint }),
  'checkpoint/changed': z.object({ sandbox: SandboxId, checkpoint: Checkpoint }),
  'checkpoint/removed': z.object({ sandbox: SandboxId, checkpoint: CheckpointId }),
  'head/moved': z.object({
    sandbox: SandboxId,
    head: BranchId,
    checkpoint: CheckpointId,
    cause: z.enum(['rollback', 'undo', 'promote', 'start', 'rotate']),
    ms: z.number(),
    saved: CheckpointId.nullable(),
  }),
  /** What an agent inside did could not be kept as a step; the agent goes on and knows nothing of it. */
  'step/failed': z.object({
    sandbox: SandboxId,
    branch: BranchId,
    agent: z.string(),
    message: z.string(),
    hint: z.string().optional(),
  }),
  /** To attached clients only. A process's streams are apart; a terminal has `stdout` alone. */
  'session/output': z.object({
    sandbox: SandboxId,
    branch: BranchId,
    session: SessionId,
    stream: z.enum(['stdout', 'stderr']),
    data: Bytes,
  }),
  'session/exit': z.object({
    sandbox: SandboxId,
    branch: BranchId,
    session: SessionId,
    /** 128 + n when killed by signal n. */
    exitCode: z.number().int(),
  }),
  /** The head moved: this session is attached again, as it was at that moment. Clear the screen and show `scrollback`. */
  'session/restored': z.object({
    sandbox: SandboxId,
    branch: BranchId,
    session: SessionId,
    running: z.boolean(),
    scrollback: Bytes,
    /** When that moment was, and how long going back took. */
    at: z.string(),
    ms: z.number(),
  }),
  /** The head moved to a moment at which this session did not exist yet (or no more). */
  'session/gone': z.object({ sandbox: SandboxId, session: SessionId, reason: z.string() }),
  /** Something began or ceased to listen in a live branch. A branch starts with none; one that is new since tells its own. */
  'ports/changed': z.object({ sandbox: SandboxId, branch: BranchId, ports: z.array(Port) }),
  /** To whoever watches. `more`: what is told is not all, anything below the watched path may be another. */
  'files/changed': z.object({
    sandbox: SandboxId,
    watch: WatchId,
    changes: z.array(z.object({ path: z.string(), kind: z.enum(['created', 'changed', 'deleted']) })),
    more: z.boolean(),
  }),
  'run/output': z.object({ stream: z.string(), data: Bytes }),
  /** To the sandbox's gateway only, as the next two. */
  'gateway/connected': z.object({ sandbox: SandboxId, branch: BranchId, connection: GatewayConnection }),
  'gateway/data': z.object({ connection: GatewayConnection, data: Bytes }),
  /** It ended inside, by a rollback, or because its branch did. */
  'gateway/disconnected': z.object({ connection: GatewayConnection }),
  progress: z.object({
    token: z.string(),
    message: z.string(),
    done: z.number().optional(),
    total: z.number().optional(),
  }),
} as const;

export type Method = keyof typeof METHODS;
/** What a caller passes: fields with a default may be left out. */
export type Params<M extends Method> = z.input<(typeof METHODS)[M]['params']>;
/** What the helper works on after validation. */
export type Parsed<M extends Method> = z.output<(typeof METHODS)[M]['params']>;
export type Result<M extends Method> = z.infer<(typeof METHODS)[M]['result']>;
export type NotificationName = keyof typeof NOTIFICATIONS;
export type NotificationParams<N extends NotificationName> = z.infer<(typeof NOTIFICATIONS)[N]>;

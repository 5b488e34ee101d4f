/**
 * What the extension and its client process (`teleport-env connect`) say to each other.
 *
 * The client process is a language server on stdio (Content-Length framing), so that `vscode-languageclient` can hold it.
 * It answers these itself:
 *
 * - LSP's `initialize`, `initialized`, `shutdown` and `exit`. It answers `initialize` at once, whether or not there is a
 *   daemon, with `serverInfo: { name: 'teleport-env', version }`. Standard input closing ends it, as `exit` does.
 * - every request of {@link BRIDGE_METHODS}.
 *
 * Everything else goes to the daemon and back as it is: every request of `METHODS` but `initialize` and `shutdown` (whose
 * names are LSP's), every notification of `NOTIFICATIONS`, `$/cancelRequest` in both layers, and errors with their `data`
 * (`ErrorData`) untouched.
 *
 * Connecting to the daemon happens in `teleport/handshake`, never by itself: who wants a connection asks for it, and
 * asks again after it was lost (how often is the extension's policy). One asked for while connected answers again, with
 * fresh `needs`. Two at once share one attempt. While there is no connection, a request for the daemon fails with
 * `noHelper`. When the connection is lost, requests under way fail with `noHelper`, and `teleport/lost` says why;
 * sessions are then no longer attached.
 *
 * `teleport-env shell SANDBOX [--branch BRANCH] --session SESSION` attaches a real terminal to a session which the
 * extension opened before (`session/open`), and attaches again by itself after a rollback or a restart of the daemon.
 */
import * as z from 'zod';
import { GatewaySettings } from './gateway.ts';
import { BranchId, CheckpointId } from './ids.ts';
import { METHODS } from './methods.ts';
import { ChangeKind } from './model.ts';

const SandboxRef = z.string().min(1).max(255);
const At = z.union([CheckpointId, BranchId]);
/** Below the workspace, with `/` between the parts. */
const RelativePath = z.string().min(1).max(4096);

/** One path that applying would write or delete in the workspace. */
export const PlannedChange = z.object({
  path: RelativePath,
  kind: ChangeKind,
  /** Where it came from, for `renamed`. */
  from: RelativePath.optional(),
  /** What it becomes (was, for `deleted`). */
  type: z.enum(['file', 'folder', 'symlink', 'other']),
  size: z.number().int().optional(),
  /**
   * What stands in the way; null where nothing does. `changed`: the workspace's file is no longer what the sandbox started
   * from; `exists`: there is one where the sandbox added its own; `gone`: it was deleted in the workspace; `type`: a folder
   * stands where a file should, or the other way round; `unwritable`: no permission. The last two can't be forced.
   */
  conflict: z.enum(['changed', 'exists', 'gone', 'type', 'unwritable']).nullable(),
});
export type PlannedChange = z.infer<typeof PlannedChange>;

/** A path at which following stopped: the workspace and the sandbox both have something of their own there. */
export const FollowConflict = z.object({
  path: RelativePath,
  /** As in `PlannedChange`; `unsaved`: an editor holds text that is not on disk; `failed`: see `message`. */
  reason: z.enum(['changed', 'exists', 'gone', 'type', 'unwritable', 'unsaved', 'failed']),
  /** What the sandbox did there. */
  kind: ChangeKind,
  message: z.string().optional(),
});
export type FollowConflict = z.infer<typeof FollowConflict>;

export const FollowStatus = z.object({
  on: z.boolean(),
  /** The folder that follows. */
  to: z.string(),
  /** The checkpoint whose files the folder has, but for the conflicts. Null: none yet. */
  at: CheckpointId.nullable(),
  conflicts: z.array(FollowConflict),
});
export type FollowStatus = z.infer<typeof FollowStatus>;

/** Lines and characters from 0, characters in UTF-16, as in LSP. */
const Position = z.object({ line: z.number().int().min(0), character: z.number().int().min(0) });

/** One step of a run document. */
export const DocumentStep = z.object({
  /** What the shell is given. */
  command: z.string(),
  /** The thought behind it. */
  note: z.string().nullable(),
  /** How it went when it was recorded. */
  outcome: z.object({
    exitCode: z.number().int().optional(),
    durationMs: z.number().optional(),
    filesChanged: z.number().int().optional(),
    checkpoint: CheckpointId.optional(),
  }),
  range: z.object({ start: Position, end: Position }),
  /** The shell will not understand it. */
  broken: z.boolean(),
});
export type DocumentStep = z.infer<typeof DocumentStep>;

/** How a step went in a sandbox that it is known to have run in. */
export const SteppedLine = z.object({
  /** The line that the step begins with. */
  line: z.number().int().min(0),
  before: CheckpointId,
  /** Null: it has not run, or runs. */
  after: CheckpointId.nullable(),
  exitCode: z.number().int().nullable(),
  durationMs: z.number().nullable(),
  filesChanged: z.number().int().nullable(),
});
export type SteppedLine = z.infer<typeof SteppedLine>;

/** What arrived in the user's repository. */
const ArrivedRef = z.object({
  /** `refs/teleport-env/SANDBOX/heads/main` */
  ref: z.string(),
  /** The object's name. */
  commit: z.string(),
  /** How many commits lead there that no branch or tag of the user's has; null: it is none. */
  commits: z.number().int().nullable(),
  /** It is new, or was elsewhere before. */
  moved: z.boolean(),
  /** The submodule in whose own repository it arrived, by its path; left out: the repository itself. */
  submodule: RelativePath.optional(),
});

/** Requests that the client process answers itself, with the user's rights. */
export const BRIDGE_METHODS = {
  /** Connects to the daemon (starting one with the rights the user has: already root, systemd unit, `sudo -n`), and shakes hands. */
  'teleport/handshake': {
    params: z.object({
      /** Who connects, for the daemon's log: `vscode 0.1.0`. */
      client: z.string().max(200),
      /** Without: only a daemon that runs already. */
      start: z.boolean().default(true),
    }),
    result: METHODS.initialize.result,
  },

  /** What copying a folder in would take, before it is done. Stops counting after about two seconds. */
  'workspace/measure': {
    params: z.object({ workspace: z.string().max(4096), exclude: z.array(z.string().max(255)).default([]) }),
    result: z.object({
      files: z.number().int(),
      bytes: z.number().int(),
      /** False: counting was stopped, there is more. */
      complete: z.boolean(),
      /** Its top level, largest first. */
      entries: z.array(
        z.object({
          name: z.string(),
          type: z.enum(['file', 'folder', 'symlink', 'other']),
          files: z.number().int(),
          bytes: z.number().int(),
        }),
      ),
      /** How long copying may take, in milliseconds. */
      estimatedMs: z.number(),
    }),
  },

  /** The `postCreateCommand` of a folder's devcontainer.json as a shell line; null: there is none. Somebody else's text: ask before running it. */
  'workspace/onCreate': {
    params: z.object({ workspace: z.string().max(4096) }),
    result: z.object({ command: z.string().nullable() }),
  },

  /** What applying the sandbox's files to the workspace would do. Changes nothing. */
  'apply/plan': {
    params: z.object({
      sandbox: SandboxRef,
      /** Whose files; left out: the head's. */
      from: At.optional(),
      /** A folder to apply to; left out: the sandbox's workspace. */
      to: z.string().max(4096).optional(),
    }),
    result: z.object({
      /** The folder it would apply to. */
      to: z.string(),
      /** Whose files are read: the place as it was named, or the head's branch. */
      from: At,
      changes: z.array(PlannedChange),
      /** Never written, such as what lies in `.git`. */
      left: z.array(z.object({ path: RelativePath, reason: z.string() })),
    }),
  },
  /** Does it, path by path. Plans anew by itself, so that what changed since is a conflict and not lost. */
  'apply/perform': {
    params: z.object({
      sandbox: SandboxRef,
      from: At.optional(),
      to: z.string().max(4096).optional(),
      /** Only these; left out: all. */
      paths: z.array(RelativePath).optional(),
      /** Overwrite these in spite of their conflict. */
      force: z.union([z.boolean(), z.array(RelativePath)]).default(false),
      progress: z.string().max(100).optional(),
    }),
    result: z.object({
      to: z.string(),
      applied: z.array(RelativePath),
      /** Left alone because of a conflict. */
      conflicts: z.array(PlannedChange),
      failed: z.array(z.object({ path: RelativePath, message: z.string() })),
    }),
  },
  /** The workspace's changes between two places as a patch that `git apply` takes, binaries included. */
  'apply/patch': {
    params: z.object({
      sandbox: SandboxRef,
      /** Left out: the root checkpoint. */
      from: At.optional(),
      /** Left out: the head. */
      to: At.optional(),
    }),
    result: z.object({
      patch: z.string(),
      files: z.number().int(),
      /** Not in it, and why. */
      left: z.array(z.object({ path: RelativePath, reason: z.string() })),
    }),
  },

  /**
   * Commits made in the sandbox come to the user's repository as `refs/teleport-env/SANDBOX/…`, those of submodules to the
   * submodule's; nothing else of them is touched.
   */
  'git/fetch': {
    params: z.object({
      sandbox: SandboxRef,
      /** Left out: the head. */
      from: At.optional(),
      /** A folder with the repository; left out: the sandbox's workspace. */
      to: z.string().max(4096).optional(),
    }),
    result: z.object({
      to: z.string(),
      from: At,
      refs: z.array(ArrivedRef),
      /** Names inside that git would not take, and submodules whose commits can't come. */
      left: z.array(z.object({ path: RelativePath, reason: z.string() })),
    }),
  },
  /** A branch in the user's repository from where the sandbox's HEAD is. It is not checked out. */
  'git/branch': {
    params: z.object({
      sandbox: SandboxRef,
      from: At.optional(),
      to: z.string().max(4096).optional(),
      name: z.string().min(1).max(900),
      /** What is not committed inside becomes one more commit; made in a live fork, so the sandbox stays as it is. */
      uncommitted: z.boolean().default(true),
    }),
    result: z.object({
      to: z.string(),
      branch: z.string(),
      commit: z.string(),
      /** New to the user's repository, all in all. */
      commits: z.number().int(),
      /** Paths in the one made of what was not committed; null: there is none. */
      uncommitted: z.number().int().nullable(),
      /** What stays in the sandbox, and why. */
      left: z.array(z.object({ path: RelativePath, reason: z.string() })),
    }),
  },

  /** Whether the workspace follows the sandbox's head, and where it can't. Kept with the user's own files. */
  'follow/get': { params: z.object({ sandbox: SandboxRef }), result: FollowStatus },
  /** Only says so; `follow/sync` does it. */
  'follow/set': { params: z.object({ sandbox: SandboxRef, on: z.boolean() }), result: FollowStatus },
  /**
   * Where following is on: the workspace takes what the head's last checkpoint has otherwise than the one it took before. Each
   * conflict stops its own path alone, and is looked at again the next time.
   */
  'follow/sync': {
    params: z.object({
      sandbox: SandboxRef,
      /** Paths with unsaved text in an editor: left alone. */
      unsaved: z.array(RelativePath).default([]),
    }),
    result: FollowStatus.extend({ written: z.array(RelativePath) }),
  },
  /** The other way: these paths of the workspace (saved, made, deleted there; folders with what is in them) into the head. */
  'follow/enter': {
    params: z.object({
      sandbox: SandboxRef,
      paths: z.array(RelativePath).max(100_000),
      /** In spite of what the sandbox did there. */
      force: z.boolean().default(false),
    }),
    result: FollowStatus.extend({ entered: z.array(RelativePath) }),
  },

  /** What of an agent's configuration, sign-in and keys is on this side: files below the home, names of variables. */
  'agent/look': {
    params: z.object({ agent: z.string().max(100) }),
    result: z.object({ files: z.array(z.string()), variables: z.array(z.string()) }),
  },
  /** Makes a sandbox ready for an agent (`AGENTS` of agents.ts lists them). What is answered is to be run in a terminal there. */
  'agent/prepare': {
    params: z.object({
      sandbox: SandboxRef,
      agent: z.string().max(100),
      /** Its program, where the table names none. */
      program: z.string().max(4096).optional(),
      words: z.array(z.string().max(100_000)).max(1000).default([]),
      /** The user agreed: configuration, sign-in and keys come along, and are in memory images then. */
      signIn: z.boolean().default(false),
    }),
    result: z.object({
      argv: z.array(z.string()).min(1),
      env: z.record(z.string(), z.string()),
      /** Files that were copied in. */
      copied: z.array(z.string()),
      /** How steps are found: its hooks tell of each tool call, files that came to rest do, or both. */
      steps: z.enum(['hooks', 'quiet', 'both']),
    }),
  },

  /** Reads a shell script, a run document or a transcript as steps. Told apart by what it holds. */
  'document/read': {
    params: z.object({ text: z.string().max(256 << 20) }),
    result: z.object({
      format: z.enum(['run', 'shell', 'claude-code', 'swe-agent', 'openai']),
      title: z.string().nullable(),
      /** The sandbox that it was recorded in. */
      sandbox: z.string().nullable(),
      /** What the ranges refer to: for a transcript the run document made of it. */
      text: z.string(),
      steps: z.array(DocumentStep),
    }),
  },
  /** A sandbox's way from its beginning to a checkpoint as a run document. */
  'document/record': {
    params: z.object({
      sandbox: SandboxRef,
      /** Left out: to where the head stands. */
      to: CheckpointId.optional(),
    }),
    result: z.object({ text: z.string(), steps: z.number().int() }),
  },
  /**
   * Makes this client process the sandbox's model gateway, with these keys, until `gateway/stop` or until the connection to the
   * daemon is lost. Asked again, it goes on with the new settings.
   */
  'gateway/start': {
    params: z.object({ sandbox: SandboxRef, settings: GatewaySettings }),
    /** `variables`: what new sessions have by it, and those that were open before have not. */
    result: z.object({ sandbox: z.string(), variables: z.record(z.string(), z.string()) }),
  },
  'gateway/stop': { params: z.object({ sandbox: SandboxRef }), result: z.object({}) },
  /** Conversations that went through the sandbox's gateway, newest first. */
  'gateway/transcripts': {
    params: z.object({ sandbox: SandboxRef }),
    result: z.object({
      transcripts: z.array(
        z.object({ file: z.string(), title: z.string().nullable(), steps: z.number().int(), changedAt: z.string() }),
      ),
    }),
  },

  /** Somebody steps through a document: its lenses, hovers and hints show how far and how it went. */
  'document/stepped': {
    params: z.object({
      uri: z.string().max(8192),
      sandbox: SandboxRef,
      /** The line it stands at; null: at the end. */
      line: z.number().int().min(0).nullable(),
      steps: z.array(SteppedLine).max(100_000),
    }),
    result: z.object({}),
  },
} as const;

/** What the client process tells of itself. */
export const BRIDGE_NOTIFICATIONS = {
  /** The connection to the daemon is gone. */
  'teleport/lost': z.object({ message: z.string() }),
} as const;

export type BridgeMethod = keyof typeof BRIDGE_METHODS;
export type BridgeParams<M extends BridgeMethod> = z.input<(typeof BRIDGE_METHODS)[M]['params']>;
export type BridgeParsed<M extends BridgeMethod> = z.output<(typeof BRIDGE_METHODS)[M]['params']>;
export type BridgeResult<M extends BridgeMethod> = z.infer<(typeof BRIDGE_METHODS)[M]['result']>;
export type BridgeNotification = keyof typeof BRIDGE_NOTIFICATIONS;
export type BridgeNotificationParams<N extends BridgeNotification> = z.infer<(typeof BRIDGE_NOTIFICATIONS)[N]>;

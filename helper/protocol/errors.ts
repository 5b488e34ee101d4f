import * as z from 'zod';

/** Whose fault it is decides the exit code: the caller's 1, the machine's 2, ours 3. */
export const ERRORS = {
  // the caller's
  invalidRequest: 'caller',
  unknownSandbox: 'caller',
  unknownCheckpoint: 'caller',
  unknownBranch: 'caller',
  unknownSession: 'caller',
  unknownPath: 'caller',
  pathExists: 'caller',
  folderNotEmpty: 'caller',
  nothingListens: 'caller',
  portTaken: 'caller',
  ambiguousSandbox: 'caller',
  workspaceMissing: 'caller',
  workspaceUnreadable: 'caller',
  workspaceNotFolder: 'caller',
  workspaceUnwritable: 'caller',
  notADirectory: 'caller',
  notAFile: 'caller',
  notRunning: 'caller',
  sandboxBusy: 'caller',
  nothingToUndo: 'caller',
  checkpointInUse: 'caller',
  limitReached: 'caller',
  gatewayTaken: 'caller',
  noKey: 'caller',
  conflicts: 'caller',
  notAllowed: 'caller',
  timeout: 'caller',
  cancelled: 'caller',
  baseUnreadable: 'caller',
  notARepository: 'caller',
  gitRefused: 'caller',
  protocolMismatch: 'caller',
  // what processes inside hold that can't be carried
  cannotCapture: 'caller',
  // the machine's
  noHelper: 'machine',
  notRoot: 'machine',
  noCriu: 'machine',
  criuTooOld: 'machine',
  noOverlay: 'machine',
  noLoop: 'machine',
  noCgroup: 'machine',
  noNamespaces: 'machine',
  noNetwork: 'machine',
  noGit: 'machine',
  volumeFull: 'machine',
  volumeUnusable: 'machine',
  restoreFailed: 'machine',
  checkpointDamaged: 'machine',
  // ours
  internal: 'internal',
} as const satisfies Record<string, 'caller' | 'machine' | 'internal'>;

export type ErrorCode = keyof typeof ERRORS;
export type Fault = (typeof ERRORS)[ErrorCode];

/** What the wire carries in a JSON-RPC error's `data`. */
export const ErrorData = z.object({
  code: z.enum(Object.keys(ERRORS) as [ErrorCode, ...ErrorCode[]]),
  hint: z.string().optional(),
  /** The process that stood in the way of a capture, if one did. */
  process: z.object({ pid: z.number().int(), command: z.string() }).optional(),
  /** What of that process can't be carried, in words. */
  resource: z.string().optional(),
  /** The helper's own, for `protocolMismatch`: tells which side is the older one. */
  protocolVersion: z.number().int().optional(),
  /** For `--verbose` only. */
  stack: z.string().optional(),
});
export type ErrorData = z.infer<typeof ErrorData>;

/** An error that a person may see: what was asked and what stood in the way (message), what to do next (hint). */
export class TeleportError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly process: ErrorData['process'];
  readonly resource: string | undefined;
  readonly protocolVersion: number | undefined;

  constructor(
    code: ErrorCode,
    message: string,
    more: {
      hint?: string;
      cause?: unknown;
      process?: ErrorData['process'];
      resource?: string;
      protocolVersion?: number;
    } = {},
  ) {
    super(message, more.cause === undefined ? undefined : { cause: more.cause });
    this.name = 'TeleportError';
    this.code = code;
    this.hint = more.hint;
    this.process = more.process;
    this.resource = more.resource;
    this.protocolVersion = more.protocolVersion;
  }

  get fault(): Fault {
    return ERRORS[this.code];
  }
}

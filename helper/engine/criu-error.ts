import type { Explanation } from './criu-log.ts';

/**
 * - `notStarted`: CRIU (or the command before it) is not there or ended at once
 * - `refused`: CRIU says no; `message` tells why, in its log's words and in ours
 * - `crashed`: CRIU ended in the middle, or it or what it restored was killed by somebody else
 * - `hook`: a hook of ours threw
 * - `aborted`, `timeout`: given up as asked. With `killed`, CRIU did not react and was killed: processes that it was dumping
 *   may be damaged.
 */
export type CriuErrorCode = 'notStarted' | 'refused' | 'crashed' | 'hook' | 'aborted' | 'timeout';

/** An operation of CRIU that failed. After a dump the processes are as they were; after a restore there are none. */
export class CriuError extends Error {
  readonly code: CriuErrorCode;
  readonly operation: 'dump' | 'pre-dump' | 'restore' | 'check';
  /** As CRIU reported it; it often does not. */
  readonly errno: number | undefined;
  /** What the log says, for programs. */
  readonly reason: Explanation['reason'];
  /** The process that stood in the way; its command may be unknown. */
  readonly process: { pid: number; command: string | undefined } | undefined;
  /** What of it cannot be carried, in words. */
  readonly resource: string | undefined;
  /** The log's error lines. */
  readonly quoted: string[];
  readonly logPath: string | undefined;
  readonly killed: boolean;

  constructor(
    code: CriuErrorCode,
    operation: CriuError['operation'],
    message: string,
    more: {
      errno?: number;
      explanation?: Explanation;
      command?: string;
      logPath?: string;
      killed?: boolean;
      cause?: unknown;
    } = {},
  ) {
    super(message, more.cause === undefined ? undefined : { cause: more.cause });
    this.name = 'CriuError';
    this.code = code;
    this.operation = operation;
    this.errno = more.errno;
    const found = more.explanation;
    this.reason = found?.reason ?? 'unknown';
    this.process = found?.pid === undefined ? undefined : { pid: found.pid, command: more.command };
    this.resource = found?.resource;
    this.quoted = found?.quoted ?? [];
    this.logPath = more.logPath;
    this.killed = more.killed ?? false;
  }
}

import type { ErrorCode, ErrorData } from '../../helper/protocol/errors.ts';

/** What can go wrong on this side of the wire, beside what the helper enumerates. */
export type OwnErrorCode =
  /** The connection went while we waited. */
  | 'lost'
  /** It had its time and didn't answer. */
  | 'unanswered'
  /** Nobody has said yet that this folder may run things. */
  | 'untrusted'
  /** It answered something the protocol doesn't have. */
  | 'unexpectedAnswer'
  /** Its machine was stopped or suspended, and nobody asked for it since. */
  | 'atRest';

/** An error that a person may see: what was asked and what stood in the way, what to do next. */
export class HelperError extends Error {
  constructor(
    readonly code: ErrorCode | OwnErrorCode,
    message: string,
    readonly hint?: string,
    readonly process?: ErrorData['process'],
    readonly protocolVersion?: number,
    options?: { cause?: unknown },
  ) {
    super(message, options);
    this.name = 'HelperError';
  }
}

/** From whatever a request threw. `data` is what the wire carries in a JSON-RPC error. */
export function toHelperError(error: unknown, codes: ReadonlySet<string>): HelperError {
  if (error instanceof HelperError) return error;
  const { message, data } = (error ?? {}) as {
    message?: unknown;
    data?: Partial<ErrorData> & { protocolVersion?: number };
  };
  const text = typeof message === 'string' ? message : String(error);
  if (data && typeof data.code === 'string' && codes.has(data.code))
    return new HelperError(data.code, text, data.hint, data.process, data.protocolVersion, { cause: error });
  return new HelperError('internal', text, undefined, undefined, undefined, { cause: error });
}

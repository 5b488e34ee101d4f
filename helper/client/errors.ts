import { ErrorCodes, ResponseError } from 'vscode-jsonrpc/node';
import { ErrorData, TeleportError } from '../protocol/errors.ts';

/** LSP's number for an answer to `$/cancelRequest`. */
const REQUEST_CANCELLED = -32800;

/** A stack trace from the daemon's side, for `--verbose`. */
class RemoteFault extends Error {
  constructor(stack: string) {
    super('in the helper');
    this.stack = stack;
  }
}

/** What a request failed with, as the error that a person may see. */
export function fromWire(error: unknown, method: string): TeleportError {
  if (error instanceof TeleportError) return error;
  if (error instanceof ResponseError) {
    const data = ErrorData.safeParse(error.data);
    if (data.success) {
      const { code, hint, process, resource, protocolVersion, stack } = data.data;
      return new TeleportError(code, error.message, {
        hint,
        process,
        resource,
        protocolVersion,
        cause: stack === undefined ? undefined : new RemoteFault(stack),
      });
    }
    if (error.code === REQUEST_CANCELLED) return new TeleportError('cancelled', 'cancelled', { cause: error });
    if (error.code === ErrorCodes.InvalidParams || error.code === ErrorCodes.InvalidRequest)
      return new TeleportError('invalidRequest', error.message, { cause: error });
    if (error.code === ErrorCodes.MethodNotFound)
      return new TeleportError('protocolMismatch', `the helper does not know ${method}`, {
        hint: 'update the helper: npm run setup',
        cause: error,
      });
    return new TeleportError('internal', error.message, { cause: error });
  }
  const message = error instanceof Error ? error.message : String(error);
  return new TeleportError('internal', `${method} failed: ${message}`, { cause: error });
}

/** The same, other way round: for a JSON-RPC answer. */
export function toWire(error: unknown): ResponseError<ErrorData> {
  if (error instanceof ResponseError) return error;
  if (error instanceof TeleportError) {
    const { code, hint, process, resource, protocolVersion } = error;
    const number = error.fault === 'caller' ? ErrorCodes.InvalidRequest : ErrorCodes.InternalError;
    return new ResponseError(number, error.message, {
      ...{ code, hint, process, resource, protocolVersion },
      stack: error.stack,
    });
  }
  const message = error instanceof Error ? error.message : String(error);
  const stack = error instanceof Error ? error.stack : undefined;
  return new ResponseError(ErrorCodes.InternalError, message, { code: 'internal', stack });
}

import { type ErrorCode, TeleportError } from '../protocol/errors.ts';
import type { Style } from './style.ts';
import { printable } from './text.ts';

/** Whose fault decides the exit code. */
const EXIT = { caller: 1, machine: 2, internal: 3 } as const;

/** An error with what else its command has to say in JSON: `apply` lists its conflicts. */
export class CommandFailure extends TeleportError {
  constructor(
    code: ErrorCode,
    message: string,
    readonly details: { json: object; human: string },
    hint?: string,
  ) {
    super(code, message, { hint });
  }
}

export function asTeleportError(error: unknown): TeleportError {
  if (error instanceof TeleportError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new TeleportError('internal', message, { cause: error });
}

export function exitCodeOf(error: TeleportError): number {
  return EXIT[error.fault];
}

export function errorJson(error: TeleportError, verbose: boolean): object {
  const { code, message, hint = null, process, resource } = error;
  const details = error instanceof CommandFailure ? error.details.json : {};
  return { error: { code, message, hint, process, resource, stack: verbose ? stackOf(error) : undefined }, ...details };
}

/** One line, and what to do next in the same one. */
export function errorText(error: TeleportError, style: Style, verbose: boolean): string {
  const culprit = error.process
    ? ` (process ${error.process.pid}, ${printable(error.process.command)}${resource(error)})`
    : '';
  const hint = error.hint ? style.dim(` — ${printable(error.hint)}`) : '';
  const details = error instanceof CommandFailure ? error.details.human : '';
  const stack = verbose ? `${style.dim(stackOf(error))}\n` : '';
  return `${details}${style.bad('✗')} ${printable(error.message)}${culprit}${hint}\n${stack}`;
}

function resource(error: TeleportError): string {
  return error.resource ? `: ${printable(error.resource)}` : '';
}

function stackOf(error: Error): string {
  const own = error.stack ?? String(error);
  return error.cause instanceof Error ? `${own}\ncaused by ${stackOf(error.cause)}` : own;
}

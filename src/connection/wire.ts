/** The one file that knows `vscode-languageclient`. Loaded when a connection is first asked for. */
import { type CancellationToken, CancellationTokenSource, type LogOutputChannel } from 'vscode';
import {
  CloseAction,
  ErrorAction,
  ErrorCodes,
  LanguageClient,
  type LanguageClientOptions,
  RevealOutputChannelOn,
  State,
} from 'vscode-languageclient/node';
import type { ZodType } from 'zod';
import { BRIDGE_METHODS, BRIDGE_NOTIFICATIONS } from '../../helper/protocol/bridge.ts';
import { ERRORS } from '../../helper/protocol/errors.ts';
import { METHODS, NOTIFICATIONS, PROTOCOL_VERSION } from '../../helper/protocol/methods.ts';
import { t } from '../l10n.ts';
import { RUN_LANGUAGE } from '../stepping/ids.ts';
import { HelperError, toHelperError } from './errors.ts';
import type { Executable } from './place.ts';
import { type Problem, problemOf } from './state.ts';

export interface Wire {
  /** False once the client process has ended. */
  readonly alive: boolean;
  request(method: string, params: object, token: CancellationToken | undefined, timeoutMs: number): Promise<unknown>;
  dispose(): void;
}

export interface WireEvents {
  notified(name: string, params: unknown): void;
  /** The client process ended by itself. */
  closed(message: string): void;
}

const CODES: ReadonlySet<string> = new Set(Object.keys(ERRORS));
/** The client process has ended, and that is noticed by a request first. */
const BROKEN: ReadonlySet<unknown> = new Set([
  ErrorCodes.MessageWriteError,
  ErrorCodes.PendingResponseRejected,
  ErrorCodes.ConnectionInactive,
]);
const START_MS = 15_000;
const STOP_MS = 1_000;

export function problemOfHandshake(error: unknown): Problem {
  return problemOf(toHelperError(error, CODES), PROTOCOL_VERSION);
}

/** Everything that it has to say to people is said by us. */
class QuietClient extends LanguageClient {
  override error(message: string, data?: unknown): void {
    this.outputChannel.error(data === undefined ? message : `${message} ${String(data)}`);
  }
}

export async function openWire(executable: Executable, log: LogOutputChannel, events: WireEvents): Promise<Wire> {
  let over = false;
  const ended = new CancellationTokenSource();
  const close = (message: string) => {
    if (over) return;
    over = true;
    ended.cancel();
    events.closed(message);
  };
  const options: LanguageClientOptions = {
    documentSelector: [{ language: RUN_LANGUAGE }],
    outputChannel: log,
    traceOutputChannel: log,
    revealOutputChannelOn: RevealOutputChannelOn.Never,
    initializationFailedHandler: () => false,
    errorHandler: {
      error: () => ({ action: ErrorAction.Continue, handled: true }),
      closed: () => {
        close(t('The helper’s client process ended.'));
        return { action: CloseAction.DoNotRestart, handled: true };
      },
    },
  };
  const { command, args, env } = executable;
  const client = new QuietClient(
    'teleportEnv',
    'Teleport Env',
    { command, args: [...args], options: { env: { ...process.env, ...env } } },
    options,
  );
  for (const [name, schema] of Object.entries({ ...NOTIFICATIONS, ...BRIDGE_NOTIFICATIONS }))
    client.onNotification(name, (params: unknown) => {
      const parsed = schema.safeParse(params);
      if (parsed.success) events.notified(name, parsed.data);
      else log.error(`${name}: unexpected notification: ${parsed.error.message}`);
    });
  client.onDidChangeState(({ newState }) => {
    if (newState === State.Stopped && !over) close(t('The helper’s client process ended.'));
  });

  const wire: Wire = {
    get alive() {
      return !over;
    },
    request: async (method, params, token, timeoutMs) => {
      const answer = await bounded(method, timeoutMs, token, ended.token, (cancelled) =>
        client.sendRequest<unknown>(method, params, cancelled),
      ).catch((error) => {
        if (over || BROKEN.has(error?.code)) throw new HelperError('lost', t('The connection to the helper was lost.'));
        throw toHelperError(error, CODES);
      });
      return parsed(method, answer);
    },
    dispose: () => {
      if (over) return;
      over = true;
      ended.cancel();
      client.dispose(STOP_MS).catch((error) => log.debug(`stopping the client process: ${String(error)}`));
    },
  };
  try {
    await bounded('initialize', START_MS, undefined, ended.token, () => client.start());
  } catch (error) {
    wire.dispose();
    const detail = error instanceof Error ? error.message : String(error);
    if (error instanceof HelperError) throw error;
    throw new HelperError(
      'noHelper',
      t('The helper’s client process did not start: {0}', detail),
      undefined,
      undefined,
      undefined,
      {
        cause: error,
      },
    );
  }
  return wire;
}

function parsed(method: string, answer: unknown): unknown {
  const schemas: Record<string, { result: ZodType }> = { ...METHODS, ...BRIDGE_METHODS };
  const result = schemas[method]!.result.safeParse(answer);
  if (result.success) return result.data;
  throw new HelperError(
    'unexpectedAnswer',
    t('The helper’s answer to {0} was not understood: {1}', method, result.error.issues[0]?.message ?? ''),
    t('Update the helper and the extension to the same version.'),
  );
}

/** With an end: by the caller's token, by time, or with the connection. */
async function bounded<T>(
  method: string,
  timeoutMs: number,
  token: CancellationToken | undefined,
  ended: CancellationToken,
  start: (cancelled: CancellationToken) => Promise<T>,
): Promise<T> {
  const source = new CancellationTokenSource();
  const linked = token?.onCancellationRequested(() => source.cancel());
  if (token?.isCancellationRequested) source.cancel();
  let timer: NodeJS.Timeout | undefined;
  const end = new Promise<never>((_, reject) => {
    const lost = () => reject(new HelperError('lost', t('The connection to the helper was lost.')));
    if (ended.isCancellationRequested) lost();
    ended.onCancellationRequested(lost);
    if (timeoutMs)
      timer = setTimeout(() => {
        source.cancel();
        const seconds = Math.round(timeoutMs / 1000);
        reject(new HelperError('unanswered', t('The helper did not answer {0} within {1} s.', method, seconds)));
      }, timeoutMs);
  });
  try {
    return await Promise.race([start(source.token), end]);
  } finally {
    clearTimeout(timer);
    linked?.dispose();
    source.dispose();
  }
}

/** The machine as a place where a helper is: all that the rest of the extension knows of it. */
import { setMaxListeners } from 'node:events';
import type { CancellationToken } from 'vscode';
import { t } from '../../l10n.ts';
import { HelperError } from '../errors.ts';
import type { Executable, Place } from '../place.ts';
import type { Wire, WireEvents } from '../wire.ts';
import { MultipassError } from './errors.ts';
import type { Report } from './launch-output.ts';
import type { Machine } from './machine.ts';
import { pathsOfThisHost } from './output.ts';
import type { State } from './outputs.ts';
import { type Clock, watchForSleep } from './sleep.ts';
import { answerHere, type HostSide } from './workspace/host-requests.ts';
import { asEditor } from './workspace/paths.ts';

export interface MultipassPlaceOptions {
  readonly machine: Machine;
  /** Runs something long where people see it and can cancel it. */
  during<T>(title: string, work: (report: Report, signal: AbortSignal) => Promise<T>): Promise<T>;
  exclude(): readonly string[];
  log(text: string): void;
  survivesReload(): boolean;
  /** The computer's own, unless a test lets it sleep. */
  readonly clock?: Clock;
}

export function multipassPlace(options: MultipassPlaceOptions): Place {
  const { machine } = options;
  const host: HostSide = {
    hostFolder: (path) => machine.toHost(path),
    exclude: options.exclude,
    copyIn: (...args) => machine.copyIn(...args),
    log: options.log,
  };
  // A computer that slept is one whose machine nobody stopped on purpose.
  let slept = false;
  return {
    name: 'multipass',
    unsupported: () => null,
    prepare: async (asked) => {
      try {
        if (!asked && !slept) await restsOnPurpose(machine);
        await options.during(machine.settings.name, (report, signal) => machine.prepare(report, signal));
        slept = false;
      } catch (error) {
        throw helperError(error);
      }
    },
    connect: () => ({ ...machine.connectProgram(), env: {} }),
    wrap: (wire, events) =>
      hostWire(wire, events, { host, clock: options.clock }, () => {
        slept = true;
        machine.forgetWay();
      }),
    shell: (session): Executable | null =>
      options.survivesReload() ? { ...machine.shellProgram(session), env: {} } : null,
    setUp: () => null,
    toHelperPath: (path) => machine.toMachine(path),
    fromHelperPath: (path) => asEditor(machine.toHost(path) ?? path),
    outputHere: () => pathsOfThisHost((path) => machine.toHost(path)),
  };
}

/** @throws HelperError `atRest` where another window, or somebody in a terminal, stopped or suspended it */
async function restsOnPurpose(machine: Machine): Promise<void> {
  const instance = await machine.state();
  if (instance && RESTING.has(instance.state)) throw atRest(instance.name, instance.state === 'Suspended');
}

const RESTING: ReadonlySet<State> = new Set<State>([
  'Stopped',
  'Suspended',
  'Suspending',
  'Delayed Shutdown',
  'Deleted',
]);

export function atRest(name: string, suspended: boolean): HelperError {
  const words = suspended ? t('The machine {0} is suspended.', name) : t('The machine {0} is stopped.', name);
  return new HelperError('atRest', words, t('Start it: Teleport Env: Start Linux machine.'));
}

/** In the words of the connection: what passes by itself is tried again, the rest waits for somebody. */
export function helperError(error: unknown): HelperError {
  if (error instanceof HelperError) return error;
  if (!(error instanceof MultipassError))
    return new HelperError('internal', String((error as Error)?.message ?? error));
  const passing = ['hanging', 'unreachable', 'daemonDown', 'launchTimeout'].includes(error.code);
  const code = error.code === 'cancelled' ? 'cancelled' : passing ? 'lost' : 'noHelper';
  return new HelperError(code, error.message, error.hint, undefined, undefined, { cause: error });
}

/** Requests about the host's folders are answered here, the others in the machine. */
function hostWire(
  wire: Wire,
  events: WireEvents,
  { host, clock }: { host: HostSide; clock: Clock | undefined },
  forget: () => void,
): Wire {
  const stop = watchForSleep(
    () => wire.request('sandbox/list', {}, undefined, 8_000),
    () => {
      forget();
      wire.dispose();
      events.closed('the computer slept, and the machine no longer answers on the old connection');
    },
    clock,
  );
  return {
    get alive() {
      return wire.alive;
    },
    request: async (method, params, token, timeoutMs) => {
      const answer = answerHere(host, method, params);
      if (!answer) return await wire.request(method, params, token, timeoutMs);
      const abort = new AbortController();
      // Comparing asks many things at a time, all of which end with it.
      setMaxListeners(0, abort.signal);
      const linked = token?.onCancellationRequested(() => abort.abort());
      if (token?.isCancellationRequested) abort.abort();
      try {
        const send = (name: string, inner: object, signal: AbortSignal) =>
          wire.request(name, inner, tokenOf(signal), name === method ? timeoutMs : 60_000);
        const tell = (progress: object) => events.notified('progress', progress);
        return await answer(params as never, abort.signal, send, tell);
      } catch (error) {
        if (abort.signal.aborted) throw new HelperError('cancelled', 'cancelled');
        throw error instanceof HelperError ? error : helperError(error);
      } finally {
        linked?.dispose();
      }
    },
    dispose: () => {
      stop();
      wire.dispose();
    },
  };
}

/** The one half of an abort signal that the client library asks for. */
function tokenOf(signal: AbortSignal): CancellationToken {
  return {
    get isCancellationRequested() {
      return signal.aborted;
    },
    onCancellationRequested: (listener, thisArg) => {
      const heard = () => listener.call(thisArg, undefined);
      signal.addEventListener('abort', heard, { once: true });
      return { dispose: () => signal.removeEventListener('abort', heard) };
    },
  };
}

import type { Need } from '../../helper/protocol/model.ts';
import type { HelperError } from './errors.ts';

export interface Handshake {
  readonly protocolVersion: number;
  readonly helperVersion: string;
  readonly pid: number;
  readonly uid: number;
  readonly needs: readonly Need[];
}

/** Why there is no connection. */
export type Reason =
  /** No daemon runs, and none could be started with the rights we have. */
  | 'noHelper'
  | 'helperOld'
  | 'helperNew'
  /** It was asked and didn't answer. */
  | 'hanging'
  /** It ended, or the way to it did. */
  | 'lost'
  /** Not Linux. */
  | 'unsupported'
  /** The machine that it is in stands still, because somebody wanted that. */
  | 'atRest';

export interface Problem {
  readonly reason: Reason;
  readonly message: string;
  readonly hint?: string;
}

export type ConnectionState =
  /** Nobody has asked for it yet. */
  | { readonly kind: 'idle' }
  /** `after`: what ended the attempt before. `slow`: it was asked a while ago, and has said nothing yet. */
  | { readonly kind: 'connecting'; readonly attempt: number; readonly after?: Problem; readonly slow?: true }
  | { readonly kind: 'ready'; readonly handshake: Handshake }
  /** Lost; tried again by itself after a while. */
  | { readonly kind: 'waiting'; readonly attempt: number; readonly delayMs: number; readonly problem: Problem }
  /** Trying again would change nothing: somebody has to do something first. */
  | { readonly kind: 'blocked'; readonly problem: Problem };

export type ConnectionEvent =
  | { readonly type: 'connect' }
  | { readonly type: 'slow' }
  | { readonly type: 'ready'; readonly handshake: Handshake }
  | { readonly type: 'failed'; readonly problem: Problem };

const FIRST_DELAY_MS = 250;
const LONGEST_DELAY_MS = 15_000;

/** Doubling from a quarter of a second to a quarter of a minute. */
export function backoffMs(attempt: number): number {
  return Math.min(FIRST_DELAY_MS * 2 ** Math.max(0, attempt - 1), LONGEST_DELAY_MS);
}

/** Reasons that pass by themselves. */
const PASSING: ReadonlySet<Reason> = new Set<Reason>(['hanging', 'lost']);

export function next(state: ConnectionState, event: ConnectionEvent): ConnectionState {
  switch (event.type) {
    case 'connect':
      if (state.kind === 'connecting' || state.kind === 'ready') return state;
      if (state.kind === 'waiting') return { kind: 'connecting', attempt: state.attempt + 1, after: state.problem };
      return { kind: 'connecting', attempt: 1 };
    case 'slow':
      return state.kind === 'connecting' ? { ...state, slow: true } : state;
    case 'ready':
      return { kind: 'ready', handshake: event.handshake };
    case 'failed': {
      // A helper that was there a moment ago and is not is probably being started again.
      const again = state.kind === 'connecting' && state.attempt > 1 && event.problem.reason === 'noHelper';
      if (!again && !PASSING.has(event.problem.reason)) return { kind: 'blocked', problem: event.problem };
      const attempt = state.kind === 'connecting' || state.kind === 'waiting' ? state.attempt : 1;
      return { kind: 'waiting', attempt, delayMs: backoffMs(attempt), problem: event.problem };
    }
  }
}

/** What an error of the handshake says about the helper. */
export function problemOf(error: HelperError, ours: number): Problem {
  const rest = error.hint === undefined ? { message: error.message } : { message: error.message, hint: error.hint };
  switch (error.code) {
    case 'protocolMismatch':
      return { reason: (error.protocolVersion ?? 0) > ours ? 'helperNew' : 'helperOld', ...rest };
    case 'timeout':
    case 'unanswered':
      return { reason: 'hanging', ...rest };
    case 'lost':
      return { reason: 'lost', ...rest };
    case 'atRest':
      return { reason: 'atRest', ...rest };
    default:
      return { reason: 'noHelper', ...rest };
  }
}

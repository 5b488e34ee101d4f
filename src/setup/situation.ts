import type { ConnectionState } from '../connection/state.ts';

/** What the views have to say when they have nothing to list, and what one button mends it. */
export type Situation =
  /** Nobody asked yet. */
  | 'idle'
  | 'connecting'
  /** Asked, and no answer yet. */
  | 'slow'
  /** Gone, being tried again. */
  | 'lost'
  | 'hanging'
  | 'unsupported'
  /** The Linux machine was stopped or suspended. */
  | 'atRest'
  | 'noHelper'
  | 'helperOld'
  | 'helperNew'
  /** A helper runs, but this machine's CRIU is missing or too old. */
  | 'noCriu'
  /** Something else that it needs is missing. */
  | 'needs'
  | 'untrusted'
  | 'noFolder'
  /** All is there, but no sandbox yet. */
  | 'empty'
  | 'ready';

export interface Facts {
  readonly connection: ConnectionState;
  readonly trusted: boolean;
  readonly folder: boolean;
  readonly sandboxes: number;
  /** The first answer of `sandbox/list` is here. */
  readonly listed: boolean;
}

export function situationOf({ connection, trusted, folder, sandboxes, listed }: Facts): Situation {
  switch (connection.kind) {
    case 'idle':
      return 'idle';
    case 'connecting':
      if (connection.after) return connection.after.reason === 'hanging' ? 'hanging' : 'lost';
      return connection.slow ? 'slow' : 'connecting';
    case 'waiting':
      return connection.problem.reason === 'hanging' ? 'hanging' : 'lost';
    case 'blocked':
      return connection.problem.reason;
    case 'ready': {
      if (sandboxes > 0) return 'ready';
      const missing = connection.handshake.needs.filter((need) => need.status === 'missing');
      if (missing.some((need) => need.id.startsWith('criu'))) return 'noCriu';
      if (missing.length > 0) return 'needs';
      if (!listed) return 'connecting';
      if (!folder) return 'noFolder';
      return trusted ? 'empty' : 'untrusted';
    }
  }
}

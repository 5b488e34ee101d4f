import type { OutputMap } from './multipass/output.ts';
import type { Wire, WireEvents } from './wire.ts';

/**
 * Where a helper is and how one gets there. All that differs between this machine and a virtual one ends here: the rest
 * of the extension doesn't know which it is.
 */
export interface Place {
  /** In one word or two, for the status bar and for diagnostics. */
  readonly name: string;
  /** Null where a helper can be; otherwise what stands in the way. */
  unsupported(): string | null;
  /**
   * What has to be done before there can be a connection: a machine that stands still is started, if somebody `asked` for a
   * connection, and left at rest where a lost one is only tried again. Throws a `HelperError`.
   */
  prepare?(asked: boolean): Promise<void>;
  /** Puts itself between us and the wire, where some requests are answered on this side of it. */
  wrap?(wire: Wire, events: WireEvents): Wire;
  /** The client process that speaks for us. */
  connect(): Executable;
  /** A real process for a terminal that is attached to a session, or null where there can't be one: then it goes through our own connection. */
  shell(session: ShownSession): Executable | null;
  /** What installs and starts a helper, to be run where people see it; null where there is no such thing. */
  setUp(): Executable | null;
  /** A path on this side as it is over there. */
  toHelperPath(path: string): string;
  /** The other way round; one that only the other side has stays as it is. */
  fromHelperPath(path: string): string;
  /** For output that is read on this side, by a task's problem matchers; left out where paths are the same on both. */
  outputHere?(): OutputMap;
}

/** A session as a terminal shows it. */
export interface ShownSession {
  readonly sandbox: string;
  /** Left out: the head, wherever it goes. */
  readonly branch?: string | undefined;
  readonly session: string;
  /** Where it fails or has ended already, that stays to be read. */
  readonly hold?: boolean;
}

export function shellWords({ sandbox, branch, session, hold }: ShownSession): string[] {
  return ['shell', sandbox, ...(branch ? ['--branch', branch] : []), '--session', session, ...(hold ? ['--hold'] : [])];
}

export interface Executable {
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** What one may ask of CRIU, and what comes back. */
import type { DumpStats, NetworkLock } from './criu-rpc.ts';

/** What dump and restore have in common. What is not set is CRIU's default; see criu(8) for the options' meaning. */
export interface CriuOptions {
  /** Folder of the images. Must exist; opened here, so it need not be visible where CRIU runs. */
  imagesDir: string;
  /** Folder of log and statistics. Must exist. Default: `imagesDir`. */
  workDir?: string;
  /** A name in `workDir`. Default: `dump.log` or `restore.log`. An older file of this name is replaced. */
  logFile?: string;
  /** 1 errors, 2 warnings (default), 3 information, 4 all. 4 doubles the time of a dump. */
  logLevel?: 1 | 2 | 3 | 4;
  /** Root of the tree's mount namespace. For a restore: a mount point, as CRIU sees it. */
  root?: string;
  /** Established TCP connections are kept. */
  tcpEstablished?: boolean;
  /** They are restored closed. */
  tcpClose?: boolean;
  /** Connections that nobody has accepted yet are lost instead of failing the dump. */
  tcpSkipInFlight?: boolean;
  fileLocks?: boolean;
  shellJob?: boolean;
  extUnixSk?: boolean;
  orphanPtsMaster?: boolean;
  linkRemap?: boolean;
  /** Bytes up to which a deleted open file is stored in the images. CRIU's default: 1 MiB. */
  ghostLimit?: number;
  /** Default `skip`: the others run iptables or nft; a branch is alone in its network namespace. */
  networkLock?: keyof typeof NetworkLock;
  /** Write tracking for incremental dumps; see `CheckResult.memTrack`. */
  trackMem?: boolean;
  /** Images of the dump before, relative to `imagesDir`. */
  parentImg?: string;
  /**
   * A datagram socket of ours in which CRIU keeps what tracks the writes of the processes from this dump to the next. With it, and a
   * `parentImg`, the images hold all pages themselves, those that were not written taken over by reference where the file system can.
   * Needs our CRIU (`write-tracking`); others do as if it were not there.
   */
  writeTrackSk?: number;
  /** What the processes will touch first is mapped: a restore that takes longer, of processes that then do not. Needs our CRIU (`map-ahead`). */
  mapAhead?: boolean;
  /**
   * At a restore, large images of which the page cache has less than 7/8 are read past it. Needs our CRIU (`direct-pages`); others
   * read them as ever.
   */
  directPages?: boolean;
  /**
   * Folder of the cgroup v2 in which restored processes are born. Needs our CRIU (`root-cgroup`); others have them born where CRIU
   * itself is. Restore only.
   */
  rootCgroup?: string;
  autoDedup?: boolean;
  /** `TYPE[ID]:NAME`, as on CRIU's command line. */
  external?: string[];
  skipMnt?: string[];
  forceIrmap?: boolean;
  irmapScanPaths?: string[];
  /** Network namespaces are restored empty. */
  emptyNetNs?: boolean;
  unprivileged?: boolean;
  /** Descriptors of CRIU's process to give to restored processes, by key. Restore only. */
  inheritFd?: { key: string; fd: number }[];
  /** Milliseconds after which the operation is given up, as by `signal`. Default: 120 000. */
  timeoutMs?: number;
  /**
   * Gives the operation up. CRIU is told so at its next notification and then undoes what it did: a dump lets the
   * processes go on, a restore kills what it made. Only when it has not ended `killAfterMs` later, it is killed.
   */
  signal?: AbortSignal;
  /** Milliseconds between giving up and killing. Default: 5000. */
  killAfterMs?: number;
}

export interface DumpOptions extends CriuOptions {
  /** Root of the process tree, in CRIU's PID namespace. */
  pid: number;
  /** The processes go on afterwards. Default: they are killed. */
  leaveRunning?: boolean;
  /** They are left stopped by SIGSTOP afterwards. */
  leaveStopped?: boolean;
  /** Only copies memory and leaves the processes running; a later dump names it in `parentImg`. */
  preDump?: boolean;
}

export interface DumpResult {
  /** Milliseconds from the call to the end of the CRIU process. */
  ms: number;
  /** CRIU's own figures; undefined when it wrote none. */
  stats: DumpStats | undefined;
  logPath: string;
}

export interface RestoreResult {
  /** Root of the restored tree, in CRIU's PID namespace. Its parent is whoever adopts orphans (CRIU has ended). */
  pid: number;
  ms: number;
  logPath: string;
}

/**
 * Moments of a dump: `pre-dump` nothing is stopped yet; `query-ext-files` all processes are stopped, nothing written;
 * `post-dump` all is read, the processes are still stopped. Of those that are to go on, our CRIU writes most images later.
 */
export type DumpMoment =
  | 'pre-dump'
  | 'network-lock'
  | 'query-ext-files'
  | 'post-dump'
  | 'network-unlock'
  | 'status-ready';
/**
 * Moments of a restore: `setup-namespaces` the tree's root exists in its new namespaces (with pid); `post-restore` all is in
 * place, but not complete (with pid); `pre-resume` everything is complete and stands still; `post-resume` it runs.
 */
export type RestoreMoment =
  | 'pre-restore'
  | 'setup-namespaces'
  | 'post-setup-namespaces'
  | 'post-restore'
  | 'network-unlock'
  | 'pre-resume'
  | 'post-resume'
  | 'orphan-pts-master';

/**
 * Called at moments of an operation; CRIU waits until the promise resolves. A hook that throws fails the operation, whose
 * error has it as `cause`. CRIU cannot turn back any more at `pre-resume` and later: then the restored processes are killed, at
 * `pre-resume` before any of them ran.
 */
export type Hooks<Moment extends string> = { [M in Moment]?: (pid: number | undefined) => void | Promise<void> };

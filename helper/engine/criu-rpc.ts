/**
 * The messages of `criu swrk`, as far as we use them: protobuf (proto2), field numbers as CRIU 3.x-4.x has them.
 * CRIU skips fields that it does not know and so do we, so one table serves every version.
 */
import protobuf from 'protobufjs/light.js';

/** Kind of a request, and of the response to it. */
export const RequestType = {
  dump: 1,
  restore: 2,
  check: 3,
  notify: 6,
  featureCheck: 9,
  version: 10,
  /** One pre-dump per process. Type 4 keeps the process for more of them. */
  preDump: 13,
} as const;

/** What CRIU does about the cgroups of what it dumps. */
export const CgroupMode = { ignore: 0 } as const;

/** How CRIU keeps packets away from connections while it dumps them. */
export const NetworkLock = { iptables: 1, nftables: 2, skip: 3 } as const;

/** `CLONE_NEWNET` of Linux' sched.h: the only kind of namespace that `emptyNs` may name. */
export const CLONE_NEWNET = 0x40000000;

/** Options of a request. Not set = CRIU's default. */
export interface Opts {
  /** A descriptor of the process that made the socket pair, not of CRIU's: it opens `/proc/PEER/fd/N`. */
  imagesDirFd: number;
  workDirFd?: number;
  pid?: number;
  leaveRunning?: boolean;
  leaveStopped?: boolean;
  extUnixSk?: boolean;
  tcpEstablished?: boolean;
  tcpClose?: boolean;
  tcpSkipInFlight?: boolean;
  shellJob?: boolean;
  fileLocks?: boolean;
  logLevel?: number;
  /** A name, no path. In the work folder. */
  logFile?: string;
  notifyScripts?: boolean;
  root?: string;
  /** Relative to the images folder. */
  parentImg?: string;
  /** Of our patched CRIU. A descriptor of the process that made the socket pair. */
  writeTrackSk?: number;
  /** Of our patched CRIU. */
  mapAhead?: boolean;
  /** Likewise. */
  directPages?: boolean;
  /** Likewise. A folder as CRIU sees it. */
  rootCgroup?: string;
  /** Likewise. Names of notifications; none: all. */
  notifyOnly?: string[];
  trackMem?: boolean;
  autoDedup?: boolean;
  linkRemap?: boolean;
  forceIrmap?: boolean;
  irmapScanPaths?: string[];
  external?: string[];
  skipMnt?: string[];
  emptyNs?: number;
  /** Bytes. */
  ghostLimit?: number;
  orphanPtsMaster?: boolean;
  inheritFd?: { key: string; fd: number }[];
  /** Seconds that CRIU tries to stop the processes. */
  timeout?: number;
  manageCgroupsMode?: number;
  networkLock?: number;
  unprivileged?: boolean;
  logToStderr?: boolean;
}

export interface Features {
  memTrack?: boolean;
  lazyPages?: boolean;
  pidfdStore?: boolean;
}

export interface Request {
  type: number;
  opts?: Opts;
  /** Answer to a notification: go on (true), or give up. */
  notifySuccess?: boolean;
  keepOpen?: boolean;
  features?: Features;
}

export interface Response {
  type: number;
  success: boolean;
  restore?: { pid: number };
  notify?: { script?: string; pid?: number };
  /** An errno; CRIU often leaves it out. */
  errno?: number;
  features?: Features;
  /** The first error line of the log, often a harmless one. */
  message?: string;
  version?: { major: number; minor: number; sublevel?: number; gitid?: string };
}

type FieldTable = Record<string, { type: string; id: number; rule?: 'required' | 'repeated' }>;

const bool = (id: number) => ({ type: 'bool', id });
const int32 = (id: number) => ({ type: 'int32', id });
const uint32 = (id: number) => ({ type: 'uint32', id });
const text = (id: number) => ({ type: 'string', id });
const texts = (id: number) => ({ type: 'string', id, rule: 'repeated' as const });
const required = (type: string, id: number) => ({ type, id, rule: 'required' as const });
// As CRIU's own definitions: a field that was set is sent, false and 0 (`CgroupMode.ignore`) included.
const message = (fields: FieldTable) => ({ edition: 'proto2', fields });

// Enums are written as int32: the same bytes.
const messages = protobuf.Root.fromJSON({
  nested: {
    Opts: message({
      imagesDirFd: required('int32', 1),
      pid: int32(2),
      leaveRunning: bool(3),
      extUnixSk: bool(4),
      tcpEstablished: bool(5),
      shellJob: bool(7),
      fileLocks: bool(8),
      logLevel: int32(9),
      logFile: text(10),
      notifyScripts: bool(12),
      root: text(13),
      parentImg: text(14),
      trackMem: bool(15),
      autoDedup: bool(16),
      workDirFd: int32(17),
      linkRemap: bool(18),
      forceIrmap: bool(21),
      inheritFd: { type: 'InheritFd', id: 27, rule: 'repeated' },
      skipMnt: texts(31),
      manageCgroupsMode: int32(34),
      ghostLimit: uint32(35),
      irmapScanPaths: texts(36),
      external: texts(37),
      emptyNs: uint32(38),
      timeout: uint32(45),
      tcpSkipInFlight: bool(46),
      orphanPtsMaster: bool(50),
      tcpClose: bool(52),
      networkLock: int32(64),
      unprivileged: bool(67),
      leaveStopped: bool(69),
      logToStderr: bool(71),
      writeTrackSk: int32(200),
      mapAhead: bool(201),
      directPages: bool(202),
      rootCgroup: text(203),
      notifyOnly: texts(204),
    }),
    InheritFd: message({ key: required('string', 1), fd: required('int32', 2) }),
    Features: message({ memTrack: bool(1), lazyPages: bool(2), pidfdStore: bool(3) }),
    Request: message({
      type: required('int32', 1),
      opts: { type: 'Opts', id: 2 },
      notifySuccess: bool(3),
      keepOpen: bool(4),
      features: { type: 'Features', id: 5 },
    }),
    Restored: message({ pid: required('int32', 1) }),
    Notify: message({ script: text(1), pid: int32(2) }),
    Version: message({ major: required('int32', 1), minor: required('int32', 2), gitid: text(3), sublevel: int32(4) }),
    Response: message({
      type: required('int32', 1),
      success: required('bool', 2),
      restore: { type: 'Restored', id: 4 },
      notify: { type: 'Notify', id: 5 },
      errno: int32(7),
      features: { type: 'Features', id: 8 },
      message: text(9),
      version: { type: 'Version', id: 10 },
    }),
  },
});
const requestType = messages.lookupType('Request');
const responseType = messages.lookupType('Response');

/** The bytes of a request. Throws on a field of the wrong type, which CRIU would only see as garbage. */
export function encodeRequest(request: Request): Uint8Array {
  const wrong = requestType.verify(request);
  if (wrong) throw new TypeError(`A request to CRIU is malformed: ${wrong}`);
  return requestType.encode(requestType.create(request)).finish();
}

/** What CRIU answered. Throws when the bytes are no response. Fields that were not sent are absent. */
export function decodeResponse(bytes: Uint8Array): Response {
  return responseType.toObject(responseType.decode(bytes)) as Response;
}

/** For tests that play CRIU's part. */
export const asCriu = {
  decodeRequest: (bytes: Uint8Array) => requestType.toObject(requestType.decode(bytes)) as Request,
  encodeResponse: (response: Response) => responseType.encode(responseType.create({ ...response })).finish(),
};

/** What a dump cost, as CRIU itself measured it. */
export interface DumpStats {
  /** Microseconds until all processes stood still. */
  freezingMicros: number;
  /** Microseconds that they then stood still, until the end of the dump. */
  frozenMicros: number;
  /** Of those: copying memory out, and writing it to the images. */
  memdumpMicros: number;
  memwriteMicros: number;
  /** Pages that were looked at, left out because the parent images have them, and written. */
  pagesScanned: number;
  pagesSkipped: number;
  pagesWritten: number;
}

const statsType = protobuf.Root.fromJSON({
  nested: {
    Dump: message({
      freezingMicros: uint32(1),
      frozenMicros: uint32(2),
      memdumpMicros: uint32(3),
      memwriteMicros: uint32(4),
      pagesScanned: { type: 'uint64', id: 5 },
      pagesSkipped: { type: 'uint64', id: 6 },
      pagesWritten: { type: 'uint64', id: 7 },
    }),
    Stats: message({ dump: { type: 'Dump', id: 1 } }),
  },
}).lookupType('Stats');

/** Reads CRIU's `stats-dump`: two 32-bit magic numbers, a 32-bit length, a message. Throws when it is something else. */
export function decodeStats(file: Buffer): DumpStats {
  const stats = statsType.toObject(statsType.decode(file.subarray(12, 12 + file.readUInt32LE(8))), {
    longs: Number,
    defaults: true,
  });
  if (!stats.dump) throw new TypeError('These are no statistics of a dump.');
  return stats.dump as DumpStats;
}

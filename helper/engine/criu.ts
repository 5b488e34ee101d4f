/**
 * CRIU: dump a process tree into a folder of images, restore one from it.
 * How the processes, namespaces and mounts come to be is the caller's business; see `CriuLaunch.prefix`.
 */
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, rmSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { CriuError } from './criu-error.ts';
import { explain } from './criu-log.ts';
import type {
  CriuOptions,
  DumpMoment,
  DumpOptions,
  DumpResult,
  Hooks,
  RestoreMoment,
  RestoreResult,
} from './criu-options.ts';
import { type CriuLaunch, CriuProcess, NoAnswer } from './criu-process.ts';
import {
  CgroupMode,
  CLONE_NEWNET,
  type DumpStats,
  decodeStats,
  NetworkLock,
  type Opts,
  RequestType,
} from './criu-rpc.ts';
import { converse } from './criu-swrk.ts';
import { areFaultsArmed, faultPoint, isFaultPoint } from './fault.ts';
import { killQuietly } from './processes.ts';

export { type CheckResult, check } from './criu-check.ts';
export { CriuError, type CriuErrorCode } from './criu-error.ts';
export { type Explanation, explain, type Reason } from './criu-log.ts';
export type * from './criu-options.ts';
export type { CriuLaunch } from './criu-process.ts';

/** Writes the images of a process tree. Rejects with `CriuError`. */
export async function dump(
  criu: CriuLaunch | CriuProcess,
  options: DumpOptions,
  hooks: Hooks<DumpMoment> = {},
): Promise<DumpResult> {
  const done = await run(criu, options.preDump ? 'pre-dump' : 'dump', options, hooks, {
    pid: options.pid,
    leaveRunning: options.leaveRunning,
    leaveStopped: options.leaveStopped,
  });
  return { ms: done.ms, logPath: done.logPath, stats: readStats(options.workDir ?? options.imagesDir) };
}

/** Makes the process tree of the images. Rejects with `CriuError`. */
export async function restore(
  criu: CriuLaunch | CriuProcess,
  options: CriuOptions,
  hooks: Hooks<RestoreMoment> = {},
): Promise<RestoreResult> {
  const done = await run(criu, 'restore', options, hooks, {});
  return { pid: done.pid!, ms: done.ms, logPath: done.logPath };
}

const REQUESTS = { dump: RequestType.dump, 'pre-dump': RequestType.preDump, restore: RequestType.restore } as const;

async function run(
  criu: CriuLaunch | CriuProcess,
  operation: keyof typeof REQUESTS,
  options: CriuOptions,
  hooks: Hooks<string>,
  own: Partial<Opts>,
): Promise<{ pid?: number; ms: number; logPath: string }> {
  const began = performance.now();
  const workDir = options.workDir ?? options.imagesDir;
  const logFile = options.logFile ?? `${operation}.log`;
  const logPath = join(workDir, logFile);
  const giveUp = deadline(options);
  let hookFailure: { moment: string; cause: unknown } | undefined;
  let root: number | undefined;

  const runHook = async (script: string, pid: number | undefined): Promise<boolean> => {
    if (giveUp.reason()) return false;
    try {
      const point = `criu:${script}`;
      if (isFaultPoint(point)) faultPoint(point, own.pid ?? root);
      await hooks[script]?.(pid);
    } catch (cause) {
      hookFailure ??= { moment: script, cause };
      return false;
    }
    return !giveUp.reason();
  };
  let refused = false;
  let tooLate = false;
  // CRIU ends the root of what it cannot restore, and takes its time: who watches that one gives up meanwhile.
  const given = () => (!refused && saysNo(readText(logPath)) ? {} : giveUp.given());
  const onNotify = async (script: string, pid: number | undefined): Promise<boolean> => {
    root = pid ?? root;
    const goOn = await runHook(script, pid);
    refused ||= !goOn;
    tooLate ||= !goOn && operation === 'restore' && /^(pre|post)-resume$/.test(script);
    if (tooLate) {
      // CRIU would let them run all the same; and it would wait for a root that is no more.
      if (root !== undefined) killQuietly(root);
      giveUp.killNow();
    }
    return goOn;
  };

  const folders: number[] = [];
  try {
    options.signal?.throwIfAborted();
    rmSync(logPath, { force: true });
    for (const dir of [options.imagesDir, workDir]) folders.push(openSync(dir, 'r'));
    // Our CRIU asks at these moments alone; a fault may be wanted at any.
    const notifyOnly = areFaultsArmed ? [] : Object.keys(hooks);
    const opts = { ...toOpts(options), ...own, notifyOnly, logFile, imagesDirFd: folders[0]!, workDirFd: folders[1]! };
    const { response, stderr } = await converse(
      criu,
      { type: REQUESTS[operation], opts },
      { onNotify, kill: giveUp.kill, killChildren: operation === 'restore' },
    );
    const ms = performance.now() - began;
    const pid = response.restore?.pid;
    if (response.success && !refused) return { pid, ms, logPath };
    throw refusal(operation, { logPath, stderr, errno: response.errno, ...given(), hookFailure });
  } catch (error) {
    if (error instanceof CriuError) throw error;
    if (error instanceof NoAnswer) {
      // A restore that was killed leaves its root waiting for CRIU for ever.
      if (error.killed && operation === 'restore' && root !== undefined) killQuietly(root);
      const saidNo = error.killed && giveUp.reason() && !given().given;
      if (tooLate || saidNo) throw refusal(operation, { logPath, stderr: error.stderr, ...given(), hookFailure });
      throw lost(operation, error, { logPath, ...given() });
    }
    if (criu instanceof CriuProcess) criu.kill(); // nobody else would
    if (options.signal?.aborted)
      throw new CriuError('aborted', operation, `The ${operation} was cancelled before it began.`, { cause: error });
    throw new CriuError('notStarted', operation, `The ${operation} could not begin: ${(error as Error).message}`, {
      cause: error,
    });
  } finally {
    giveUp.end();
    for (const fd of folders) closeSync(fd);
  }
}

/** A restore failed by what CRIU found, not because somebody ended what it restored: of its own kills CRIU tells nothing. */
function saysNo(log: string): boolean {
  return /\bRestoring FAILED\b/.test(log) && !KILLED.test(log);
}

const KILLED = /\bkilled by signal 9\b/;

function toOpts(options: CriuOptions): Partial<Opts> {
  const { imagesDir, workDir, logFile, timeoutMs, killAfterMs, signal, emptyNetNs, networkLock, logLevel, ...same } =
    options;
  const { pid, leaveRunning, leaveStopped, preDump, ...opts } = same as Partial<DumpOptions>;
  return {
    ...opts,
    logLevel: logLevel ?? 2,
    notifyScripts: true,
    manageCgroupsMode: CgroupMode.ignore,
    networkLock: NetworkLock[networkLock ?? 'skip'],
    ...(emptyNetNs ? { emptyNs: CLONE_NEWNET } : {}),
  };
}

/** When to give up: by the caller's signal or by time; and, some seconds after, when to kill. */
function deadline(options: CriuOptions) {
  const killer = new AbortController();
  let why: 'aborted' | 'timeout' | undefined;
  let grace: NodeJS.Timeout | undefined;
  const stop = (reason: 'aborted' | 'timeout') => {
    why ??= reason;
    grace ??= setTimeout(() => killer.abort(), options.killAfterMs ?? 5000);
  };
  const onAbort = () => stop('aborted');
  const timer = setTimeout(() => stop('timeout'), options.timeoutMs ?? 120_000);
  options.signal?.addEventListener('abort', onAbort, { once: true });
  return {
    kill: killer.signal,
    killNow: () => killer.abort(),
    reason: () => why,
    given: () => (why ? { given: why } : {}),
    end() {
      clearTimeout(timer);
      clearTimeout(grace);
      options.signal?.removeEventListener('abort', onAbort);
    },
  };
}

interface Circumstances {
  logPath: string;
  stderr?: string;
  errno?: number;
  given?: 'aborted' | 'timeout';
  hookFailure?: { moment: string; cause: unknown } | undefined;
}

/** CRIU answered "no", or a hook of ours threw. */
function refusal(operation: CriuError['operation'], at: Circumstances): CriuError {
  const { hookFailure, ...more } = at;
  if (hookFailure) {
    const { moment, cause } = hookFailure;
    const text = `The ${operation} was stopped at "${moment}": ${(cause as Error)?.message ?? cause}`;
    return new CriuError('hook', operation, text, { ...more, cause });
  }
  if (at.given) {
    const text =
      at.given === 'timeout' ? `The ${operation} took too long and was undone.` : `The ${operation} was cancelled.`;
    return new CriuError(at.given, operation, text, more);
  }
  const log = readText(at.logPath);
  const explanation = explain(`${log}\n${at.stderr ?? ''}`);
  if (explanation.reason === 'outsideFile' && explanation.pid !== undefined && holdsQueue(explanation.pid)) {
    explanation.resource = 'a POSIX message queue';
    explanation.summary = `Process ${explanation.pid} has a POSIX message queue open, which cannot be saved.`;
  }
  if (explanation.reason === 'descriptor' && explanation.pid !== undefined) {
    const held = undumpable(explanation.pid);
    if (held) {
      explanation.resource = held;
      explanation.summary = `Process ${explanation.pid} holds ${held}, which cannot be saved.`;
    }
  }
  const command = explanation.pid === undefined ? undefined : commandOf(explanation.pid);
  const who = command ? ` Process ${explanation.pid} is "${command}".` : '';
  const code = operation === 'restore' && KILLED.test(log) ? 'crashed' : 'refused';
  return new CriuError(code, operation, `CRIU's ${operation} failed: ${explanation.summary}${who}`, {
    ...more,
    explanation,
    command,
  });
}

/** CRIU ended without an answer. */
function lost(operation: CriuError['operation'], error: NoAnswer, at: Circumstances): CriuError {
  if (error.killed && at.given) {
    const harm = operation === 'restore' ? '' : ' The processes that it was dumping may be damaged.';
    const text = `The ${operation} was ${at.given === 'timeout' ? 'too slow' : 'cancelled'} and CRIU did not react, so it was killed.${harm}`;
    return new CriuError(at.given, operation, text, { ...at, killed: true, cause: error });
  }
  const log = readText(at.logPath);
  const explanation = explain(`${log}\n${error.stderr}`);
  const said = explanation.quoted.length > 0 ? explanation.summary : error.stderr.trim();
  const text = `CRIU's ${operation} broke off: ${error.message}.${said ? ` ${said}` : ''}`;
  return new CriuError(log === '' && !error.signalled ? 'notStarted' : 'crashed', operation, text, {
    ...at,
    explanation,
    cause: error,
  });
}

function readStats(dir: string): DumpStats | undefined {
  try {
    return decodeStats(readFileSync(join(dir, 'stats-dump')));
  } catch {
    return undefined;
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** The descriptor of a process that CRIU cannot take but does not name, found the way CRIU looks: by what it links to. */
function undumpable(pid: number): string | undefined {
  const names: Record<string, string> = {
    'anon_inode:[io_uring]': 'an io_uring ring',
    'anon_inode:[userfaultfd]': 'a userfaultfd',
    'anon_inode:[perf_event]': 'a performance counter',
    'anon_inode:bpf-prog': 'a BPF program',
    'anon_inode:bpf-map': 'a BPF map',
    'anon_inode:kvm-vm': 'a virtual machine',
  };
  try {
    for (const fd of readdirSync(`/proc/${pid}/fd`)) {
      const name = names[readlinkSync(`/proc/${pid}/fd/${fd}`)];
      if (name) return `${name} (descriptor ${fd})`;
    }
  } catch {} // gone, or in another PID namespace than ours
  return undefined;
}

/** MQUEUE_MAGIC of the kernel's ipc/mqueue.c: to CRIU such a descriptor is a file of a mount that it does not know. */
const MESSAGE_QUEUES = 0x19800202;

function holdsQueue(pid: number): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) => statfsSync(`/proc/${pid}/fd/${fd}`).type === MESSAGE_QUEUES);
  } catch {
    return false; // it ended meanwhile
  }
}

/** Name of a process that still runs. */
function commandOf(pid: number): string | undefined {
  return readText(`/proc/${pid}/comm`).trim() || undefined;
}

/**
 * Starts a program without a copy of the helper. Node's spawn forks, which copies the page tables of all that the helper holds and
 * has it fault on what it writes next (2 ms of processor time, twice what this takes); posix_spawn shares them until the program runs.
 */
import { constants as fs } from 'node:fs';
import { constants } from 'node:os';
import { getSystemErrorName } from 'node:util';
import koffi from 'koffi';

const libc = koffi.load(null);
const c = {
  initActions: libc.func('int posix_spawn_file_actions_init(void *actions)'),
  endActions: libc.func('int posix_spawn_file_actions_destroy(void *actions)'),
  dup2: libc.func('int posix_spawn_file_actions_adddup2(void *actions, int from, int to)'),
  open: libc.func('int posix_spawn_file_actions_addopen(void *actions, int fd, str path, int flags, uint32 mode)'),
  initAttributes: libc.func('int posix_spawnattr_init(void *attributes)'),
  endAttributes: libc.func('int posix_spawnattr_destroy(void *attributes)'),
  flags: libc.func('int posix_spawnattr_setflags(void *attributes, int16 flags)'),
  defaults: libc.func('int posix_spawnattr_setsigdefault(void *attributes, void *set)'),
  mask: libc.func('int posix_spawnattr_setsigmask(void *attributes, void *set)'),
  noSignals: libc.func('int sigemptyset(void *set)'),
  allSignals: libc.func('int sigfillset(void *set)'),
  spawn: libc.func(
    'int posix_spawnp(_Out_ int *pid, str file, void *actions, void *attributes, const char **argv, const char **env)',
  ),
  waitpid: libc.func('int waitpid(int pid, _Out_ int *status, int options)'),
  fcntl: libc.func('int fcntl(int fd, int command, ...)'),
  close: libc.func('int close(int fd)'),
};
/** More than glibc's structures take: 80, 336 and 128 bytes. */
const ROOM = 512;
const SETSIGDEF = 4;
const SETSIGMASK = 8;
const WNOHANG = 1;
const F_DUPFD_CLOEXEC = 1030;

/** How it ended: one of the two. */
export interface End {
  code: number | null;
  signal: NodeJS.Signals | null;
}

/** Whoever waits for a child of ours. Node asks of its own children only, by their pids. */
const waiting = new Map<number, (end: End) => void>();
const SIGNALS = new Map(Object.entries(constants.signals).map(([name, number]) => [number, name as NodeJS.Signals]));

let listens = false;
/** A signal alone is nothing that a program stays for. */
let stay: NodeJS.Timeout | undefined;
const LONG_MS = 2 ** 30;

function endOf(pid: number): Promise<End> {
  if (!waiting.size) stay = setInterval(() => {}, LONG_MS);
  return new Promise((tell) => waiting.set(pid, tell));
}

function reap(): void {
  for (const [pid, tell] of waiting) {
    const status = [0];
    if (c.waitpid(pid, status, WNOHANG) !== pid) continue;
    waiting.delete(pid);
    const signal = status[0]! & 0x7f;
    tell(signal ? { code: null, signal: SIGNALS.get(signal) ?? 'SIGKILL' } : { code: status[0]! >> 8, signal: null });
  }
  if (!waiting.size) clearInterval(stay);
}

/**
 * @param descriptors what it has as 0, 1, …; 'none' is /dev/null. Ours stay open. All others must be closed at exec
 * @throws Error with a `code`, as Node's have, where there is no such program
 */
export function spawnProgram(
  words: [string, ...string[]],
  env: Record<string, string>,
  descriptors: (number | 'none')[],
): { pid: number; ended: Promise<End> } {
  const actions = Buffer.alloc(ROOM);
  const attributes = Buffer.alloc(ROOM);
  const signals = Buffer.alloc(ROOM);
  const copies: number[] = [];
  c.initActions(actions);
  c.initAttributes(attributes);
  try {
    for (const [to, from] of descriptors.entries()) {
      if (from === 'none') {
        c.open(actions, to, '/dev/null', fs.O_RDWR, 0);
        continue;
      }
      // One that is another's place would be gone when it is its turn.
      const safe = from < descriptors.length ? c.fcntl(from, F_DUPFD_CLOEXEC, 'int', descriptors.length) : from;
      if (safe !== from) copies.push(safe);
      c.dup2(actions, safe, to);
    }
    c.flags(attributes, SETSIGDEF | SETSIGMASK);
    c.allSignals(signals);
    c.defaults(attributes, signals); // Node ignores SIGPIPE, and programs inherit that
    c.noSignals(signals);
    c.mask(attributes, signals);
    if (!listens) process.on('SIGCHLD', reap); // before there is one: it may end at once
    listens = true;
    const pid = [0];
    const settings = Object.entries(env).map(([name, value]) => `${name}=${value}`);
    const errno = c.spawn(pid, words[0], actions, attributes, [...words, null], [...settings, null]);
    if (errno) {
      const code = getSystemErrorName(-errno);
      throw Object.assign(new Error(`spawn ${words[0]} ${code}`), { code });
    }
    return { pid: pid[0]!, ended: endOf(pid[0]!) };
  } finally {
    c.endActions(actions);
    c.endAttributes(attributes);
    for (const fd of copies) c.close(fd);
  }
}

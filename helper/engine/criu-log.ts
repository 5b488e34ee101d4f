/**
 * Why CRIU failed, from its log. CRIU answers "no" with the *first* error line at most, which is often a harmless one;
 * the cause stands somewhere in the log, and at log level 2 (the default) the log is short. Lines quoted here are of CRIU
 * 3.16-4.2.
 */

/** Kinds of cause, for programs. `unknown`: the quoted lines are all there is. */
export type Reason =
  // what processes hold
  | 'traced'
  | 'descriptor'
  | 'nestedNamespace'
  | 'outsideFile'
  | 'outsideSocket'
  | 'outsideSession'
  | 'outsideTerminal'
  | 'pendingConnection'
  | 'tcpConnection'
  | 'protocol'
  | 'fileLock'
  | 'deletedFile'
  | 'unlinkedFile'
  | 'fileWatch'
  | 'mapping'
  | 'processGone'
  // what the images and the world around them disagree about
  | 'fileChanged'
  | 'fileMissing'
  | 'pidTaken'
  | 'addressTaken'
  | 'cpu'
  | 'imagesMissing'
  // the machine
  | 'noSpace'
  | 'noMemory'
  | 'limit'
  | 'tcpRepair'
  | 'otherUser'
  | 'tooOld'
  // no line tells: where CRIU can begin no process for its work, say
  | 'unsaid'
  | 'unknown';

export interface Explanation {
  /** One or more whole sentences for a person. Ends with CRIU's own words where they are all there is. */
  summary: string;
  reason: Reason;
  /** The process that stood in the way, in CRIU's PID namespace. */
  pid?: number;
  /** What of it cannot be carried, in words. */
  resource?: string;
  /** The log's error lines, without the harmless ones and without repetitions; at most 12. */
  quoted: string[];
}

interface Rule {
  when: RegExp;
  reason: Reason;
  /** A noun phrase: what cannot be carried. */
  resource?: (m: RegExpMatchArray) => string;
  say: (m: RegExpMatchArray) => string;
  /** Number of the group that holds the pid. */
  pid?: number;
}

/** The first rule that fits any error line wins, so the more telling ones stand first. */
const RULES: Rule[] = [
  {
    when: /Unseizable non-zombie (\d+) found/,
    reason: 'traced',
    pid: 1,
    resource: () => 'being traced by a debugger',
    say: (m) => `Process ${m[1]} cannot be stopped, because a debugger or strace is attached to it. Detach it first.`,
  },
  {
    when: /Can't dump nested (\w+) namespace for (\d+)/,
    reason: 'nestedNamespace',
    pid: 2,
    resource: (m) => `a nested ${m[1]} namespace`,
    say: (m) =>
      `Process ${m[2]} made a ${m[1]} namespace of its own (a container or a browser's sandbox, for example), which cannot be saved.`,
  },
  {
    when: /Can't dump file (\d+) of that type \[\w+\] \((?:unknown )?(.*)\)/,
    reason: 'descriptor',
    resource: (m) => `${m[2]} (descriptor ${m[1]})`,
    say: (m) => `Descriptor ${m[1]} is of a kind that cannot be saved: ${m[2]}.`,
  },
  {
    when: /packetized mode for pipes/,
    reason: 'descriptor',
    resource: () => 'a pipe in packet mode (O_DIRECT)',
    say: () => 'A process has a pipe in packet mode (made with O_DIRECT), which cannot be saved.',
  },
  {
    when: /Non-empty write queue on an in-flight socket/,
    reason: 'pendingConnection',
    resource: () => 'a message to a unix socket that has not accepted the connection yet',
    say: () =>
      'A program has sent something over a unix socket whose other end has not accepted the connection yet. Usually trying again a moment later is enough.',
  },
  {
    when: /Found a closed in-flight socket/,
    reason: 'pendingConnection',
    resource: () => 'a connection over a unix socket that was closed before it was accepted',
    say: () =>
      'A program has closed a connection over a unix socket before the other end accepted it. Usually trying again a moment later is enough.',
  },
  {
    when: /send_fds failed \(-22\)/,
    reason: 'descriptor',
    resource: () => 'a descriptor that no other process may be given, such as an io_uring ring',
    say: () =>
      'A process holds a descriptor that no other process may be given, such as an io_uring ring, so it cannot be saved.',
  },
  {
    when: /Can't lookup mount=-?\d+ for fd=(-?\d+) path=(.*)/,
    reason: 'outsideFile',
    resource: (m) => (Number(m[1]) < 0 ? `a mapping of /${strip(m[2]!)}` : `/${strip(m[2]!)} (descriptor ${m[1]})`),
    say: (m) =>
      `A process ${Number(m[1]) < 0 ? 'maps' : 'holds open'} /${strip(m[2]!)}, which was opened outside of the branch and does not exist inside.`,
  },
  {
    when: /External socket is used|Can't dump (?:half of stream unix connection|name-less external socket)|with unreachable peer/,
    reason: 'outsideSocket',
    resource: () => 'a unix socket whose other end is outside',
    say: () =>
      'A process is connected over a unix socket to one outside of the branch. That connection has to be closed first.',
  },
  {
    when: /A session leader of (?:zombie process )?(\d+)\(\d+\) is outside of its pid namespace/,
    reason: 'outsideSession',
    pid: 1,
    resource: () => 'a session that began outside',
    say: (m) =>
      `Process ${m[1]} belongs to a session that began outside of the branch (it was started without setsid).`,
  },
  {
    when: /Found dangling tty with sid|The root process \d+ is not a session leader|Only one slave external peer|correspond master peer/,
    reason: 'outsideTerminal',
    resource: () => 'a terminal whose other end is outside',
    say: () => 'A process uses a terminal that was opened outside of the branch.',
  },
  {
    when: /In-flight connection/,
    reason: 'pendingConnection',
    resource: () => 'a connection that nobody has accepted yet',
    say: () =>
      'A program has a network connection waiting that it has not accepted yet. Usually trying again a moment later is enough.',
  },
  {
    when: /Connected TCP socket|Connected TCP socket in image/,
    reason: 'tcpConnection',
    resource: () => 'an established TCP connection',
    say: () => 'There is an established TCP connection, and keeping it was not asked for.',
  },
  {
    when: /Unsupported proto (\d+) for socket|Unsupported socket (?:family|type): (\d+)|Unsupported type \((\d+)\) on socket/,
    reason: 'protocol',
    resource: (m) => `a socket of a kind that cannot be saved (number ${m[1] ?? m[2] ?? m[3]})`,
    say: (m) =>
      m[1] === '262'
        ? 'A process uses Multipath TCP, which cannot be saved. For programs written in Go, set GODEBUG=multipathtcp=0.'
        : `A process has a socket of a kind that cannot be saved (number ${m[1] ?? m[2] ?? m[3]}).`,
  },
  {
    when: /Some file locks are hold/,
    reason: 'fileLock',
    resource: () => 'a file lock',
    say: () => 'A process holds a file lock, and keeping locks was not asked for.',
  },
  {
    when: /Can't dump ghost file (.*) of (\d+) size/,
    reason: 'deletedFile',
    resource: (m) => `${m[1]}, deleted but still open`,
    say: (m) =>
      `A process still holds ${m[1]} open, which was deleted, and its ${Math.ceil(Number(m[2]) / 2 ** 20)} MiB are more than the limit for such files.`,
  },
  {
    when: /Can't create link remap for (\S+?)\. /,
    reason: 'unlinkedFile',
    resource: (m) => `${m[1]}, deleted but still open`,
    say: (m) => `A process holds ${m[1]} open under a name that was deleted, and keeping such files was not asked for.`,
  },
  {
    when: /fsnotify:.*(?:Can't dump that handle|Can't find path|No handle|can't find inode)|Can't dump that handle/,
    reason: 'fileWatch',
    resource: () => 'a file watch (inotify)',
    say: () => 'A process watches files (inotify) in a place where watches cannot be saved.',
  },
  {
    when: /Can't handle non-regular mapping on (\d+)'s map|Unsupported mapping found/,
    reason: 'mapping',
    pid: 1,
    resource: () => 'a mapping of a device',
    say: (m) => `${m[1] ? `Process ${m[1]}` : 'A process'} maps a device into its memory, which cannot be saved.`,
  },
  {
    when: /Can't get rlimit \d+/,
    reason: 'otherUser',
    say: () =>
      'The processes run as another user, and CRIU may not ask for their limits. They need a user namespace of their own, or CRIU needs CAP_SYS_RESOURCE.',
  },
  {
    when: /Can't turn TCP repair mode ON: Operation not permitted|Failed to turn off repair mode/,
    reason: 'tcpRepair',
    resource: () => 'an established TCP connection',
    say: () =>
      'CRIU may not restore TCP connections here: it needs our patch for that (doctor shows which CRIU is used), or CAP_NET_ADMIN.',
  },
  {
    when: /No space left on device|Disk quota exceeded/,
    reason: 'noSpace',
    say: () => 'The disk is full.',
  },
  { when: /Cannot allocate memory|Out of memory/, reason: 'noMemory', say: () => 'Memory ran out.' },
  {
    // As many processes as are allowed: each place where CRIU makes one says it in its own words.
    when: /Resource temporarily unavailable/,
    reason: 'limit',
    say: () => 'Something was not to be had just then; as a rule there are as many processes as are allowed.',
  },
  { when: /Too many open files/, reason: 'limit', say: () => 'As many files are open as the machine allows.' },
  {
    when: /File (\S+) has bad (size|mode|build-ID)/,
    reason: 'fileChanged',
    resource: (m) => `/${strip(m[1]!)}`,
    say: (m) =>
      `The file /${strip(m[1]!)}, which a process had open, is not the one that it was (its ${m[2]} differs).`,
  },
  {
    when: /Can't open file (\S+) on restore: No such file|Can't open file (\S+): No such file/,
    reason: 'fileMissing',
    resource: (m) => `/${strip((m[1] ?? m[2])!)}`,
    say: (m) => `The file /${strip((m[1] ?? m[2])!)}, which a process had open, is not there any more.`,
  },
  {
    when: /Can't fork for (\d+): File exists|Pid (\d+) do not match expected|can't restore pid: (\d+)/i,
    reason: 'pidTaken',
    say: (m) => `Another process has the number ${m[1] ?? m[2] ?? m[3]} already.`,
  },
  {
    when: /Can't bind inet socket.*: (Address already in use|Cannot assign requested address|Permission denied)/,
    reason: 'addressTaken',
    resource: () => 'a network address',
    say: (m) => `A network address that a process used is not to be had again (${m[1]!.toLowerCase()}).`,
  },
  {
    when: /(?:CPU instruction capabilities|CPU capabilities) do not match run time/,
    reason: 'cpu',
    say: () => 'The images were made on a processor with other abilities, so they cannot run here.',
  },
  {
    when: /Can't open (?:file )?\S*(?:inventory|pstree)\S*|Magic doesn't match for .*inventory/,
    reason: 'imagesMissing',
    say: () => 'The folder holds no complete images of a process tree.',
  },
  {
    when: /Unexpected rt vDSO area bounds|vvar_vclock|Unable to find.*vdso/,
    reason: 'tooOld',
    say: () => 'This CRIU is too old for this kernel. Linux 6.13 and later need CRIU 4.1.',
  },
  {
    when: /No such process|Can't (?:seize|find) task (\d+)|Unable to (?:seize|interrupt) task: (\d+) \(No such process\)/,
    reason: 'processGone',
    say: () => 'The process to save is not there any more.',
  },
];

/** Error lines that a successful operation has too, or that only repeat that something failed. */
const HARMLESS =
  /RLIMIT_NOFILE for self|Can't keep kdat cache|FAILED\.$|Message reply from daemon is trimmed|Can't retrieve FDs? from socket|failed with -?\d+$/;

/** Says why, from the text of a log. Total: a log that holds nothing known gives reason `unknown` and its own last words. */
export function explain(log: string): Explanation {
  const errors = log.split('\n').filter((line) => /\bError \(/.test(line));
  const told = errors.filter((line) => !HARMLESS.test(line)).map(bare);
  const quoted = [...new Set(told.length > 0 ? told : errors.map(bare))].slice(0, 12);
  for (const rule of RULES) {
    for (const line of quoted) {
      const m = line.match(rule.when);
      if (!m) continue;
      const group = rule.pid === undefined ? undefined : m[rule.pid];
      return {
        summary: rule.say(m),
        reason: rule.reason,
        pid: group === undefined ? pidOf(errors) : Number(group),
        resource: rule.resource?.(m),
        quoted,
      };
    }
  }
  const words =
    quoted.length > 0 ? `It said: ${quoted.map((line) => line.replace(/\.?$/, '.')).join(' ')}` : lastWords(log);
  return { summary: words, reason: told.length ? 'unknown' : 'unsaid', pid: pidOf(errors), quoted };
}

/** "Error (criu/x.c:12): y" without time, place and the process that wrote it. */
function bare(line: string): string {
  return line.replace(/^.*?\bError \([^)]*\): /, '').trim();
}

function strip(path: string): string {
  return path.replace(/^\/+/, '');
}

/** Many causes name no process, but the steps that they broke off do, as "(pid: N)". Those of a dump only. */
function pidOf(errors: string[]): number | undefined {
  for (const line of errors) {
    const m = line.match(/\(pid: (\d+)\)/);
    if (m) return Number(m[1]);
  }
  return undefined;
}

function lastWords(log: string): string {
  const lines = log.split('\n').filter((line) => line.trim() !== '' && !/\bWarn {2}\(/.test(line));
  return lines.length > 0 ? `It said: ${lines.slice(-3).join(' / ').trim()}` : 'Its log holds no reason.';
}

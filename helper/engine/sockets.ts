/**
 * The sockets of a network namespace, seen from outside. Asked of the kernel by netlink, since reading /proc/PID/net/tcp walks the
 * table of all connections of the machine (6 ms of processor time where it is large): here only the short list of listeners is
 * read, and that table only where the counters say that there is a connection.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { LISTEN, listSockets, type Protocol, type Socket } from './netlink.ts';

/** TCP sockets that listen; none where the process has ended. */
export function listeners(pid: number): Socket[] {
  const { tcp } = inUse(pid);
  return tcp ? list(pid, 'tcp', 1 << LISTEN) : [];
}

/** TCP sockets that do not. */
export function connections(pid: number): Socket[] {
  const { tcp } = inUse(pid);
  if (!tcp || listeners(pid).length >= tcp) return [];
  return list(pid, 'tcp', ~(1 << LISTEN));
}

export function udpSockets(pid: number): Socket[] {
  return inUse(pid).udp ? list(pid, 'udp', -1) : [];
}

function list(pid: number, protocol: Protocol, states: number): Socket[] {
  try {
    return listSockets(pid, protocol, states);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []; // it ended meanwhile
    throw error;
  }
}

/** How many sockets there are, IPv4 and IPv6. */
function inUse(pid: number): { tcp: number; udp: number } {
  const read = (file: string): string => {
    try {
      return readFileSync(`/proc/${pid}/net/${file}`, 'utf8');
    } catch {
      return ''; // it ended, or the kernel has no IPv6
    }
  };
  return countInUse(read('sockstat'), read('sockstat6'));
}

export function countInUse(sockstat: string, sockstat6: string): { tcp: number; udp: number } {
  const count = (text: string, name: string): number =>
    Number(new RegExp(`^${name}: inuse (\\d+)`, 'm').exec(text)?.[1] ?? 0);
  return {
    tcp: count(sockstat, 'TCP') + count(sockstat6, 'TCP6'),
    udp: count(sockstat, 'UDP') + count(sockstat6, 'UDP6'),
  };
}

/** The IPv4 address of an IPv4 socket or of an IPv6 one that talks to IPv4 (::ffff:a.b.c.d), else null. */
export function asIpv4(raw: Buffer): Buffer | null {
  if (raw.length === 4) return raw;
  const mapped = raw.subarray(0, 10).every((b) => b === 0) && raw[10] === 0xff && raw[11] === 0xff;
  return mapped ? raw.subarray(12) : null;
}

export function isAny(raw: Buffer): boolean {
  return (asIpv4(raw) ?? raw).every((b) => b === 0);
}

export function isLoopback(raw: Buffer): boolean {
  const four = asIpv4(raw);
  if (four) return four[0] === 127;
  return raw.subarray(0, 15).every((b) => b === 0) && raw[15] === 1;
}

/** Whether the other end is in the same namespace, whatever address it goes by. */
export function staysInside(socket: Socket, all: Socket[]): boolean {
  if (isLoopback(socket.remote)) return true;
  const key = (address: Buffer, port: number): string => `${(asIpv4(address) ?? address).toString('hex')}:${port}`;
  const [here, there] = [key(socket.local, socket.localPort), key(socket.remote, socket.remotePort)];
  return all.some((o) => key(o.local, o.localPort) === there && key(o.remote, o.remotePort) === here);
}

/** Who of these processes holds which of the sockets: inode → pid. */
export function holders(pids: number[], inodes: ReadonlySet<number>): Map<number, number> {
  const found = new Map<number, number>();
  for (const pid of pids) {
    let fds: string[];
    try {
      fds = readdirSync(`/proc/${pid}/fd`);
    } catch {
      continue; // it ended meanwhile
    }
    for (const fd of fds) {
      try {
        const inode = Number(/^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1]);
        if (inodes.has(inode) && !found.has(inode)) found.set(inode, pid);
      } catch {
        // closed meanwhile
      }
    }
  }
  return found;
}

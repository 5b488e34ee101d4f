/** The TCP sockets of a network namespace, read from outside in /proc/PID/net. Source: Documentation/networking/proc_net_tcp.rst. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** Of `include/net/tcp_states.h`, those that are told apart here. */
export const ESTABLISHED = 1;
export const LISTEN = 10;

export interface TcpSocket {
  family: 4 | 6;
  /** Raw, 4 or 16 bytes in network order. */
  local: Buffer;
  localPort: number;
  remote: Buffer;
  remotePort: number;
  state: number;
  /** 0: nobody holds it open. */
  inode: number;
}

/** Words of 32 bits, each printed as the machine has it: little endian on all that the helper runs on. */
function address(hex: string): Buffer {
  const bytes = Buffer.from(hex, 'hex');
  return bytes.swap32();
}

export function parseTcp(text: string, family: 4 | 6): TcpSocket[] {
  const found: TcpSocket[] = [];
  for (const line of text.split('\n').slice(1)) {
    const [, local, remote, state, , , , , , inode] = line.trim().split(/\s+/);
    if (!inode) continue;
    const [localHex, localPort] = local!.split(':') as [string, string];
    const [remoteHex, remotePort] = remote!.split(':') as [string, string];
    found.push({
      family,
      local: address(localHex),
      localPort: Number.parseInt(localPort, 16),
      remote: address(remoteHex),
      remotePort: Number.parseInt(remotePort, 16),
      state: Number.parseInt(state!, 16),
      inode: Number(inode),
    });
  }
  return found;
}

/** TCP sockets of the namespace that the process lives in; none where it has ended. */
export function tcpSockets(pid: number): TcpSocket[] {
  return sockets(pid, 'tcp');
}

/** UDP sockets; a connected one is ESTABLISHED. */
export function udpSockets(pid: number): TcpSocket[] {
  return sockets(pid, 'udp');
}

function sockets(pid: number, protocol: 'tcp' | 'udp'): TcpSocket[] {
  const read = (name: string): string => {
    try {
      return readFileSync(`/proc/${pid}/net/${name}`, 'utf8');
    } catch {
      return ''; // it ended, or the kernel has no IPv6
    }
  };
  return [...parseTcp(read(protocol), 4), ...parseTcp(read(`${protocol}6`), 6)];
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
export function staysInside(socket: TcpSocket, all: TcpSocket[]): boolean {
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

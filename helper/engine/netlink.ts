/**
 * Links, addresses, routes and sockets of a network namespace, by netlink: what `ip` and `ss -K` do, without starting them (a
 * branch is made in a few milliseconds). Sources: netlink(7), rtnetlink(7), sock_diag(7), linux/inet_diag.h.
 */
import { closeSync, openSync } from 'node:fs';
import { check, codeOf, cPath, libc, systemError } from './libc.ts';

const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const CLONE_NEWNET = 0x40000000;
const ROUTE = 0;
const SOCK_DIAG = 4;

const REQUEST = 1;
const ACK = 4;
const REPLACE = 0x100;
const EXCL = 0x200;
const DUMP = 0x300;
const CREATE = 0x400;

const NEWLINK = 16;
const DELLINK = 17;
const NEWADDR = 20;
const DELADDR = 21;
const NEWROUTE = 24;
const DELROUTE = 25;
const BY_FAMILY = 20;
const SOCK_DESTROY = 21;
const DONE = 3;
const ERROR = 2;

const IFF_UP = 1;
const AF_INET = 2;
const AF_INET6 = 10;
/** Of lo, in every network namespace. */
export const LOOPBACK_INDEX = 1;
const LOCAL_TABLE = 255;
const MAIN_TABLE = 254;

function attribute(type: number, value: Buffer): Buffer {
  const padded = Buffer.alloc(4 + ((value.length + 3) & ~3));
  padded.writeUInt16LE(4 + value.length, 0);
  padded.writeUInt16LE(type, 2);
  value.copy(padded, 4);
  return padded;
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function name(text: string): Buffer {
  return Buffer.from(`${text}\0`);
}

/** `10.0.0.1` as four bytes. */
export function ipv4(text: string): Buffer {
  return Buffer.from(text.split('.').map(Number));
}

/** One request and its acknowledgement. @throws a Node-style error named `what` */
function ask(family: number, type: number, flags: number, body: Buffer, what: string): void {
  const fd = check(libc().socket(AF_NETLINK, SOCK_RAW_CLOEXEC, family), 'socket');
  try {
    const message = Buffer.alloc(16 + body.length);
    message.writeUInt32LE(message.length, 0);
    message.writeUInt16LE(type, 4);
    message.writeUInt16LE(REQUEST | ACK | flags, 6);
    message.writeUInt32LE(1, 8);
    body.copy(message, 16);
    check(libc().send(fd, message, message.length, 0), 'send');
    const answer = Buffer.alloc(8192);
    check(libc().recv(fd, answer, answer.length, 0), 'recv');
    const error = -answer.readInt32LE(16); // NLMSG_ERROR is the only answer to an ACKed change
    if (error) throw systemError(error, what);
  } finally {
    closeSync(fd);
  }
}

/**
 * Runs `work` in the network namespace of a process. Synchronous, and nothing in it may start a thread: the namespace is that
 * of the calling thread alone.
 */
export function inNetworkOf<T>(pid: number, work: () => T): T {
  const [home, there] = [openSync('/proc/thread-self/ns/net', 'r'), openSync(`/proc/${pid}/ns/net`, 'r')];
  try {
    check(libc().setns(there, CLONE_NEWNET), 'setns');
    return work();
  } finally {
    // To go on elsewhere than at home would be worse than to end.
    if (libc().setns(home, CLONE_NEWNET) === -1) process.abort();
    closeSync(there);
    closeSync(home);
  }
}

function linkMessage(index: number, flags = 0, change = 0): Buffer {
  const body = Buffer.alloc(16);
  body.writeInt32LE(index, 4);
  body.writeUInt32LE(flags, 8);
  body.writeUInt32LE(change, 12);
  return body;
}

/** A pair of interfaces, `here` in this namespace and `there` in that of a process. @throws EEXIST */
export function addPair(here: string, there: string, pid: number): void {
  const [IFNAME, LINKINFO, NET_NS_PID, KIND, DATA, PEER] = [3, 18, 19, 1, 2, 1];
  const peer = Buffer.concat([linkMessage(0), attribute(IFNAME, name(there)), attribute(NET_NS_PID, u32(pid))]);
  const info = Buffer.concat([attribute(KIND, Buffer.from('veth')), attribute(DATA, attribute(PEER, peer))]);
  const body = Buffer.concat([linkMessage(0), attribute(IFNAME, name(here)), attribute(LINKINFO, info)]);
  ask(ROUTE, NEWLINK, CREATE | EXCL, body, `add link ${here}`);
}

/** In this namespace. @throws where there is no such interface */
export function indexOf(link: string): number {
  const index = libc().if_nametoindex(cPath(link));
  if (!index) throw new Error(`there is no interface ${link}`);
  return index;
}

/** With its other end. */
export function deleteLink(link: string): void {
  ask(ROUTE, DELLINK, 0, Buffer.concat([linkMessage(0), attribute(3, name(link))]), `delete link ${link}`);
}

export function raise(link: string): void {
  const body = Buffer.concat([linkMessage(0, IFF_UP, IFF_UP), attribute(3, name(link))]);
  ask(ROUTE, NEWLINK, 0, body, `raise ${link}`);
}

function addressMessage(index: number, address: Buffer, prefix: number): Buffer {
  const body = Buffer.alloc(8);
  body[0] = AF_INET;
  body[1] = prefix;
  body.writeUInt32LE(index, 4);
  return Buffer.concat([body, attribute(2, address), attribute(1, address)]);
}

/** Also where it is there already. */
export function addAddress(index: number, address: Buffer, prefix: number): void {
  ask(ROUTE, NEWADDR, CREATE | REPLACE, addressMessage(index, address, prefix), 'add address');
}

export function deleteAddress(index: number, address: Buffer, prefix: number): void {
  ask(ROUTE, DELADDR, 0, addressMessage(index, address, prefix), 'delete address');
}

interface Route {
  family: number;
  table: number;
  type: 'unicast' | 'local';
  index: number;
  gateway?: Buffer;
}

/** The default route of a table. */
function routeMessage({ family, table, type, index, gateway }: Route): Buffer {
  const body = Buffer.alloc(12);
  body[0] = family;
  body[4] = table;
  body[5] = 4; // RTPROT_STATIC
  body[6] = type === 'local' ? 254 : 0;
  body[7] = type === 'local' ? 2 : 1;
  const parts = [body, attribute(4, u32(index))];
  if (gateway) parts.push(attribute(5, gateway));
  return Buffer.concat(parts);
}

export function addDefaultRoute(index: number, gateway: Buffer): void {
  const route: Route = { family: AF_INET, table: MAIN_TABLE, type: 'unicast', index, gateway };
  ask(ROUTE, NEWROUTE, CREATE | REPLACE, routeMessage(route), 'add default route');
}

/** Every address there is counts as this namespace's own. IPv6 where the kernel has it. */
export function allLocal(on: boolean): void {
  for (const family of [AF_INET, AF_INET6]) {
    const route: Route = { family, table: LOCAL_TABLE, type: 'local', index: LOOPBACK_INDEX };
    try {
      ask(ROUTE, on ? NEWROUTE : DELROUTE, on ? CREATE | REPLACE : 0, routeMessage(route), 'local route');
    } catch (error) {
      if (family === AF_INET) throw error;
    }
  }
}

/** Of `include/net/tcp_states.h`, those that are told apart. A connected UDP socket is ESTABLISHED. */
export const ESTABLISHED = 1;
export const LISTEN = 10;
export type Protocol = 'tcp' | 'udp';
const PROTOCOL = { tcp: 6, udp: 17 };

export interface Socket {
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

/** The sockets of a process's network namespace in these states, a bit each. */
export function listSockets(pid: number, protocol: Protocol, states: number): Socket[] {
  // A netlink socket belongs to the namespace that it was made in.
  const fd = inNetworkOf(pid, () => check(libc().socket(AF_NETLINK, SOCK_RAW_CLOEXEC, SOCK_DIAG), 'socket'));
  try {
    return [AF_INET, AF_INET6].flatMap((family) => {
      const message = Buffer.alloc(72);
      message.writeUInt32LE(message.length, 0);
      message.writeUInt16LE(BY_FAMILY, 4);
      message.writeUInt16LE(REQUEST | DUMP, 6);
      message[16] = family;
      message[17] = PROTOCOL[protocol];
      message.writeInt32LE(states, 20);
      check(libc().send(fd, message, message.length, 0), 'send');
      return [...answers(fd)].map(toSocket);
    });
  } finally {
    closeSync(fd);
  }
}

/** The messages of one dump. */
function* answers(fd: number): Generator<Buffer> {
  const buffer = Buffer.alloc(1 << 16);
  for (;;) {
    const size = check(libc().recv(fd, buffer, buffer.length, 0), 'recv');
    for (let at = 0; at + 16 <= size; ) {
      const length = buffer.readUInt32LE(at);
      const type = buffer.readUInt16LE(at + 4);
      if (type === DONE || type === ERROR) return; // an error: the kernel has no IPv6, or can't tell
      yield Buffer.from(buffer.subarray(at + 16, at + length));
      at += (length + 3) & ~3;
    }
  }
}

/** struct inet_diag_msg */
function toSocket(message: Buffer): Socket {
  const family = message[0] === AF_INET ? 4 : 6;
  const size = family === 4 ? 4 : 16;
  return {
    family,
    state: message[1]!,
    localPort: message.readUInt16BE(4),
    remotePort: message.readUInt16BE(6),
    local: message.subarray(8, 8 + size),
    remote: message.subarray(24, 24 + size),
    inode: message.readUInt32LE(68),
  };
}

/** Ends a connection: who holds it is told so by an error, at once. False where the kernel can't (CONFIG_INET_DIAG_DESTROY). */
export function destroySocket(socket: Socket, protocol: Protocol = 'tcp'): boolean {
  const body = Buffer.alloc(56);
  body[0] = socket.family === 4 ? AF_INET : AF_INET6;
  body[1] = PROTOCOL[protocol];
  body.writeUInt32LE(0xffffffff, 4); // in every state
  body.writeUInt16BE(socket.localPort, 8);
  body.writeUInt16BE(socket.remotePort, 10);
  socket.local.copy(body, 12);
  socket.remote.copy(body, 28);
  body.fill(0xff, 48); // INET_DIAG_NOCOOKIE
  try {
    ask(SOCK_DIAG, SOCK_DESTROY, 0, body, 'destroy socket');
    return true;
  } catch (error) {
    const { errno = 0 } = error as NodeJS.ErrnoException;
    if (codeOf(-errno) === 'ENOENT') return true; // it ended by itself
    return false;
  }
}

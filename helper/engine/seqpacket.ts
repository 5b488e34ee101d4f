/** What connects us with CRIU: a SOCK_SEQPACKET pair for its RPC, whose messages are packets, and pipes. */
import { Socket } from 'node:net';
import koffi from 'koffi';

const libc = koffi.load(null);
const c = {
  socketpair: libc.func('int socketpair(int domain, int type, int protocol, _Out_ int *sockets)'),
  pipe2: libc.func('int pipe2(_Out_ int *ends, int flags)'),
  dup3: libc.func('int dup3(int from, int to, int flags)'),
  fcntl: libc.func('int fcntl(int fd, int command, ...)'),
  close: libc.func('int close(int fd)'),
};
const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_SEQPACKET = 5;
const CLOEXEC = 0o2000000; // SOCK_CLOEXEC and O_CLOEXEC alike
const F_SETFL = 4;
const O_NONBLOCK = 0o4000;

function pair(type: number): [number, number] {
  const fds = [-1, -1];
  if (c.socketpair(AF_UNIX, type | CLOEXEC, 0, fds) < 0) throw systemError('socketpair');
  return [fds[0]!, fds[1]!];
}

/** A pipe: our end, to read or to write, as a Node socket; the other as a descriptor. */
export function pipe(ours: 'reads' | 'writes'): [Socket, number] {
  const fds = [-1, -1];
  if (c.pipe2(fds, CLOEXEC) < 0) throw systemError('pipe2');
  const [read, write] = fds as [number, number];
  if (ours === 'reads') return [new Socket({ fd: read, readable: true, writable: false }), write];
  return [new Socket({ fd: write, readable: false, writable: true }), read];
}

export function closeFd(fd: number): void {
  c.close(fd);
}

function systemError(call: string): Error {
  return new Error(`${call} failed with errno ${koffi.errno()}`);
}

/**
 * A SOCK_SEQPACKET pair: our end as a Node socket, the other as a descriptor.
 *
 * Node makes sockets of stream descriptors only, because it looks at their type. libuv itself just polls, reads and
 * writes, so we give Node one end of a stream pair and then put the seqpacket end in that descriptor's place, before
 * anything has polled it. (Blocking reads through koffi's async calls work too, but each would hold one of the four threads
 * that all file access of Node shares, for as long as CRIU takes.)
 */
export function seqpacketPair(): [Socket, number] {
  const [ours, theirs] = pair(SOCK_SEQPACKET);
  const [place, spare] = pair(SOCK_STREAM);
  const socket = new Socket({ fd: place, readable: true, writable: true });
  try {
    if (c.dup3(ours, place, CLOEXEC) < 0) throw systemError('dup3');
    if (c.fcntl(place, F_SETFL, 'int', O_NONBLOCK) < 0) throw systemError('fcntl');
  } catch (error) {
    socket.destroy();
    closeFd(theirs);
    throw error;
  } finally {
    closeFd(ours);
    closeFd(spare);
  }
  return [socket, theirs];
}

/**
 * The network of a branch. Every branch has a network namespace of the host's user namespace, so nobody inside can change it.
 *
 * - `none`: loopback alone.
 * - `nat`: a pair of interfaces, `eth0` inside and `tpenv…` here, with two addresses of their own; the host routes and masquerades,
 *   see firewall.ts. Names are resolved by a small program at an address that is the same in every branch, see dns.c.
 *
 * A restore needs the addresses that its sockets had. Since every address counts as local meanwhile (`park`), it needs not
 * know them, and what is sent to the outside meets nobody and is answered by a reset: just what a peer that knows of no such
 * connection answers. `settle` ends what connections to the outside there still are, and keeps addresses that restored sockets
 * are bound to.
 */
import { spawn } from 'node:child_process';
import { closeSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TeleportError } from '../protocol/errors.ts';
import { GATEWAY_PORT } from '../protocol/methods.ts';
import { addressPool, Firewall } from './firewall.ts';
import { check, libc } from './libc.ts';
import type { Machine } from './machine.ts';
import {
  addAddress,
  addDefaultRoute,
  addPair,
  allLocal,
  deleteAddress,
  deleteLink,
  destroySocket,
  ESTABLISHED,
  indexOf,
  inNetworkOf,
  ipv4,
  LOOPBACK_INDEX,
  raise,
} from './netlink.ts';
import { asIpv4, connections, isAny, isLoopback, listeners, staysInside, udpSockets } from './sockets.ts';

export interface NetworkMode {
  network: 'none' | 'nat';
  /** `nat` reaches the host and its local networks too. */
  lan: boolean;
}

const INSIDE = 'eth0';
/** As in helper/native/init.h. Link-local: nothing else routes it. */
export const DNS_ADDRESS = '169.254.77.53';
/** What the names of our interfaces begin with; firewall rules go by them. */
const PREFIX = { restricted: 'tpenvr', lan: 'tpenvl' };
/** Pairs of addresses in a /16. */
const SLOTS = 32_768;
/** The host's other rules may change: Docker or ufw may be started. */
const PREPARED_MS = 30_000;

/** Before sockets are restored in a fresh network namespace, that of `pid`. */
export function park(pid: number): void {
  inNetworkOf(pid, () => allLocal(true));
}

/** After they are: the network is as a fresh one but for what inner connections need. */
export function settle(pid: number): void {
  cutOutside(pid);
  cutGateway(pid);
  const kept = ownAddresses(pid);
  inNetworkOf(pid, () => {
    for (const address of kept) addAddress(LOOPBACK_INDEX, address, 32);
    allLocal(false);
  });
}

/**
 * Ends connections to a port on loopback whose other end was not in the image, because it is held outside: whoever waits for an
 * answer there is told at once.
 */
export function cutGateway(pid: number): void {
  const cut = connections(pid).filter((s) => s.remotePort === GATEWAY_PORT && isLoopback(s.remote));
  if (cut.length)
    inNetworkOf(pid, () => {
      for (const socket of cut) destroySocket(socket);
    });
}

/** A socket bound to the gateway's port, in that network: to listen on. The caller closes it. @throws EADDRINUSE */
export function gatewaySocket(pid: number): number {
  const [AF_INET, STREAM_CLOEXEC, SOL_SOCKET, REUSEADDR] = [2, 1 | 0o2000000, 1, 2];
  return inNetworkOf(pid, () => {
    const fd = check(libc().socket(AF_INET, STREAM_CLOEXEC, 0), 'socket');
    try {
      const on = Buffer.alloc(4);
      on.writeInt32LE(1);
      check(libc().setsockopt(fd, SOL_SOCKET, REUSEADDR, on, on.length), 'setsockopt');
      const address = Buffer.alloc(16); // struct sockaddr_in
      address.writeUInt16LE(AF_INET, 0);
      address.writeUInt16BE(GATEWAY_PORT, 2);
      ipv4('127.0.0.1').copy(address, 4);
      check(libc().bind(fd, address, address.length), 'bind');
      return fd;
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  });
}

/** Whether a connection to the outside is open. */
export function reachesOutside(pid: number): boolean {
  const tcp = connections(pid);
  return tcp.some((s) => !isAny(s.remote) && !staysInside(s, tcp));
}

/** Ends connections to the outside: whoever waits for one is told at once. */
export function cutOutside(pid: number): void {
  const tcp = connections(pid);
  const udp = udpSockets(pid);
  const cut = tcp.filter((s) => !isAny(s.remote) && !staysInside(s, tcp));
  const cutUdp = udp.filter((s) => s.state === ESTABLISHED && !staysInside(s, udp));
  if (!cut.length && !cutUdp.length) return;
  inNetworkOf(pid, () => {
    for (const socket of cut) destroySocket(socket);
    for (const socket of cutUdp) destroySocket(socket, 'udp');
  });
}

/** IPv4 addresses that sockets are bound to, loopback's not counted. */
function ownAddresses(pid: number): Buffer[] {
  const found = new Map<string, Buffer>();
  for (const { local } of [...listeners(pid), ...connections(pid), ...udpSockets(pid)]) {
    const address = asIpv4(local);
    if (address && !isAny(local) && !isLoopback(local)) found.set(address.toString('hex'), address);
  }
  found.delete(ipv4(DNS_ADDRESS).toString('hex'));
  return [...found.values()];
}

export class Networks {
  private readonly machine: Machine;
  private readonly firewall: Firewall;
  private readonly log: (text: string) => void;
  private slot = 0;
  private prepared = Number.NEGATIVE_INFINITY;

  constructor(machine: Machine, log: (text: string) => void) {
    this.machine = machine;
    this.log = log;
    this.firewall = new Firewall(log);
  }

  /** Makes the host ready, and looks whether it still is. @throws TeleportError `noNetwork` with what is missing */
  async prepare(mode: NetworkMode): Promise<void> {
    if (mode.network === 'none') return;
    this.prepared = performance.now();
    try {
      await this.firewall.prepare();
    } catch (error) {
      this.prepared = Number.NEGATIVE_INFINITY;
      throw error;
    }
  }

  /** The same where it was never done; else now and then, in the background. */
  async ready(mode: NetworkMode): Promise<void> {
    if (mode.network === 'none' || performance.now() - this.prepared < PREPARED_MS) return;
    const known = this.prepared > 0;
    const preparing = this.prepare(mode);
    if (known) preparing.catch((error) => this.log(`network: ${(error as Error).message}`));
    else await preparing;
  }

  /** Gives a running branch, by its PID 1, its network. `prepare` comes first. */
  attach(pid: number, mode: NetworkMode): void {
    if (mode.network === 'none' || this.attached(pid)) return;
    const pool = addressPool();
    const prefix = mode.lan ? PREFIX.lan : PREFIX.restricted;
    const taken = new Set(readdirSync('/proc/sys/net/ipv4/conf').map((n) => n.replace(/^tpenv[rl]/, '')));
    for (let tries = 0; tries < SLOTS; tries++) {
      const slot = this.slot;
      this.slot = (slot + 1) % SLOTS;
      if (taken.has(String(slot))) continue;
      const link = `${prefix}${slot}`;
      try {
        addPair(link, INSIDE, pid);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EEXIST') continue; // another daemon was quicker
        throw new TeleportError('noNetwork', `no network could be made: ${(error as Error).message}`, { cause: error });
      }
      this.join(pid, link, Buffer.from([pool[0]!, pool[1]!, slot >> 7, (slot & 127) << 1]));
      return;
    }
    throw new TeleportError('noNetwork', 'all addresses for sandboxes are taken');
  }

  private join(pid: number, link: string, here: Buffer): void {
    const there = Buffer.from(here);
    there[3]! |= 1;
    try {
      // Over its link-local address a sandbox would reach the host past every rule for IPv4.
      const ipv6 = `/proc/sys/net/ipv6/conf/${link}/disable_ipv6`;
      if (existsSync(ipv6)) writeFileSync(ipv6, '1');
      addAddress(indexOf(link), here, 31);
      raise(link);
      inNetworkOf(pid, () => {
        const index = indexOf(INSIDE);
        addAddress(index, there, 31);
        raise(INSIDE);
        addDefaultRoute(index, here);
        addAddress(LOOPBACK_INDEX, ipv4(DNS_ADDRESS), 32);
      });
    } catch (error) {
      deleteLink(link);
      throw error;
    }
    this.resolve(pid);
  }

  /** Starts the name resolver of a branch; where one serves it already, this one ends at once. */
  resolve(pid: number): void {
    const group = join(this.machine.cgroups, 'helper');
    const child = spawn(this.machine.init, ['dns', '--net', String(pid), '--cgroup', group], {
      stdio: ['ignore', 'ignore', 'pipe'],
      detached: true,
      env: {},
      cwd: '/',
    });
    child.stderr?.on('data', (text) => this.log(`names for ${pid}: ${String(text).trim()}`));
    child.on('error', (error) => this.log(`names for ${pid}: ${error.message}`));
    child.unref();
    (child.stderr as unknown as { unref?(): void } | null)?.unref?.();
  }

  /** A branch that an earlier daemon made: its name resolver may have ended with that one. */
  adopt(pid: number): void {
    if (this.attached(pid)) this.resolve(pid);
  }

  /** Gives or takes it, where it is not so already. */
  apply(pid: number, mode: NetworkMode): void {
    if (mode.network === 'none') this.detach(pid);
    else this.attach(pid, mode);
  }

  /** Cuts connections to the outside and takes the network away. */
  detach(pid: number): void {
    if (!this.attached(pid)) return;
    // The far ends hear of it as long as there is a way to them.
    cutOutside(pid);
    const kept = ownAddresses(pid);
    inNetworkOf(pid, () => {
      deleteLink(INSIDE);
      deleteAddress(LOOPBACK_INDEX, ipv4(DNS_ADDRESS), 32);
      for (const address of kept) addAddress(LOOPBACK_INDEX, address, 32);
    });
    cutOutside(pid);
  }

  attached(pid: number): boolean {
    try {
      return /^\s*eth0:/m.test(readFileSync(`/proc/${pid}/net/dev`, 'utf8'));
    } catch {
      return false;
    }
  }
}

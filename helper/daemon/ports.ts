/**
 * Which ports the branches of a sandbox listen on. The kernel tells nobody when a socket begins to listen, so this looks: soon after
 * something happened in a session (a server says that it is up, or was asked to start), and every other second where the
 * branch has used the processor since. A branch at rest costs reading one small file; without clients nothing at all.
 */
import { readFileSync } from 'node:fs';
import { payloadOf } from '../engine/branch.ts';
import { holders, isAny, isLoopback, listeners } from '../engine/sockets.ts';
import { GATEWAY_PORT } from '../protocol/methods.ts';
import type { Port } from '../protocol/model.ts';
import { type Branch, innerPid } from './branch.ts';

/** Milliseconds after a sign of life at which to look. A server's first words come a little before or after its socket. */
const SOON = [80, 400, 1500];
const EVERY = 2000;

/** Ports that can be reached by dialling: those on every address or on loopback. By number. */
export function portsOf(branch: Branch): Port[] {
  const listening = listeners(branch.live.pid).filter(
    (s) => (isAny(s.local) || isLoopback(s.local)) && !(s.localPort === GATEWAY_PORT && branch.gateway),
  );
  if (!listening.length) return [];
  const held = holders(payloadOf(branch.live), new Set(listening.map((s) => s.inode)));
  const ports = new Map<number, Port>();
  for (const { localPort: port, inode } of listening) {
    if (ports.has(port)) continue;
    const pid = held.get(inode);
    ports.set(port, { port, ...(pid === undefined ? {} : { pid: innerPid(pid) ?? 0, command: commandOf(pid) }) });
  }
  return [...ports.values()].sort((a, b) => a.port - b.port);
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').filter(Boolean).join(' ').slice(0, 1000);
  } catch {
    return '';
  }
}

interface Watched {
  branch: Branch;
  told: string;
  busy: string;
  timer: NodeJS.Timeout | null;
  /** How many looks there were since something happened. */
  looks: number;
}

export class PortWatch {
  private readonly watched = new Map<string, Watched>();
  private readonly changed: (branch: string, ports: Port[]) => void;
  private readonly heard: () => boolean;
  private readonly interval: NodeJS.Timeout;

  /**
   * @param heard whether anybody would hear of it
   * @param changed is told a branch's ports when they are others than they were
   */
  constructor(heard: () => boolean, changed: (branch: string, ports: Port[]) => void) {
    this.heard = heard;
    this.changed = changed;
    this.interval = setInterval(() => this.sweep(), EVERY).unref();
  }

  add(branch: Branch): void {
    this.prune();
    this.watched.set(branch.id, { branch, told: '[]', busy: '', timer: null, looks: 0 });
    branch.sessions.onActivity = () => this.kick(branch.id);
    this.kick(branch.id);
  }

  private prune(): void {
    for (const [id, { branch, timer }] of this.watched) {
      if (!branch.over) continue;
      clearTimeout(timer ?? undefined);
      this.watched.delete(id);
    }
  }

  stop(): void {
    clearInterval(this.interval);
    for (const { timer } of this.watched.values()) clearTimeout(timer ?? undefined);
    this.watched.clear();
  }

  /** Something happened in there. */
  private kick(id: string): void {
    const one = this.watched.get(id);
    if (!one || !this.heard()) return;
    one.looks = 0;
    if (!one.timer) this.later(one);
  }

  private later(one: Watched): void {
    const wait = SOON[one.looks++];
    if (wait === undefined) one.timer = null;
    else
      one.timer = setTimeout(() => {
        this.look(one);
        this.later(one);
      }, wait).unref();
  }

  private sweep(): void {
    this.prune();
    if (!this.watched.size || !this.heard()) return;
    for (const one of this.watched.values()) {
      const busy = one.branch.processorTime();
      if (busy === one.busy) continue;
      one.busy = busy;
      this.look(one);
    }
  }

  private look(one: Watched): void {
    if (one.branch.over) return;
    const ports = portsOf(one.branch);
    const text = JSON.stringify(ports);
    if (text === one.told) return;
    one.told = text;
    this.changed(one.branch.id, ports);
  }
}

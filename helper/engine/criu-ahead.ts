/**
 * CRIU begun before anybody waits for it: for the next restore in a control group and a network namespace of its own, for the
 * next dump in the branch's network namespace. Where none was begun, the same is begun when it is wanted.
 */
import { CriuProcess } from './criu-process.ts';
import { type World, worldArguments } from './init.ts';
import type { Machine } from './machine.ts';

/** As in helper/native/main.c: where `enter --wait` reads on. */
const WAIT_FD = '4';

function begin(machine: Machine, world: World): CriuProcess {
  const words = [machine.init, 'enter', '--wait', WAIT_FD, ...worldArguments({ ...world, run: machine.layout.run })];
  return new CriuProcess({ binary: machine.criu, prefix: [...words, '--'], waits: true });
}

/**
 * Outside of the branch's group: its processes are born in that (`rootCgroup`), which costs nothing, while to move one takes long and
 * holds up whoever makes, stops or ends another group. Groups of cgroup v1 can only be inherited, so there CRIU joins.
 * @param cgroup of the branch to be. `proceed` with the overlay's arguments.
 */
export function beginRestore(machine: Machine, cgroup: string): CriuProcess {
  return begin(machine, { cgroups: machine.limiter.groups(cgroup), net: 'new' });
}

/** @param init host pid of the branch's PID 1. `proceed` with nothing more. */
export function beginDump(machine: Machine, init: number): CriuProcess {
  return begin(machine, { net: init });
}

// Ending an editor means ending all it started: code-server forks, extension hosts and terminals leave its process
// group, and a killed browser leaves helpers behind. They are found by a variable that all of them inherited.

import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

export function marked(mark: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((name) => {
      try {
        return readFileSync(`/proc/${name}/environ`, 'latin1').split('\0').includes(mark);
      } catch {
        return false; // ended meanwhile, or another user's
      }
    })
    .map(Number);
}

function signal(pids: number[], name: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, name);
    } catch {
      // ended meanwhile
    }
  }
}

export async function killMarked(mark: string): Promise<void> {
  signal(marked(mark), 'SIGTERM');
  for (let waited = 0; waited < 3000 && marked(mark).length > 0; waited += 50) await delay(50);
  // Again until none is left: one may have been born between the look and the kill.
  for (let pids = marked(mark); pids.length > 0; pids = marked(mark)) {
    signal(pids, 'SIGKILL');
    await delay(20);
  }
}

/** For an exit handler, where nothing can be waited for. */
export function killMarkedNow(mark: string): void {
  signal(marked(mark), 'SIGKILL');
}

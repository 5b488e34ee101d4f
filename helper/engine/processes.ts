/** Processes by their pids: those of a control group, and their end. */
import { readFileSync } from 'node:fs';

/** Host pids in a control group of either version, threads not apart. Empty where the group is gone. */
export function processesIn(group: string): number[] {
  try {
    return readFileSync(`${group}/cgroup.procs`, 'utf8').split('\n').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

/** SIGKILL, unless it has ended. */
export function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {}
}

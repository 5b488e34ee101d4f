/** How much memory the machine has left. Source: proc_meminfo(5). */
import { readFileSync } from 'node:fs';

/** Bytes. */
export function memory(text = readFileSync('/proc/meminfo', 'utf8')): { available: number; total: number } {
  const kib = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1]) * 1024;
  return { available: kib('MemAvailable'), total: kib('MemTotal') };
}

/** How much memory the machine has left, and how long it stalls for it. Sources: proc_meminfo(5), Documentation/accounting/psi.rst. */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

export interface Memory {
  /** Bytes. */
  available: number;
  total: number;
  /** Of the last ten seconds, the percentage in which some task waited for memory. 0 where the kernel does not tell. */
  stalled: number;
}

/**
 * @param cgroups the folder of our control groups. The one above it is the container's, where we are in one: it can be short of
 * memory while the machine is not, and the other way round.
 */
export function memory(cgroups?: string): Memory {
  const pressures = ['/proc/pressure/memory', ...(cgroups ? [join(dirname(cgroups), 'memory.pressure')] : [])];
  return readMemory(readFileSync('/proc/meminfo', 'utf8'), pressures.map(pressureText));
}

export function readMemory(text: string, pressures: string[]): Memory {
  const kib = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1]) * 1024;
  const stalls = pressures.map((pressure) => Number(/^some avg10=([\d.]+) /m.exec(pressure)?.[1] ?? 0));
  return { available: kib('MemAvailable'), total: kib('MemTotal'), stalled: Math.max(0, ...stalls) };
}

/** Kernels without it have no such file; those started with psi=0 do not let it be read. */
function pressureText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** How much memory the machine has left, and how long it stalls for it. Sources: proc_meminfo(5), Documentation/accounting/psi.rst. */
import { readFileSync } from 'node:fs';

export interface Memory {
  /** Bytes. */
  available: number;
  total: number;
  /** Of the last ten seconds, the percentage in which some task waited for memory. 0 where the kernel does not tell. */
  stalled: number;
}

export function memory(text = readFileSync('/proc/meminfo', 'utf8'), pressure = pressureText()): Memory {
  const kib = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1]) * 1024;
  const stalled = Number(/^some avg10=([\d.]+) /m.exec(pressure)?.[1] ?? 0);
  return { available: kib('MemAvailable'), total: kib('MemTotal'), stalled };
}

/** Kernels without it have no such file; those started with psi=0 do not let it be read. */
function pressureText(): string {
  try {
    return readFileSync('/proc/pressure/memory', 'utf8');
  } catch {
    return '';
  }
}

/** How busy the machine's processors are. Source: proc_stat(5). */
import { readFileSync } from 'node:fs';

export interface Processors {
  /** Milliseconds, of a clock that goes on. */
  at: number;
  /** Milliseconds since the machine began in which they had nothing to do, all of them together. */
  idle: number;
  processors: number;
}

/** USER_HZ is 100 on all architectures that we run on. */
const TICK_MS = 10;

export function processors(): Processors {
  return readProcessors(readFileSync('/proc/stat', 'utf8'), performance.now());
}

/** @param at milliseconds */
export function readProcessors(text: string, at: number): Processors {
  const [, , , idle, waiting] = text.slice(0, text.indexOf('\n')).trim().split(/\s+/).slice(1).map(Number);
  return { at, idle: (idle! + waiting!) * TICK_MS, processors: text.match(/^cpu\d+ /gm)!.length };
}

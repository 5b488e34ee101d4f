/** One at a time. */
import { ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { tryLock } from '../../helper/engine/syscalls.ts';

/**
 * Holds `file` until this process ends, whichever way: then the kernel gives it to whoever comes next.
 * @returns its descriptor
 * @throws Error where another process has it
 */
export function holdLock(file: string): number {
  const fd = openSync(file, 'a+');
  if (!tryLock(fd))
    throw new Error(`a soak runs here already: process ${readFileSync(file, 'utf8').trim()}; let it end, or end it`);
  ftruncateSync(fd, 0);
  writeSync(fd, `${process.pid}\n`);
  return fd;
}

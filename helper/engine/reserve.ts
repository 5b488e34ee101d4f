/**
 * Some space of the state volume kept back, so that on a full one records can still be written and one can go back: a file that is
 * given up when there is nothing left, and made anew when there is.
 */
import { closeSync, ftruncateSync, openSync, statfsSync, statSync, truncateSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

const SIZE = 8 << 20;
/** So much must be free beside it. */
const ENOUGH = 3 * SIZE;
const CHUNK = Buffer.alloc(1 << 20, 1);

let reserve: string | null = null;

/** @param path a file on the volume */
export function keepReserve(path: string): void {
  reserve = path;
  refillReserve();
}

/** After something was removed. */
export function refillReserve(): void {
  if (reserve === null) return;
  try {
    if (statSync(reserve, { throwIfNoEntry: false })?.size === SIZE) return;
    const { bavail, bsize } = statfsSync(dirname(reserve));
    if (bavail * bsize < ENOUGH) return;
    const fd = openSync(reserve, 'a', 0o600);
    try {
      ftruncateSync(fd, 0);
      // Not a hole: it is there to take space.
      for (let done = 0; done < SIZE; done += CHUNK.length) writeSync(fd, CHUNK);
    } finally {
      closeSync(fd);
    }
  } catch {
    // no room for it
  }
}

/** Does it again, once, with the reserve given up where the volume was full. */
export function withReserve<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC' || reserve === null) throw error;
    // Not removed: XFS gives the space of removed files back when it finds time.
    truncateSync(reserve, 0);
    return work();
  }
}

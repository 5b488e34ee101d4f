/**
 * Open files whose last name was deleted while a lower layer still holds them get a name again from CRIU during a dump
 * (`link_remap.N` beside the old one), so that a restore can open them. The checkpoint's layer must have these names; the branch
 * that goes on must not keep them.
 */
import { readdirSync, statSync, unlinkSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { close, OPEN_DIRECTORY, openBeneath, openRoot } from './at.ts';
import { toBytes } from './libc.ts';

/** An image file without entries is its two magic words. */
const EMPTY_IMAGE = 8;

/** The image speaks of deleted open files. */
export function hasRemaps(image: string): boolean {
  return (statSync(join(image, 'remap-fpath.img'), { throwIfNoEntry: false })?.size ?? 0) > EMPTY_IMAGE;
}

/** Paths in the layer, from its root, that CRIU made. */
export function remapsIn(layer: string): string[] {
  return readdirSync(layer, { recursive: true, withFileTypes: true })
    .filter((entry) => /^link_remap\.\d+$/.test(entry.name))
    .map((entry) => relative(layer, join(entry.parentPath, entry.name)));
}

/** Takes these names away from the running branch, through its own mount. */
export function removeRemaps(pid: number, paths: string[]): void {
  if (!paths.length) return;
  const root = openRoot(`/proc/${pid}/root`);
  try {
    for (const path of paths) {
      // The payload can have put a link in the way: nothing outside may be reached by it.
      const dir = openBeneath(root, toBytes(dirname(path)), OPEN_DIRECTORY);
      if (dir === null) continue;
      try {
        unlinkSync(`/proc/self/fd/${dir}/${path.split('/').at(-1)}`);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      } finally {
        close(dir);
      }
    }
  } finally {
    close(root);
  }
}

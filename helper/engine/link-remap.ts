/**
 * Open files whose last name was deleted while a lower layer still holds them get a name again from CRIU during a dump
 * (`link_remap.N` beside the old one), so that a restore can open them. The checkpoint's layer must have these names; the branch
 * that goes on must not keep them.
 */
import { constants, existsSync, readdirSync, readFileSync, unlinkSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { close, OPEN_DIRECTORY, openBeneath, openRoot } from './at.ts';
import { toBytes } from './libc.ts';
import { mknod } from './syscalls.ts';
import { makeLike } from './trees.ts';

/** An image file begins with two magic words; then come entries, the length of each before it. */
const MAGIC = 8;

/** The image speaks of deleted open files that got a name, not only of such whose content it holds itself. */
export function hasRemaps(image: string): boolean {
  const file = join(image, 'remap-fpath.img');
  const bytes = existsSync(file) ? readFileSync(file) : Buffer.alloc(0);
  for (let at = MAGIC; at + 4 <= bytes.length; ) {
    const end = at + 4 + bytes.readUInt32LE(at);
    if (isLinked(bytes.subarray(at + 4, end))) return true;
    at = end;
  }
  return false;
}

/** Of an entry, three varints by number (CRIU's images/remap-file-path.proto), the third is 0: a link. */
function isLinked(entry: Buffer): boolean {
  for (let at = 0; at < entry.length; ) {
    const field = entry[at]! >> 3;
    let value = 0;
    let shift = 0;
    do {
      at++;
      value += (entry[at]! & 0x7f) * 2 ** shift;
      shift += 7;
    } while (entry[at]! & 0x80);
    at++;
    if (field === 3) return value === 0;
  }
  return true; // left out: the default
}

/** Paths in the layer, from its root, that CRIU made. */
export function remapsIn(layer: string): string[] {
  return readdirSync(layer, { recursive: true, withFileTypes: true })
    .filter((entry) => /^link_remap\.\d+$/.test(entry.name))
    .map((entry) => relative(layer, join(entry.parentPath, entry.name)));
}

/** Hides these names of a layer by whiteouts in another one, to be put upon it. */
export function maskRemaps(layer: string, mask: string, paths: string[]): void {
  for (const path of paths) {
    const parts = ['.', ...path.split('/').slice(0, -1)];
    for (let i = 1; i <= parts.length; i++) {
      const folder = join(...parts.slice(0, i));
      if (!existsSync(join(mask, folder))) makeLike(join(mask, folder), join(layer, folder));
    }
    mknod(join(mask, path), constants.S_IFCHR);
  }
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

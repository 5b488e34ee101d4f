import {
  close,
  DT_CHR,
  DT_DIR,
  lastTimes,
  namesIn,
  OPEN_DIRECTORY,
  OPEN_PATH,
  openAt,
  openRoot,
  setTimesOf,
  statAt,
} from './at.ts';
import { cBytes, check, libc, showBytes } from './libc.ts';
import { handleKey, type LinkedNames, linksOf, type Redirect, redirectOf, seenAt, walk } from './linked-names.ts';
import type { Steps } from './same-content.ts';
import { LayerStack } from './stack.ts';
import { xattrAt, xattrOfPath } from './xattrs.ts';

const NLINK = Buffer.from('trusted.overlay.nlink\0');
const ORIGIN = Buffer.from('trusted.overlay.origin\0');
/** struct ovl_fb (fs/overlayfs/overlayfs.h): version, magic, length, flags, type, 16 bytes of uuid, file handle. */
const FB_TYPE = 4;
const FB_HANDLE = 21;

/**
 * Whether a mount's index may know of names that its upper directory lacks: what `completeHardLinks` looks for in all of a layer,
 * found in the index alone, which holds only what was copied up. Of a mount that nobody writes to meanwhile.
 * @param index `work/index` in the mount's workdir
 */
export function mayLackNames(index: string): boolean {
  const dir = openRoot(index);
  try {
    return namesIn(dir).some(({ name, type }) => {
      if (type === DT_DIR || type === DT_CHR) return false;
      return isPartly(xattrAt(dir, name, NLINK)) && !isAlone(dir, keyOf(Buffer.from(name, 'hex')));
    });
  } finally {
    close(dir);
  }
}

/**
 * A lower file that had a second name only for a moment: that of a former mount's index, where the layer is its upper directory, moved.
 * No name is lacking then, and to look for one took half a minute where it was looked for in all of the base.
 * @param dir of the file system of the checkpoints' layers. The base is on another, where nothing has that handle
 */
function isAlone(dir: number, file: string | null): boolean {
  return file !== null && linksOf(dir, file) === 1;
}

/** Of an origin, which is how overlayfs names a lower file, in an xattr and in its index. */
function keyOf(origin: Buffer): string | null {
  return origin.length > FB_HANDLE ? handleKey(origin[FB_TYPE]!, origin.subarray(FB_HANDLE)) : null;
}

/** "U-1": as many names as the upper inode has links, less the one in the index. Then none is lacking. */
function isPartly(links: Buffer | null): boolean {
  return links !== null && links.toString() !== 'U-1';
}

/**
 * Gives `layer` the names that a mount with `index=on` knew from its index only. There, a write to one of several
 * hard links of a lower file shows under all of them, but the upper directory holds just the names that were used; a
 * layer made of it would show the others as they were before. Each of them is linked into the layer. Answers how many.
 *
 * Cheap where there is nothing to do, which is the rule: one pass over the layer. Else a pass over the layers below, once.
 * Of a layer that nothing is mounted on yet.
 * @param saved what `copyIndexOnly` saved along with the layer, on the same file system; may be removed afterwards
 */
export function* completeHardLinks(
  layer: string,
  below: LayerStack,
  linked: LinkedNames,
  saved?: string,
): Steps<number> {
  const stack = new LayerStack([layer, ...below.paths]);
  stack.retain();
  try {
    const { wanted, redirects } = yield* partlyLinked(layer);
    if (saved !== undefined) addSaved(wanted, saved);
    let made = 0;
    const over = [redirects];
    for (const { index, path: lower } of stack.layers.slice(1)) {
      dropAlone(wanted, layer);
      if (wanted.size === 0) break;
      const found = yield* linked.find(lower, new Set(wanted.keys()));
      for (const [file, names] of found.names) {
        for (const name of names)
          for (const path of seenAt(name, over)) {
            yield;
            const top = stack.lookupBytes(path)?.top;
            if (top?.layer.index !== index || `/${top.path}` !== name) continue;
            link(stack, wanted.get(file)!, path);
            made++;
          }
        wanted.delete(file); // no layer shares a file with another
      }
      over.unshift(found.redirects);
    }
    return made;
  } finally {
    stack.release();
  }
}

/** A file with the content that the names lacking are to have: byte string below `dir`. */
interface Known {
  readonly dir: string;
  readonly path: string;
}

/** Files of the layer with names that it may lack: by the handle of the lower file they come from, their path. And folders moved. */
function* partlyLinked(layer: string): Steps<{ wanted: Map<string, Known>; redirects: Redirect[] }> {
  const wanted = new Map<string, Known>();
  const redirects: Redirect[] = [];
  const alone = new LayerStack([layer]);
  alone.retain();
  try {
    for (const [path, entry] of walk(alone, alone.rootEntry())) {
      yield;
      if (entry.type === 'folder') {
        const redirect = redirectOf(path, entry, redirects);
        if (redirect) redirects.push(redirect);
        continue;
      }
      const fd = entry.top.layer.open(entry.top.path, OPEN_PATH);
      if (fd === null) continue;
      try {
        if (!isPartly(xattrOfPath(fd, NLINK))) continue;
        const origin = xattrOfPath(fd, ORIGIN);
        const file = origin && keyOf(origin);
        if (file) wanted.set(file, { dir: layer, path: path.slice(1) });
      } finally {
        close(fd);
      }
    }
    return { wanted, redirects };
  } finally {
    alone.release();
  }
}

/** Once more before each layer: the former mount's index may have gone meanwhile. */
function dropAlone(wanted: Map<string, Known>, layer: string): void {
  const dir = openRoot(layer);
  try {
    for (const file of wanted.keys()) if (isAlone(dir, file)) wanted.delete(file);
  } finally {
    close(dir);
  }
}

/** Index entries are named by the origin in hex. */
function addSaved(wanted: Map<string, Known>, dir: string): void {
  const fd = openRoot(dir);
  try {
    for (const { name } of namesIn(fd)) {
      const file = keyOf(Buffer.from(name, 'hex'));
      if (file) wanted.set(file, { dir, path: name });
    }
  } finally {
    close(fd);
  }
}

/** Makes `path` in the top layer another name of `known`, with the folders on the way as the stack shows them. */
function link(stack: LayerStack, known: Known, path: string): void {
  const parts = path.slice(1).split('/');
  const name = parts.pop()!;
  const source = openRoot(known.dir);
  let dir = openRoot(stack.paths[0]!);
  try {
    let at = '';
    for (const part of parts) {
      at += `/${part}`;
      const below = openFolder(stack, dir, part, at);
      close(dir);
      dir = below;
    }
    statAt(dir, '.');
    const times = lastTimes();
    check(libc().linkat(source, cBytes(known.path), dir, cBytes(name, 1), 0), 'link', showBytes(path));
    setTimesOf(dir, times);
  } finally {
    close(dir);
    close(source);
  }
}

function openFolder(stack: LayerStack, parent: number, name: string, path: string): number {
  if (statAt(parent, name) !== null) return openAt(parent, name, OPEN_DIRECTORY);
  const { stat, top } = stack.lookupBytes(path)!;
  const shown = top.layer.open(top.path, OPEN_DIRECTORY)!;
  try {
    statAt(shown, '.');
    const times = lastTimes();
    statAt(parent, '.');
    const parentTimes = lastTimes();
    check(libc().mkdirat(parent, cBytes(name), 0o700), 'mkdir', showBytes(path));
    setTimesOf(parent, parentTimes);
    const made = openAt(parent, name, OPEN_DIRECTORY);
    check(libc().fchownat(made, cBytes('.'), stat.uid, stat.gid, 0), 'fchownat', showBytes(path));
    check(libc().fchmod(made, stat.mode & 0o7777), 'fchmod', showBytes(path));
    setTimesOf(made, times);
    return made;
  } finally {
    close(shown);
  }
}

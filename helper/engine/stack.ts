import { constants, readSync } from 'node:fs';
import type { FileStat } from '../protocol/index.ts';
import { TeleportError } from '../protocol/index.ts';
import { close, OPEN_FILE, type Stat, statAt, statOf } from './at.ts';
import { Entry, Layer } from './layer.ts';
import { oddBytes, showBytes, toBytes } from './libc.ts';
import { MergedDirectory } from './merged-directory.ts';

/** MAXSYMLINKS of the kernel: so many may be followed on one path. */
const SYMLINK_LIMIT = 40;
/** Bytes that one read answers at most: the protocol's limit. */
const READ_LIMIT = 8_388_608;
/** Components that one path may come to, all symlinks replaced. Bounds the work that a sandbox can cause. */
const COMPONENT_LIMIT = 4096;

/** A file of the stack, open for reading. Close it. */
export interface OpenFile {
  /** Bytes, at the time of opening. */
  readonly size: number;
  /** At most `length` bytes (and 8 MiB) from `offset`; empty at the end. */
  read(offset: number, length: number): Buffer;
  close(): void;
}

/**
 * The merged view of overlay layers, read without mounting them. Names of files are answered as UTF-8 with U+FFFD for
 * what is none (its bytes are told beside), and asked for in UTF-8; so a name that is not UTF-8 is listed but can't be asked for.
 *
 * Nothing outside the layers is ever read, whatever they hold: symlinks are resolved here, inside the stack, and the
 * kernel is told to follow none and to stay below the layer's root (openat2), so a live upper layer that changes
 * meanwhile can yield an outdated answer, never a foreign one. Mounts below a layer's root are not entered: they look
 * like empty folders. For `/` as a layer pass a bind mount of it that is not recursive, which has none.
 *
 * Descriptors are held during a call only, or from `retain` to `release`.
 */
export class LayerStack {
  /** Host paths, top first. */
  readonly paths: readonly string[];
  readonly layers: readonly Layer[];
  private users = 0;

  /** @param paths layer directories, top first; the first may be a live upper one */
  constructor(paths: readonly string[]) {
    this.paths = paths;
    this.layers = paths.map((path, index) => new Layer(path, index));
  }

  /** Keeps descriptors open until `release`: for many calls in a row. */
  retain(): void {
    this.users++;
  }

  release(): void {
    if (--this.users === 0) for (const layer of this.layers) layer.close();
  }

  private during<T>(body: () => T): T {
    this.retain();
    try {
      return body();
    } finally {
      this.release();
    }
  }

  /** The root folder. */
  rootEntry(): Entry {
    return this.during(
      () =>
        new Entry(
          statAt(this.layers[0]!.root, '.') as Stat,
          this.layers.map((layer) => ({ layer, path: '' })),
        ),
    );
  }

  /** For the callers in this folder who walk many names. Retain the stack as long as it is open. */
  directory(folder: Entry): MergedDirectory {
    return new MergedDirectory(this.layers, folder.sources);
  }

  /** One step down, by byte string. */
  child(folder: Entry, name: string): Entry | null {
    const directory = this.directory(folder);
    try {
      return directory.child(name);
    } finally {
      directory.close();
    }
  }

  /** What is at this absolute path, no symlink followed; null where nothing is. */
  lookup(path: string): Entry | null {
    return this.lookupBytes(toBytes(path));
  }

  /** The same by byte string. */
  lookupBytes(path: string): Entry | null {
    return this.during(() => {
      let entry: Entry | null = this.rootEntry();
      for (const name of components(path)) {
        if (entry?.type !== 'folder') return null;
        entry = this.child(entry, name);
      }
      return entry;
    });
  }

  /** What is at this path, symlinks followed inside the stack, the last one only if `last`. Throws `unknownPath`. */
  resolve(path: string, last: boolean): Entry {
    return this.during(() => {
      const parents: Entry[] = [this.rootEntry()];
      const rest = components(toBytes(path)).reverse();
      let links = 0;
      for (let steps = 0; rest.length > 0; steps++) {
        if (steps > COMPONENT_LIMIT) throw unknown(path, 'it leads through too many folders');
        const name = rest.pop()!;
        if (name === '..') {
          if (parents.length > 1) parents.pop();
          continue;
        }
        const folder = parents.at(-1)!;
        if (folder.type !== 'folder') throw unknown(path, 'a part of it is not a folder');
        const entry = this.child(folder, name);
        if (entry === null) throw unknown(path, 'there is no such file');
        if (entry.type !== 'symlink' || (rest.length === 0 && !last)) {
          parents.push(entry);
          continue;
        }
        if (++links > SYMLINK_LIMIT) throw unknown(path, 'it leads through too many symbolic links');
        const target = entry.target();
        if (target === null || target === '') throw unknown(path, 'there is no such file');
        if (target.startsWith('/')) parents.length = 1;
        rest.push(...components(target).reverse());
      }
      return parents.at(-1)!;
    });
  }

  /** Of a symlink itself at the end of the path. Throws `unknownPath`. */
  stat(path: string): FileStat {
    return this.during(() => fileStat(this.resolve(path, false)));
  }

  /** What the folder shows, merged, sorted by name. Throws `unknownPath`, `notADirectory`. */
  readdir(path: string): { name: string; nameBase64?: string; stat: FileStat }[] {
    return this.during(() => {
      const folder = this.resolve(path, true);
      if (folder.type !== 'folder') throw new TeleportError('notADirectory', `${path} is not a folder`);
      const found: { name: string; nameBase64?: string; stat: FileStat }[] = [];
      this.eachChild(folder, (name, entry) => {
        const nameBase64 = oddBytes(name);
        found.push({ name: showBytes(name), ...(nameBase64 ? { nameBase64 } : {}), stat: fileStat(entry) });
      });
      return found.sort((a, b) => (a.name < b.name ? -1 : 1));
    });
  }

  /** Calls back for all that the folder shows, by byte string, unsorted. */
  eachChild(folder: Entry, body: (name: string, entry: Entry) => void): void {
    this.during(() => {
      const directory = this.directory(folder);
      try {
        for (const [name, first] of directory.names()) {
          const entry = directory.child(name, first);
          if (entry !== null) body(name, entry);
        }
      } finally {
        directory.close();
      }
    });
  }

  /** Opens a regular file, symlinks followed inside the stack. Throws `unknownPath`, `notAFile`. */
  open(path: string): OpenFile {
    return this.during(() => {
      const entry = this.resolve(path, true);
      const fd = entry.type === 'file' ? openEntry(entry) : null;
      if (fd === null) throw new TeleportError('notAFile', `${path} is not a regular file`);
      const size = statOf(fd).size;
      return { size, read: (offset, length) => readAt(fd, offset, length), close: () => close(fd) };
    });
  }
}

/** A descriptor of a regular file, or null where it is none (by now): checked on what was opened. */
export function openEntry(entry: Entry): number | null {
  const fd = entry.top.layer.open(entry.top.path, OPEN_FILE);
  if (fd === null || statOf(fd).format === constants.S_IFREG) return fd;
  close(fd);
  return null;
}

function readAt(fd: number, offset: number, length: number): Buffer {
  const buffer = Buffer.allocUnsafe(Math.min(length, READ_LIMIT));
  let done = 0;
  while (done < buffer.length) {
    const got = readSync(fd, buffer, done, buffer.length - done, offset + done);
    if (got === 0) break;
    done += got;
  }
  return buffer.subarray(0, done);
}

function fileStat(entry: Entry): FileStat {
  const { size, mode, mtimeSec, mtimeNsec } = entry.stat;
  const stat: FileStat = { type: entry.type, size, mode: mode & 0o7777, mtimeMs: mtimeSec * 1000 + mtimeNsec / 1e6 };
  if (entry.type === 'symlink') {
    const target = entry.target() ?? '';
    stat.target = showBytes(target);
    const odd = oddBytes(target);
    if (odd !== undefined) stat.targetBase64 = odd;
  }
  return stat;
}

function components(path: string): string[] {
  return path.split('/').filter((part) => part !== '' && part !== '.');
}

function unknown(path: string, why: string): TeleportError {
  const hint = path.includes('\uFFFD')
    ? 'a name that is not UTF-8 cannot be asked for; diff --json tells its bytes, and programs inside can read it'
    : undefined;
  return new TeleportError('unknownPath', `${path}: ${why}`, { hint });
}

import { close, OPEN_PATH, statOf } from './at.ts';
import type { Entry } from './layer.ts';
import { cBytes, libc } from './libc.ts';
import type { Steps } from './same-content.ts';
import { LayerStack } from './stack.ts';
import { xattrOfPath } from './xattrs.ts';

const REDIRECT = Buffer.from('trusted.overlay.redirect\0');
const MAX_HANDLE_SZ = 128;
const AT_EMPTY_PATH = 0x1000;
const handle = Buffer.alloc(8 + MAX_HANDLE_SZ);
/** So many names are remembered all in all: some 100 bytes each. */
const MOST_NAMES = 400_000;

/** A folder of a layer that lies elsewhere in the layers below it. Byte strings from `/`. */
export interface Redirect {
  readonly path: string;
  readonly below: string;
}

/** What was found in a layer, once. */
interface Survey {
  /** By their handle, files with several names, all of them, and how many there were. Byte strings from `/`. */
  readonly files: Map<string, { names: string[]; links: number }>;
  readonly redirects: Redirect[];
  /** The layer itself: another directory at the same path is another one. */
  readonly root: string | null;
  readonly size: number;
}

/**
 * The names of files with hard links, layer by layer. To find them a layer is walked once, however often they are asked for: a
 * layer never changes. Where one did (the base is the host's own system) the answer shows that, and it is walked again.
 */
export class LinkedNames {
  private readonly surveys = new Map<string, Survey>();

  /** @returns for each of the files that is there, its names */
  *find(layer: string, files: ReadonlySet<string>): Steps<{ names: Map<string, string[]>; redirects: Redirect[] }> {
    const stack = new LayerStack([layer]);
    stack.retain();
    try {
      const known = this.surveys.get(layer);
      const isCurrent = known !== undefined && known.root === handleOf(stack.rootEntry());
      const fresh = isCurrent && this.holds(stack, known, files) ? known : yield* survey(stack);
      this.keep(layer, fresh);
      const names = [...files].flatMap((file) => (fresh.files.has(file) ? [[file, fresh.files.get(file)!.names]] : []));
      return { names: new Map(names as [string, string[]][]), redirects: fresh.redirects };
    } finally {
      stack.release();
    }
  }

  /** Whether what is known of these files is so still. */
  private holds(stack: LayerStack, { files }: Survey, asked: ReadonlySet<string>): boolean {
    return [...asked].every((file) => {
      const known = files.get(file);
      return (known?.names ?? []).every((name) => {
        const entry = stack.lookupBytes(name);
        // Fewer links than there were names would do: an index entry of a mount is one, too, and goes with it.
        return entry !== null && entry.stat.nlink <= known!.links && handleOf(entry) === file;
      });
    });
  }

  private keep(layer: string, survey: Survey): void {
    this.surveys.delete(layer); // to the end: the oldest goes first
    this.surveys.set(layer, survey);
    let total = [...this.surveys.values()].reduce((sum, { size }) => sum + size, 0);
    for (const [path, { size }] of this.surveys) {
      if (total <= MOST_NAMES || path === layer) break;
      this.surveys.delete(path);
      total -= size;
    }
  }
}

function* survey(stack: LayerStack): Steps<Survey> {
  const root = stack.rootEntry();
  const found: Survey['files'] = new Map();
  const redirects: Redirect[] = [];
  let size = 1;
  for (const [path, entry] of walk(stack, root)) {
    yield;
    if (entry.type === 'folder') {
      const redirect = redirectOf(path, entry, redirects);
      if (redirect) redirects.push(redirect);
      continue;
    }
    if (entry.stat.nlink < 2) continue;
    const file = handleOf(entry);
    if (file === null) continue;
    const known = found.get(file);
    if (known) known.names.push(path);
    else found.set(file, { names: [path], links: entry.stat.nlink });
    size++;
  }
  return { files: found, redirects, root: handleOf(root), size: size + redirects.length };
}

/** @param before those of the layer that were met so far: parents come first */
export function redirectOf(path: string, folder: Entry, before: readonly Redirect[]): Redirect | null {
  const fd = folder.top.layer.open(folder.top.path, OPEN_PATH);
  if (fd === null) return null;
  try {
    const target = xattrOfPath(fd, REDIRECT)?.toString('latin1');
    if (target === undefined) return null;
    if (target.startsWith('/')) return { path, below: target };
    // One name: in the same folder, which may be elsewhere itself.
    const parent = path.slice(0, path.lastIndexOf('/'));
    const around = before.filter((other) => isIn(parent, other.path)).sort((a, b) => b.path.length - a.path.length)[0];
    const parentBelow = around ? around.below + parent.slice(around.path.length) : parent;
    return { path, below: `${parentBelow}/${target}` };
  } finally {
    close(fd);
  }
}

/**
 * Where a path of a layer may be seen through those over it: each that it is seen at, and perhaps others.
 * @param over folders that lie elsewhere in each layer over it, the next one first
 */
export function seenAt(path: string, over: readonly (readonly Redirect[])[]): string[] {
  const found = new Set([path]);
  for (const redirects of over)
    for (const at of [...found])
      for (const { path: upper, below } of redirects) if (isIn(at, below)) found.add(upper + at.slice(below.length));
  return [...found];
}

function isIn(path: string, folder: string): boolean {
  return path === folder || path.startsWith(`${folder}/`);
}

/** A file as overlayfs names it in an origin: by the kernel's handle. Null where there is none. */
export function handleOf(entry: Entry): string | null {
  const fd = entry.top.layer.open(entry.top.path, OPEN_PATH);
  if (fd === null) return null;
  try {
    handle.writeUInt32LE(MAX_HANDLE_SZ, 0);
    const mountId = Buffer.alloc(4);
    if (libc().name_to_handle_at(fd, cBytes(''), handle, mountId, AT_EMPTY_PATH) === -1) return null;
    return handleKey(handle.readInt32LE(4), handle.subarray(8, 8 + handle.readUInt32LE(0)));
  } finally {
    close(fd);
  }
}

export function handleKey(type: number, bytes: Buffer): string {
  return `${type} ${bytes.toString('hex')}`;
}

/** How many names a file has, by its key; null where the file system of the open directory `dir` has none such. */
export function linksOf(dir: number, key: string): number | null {
  const [type, hex] = key.split(' ');
  const bytes = Buffer.from(hex!, 'hex');
  if (bytes.length > MAX_HANDLE_SZ) return null;
  handle.writeUInt32LE(bytes.length, 0);
  handle.writeInt32LE(Number(type), 4);
  bytes.copy(handle, 8);
  const fd = libc().open_by_handle_at(dir, handle, OPEN_PATH);
  if (fd === -1) return null;
  try {
    return statOf(fd).nlink;
  } finally {
    close(fd);
  }
}

/** All that a stack shows, folders before what is in them, with byte-string paths from `/`. */
export function* walk(stack: LayerStack, root: Entry): Generator<[string, Entry]> {
  const folders: [string, Entry][] = [['', root]];
  for (let next = folders.pop(); next !== undefined; next = folders.pop()) {
    const [path, folder] = next;
    const children: [string, Entry][] = [];
    stack.eachChild(folder, (name, entry) => children.push([`${path}/${name}`, entry]));
    for (const child of children) {
      yield child;
      if (child[1].type === 'folder') folders.push(child);
    }
  }
}

import { close, type Name, namesIn, OPEN_DIRECTORY, OPEN_FILE, openAt, type Stat, statAt } from './at.ts';
import { Entry, type Layer, type Source } from './layer.ts';
import { xattrOf } from './xattrs.ts';

const OPAQUE = Buffer.from('trusted.overlay.opaque\0');
const REDIRECT = Buffer.from('trusted.overlay.redirect\0');
const WHITEOUT = Buffer.from('trusted.overlay.whiteout\0');

/** A lookup on its way down the layers; the names are those of `struct ovl_lookup_data` (fs/overlayfs/namei.c). */
interface Lookup {
  /** In the layers still to come: one name below the parent, or a path from the root (`/…`) after a redirect. */
  name: string;
  /** Nothing further down counts. */
  stop: boolean;
  isDirectory: boolean;
}

/** What a name means in some of a stack's layers, and how the lookup would go on below them. */
export interface Found {
  /** Null: nothing, or a whiteout. */
  readonly entry: Entry | null;
  /** The name to be looked up in the layers below, or a path from their root; null: what they have is hidden. */
  readonly below: string | null;
}

interface Hit {
  readonly stat: Stat;
  readonly path: string;
}

/**
 * An open folder of a stack: the directories merged in it, and the lookup of names in it as the kernel does it with
 * `redirect_dir=on,metacopy=off`. (Of `index=on,nfs_export=on` it leaves out one check: that the origin xattr of a
 * directory in the upper layer names the lower one. It does, as long as an upper layer stands on what it was made on.)
 * Holds a descriptor per directory it touched, until `close`.
 */
export class MergedDirectory {
  readonly sources: readonly Source[];
  private readonly layers: readonly Layer[];
  private readonly depth: number;
  /** Undefined: not opened yet. Null: can't be. */
  private readonly descriptors: (number | null | undefined)[];

  /** @param depth so many of the layers are looked into */
  constructor(layers: readonly Layer[], sources: readonly Source[], depth = layers.length) {
    this.layers = layers;
    this.sources = sources;
    this.depth = depth;
    this.descriptors = new Array(sources.length);
  }

  close(): void {
    this.descriptors.forEach((fd, i) => {
      if (typeof fd === 'number') close(fd);
      this.descriptors[i] = undefined;
    });
  }

  private descriptor(index: number): number | null {
    const known = this.descriptors[index];
    if (known !== undefined) return known;
    const { layer, path } = this.sources[index]!;
    const fd = layer.open(path, OPEN_DIRECTORY);
    this.descriptors[index] = fd;
    return fd;
  }

  /**
   * Every name in the first `count` directories (of all, where left out), whiteouts included, with the index of the
   * first directory that has it.
   */
  names(count = this.sources.length): Map<string, number> {
    const first = new Map<string, number>();
    for (let i = 0; i < count; i++) {
      const { layer, path } = this.sources[i]!;
      // Another descriptor than the one for lookups: reading moves its position.
      const fd = layer.open(path, OPEN_DIRECTORY);
      if (fd === null) continue;
      try {
        for (const { name } of namesIn(fd)) if (!first.has(name)) first.set(name, i);
      } finally {
        close(fd);
      }
    }
    return first;
  }

  /** The first directory as it is: names with what it says of their kinds, whiteouts included. */
  listing(): Name[] {
    const { layer, path } = this.sources[0]!;
    const fd = layer.open(path, OPEN_DIRECTORY);
    if (fd === null) return [];
    try {
      return namesIn(fd);
    } finally {
      close(fd);
    }
  }

  /** What the name means here, or null. `from`: the first directory known to have the name. */
  child(name: string, from = 0): Entry | null {
    return this.look(name, from).entry;
  }

  look(name: string, from = 0): Found {
    const lookup: Lookup = { name, stop: false, isDirectory: false };
    const sources: Source[] = [];
    let stat: Stat | undefined;
    let parents = this.sources;
    for (let i = from; !lookup.stop && i < parents.length; i++) {
      const parent = parents[i]!;
      if (parent.layer.index >= this.depth) break;
      const hit = lookup.name.startsWith('/')
        ? fromRoot(parent.layer, lookup, this.isLast(parent.layer))
        : this.below(i, lookup);
      if (hit === null) continue;
      stat ??= hit.stat;
      sources.push({ layer: parent.layer, path: hit.path });
      if (lookup.name.startsWith('/') && parents === this.sources) {
        // The rest of the lookup starts from the root of each layer below this one.
        parents = this.layers.map((layer) => ({ layer, path: '' }));
        i = parent.layer.index;
      }
    }
    const entry = stat === undefined ? null : new Entry(stat, sources);
    return { entry, below: lookup.stop ? null : lookup.name };
  }

  private isLast(layer: Layer): boolean {
    return layer.index === this.layers.length - 1;
  }

  private below(index: number, lookup: Lookup): Hit | null {
    const fd = this.descriptor(index);
    if (fd === null) return null;
    const { layer, path } = this.sources[index]!;
    return single(fd, path, lookup.name, lookup, 0, '', this.isLast(layer));
  }
}

/** ovl_lookup_layer for an absolute name: step by step, since a directory on the way may be redirected itself. */
function fromRoot(layer: Layer, lookup: Lookup, last: boolean): Hit | null {
  let path = '';
  // Counted from the end, because a redirect on the way changes what precedes.
  let rest = lookup.name.length - 1;
  for (;;) {
    const start = lookup.name.length - rest;
    const slash = lookup.name.indexOf('/', start);
    const end = slash === -1 ? lookup.name.length : slash;
    const name = lookup.name.slice(start, end);
    const dir = layer.open(path, OPEN_DIRECTORY);
    if (dir === null) return null;
    try {
      const hit = single(dir, path, name, lookup, start, lookup.name.slice(end), last);
      if (hit === null || slash === -1) return hit;
      path = hit.path;
    } finally {
      close(dir);
    }
    rest -= name.length + 1;
  }
}

/**
 * ovl_lookup_single: one name in one directory of one layer.
 * @param prefix length of what precedes `name` in `lookup.name`; @param post what follows, '' for the last element
 * @param last whether the layer is the last: what its directories say about layers below is not even read
 */
function single(
  dir: number,
  dirPath: string,
  name: string,
  lookup: Lookup,
  prefix: number,
  post: string,
  last: boolean,
): Hit | null {
  // These two would lead out of the layer; neither is ever the name of a file.
  if (name === '..' || name === '.' || name === '') return null;
  const stat = statOrNull(dir, name);
  if (stat === null) return null;
  if (isWhiteout(dir, name, stat)) {
    lookup.stop = true;
    return null;
  }
  const path = dirPath === '' ? name : `${dirPath}/${name}`;
  if (!stat.isDirectory) {
    lookup.stop = true;
    return lookup.isDirectory || post !== '' ? null : { stat, path };
  }
  if (post === '') lookup.isDirectory = true;
  if (!last && !stat.isMountRoot) readDirectives(dir, name, lookup, prefix, post);
  return { stat, path };
}

/** A name longer than the file system takes is not there. */
function statOrNull(dir: number, name: string): Stat | null {
  try {
    return statAt(dir, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENAMETOOLONG') return null;
    throw error;
  }
}

/** A character device 0:0, or an empty file with the xattr (where the layer's maker could not make devices). */
function isWhiteout(dir: number, name: string, stat: Stat): boolean {
  if (stat.isWhiteout) return true;
  if (!stat.isFile || stat.size !== 0) return false;
  return withOpen(dir, name, OPEN_FILE, (fd) => xattrOf(fd, WHITEOUT) !== null) ?? false;
}

/** What a directory says about the layers below: none of them counts, or look there under another name. */
function readDirectives(dir: number, name: string, lookup: Lookup, prefix: number, post: string): void {
  withOpen(dir, name, OPEN_DIRECTORY, (fd) => {
    if (xattrOf(fd, OPAQUE)?.toString('latin1') === 'y') {
      lookup.stop = true;
      return;
    }
    const redirect = xattrOf(fd, REDIRECT)?.toString('latin1');
    if (redirect === undefined || redirect === '') return;
    if (redirect.startsWith('/')) {
      lookup.name = redirect + post;
      // A folder on the way may have been opaque; what is redirected out of it has its lower part elsewhere.
      lookup.stop = false;
    } else if (!redirect.includes('/')) lookup.name = lookup.name.slice(0, prefix) + redirect + post;
  });
}

/** Null where it is gone meanwhile, or something else by now: a live upper layer changes under us. */
function withOpen<T>(dir: number, name: string, flags: number, body: (fd: number) => T): T | null {
  let fd: number;
  try {
    fd = openAt(dir, name, flags);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ELOOP' || code === 'ENOTDIR' || code === 'ENXIO') return null;
    throw error;
  }
  try {
    return body(fd);
  } finally {
    close(fd);
  }
}

import { close, OPEN_PATH, openBeneath, openRoot, readLink, type Stat } from './at.ts';
import { showBytes } from './libc.ts';

/** One directory of an overlay stack, opened when first needed. */
export class Layer {
  readonly path: string;
  /** 0 is the top. */
  readonly index: number;
  private descriptor = -1;

  constructor(path: string, index: number) {
    this.path = path;
    this.index = index;
  }

  /** A descriptor of the layer's root: no path from outside is walked again while it is open. */
  get root(): number {
    if (this.descriptor === -1) this.descriptor = openRoot(this.path);
    return this.descriptor;
  }

  close(): void {
    if (this.descriptor !== -1) close(this.descriptor);
    this.descriptor = -1;
  }

  /** Opens below the root without passing a symlink or a mount; null where it is not (or no longer) there. */
  open(path: string, flags: number): number | null {
    try {
      return openBeneath(this.root, path === '' ? '.' : path, flags);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      // Overlayfs sees the directory under a mount point, we can't: to us it is empty. Beyond PATH_MAX likewise.
      if (code === 'EXDEV' || code === 'ENAMETOOLONG') return null;
      throw error;
    }
  }
}

/** Where something of the stack really is: a path (byte string, relative, '' for the root) in a layer. */
export interface Source {
  readonly layer: Layer;
  readonly path: string;
}

export type EntryType = 'file' | 'folder' | 'symlink' | 'other';

/** What a lookup finds. */
export class Entry {
  readonly stat: Stat;
  /** For a folder all directories that are merged in it, top first; else the one place. */
  readonly sources: readonly Source[];

  constructor(stat: Stat, sources: readonly Source[]) {
    this.stat = stat;
    this.sources = sources;
  }

  get type(): EntryType {
    if (this.stat.isFile) return 'file';
    if (this.stat.isDirectory) return 'folder';
    return this.stat.isSymlink ? 'symlink' : 'other';
  }

  get top(): Source {
    return this.sources[0]!;
  }

  /** Of the topmost layer that has it. */
  get layerIndex(): number {
    return this.top.layer.index;
  }

  /** On the host, for messages: do not open it, symlinks on the way would be followed. */
  get realPath(): string {
    const { layer, path } = this.top;
    return path === '' ? layer.path : `${layer.path}/${showBytes(path)}`;
  }

  /** Where a symlink points, as a byte string; null where it is gone. */
  target(): string | null {
    const fd = this.top.layer.open(this.top.path, OPEN_PATH);
    if (fd === null) return null;
    try {
      return readLink(fd, '');
    } finally {
      close(fd);
    }
  }
}

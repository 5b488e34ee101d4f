/**
 * The base (the host's own root file system, as a rule) changes under us, and CRIU refuses an image whose executable or
 * library changed. So what the processes of a checkpoint use of it is copied once into a layer over the base.
 *
 * Such layers are generations. A generation is *fresh* while all that is in it is in the base still; only then is it
 * extended, and given to further checkpoints: an old one would show a mixture of two systems. A checkpoint's list is its
 * branch's and, where that lacks something, the fresh generation below. What a branch already saw it goes on to see.
 */
import { constants, readdirSync } from 'node:fs';
import { copyFile, mkdir } from 'node:fs/promises';
import { constants as os } from 'node:os';
import { join } from 'node:path';
import {
  close,
  lastTimes,
  namesIn,
  OPEN_DIRECTORY,
  OPEN_PATH,
  openAt,
  openBeneath,
  openRoot,
  type Stat,
  statAt,
  statOf,
} from './at.ts';
import type { ImageFile } from './image-files.ts';
import { cBytes, check, lastErrno, libc, showBytes, systemError } from './libc.ts';
import { LayerStack } from './stack.ts';
import { removeTree } from './trees.ts';
import { xattrOfPath } from './xattrs.ts';

/** A larger file is left to the base: a checkpoint would take seconds and the volume's space. */
const LARGEST = 1 << 30;
/** On a pinned file: which one of the base it is a copy of. Trusted attributes are for root's eyes only. */
const VERSION = Buffer.from('trusted.teleport-env.version\0');
const AT_EMPTY_PATH = 0x1000;
const { EEXIST } = os.errno;

export interface PinRequest {
  files: Iterable<ImageFile>;
  /** The sandbox's own layers of the new checkpoint, down to the skeleton. */
  own: LayerStack;
  /** The branch's generations. */
  layers: string[];
  /** Root folder of the live branch, which may still show what the base has no more; and what it changed by itself. */
  live: string;
  upper: string;
}

export class Pins {
  readonly dir: string;
  private readonly base: () => string;
  private newest: number;
  /** Of the newest generation: path below the base, its version. */
  private pinned: Map<string, string> | null = null;

  /** @param dir a folder of its own per base; @param base path of the base's root folder */
  constructor(dir: string, base: () => string) {
    this.dir = dir;
    this.base = base;
    this.newest = Math.max(0, ...numbersIn(dir));
  }

  layerPath(name: string): string {
    return join(this.dir, name);
  }

  /** Removes generations that no checkpoint uses. Before any branch is made. */
  async sweep(used: ReadonlySet<string>): Promise<void> {
    for (const n of numbersIn(this.dir)) if (!used.has(String(n))) await removeTree(this.layerPath(String(n)));
    this.newest = Math.max(0, ...numbersIn(this.dir));
    this.pinned = null;
  }

  /**
   * Pins what the checkpoint needs of the base.
   * @returns its generations, newest first
   */
  async pin({ files, own, layers, live, upper }: PinRequest): Promise<string[]> {
    const seen = new LayerStack([...own.paths, ...layers.map((name) => this.layerPath(name))]);
    const changed = new LayerStack([upper]);
    const base = openRoot(this.base());
    const root = openRoot(live);
    seen.retain();
    changed.retain();
    try {
      const wanted = new Map<string, { source: number; path: string; stat: Stat; version: string }>();
      for (const { path, size } of files) {
        const below = path.slice(1);
        if (size === undefined || size > LARGEST || wanted.has(below) || seen.lookupBytes(path)) continue;
        const now = look(base, below);
        const shown = changed.lookupBytes(path) ? null : look(root, below);
        // Replaced in the base since it was opened: the branch still shows the old one.
        const stale = shown !== null && shown.kind !== now?.kind;
        const found = stale ? shown : now;
        if (!found?.stat.isFile || found.stat.size !== size) continue;
        const version = stale ? `gone:${found.version}` : found.version;
        wanted.set(below, { source: stale ? root : base, path: below, stat: found.stat, version });
      }
      if (wanted.size === 0) return layers;
      const name = await this.generationFor(wanted, base, layers);
      for (const [path, { source, stat, version }] of wanted)
        if (!this.pinned!.has(path)) {
          await this.copy(name, base, source, path, stat, version);
          this.pinned!.set(path, version);
        }
      return layers.includes(name) ? layers : [...layers, name];
    } finally {
      seen.release();
      changed.release();
      close(base);
      close(root);
    }
  }

  /** The newest, where it is fresh and none of the wanted contradicts it; else one more. */
  private async generationFor(
    wanted: ReadonlyMap<string, { version: string }>,
    base: number,
    layers: string[],
  ): Promise<string> {
    const pinned = this.load();
    const name = String(this.newest);
    const fits = [...wanted].every(([path, { version }]) => (pinned.get(path) ?? version) === version);
    // A branch's own generation is extended though others of its files went out of date: it sees those in any case.
    const fresh =
      layers.includes(name) || [...pinned].every(([path, version]) => look(base, path)?.version === version);
    if (this.newest > 0 && fits && fresh) return name;
    this.newest++;
    this.pinned = new Map();
    await mkdir(this.layerPath(String(this.newest)), { recursive: true });
    return String(this.newest);
  }

  private load(): Map<string, string> {
    if (this.pinned) return this.pinned;
    this.pinned = new Map();
    if (this.newest > 0) readVersions(this.layerPath(String(this.newest)), this.pinned);
    return this.pinned;
  }

  private async copy(
    layer: string,
    base: number,
    source: number,
    path: string,
    stat: Stat,
    version: string,
  ): Promise<void> {
    const parts = path.split('/');
    const name = parts.pop()!;
    const dir = makeFolders(this.layerPath(layer), base, parts);
    const from = openBeneath(source, path, constants.O_RDONLY | constants.O_NOFOLLOW);
    if (from === null) {
      close(dir);
      throw systemError(2, 'open', showBytes(path));
    }
    try {
      const part = `.part-${process.pid}`;
      libc().unlinkat(dir, cBytes(part), 0);
      await copyFile(`/proc/self/fd/${from}`, `/proc/self/fd/${dir}/${part}`);
      const to = openAt(dir, part, constants.O_RDONLY | constants.O_NOFOLLOW);
      try {
        statOf(from);
        const times = lastTimes();
        check(libc().fchownat(to, cBytes(''), stat.uid, stat.gid, AT_EMPTY_PATH), 'chown', showBytes(path));
        check(libc().fchmod(to, stat.mode & 0o7777), 'chmod', showBytes(path));
        const value = Buffer.from(version);
        check(libc().fsetxattr(to, VERSION, value, value.length, 0), 'setxattr', showBytes(path));
        check(libc().futimens(to, times), 'utime', showBytes(path));
      } finally {
        close(to);
      }
      check(libc().renameat2(dir, cBytes(part), dir, cBytes(name, 1), 0), 'rename', showBytes(path));
    } finally {
      close(from);
      close(dir);
    }
  }
}

function numbersIn(dir: string): number[] {
  try {
    return readdirSync(dir).map(Number).filter(Number.isInteger);
  } catch {
    return [];
  }
}

function readVersions(layer: string, found: Map<string, string>): void {
  const walk = (dir: number, path: string): void => {
    for (const { name } of namesIn(dir)) {
      if (statAt(dir, name)?.isDirectory) {
        const below = openAt(dir, name, OPEN_DIRECTORY);
        walk(below, `${path}${name}/`);
        close(below);
        continue;
      }
      const fd = openAt(dir, name, OPEN_PATH);
      const version = xattrOfPath(fd, VERSION);
      close(fd);
      if (version) found.set(path + name, version.toString());
      else libc().unlinkat(dir, cBytes(name), 0); // half copied when the helper ended
    }
  };
  const root = openRoot(layer);
  walk(root, '');
  close(root);
}

/** Opens the folder of a layer, made like the base's with those above it. */
function makeFolders(layer: string, base: number, parts: string[]): number {
  let dir = openRoot(layer);
  for (const [i, part] of parts.entries()) {
    if (libc().mkdirat(dir, cBytes(part), 0o755) === 0) {
      const like = openBeneath(base, parts.slice(0, i + 1).join('/'), OPEN_PATH);
      const stat = like === null ? null : statOf(like);
      if (like !== null) close(like);
      const made = openAt(dir, part, OPEN_DIRECTORY);
      if (stat?.isDirectory) {
        check(libc().fchownat(made, cBytes(''), stat.uid, stat.gid, AT_EMPTY_PATH), 'chown', showBytes(part));
        check(libc().fchmod(made, stat.mode & 0o7777), 'chmod', showBytes(part));
      }
      close(made);
    } else if (lastErrno() !== EEXIST) throw systemError(lastErrno(), 'mkdir', showBytes(part));
    const below = openAt(dir, part, OPEN_DIRECTORY);
    close(dir);
    dir = below;
  }
  return dir;
}

/** What is there, reached without a symlink: what processes hold is named so. */
function look(root: number, path: string): { stat: Stat; kind: string; version: string } | null {
  let fd: number | null;
  try {
    fd = openBeneath(root, path, OPEN_PATH);
  } catch (error) {
    // Something is mounted there, which no overlay passes on: /dev, for one, where deleted shared memory has its name.
    if ((error as NodeJS.ErrnoException).code === 'EXDEV') return null;
    throw error;
  }
  if (fd === null) return null;
  try {
    const stat = statOf(fd);
    const kind = `${stat.size}:${stat.mtimeSec}.${stat.mtimeNsec}`;
    return { stat, kind, version: `${stat.ino}:${kind}:${stat.ctimeSec}.${stat.ctimeNsec}` };
  } finally {
    close(fd);
  }
}

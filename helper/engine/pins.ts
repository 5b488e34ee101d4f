/**
 * The base is the host's own root file system, and that changes under us; CRIU refuses an image whose executable or library
 * changed. So what processes of a checkpoint map or hold open of it is copied once into a layer over the base. Where a file
 * changed since it was pinned, a new generation begins: its layer lies over the older ones for checkpoints from then on.
 */
import {
  type BigIntStats,
  chmodSync,
  chownSync,
  copyFileSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  statSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { makeLike } from './skeleton.ts';
import type { LayerStack } from './stack.ts';
import { utimensat } from './syscalls.ts';

/** A larger file is left to the base: a checkpoint would take seconds and the volume's space. */
const LARGEST = 1 << 30;

export class Pins {
  private readonly dir: string;
  private readonly base: string;
  private readonly known = new Map<string, string>();
  private newest: number;

  /** @param dir a folder of its own per base */
  constructor(dir: string, base: string) {
    mkdirSync(dir, { recursive: true });
    this.dir = dir;
    this.base = base;
    this.newest = Math.max(0, ...readdirSync(dir).map(Number).filter(Number.isInteger));
    if (this.newest === 0) this.begin();
  }

  private begin(): void {
    this.newest++;
    mkdirSync(join(this.dir, String(this.newest)));
    this.known.clear();
  }

  /** Names of the layers as of now, newest first: folders of `dir`. */
  get layers(): string[] {
    return Array.from({ length: this.newest }, (_, i) => String(this.newest - i));
  }

  layerPath(name: string): string {
    return join(this.dir, name);
  }

  /**
   * Pins those of the paths that come from the base, which is what is not found in the layers over it.
   * @returns the layers that a checkpoint made now must lie on
   */
  pin(paths: Iterable<string>, over: LayerStack): string[] {
    for (const path of paths) {
      const stat = regular(join(this.base, path));
      if (!stat || stat.size > LARGEST) continue;
      const version = `${stat.ino}:${stat.size}:${stat.mtimeNs}:${stat.ctimeNs}`;
      if (this.known.get(path) === version) continue;
      if (over.lookup(path)) continue; // the sandbox's own
      const target = join(this.dir, String(this.newest), path);
      const pinned = regular(target);
      const same = pinned && pinned.size === stat.size && pinned.mtimeNs === stat.mtimeNs;
      if (pinned && !same) {
        this.begin();
        this.copy(path, stat);
      } else if (!pinned && !this.pinnedBefore(path, stat)) this.copy(path, stat);
      this.known.set(path, version);
    }
    return this.layers;
  }

  /** An older generation has this very version, and no newer one hides it. */
  private pinnedBefore(path: string, stat: BigIntStats): boolean {
    for (const layer of this.layers) {
      const pinned = regular(join(this.dir, layer, path));
      if (pinned) return pinned.size === stat.size && pinned.mtimeNs === stat.mtimeNs;
    }
    return false;
  }

  private copy(path: string, stat: BigIntStats): void {
    const layer = join(this.dir, String(this.newest));
    makeLike(layer, this.base, dirname(path));
    const target = join(layer, path);
    copyFileSync(join(this.base, path), target);
    chownSync(target, Number(stat.uid), Number(stat.gid));
    chmodSync(target, Number(stat.mode) & 0o7777);
    utimensat(target, stat.atimeNs, stat.mtimeNs);
  }
}

function regular(path: string): BigIntStats | null {
  try {
    // The base may reach it through symlinked folders (/lib → /usr/lib); what is held is named without them.
    const stat = lstatSync(path, { bigint: true });
    return stat.isFile() && statSync(dirname(path)).isDirectory() ? stat : null;
  } catch {
    return null;
  }
}

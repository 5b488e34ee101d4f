/** What the engine needs of the machine, found once at the daemon's start. */
import type { Layout } from './layout.ts';
import type { Limiter } from './limits.ts';

export interface Machine {
  layout: Layout;
  /** teleport-init, root-owned. */
  init: string;
  /** criu, root-owned. */
  criu: string;
  criuVersion: string;
  kernel: string;
  /** Changes with every boot: tells whether what was never synced can still be there. */
  bootId: string;
  /** Folder of a cgroup v2 under which each branch gets one. */
  cgroups: string;
  limiter: Limiter;
  /**
   * Large images are read past the page cache: below the state volume is a file, which has one of its own. Where there is a disk, what
   * is read time and again had better be kept.
   */
  readsDirect: boolean;
  /** Copies of files share their data, so that to copy one costs the same whatever its size. */
  sharesData: boolean;
}

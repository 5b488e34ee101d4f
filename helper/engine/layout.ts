/**
 * Where things stand. The directory tree is the database: a checkpoint exists when its manifest does, and that is
 * renamed into place last.
 *
 *   STATE/volume.img                      the volume, where it is a file
 *   STATE/volume/                         … mounted
 *     pins/GENERATION/                    files of the base that processes hold
 *     trash/                              what is being deleted
 *     sandboxes/s1/sandbox.json
 *     sandboxes/s1/skeleton/              masks and /dev, over the base
 *     sandboxes/s1/checkpoints/k1/        manifest.json, layer/, image/, perhaps flat/ (its layer and those below it as one,
 *                                         which can then be deleted)
 *     sandboxes/s1/branches/b1/           branch.json, upper/, work/, root/ (the mount point), taken/
 */
import { join } from 'node:path';

export class Layout {
  readonly state: string;
  readonly volume: string;
  readonly trash: string;
  readonly sandboxes: string;
  readonly pins: string;
  /** On a tmpfs: CRIU keeps its feature cache under /run only there. */
  readonly run: string;

  constructor(state: string, run: string) {
    this.state = state;
    this.run = run;
    this.volume = join(state, 'volume');
    this.trash = join(this.volume, 'trash');
    this.sandboxes = join(this.volume, 'sandboxes');
    this.pins = join(this.volume, 'pins');
  }

  sandbox(id: string): SandboxLayout {
    return new SandboxLayout(join(this.sandboxes, id));
  }
}

export class SandboxLayout {
  readonly dir: string;
  constructor(dir: string) {
    this.dir = dir;
  }
  get file(): string {
    return join(this.dir, 'sandbox.json');
  }
  get skeleton(): string {
    return join(this.dir, 'skeleton');
  }
  get checkpoints(): string {
    return join(this.dir, 'checkpoints');
  }
  get branches(): string {
    return join(this.dir, 'branches');
  }
  checkpoint(id: string): CheckpointLayout {
    return new CheckpointLayout(join(this.checkpoints, id));
  }
  branch(id: string): BranchLayout {
    return new BranchLayout(join(this.branches, id));
  }
}

export class CheckpointLayout {
  readonly dir: string;
  readonly layer: string;
  readonly flat: string;
  readonly image: string;
  /** Only while it is made: files that the mount's index alone still names. */
  readonly index: string;
  /** A layer for those who look: it hides the names that CRIU gave to deleted open files. Only where there are some. */
  readonly mask: string;
  readonly manifest: string;
  constructor(dir: string) {
    this.dir = dir;
    this.layer = join(dir, 'layer');
    this.flat = join(dir, 'flat');
    this.image = join(dir, 'image');
    this.index = join(dir, 'index');
    this.mask = join(dir, 'mask');
    this.manifest = join(dir, 'manifest.json');
  }
}

export class BranchLayout {
  readonly dir: string;
  readonly upper: string;
  readonly work: string;
  readonly root: string;
  /** What the next image takes over from the one before, as far as that was done ahead. */
  readonly taken: string;
  readonly file: string;
  constructor(dir: string) {
    this.dir = dir;
    this.taken = join(dir, 'taken');
    this.upper = join(dir, 'upper');
    this.work = join(dir, 'work');
    this.root = join(dir, 'root');
    this.file = join(dir, 'branch.json');
  }
}

import assert from 'node:assert/strict';
import fs from 'node:fs';
import { join } from 'node:path';
import { copyIndexOnly, copyTree } from '../../helper/engine/copy.ts';
import { mount, umount2 } from '../../helper/engine/syscalls.ts';
import { makeLike } from '../../helper/engine/trees.ts';

/** A branch in small: overlay mounts made one after the other, each on the layers that the former ones left. */
export class OverlaySandbox {
  readonly merged: string;
  layers: string[];
  upper = '';
  /** What the last capture saved of the index. */
  saved: string | undefined;
  private work = '';
  private readonly home: string;
  private readonly index: boolean;
  private made = 0;
  private mounted = false;

  /**
   * @param index whether the mounts keep an index, as the real ones do. Then a write to a lower hard link shows under
   * its other names too, which stand in no layer: no view of layers alone can know.
   */
  constructor(home: string, base: string, index = true) {
    this.index = index;
    this.home = home;
    this.merged = join(home, 'merged');
    fs.mkdirSync(this.merged, { recursive: true });
    this.layers = [base];
  }

  /** A fresh upper directory on the present layers. */
  start(): void {
    this.upper = join(this.home, `u${++this.made}`);
    this.work = join(this.home, `w${this.made}`);
    makeLike(this.upper, this.layers[0]!);
    fs.mkdirSync(this.work);
    this.mount();
  }

  private mount(): void {
    const lower = this.layers.join(':');
    const index = this.index ? 'index=on,nfs_export=on' : 'index=off';
    const features = `${index},xino=on,redirect_dir=on,metacopy=off`;
    mount(
      'overlay',
      this.merged,
      'overlay',
      0,
      `lowerdir=${lower},upperdir=${this.upper},workdir=${this.work},${features}`,
    );
    this.mounted = true;
  }

  get indexFolder(): string {
    return join(this.work, 'index');
  }

  /** A copy of the upper directory as it is now, as a layer; the head goes on. */
  capture(): string {
    const layer = join(this.home, `l${++this.made}`);
    copyTree(this.upper, layer);
    this.saved = undefined;
    if (this.index && copyIndexOnly(this.indexFolder, `${layer}.index`) > 0) this.saved = `${layer}.index`;
    return layer;
  }

  stop(): void {
    if (this.mounted) umount2(this.merged);
    this.mounted = false;
  }

  /** Goes on from a checkpoint: `layer` on what it was made on. */
  goOnFrom(layer: string): void {
    this.stop();
    this.layers = [layer, ...this.layers];
    this.start();
  }
}

/** Numbers from 0 up to `below`, the same for the same seed (mulberry32). */
export function randomNumbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

const NAMES = [
  'a',
  'b',
  'c',
  'd',
  'e',
  Buffer.from('ünï').toString('latin1'),
  'with space',
  String.fromCharCode(0xff, 0xfe),
];

/** Does `count` random things to the tree; what can't be done is not. Byte-string paths. */
export function disturb(root: string, count: number, random: (below: number) => number, hardLinks = true): void {
  const pick = <T>(of: readonly T[]): T => of[random(of.length)]!;
  const raw = (path: string) => Buffer.from(path, 'latin1');
  const anywhere = (): string => {
    let path = Buffer.from(root).toString('latin1');
    for (let depth = 1 + random(4); depth > 0; depth--) path += `/${pick(NAMES)}`;
    return path;
  };
  const existing = (): string => {
    let path = Buffer.from(root).toString('latin1');
    for (let depth = 1 + random(4); depth > 0; depth--) {
      let names: string[];
      try {
        names = fs.readdirSync(raw(path), { encoding: 'latin1' });
      } catch {
        break;
      }
      if (names.length > 0) path += `/${pick(names)}`;
    }
    return path;
  };
  const content = () => Buffer.alloc(random(3) === 0 ? 200_000 : random(30), String(random(4)));
  const remove = (path: string) => {
    // Whole top-level folders go seldom, or little would be left.
    const depth = path.slice(root.length).split('/').length;
    if (depth > 2 || (depth === 2 && random(4) === 0)) fs.rmSync(raw(path), { recursive: true, force: true });
  };
  const operations: (() => void)[] = [
    () => fs.writeFileSync(raw(anywhere()), content()),
    () => fs.writeFileSync(raw(existing()), content(), { flag: 'r+' }),
    () => fs.appendFileSync(raw(existing()), 'more'),
    () => fs.chmodSync(raw(existing()), pick([0o644, 0o600, 0o755, 0o4711])),
    () => fs.lchownSync(raw(existing()), random(3), random(3)),
    () => fs.utimesSync(raw(existing()), random(1e9), random(1e9)),
    () => fs.unlinkSync(raw(existing())),
    () => fs.renameSync(raw(existing()), raw(anywhere())),
    () => fs.renameSync(raw(existing()), raw(anywhere())),
    () => fs.renameSync(raw(existing()), raw(anywhere())),
    // Never the name of something of the host's: the operations above follow links, outside of any sandbox.
    () => fs.symlinkSync(pick(['a', '../b', '/c/d', '/nowhere/at/all', 'nowhere']), raw(anywhere())),
    () => hardLinks && fs.linkSync(raw(existing()), raw(anywhere())),
    () => fs.mkdirSync(raw(anywhere()), { recursive: true }),
    () => fs.mkdirSync(raw(anywhere())),
    () => remove(existing()),
    () => {
      const path = existing();
      remove(path);
      fs.mkdirSync(raw(path));
      fs.writeFileSync(raw(`${path}/${pick(NAMES)}`), content());
    },
    () => {
      const path = existing();
      remove(path);
      fs.writeFileSync(raw(path), content());
    },
  ];
  for (let i = 0; i < count; i++) {
    try {
      pick(operations)();
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? '';
      assert.match(
        code,
        /^(ENOENT|ENOTDIR|EEXIST|EISDIR|ENOTEMPTY|EINVAL|EPERM|ELOOP|EBUSY|EXDEV|ERR_FS_EISDIR|ERR_INVALID_ARG_VALUE)$/,
        String(error),
      );
    }
  }
}

export interface Seen {
  readonly type: string;
  readonly mode: number;
  readonly owner: string;
  /** A file's content, a symlink's target. */
  readonly content: string;
}

/** A tree as the kernel shows it: byte-string path from `/` to what is there. */
export function seenByKernel(root: string): Map<string, Seen> {
  const seen = new Map<string, Seen>();
  const visit = (path: string) => {
    const at = Buffer.from(Buffer.from(root).toString('latin1') + path, 'latin1');
    const stat = fs.lstatSync(at);
    let content = '';
    let type = 'other';
    if (stat.isDirectory()) type = 'folder';
    if (stat.isFile()) {
      type = 'file';
      content = fs.readFileSync(at, 'latin1');
    }
    if (stat.isSymbolicLink()) {
      type = 'symlink';
      content = fs.readlinkSync(at, 'latin1');
    }
    seen.set(path === '' ? '/' : path, { type, mode: stat.mode & 0o7777, owner: `${stat.uid}:${stat.gid}`, content });
    if (type === 'folder') for (const name of fs.readdirSync(at, 'latin1').sort()) visit(`${path}/${name}`);
  };
  visit('');
  return seen;
}

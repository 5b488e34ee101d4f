/**
 * What sandboxes stand on: the host's own root, a folder of a user's, or an image unpacked into the state volume.
 *
 * A folder is opened with its user's own rights (`asUser`), and what was opened is bound to a place of ours: no later trick with
 * links or renames can put something else there. An image is read likewise, and unpacked by content.
 */
import { createHash } from 'node:crypto';
import {
  closeSync,
  constants,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statfsSync,
} from 'node:fs';
import { join } from 'node:path';
import { asUser, type UserIds } from '../engine/as-user.ts';
import { unpackImage } from '../engine/base-image.ts';
import { findDevice } from '../engine/find-device.ts';
import type { Layout } from '../engine/layout.ts';
import { Pins } from '../engine/pins.ts';
import { MNT_DETACH, MS, mount, umount2 } from '../engine/syscalls.ts';
import { removeTree } from '../engine/trees.ts';
import { TeleportError } from '../protocol/errors.ts';

export interface Base {
  readonly pins: Pins;
  /** Path of its root folder. @throws TeleportError `baseUnreadable` where it is there no more */
  root(): string;
}

/**
 * File systems whose contents only the kernel and those with root's rights decide on, statfs(2)'s numbers. On others (FUSE, network
 * ones) their owner can let appear what they like, device nodes included.
 */
const TRUSTED = new Map([
  [0xef53, 'ext'],
  [0x58465342, 'xfs'],
  [0x9123683e, 'btrfs'],
  [0x01021994, 'tmpfs'],
  [0x794c7630, 'overlay'],
  [0xf2f52010, 'f2fs'],
  [0x2fc12fc1, 'zfs'],
  [0xca451a4e, 'bcachefs'],
]);
const HINT = 'give a folder with a root file system, or an image tar as docker save writes it';

export class Bases {
  private readonly layout: Layout;
  private readonly known = new Map<string, Base>();
  /** Images being unpacked or about to be used. */
  private readonly inUse = new Map<string, number>();

  constructor(layout: Layout) {
    this.layout = layout;
  }

  private get images(): string {
    return join(this.layout.volume, 'bases');
  }
  private get bound(): string {
    return join(this.layout.state, 'bases');
  }

  /** Before anything else: what an earlier daemon left bound or half unpacked goes. */
  async clean(): Promise<void> {
    for (const dir of [this.images, this.bound]) mkdirSync(dir, { recursive: true, mode: 0o700 });
    for (const name of readdirSync(this.bound)) this.unbind(name);
    for (const name of readdirSync(this.images))
      if (name.startsWith('part-')) await removeTree(join(this.images, name));
  }

  /** Unbinds all: live sandboxes have mounts of their own. */
  close(): void {
    for (const name of readdirSync(this.bound)) this.unbind(name);
  }

  private unbind(name: string): void {
    try {
      umount2(join(this.bound, name), MNT_DETACH);
    } catch {
      // it was not bound
    }
  }

  /**
   * What a user names as base, opened with their rights.
   * @returns what goes into the sandbox's record, and is given to `get`. Call `done` once it is there (or given up)
   * @throws TeleportError `baseUnreadable`, `volumeFull`
   */
  async choose(
    user: UserIds,
    path: string,
    options: { progress(message: string): void; signal?: AbortSignal },
  ): Promise<{ base: string; done(): void }> {
    if (!path.startsWith('/')) throw new TeleportError('invalidRequest', 'a base is named by its absolute path');
    const fd = openAs(user, path);
    try {
      const real = readlinkSync(`/proc/self/fd/${fd}`);
      if (fstatSync(fd).isDirectory()) {
        if (real === '/') return { base: '/', done() {} };
        await checkFolder(user, fd, path);
        return { base: real, done() {} };
      }
      if (!fstatSync(fd).isFile())
        throw new TeleportError('baseUnreadable', `${path} is no folder and no file`, { hint: HINT });
      // Held from here on, whichever digest it will have: `sweep` waits.
      const release = this.hold('*');
      try {
        const digest = await unpackImage(fd, this.images, { name: path, ...options });
        return { base: join(this.images, digest, 'root'), done: release };
      } catch (error) {
        release();
        throw error;
      }
    } finally {
      closeSync(fd);
    }
  }

  private hold(name: string): () => void {
    this.inUse.set(name, (this.inUse.get(name) ?? 0) + 1);
    return () => this.inUse.set(name, this.inUse.get(name)! - 1);
  }

  /** The machine's own root. */
  get host(): Base {
    return this.get('/', { uid: 0, gid: 0, groups: [] });
  }

  get(base: string, user: UserIds): Base {
    const key = base === '/' || base.startsWith(`${this.images}/`) ? base : `${user.uid} ${base}`;
    const there = this.known.get(key);
    if (there) return there;
    const name = base === '/' ? 'host' : createHash('sha256').update(key).digest('hex').slice(0, 32);
    let root: (() => string) | undefined;
    if (base === '/') root = () => '/';
    else if (base.startsWith(`${this.images}/`)) root = () => existing(base);
    else {
      let at: string | null = null;
      root = () => (at ??= this.bind(name, user, base));
    }
    const made = { pins: new Pins(join(this.layout.pins, name), root), root };
    this.known.set(key, made);
    return made;
  }

  private bind(name: string, user: UserIds, path: string): string {
    const place = join(this.bound, name);
    const fd = openAs(user, path);
    try {
      if (!fstatSync(fd).isDirectory() || !isTrusted(fd))
        throw new TeleportError('baseUnreadable', `the base ${path} is not the folder that it was`);
      mkdirSync(place, { recursive: true, mode: 0o700 });
      mount(`/proc/self/fd/${fd}`, place, null, MS.BIND);
      return place;
    } finally {
      closeSync(fd);
    }
  }

  /** Removes unpacked images and pins that no sandbox stands on any more. */
  async sweep(used: { base: string; owner: UserIds }[]): Promise<void> {
    if ([...this.inUse.values()].some((n) => n > 0)) return;
    const bases = new Set(used.map(({ base }) => base));
    for (const name of readdirSync(this.images)) {
      const base = join(this.images, name, 'root');
      if (bases.has(base) || name.startsWith('part-')) continue;
      this.known.delete(base);
      await removeTree(join(this.images, name));
    }
    const keep = new Set(used.map(({ base, owner }) => this.get(base, owner).pins.dir));
    for (const name of readdirSync(this.layout.pins)) {
      if (name === 'host' || keep.has(join(this.layout.pins, name))) continue;
      for (const [key, { pins }] of this.known) if (pins.dir.endsWith(`/${name}`)) this.known.delete(key);
      this.unbind(name);
      await removeTree(join(this.layout.pins, name));
    }
  }
}

function existing(path: string): string {
  if (statfsOf(path) !== null) return path;
  throw new TeleportError('baseUnreadable', `the unpacked base ${path} is missing`, {
    hint: 'the state volume was changed from outside: make the sandbox anew',
  });
}

function statfsOf(path: string): number | null {
  try {
    return statfsSync(path).type;
  } catch {
    return null;
  }
}

function openAs(user: UserIds, path: string): number {
  try {
    return asUser(user, () => openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY));
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const why =
      code === 'ENOENT' ? 'is not there' : code === 'EACCES' ? 'is not readable for you' : `can't be read (${code})`;
    throw new TeleportError('baseUnreadable', `the base ${path} ${why}`, { hint: HINT, cause });
  }
}

function isTrusted(fd: number): boolean {
  return TRUSTED.has(statfsOf(`/proc/self/fd/${fd}`) ?? 0);
}

/**
 * A sandbox shows device nodes of its base as devices, also where the base lies on a file system that is mounted without (`nodev`): there,
 * none may be in it.
 */
async function checkFolder(user: UserIds, fd: number, path: string): Promise<void> {
  if (!isTrusted(fd))
    throw new TeleportError(
      'baseUnreadable',
      `the base ${path} is on a file system that can't be one (such as FUSE or NFS)`,
      {
        hint: 'copy it to a local disk, or give an image tar',
      },
    );
  if (user.uid === 0 || !/(^|,)nodev(,|$)/.test(mountOptions(fd))) return;
  const device = await findDevice(`/proc/self/fd/${fd}/`);
  if (device !== null)
    throw new TeleportError(
      'baseUnreadable',
      `the base ${path} holds the device node ${device}, and its mount forbids those`,
      {
        hint: 'remove it from there: a sandbox has a /dev of its own',
      },
    );
}

function mountOptions(fd: number): string {
  const id = /^mnt_id:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1];
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
    const fields = line.split(' ');
    if (fields[0] === id) return fields[5] ?? '';
  }
  return '';
}

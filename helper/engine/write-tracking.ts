/**
 * Which memory of a branch was written since its last image: the kernel notes it (userfaultfd with WP_ASYNC, Linux 6.7), CRIU reads it
 * (our patch 0005-write-tracking), and takes over from that image what was not. The descriptors that the notes live by are kept in a socket
 * of ours between two dumps. Whoever loses them loses nothing else: all that they stood for reads as written.
 */
import { closeSync, constants, existsSync, readdirSync, rmSync } from 'node:fs';
import { copyFile, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { join, relative } from 'node:path';
import type { CriuOptions, DumpOptions } from './criu-options.ts';
import { copyOnWriteByBlocks } from './extents.ts';
import { check, libc } from './libc.ts';

/** Of sys/socket.h. */
const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const MSG_PEEK = 2;
const MSG_DONTWAIT = 0x40;

/** As in the patch: in smaller memories nothing is tracked. */
const WORTH_BYTES = 16 << 20;

/** What only the dump itself needed: the link to the image before, and what was taken over for processes that are no more. */
function tidy(image: string): void {
  for (const name of readdirSync(image)) if (name === 'parent' || name.startsWith('taken-')) rmSync(join(image, name));
}

/** @returns the file system can */
async function clone(since: string, dir: string): Promise<boolean> {
  let shared = false;
  copyOnWriteByBlocks(dir);
  for (const name of await readdir(since)) {
    const number = /^pages-(\d+)\.img$/.exec(name)?.[1];
    if (!number) continue;
    const path = join(since, name);
    const file = await open(path, 'r');
    try {
      await file.datasync();
      if ((await file.stat()).size < WORTH_BYTES) continue;
    } finally {
      await file.close();
    }
    const taken = join(dir, `taken-${number}.img`);
    // Where the file system cannot, CRIU copies what it needs.
    const cloned = copyFile(path, taken, constants.COPYFILE_FICLONE_FORCE).then(() => true);
    if (await cloned.catch(() => false)) shared = true;
    else await rm(taken, { force: true });
  }
  return shared;
}

export class WriteTracking {
  private socket: number | null = null;
  private last: string | null = null;
  private ended = false;
  /** What of the image before was taken over ahead, and where that is, or will be. */
  private ahead: { since: string; dir: string; shared: Promise<boolean> } | null = null;
  /** A dump is about to begin, which takes over what it needs by itself. */
  private dumping = false;
  /** One after the other: they are all about one folder. */
  private lastAhead: Promise<unknown> = Promise.resolve();

  /** Folder of the image that the next dump may take pages over from; null where all of it has to be written. */
  get since(): string | null {
    return this.last !== null && existsSync(this.last) ? this.last : null;
  }

  /**
   * Before a dump into `image`, while the programs still run: pages that are not on the disk yet could be taken over only once they
   * are, and taking over many small pieces takes its time too.
   * @returns blocks are shared with the image before: the file system can. What fails here is no reason to have no checkpoint: then
   * all of the memory is dumped
   */
  async ready(image: string): Promise<boolean> {
    const { since } = this;
    if (since === null) return false;
    this.dumping = true;
    try {
      return await this.take(since, image);
    } catch {
      this.forget();
      return false;
    }
  }

  /**
   * Does it while nobody waits: of an image in 50,000 pieces, as dumps of scattered pages leave it, that is a second. A dump of what is
   * written since that same image has it then; what failed is done by that one.
   * @param dir to be made, in the file system of the images; it goes with the branch
   */
  async takeAhead(dir: string): Promise<void> {
    const { since } = this;
    if (since === null || this.ended || this.dumping || this.ahead?.since === since) return;
    const shared = this.inOrder(async () => {
      await rm(dir, { recursive: true, force: true }); // of the image before that
      if (this.ended || this.since !== since) return false;
      await mkdir(dir, { mode: 0o700 });
      return await clone(since, dir);
    });
    this.ahead = { since, dir, shared };
    await shared.catch(() => {});
  }

  private inOrder<T>(work: () => Promise<T>): Promise<T> {
    const done = this.lastAhead.then(work, work);
    this.lastAhead = done;
    return done;
  }

  private async take(since: string, image: string): Promise<boolean> {
    const { ahead } = this;
    const shared = ahead?.since === since ? await ahead.shared.catch(() => null) : null;
    if (!ahead || shared === null) return await clone(since, image);
    this.ahead = null; // used up: a dump that is tried again takes it over by itself
    copyOnWriteByBlocks(image);
    for (const name of await readdir(ahead.dir)) await rename(join(ahead.dir, name), join(image, name));
    return shared;
  }

  /** What CRIU is told for a restore: it begins with it. */
  keeping(): Pick<CriuOptions, 'writeTrackSk'> {
    if (this.ended) return {};
    this.socket ??= check(libc().socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), 'socket');
    return { writeTrackSk: this.socket };
  }

  /** What it is told for a dump into `image`. */
  options(image: string): Pick<DumpOptions, 'parentImg' | 'writeTrackSk'> {
    const { since } = this;
    this.last = null; // unless it succeeds
    this.ahead = null; // used up, or of another image
    this.dumping = false;
    return { ...this.keeping(), ...(since === null ? {} : { parentImg: relative(image, since) }) };
  }

  /** That dump succeeded. */
  dumped(image: string): void {
    tidy(image);
    this.restored(image);
  }

  /** The memory is what this image has: what is written from now on is written since. */
  restored(image: string): void {
    if (this.socket === null) return;
    // Nothing waits in it where there was nothing worth the while, or where CRIU or the kernel cannot.
    const waiting = libc().recv(this.socket, Buffer.alloc(4), 4, MSG_PEEK | MSG_DONTWAIT) > 0;
    if (waiting) this.last = image;
    else this.forget();
  }

  /** All reads as written. */
  forget(): void {
    this.last = null;
    this.dumping = false;
    this.dropAhead();
    if (this.socket !== null) closeSync(this.socket);
    this.socket = null;
  }

  /** The blocks of an image that may be deleted now are held no longer. */
  private dropAhead(): void {
    const { ahead } = this;
    this.ahead = null;
    if (ahead) this.inOrder(() => rm(ahead.dir, { recursive: true, force: true })).catch(() => {}); // then with the branch
  }

  /** With the branch. */
  end(): void {
    this.ended = true;
    this.forget();
  }
}

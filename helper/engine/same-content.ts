import { createHash } from 'node:crypto';
import { close, statOf } from './at.ts';
import type { Entry } from './layer.ts';
import { check, libc } from './libc.ts';
import { openEntry } from './stack.ts';

/** Steps of a long computation: run it in one go, or with breaks at each `undefined`. */
export type Steps<T> = Generator<undefined, T>;

/** `_IOWR('f', 11, struct fiemap)` of linux/fs.h; the same on x64 and arm64. */
const FS_IOC_FIEMAP = 0xc020660b;
/** Flush first: extents say nothing about what is not written yet. */
const FIEMAP_FLAG_SYNC = 1;
const EXTENT_LAST = 1;
const EXTENT_UNWRITTEN = 0x800;
/** Where a physical address means nothing: unknown, delalloc, encoded, not aligned, inline, tail. */
const EXTENT_UNUSABLE = 0x2 | 0x4 | 0x8 | 0x100 | 0x200 | 0x400;
const HEADER = 32;
const EXTENT = 56;
const EXTENTS = 512;

/** Below that many bytes, reading is as quick as asking for extents. */
const WORTH_MAPPING = 131_072;
const CHUNK = 1 << 20;
const left = Buffer.allocUnsafeSlow(CHUNK);
const right = Buffer.allocUnsafeSlow(CHUNK);
const maps = [Buffer.alloc(HEADER + EXTENTS * EXTENT), Buffer.alloc(HEADER + EXTENTS * EXTENT)] as const;

/**
 * Whether two regular files of the same size hold the same bytes. Exact: equal times are no proof, since programs set
 * them. Shared extents are one. A generator, since files may be large: it yields between reads.
 */
export function* sameContent(a: Entry, b: Entry): Steps<boolean> {
  if (a.stat.dev === b.stat.dev && a.stat.ino === b.stat.ino) return true;
  if (a.stat.size !== b.stat.size) return false;
  if (a.stat.size === 0) return true;
  const fdA = openEntry(a);
  try {
    const fdB = openEntry(b);
    try {
      if (fdA === null || fdB === null) return false;
      const dev = statOf(fdA).dev;
      if (a.stat.size >= WORTH_MAPPING && dev === statOf(fdB).dev && sameExtents(fdA, fdB)) return true;
      return yield* sameBytes(fdA, fdB, a.stat.size);
    } finally {
      if (fdB !== null) close(fdB);
    }
  } finally {
    if (fdA !== null) close(fdA);
  }
}

function* sameBytes(a: number, b: number, size: number): Steps<boolean> {
  for (let at = 0; at < size; at += CHUNK) {
    const length = Math.min(CHUNK, size - at);
    if (!readFull(a, left, at, length) || !readFull(b, right, at, length)) return false;
    if (left.compare(right, 0, length, 0, length) !== 0) return false;
    yield;
  }
  return true;
}

/** False where the file is shorter by now. */
function readFull(fd: number, into: Buffer, at: number, length: number): boolean {
  for (let done = 0; done < length; ) {
    const got = check(libc().pread(fd, done === 0 ? into : into.subarray(done), length - done, at + done), 'read');
    if (got === 0) return false;
    done += got;
  }
  return true;
}

/** True where both files are known to consist of the same blocks. */
function sameExtents(a: number, b: number): boolean {
  const count = mapExtents(a, maps[0]);
  if (count === 0 || mapExtents(b, maps[1]) !== count) return false;
  for (let i = 0; i < count; i++) {
    const at = HEADER + i * EXTENT;
    // fe_logical, fe_physical, fe_length: three u64
    if (maps[0].compare(maps[1], at, at + 24, at, at + 24) !== 0) return false;
    const flags = [maps[0].readUInt32LE(at + 40), maps[1].readUInt32LE(at + 40)] as const;
    if (((flags[0] | flags[1]) & EXTENT_UNUSABLE) !== 0) return false;
    if (((flags[0] ^ flags[1]) & EXTENT_UNWRITTEN) !== 0) return false;
  }
  return true;
}

/** How many extents the file has; 0 where they can't be told or are too many. */
function mapExtents(fd: number, map: Buffer): number {
  map.fill(0, 0, HEADER);
  map.writeBigUInt64LE(0xffff_ffff_ffff_ffffn, 8); // fm_length
  map.writeUInt32LE(FIEMAP_FLAG_SYNC, 16);
  map.writeUInt32LE(EXTENTS, 24); // fm_extent_count
  if (libc().ioctl(fd, FS_IOC_FIEMAP, map) === -1) return 0;
  const count = map.readUInt32LE(20); // fm_mapped_extents
  if (count === 0) return 0;
  const last = map.readUInt32LE(HEADER + (count - 1) * EXTENT + 40);
  return (last & EXTENT_LAST) === 0 ? 0 : count;
}

/** SHA-256 of a file's content, or null where it can't be read. Yields between reads. */
export function* contentHash(entry: Entry): Steps<string | null> {
  const fd = openEntry(entry);
  if (fd === null) return null;
  try {
    const hash = createHash('sha256');
    for (let at = 0; at < entry.stat.size; at += CHUNK) {
      const length = Math.min(CHUNK, entry.stat.size - at);
      if (!readFull(fd, left, at, length)) return null;
      hash.update(left.subarray(0, length));
      yield;
    }
    return hash.digest('hex');
  } finally {
    close(fd);
  }
}

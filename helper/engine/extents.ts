/** Where on the disk a file's bytes are, as far as the file system tells: blocks that two files share are the same in both. */
import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { libc } from './libc.ts';

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

const maps = [Buffer.alloc(HEADER + EXTENTS * EXTENT), Buffer.alloc(HEADER + EXTENTS * EXTENT)] as const;

/** True where both files are known to consist of the same blocks. Files of very many extents are not looked at. */
export function sameExtents(a: number, b: number): boolean {
  const count = mapAll(a, maps[0]);
  if (count === 0 || mapAll(b, maps[1]) !== count) return false;
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

/** How many extents the file has; 0 where they can't be told or are too many for one call. */
function mapAll(fd: number, map: Buffer): number {
  const count = mapFrom(fd, map, 0, FIEMAP_FLAG_SYNC);
  if (count <= 0) return 0;
  const last = map.readUInt32LE(HEADER + (count - 1) * EXTENT + 40);
  return (last & EXTENT_LAST) === 0 ? 0 : count;
}

/** The next extents from `start` on; -1 where the file system tells none. */
function mapFrom(fd: number, map: Buffer, start: number, flags: number): number {
  map.fill(0, 0, HEADER);
  map.writeBigUInt64LE(BigInt(start), 0);
  map.writeBigUInt64LE(0xffff_ffff_ffff_ffffn, 8); // fm_length
  map.writeUInt32LE(flags, 16);
  map.writeUInt32LE(EXTENTS, 24); // fm_extent_count
  if (libc().ioctl(fd, FS_IOC_FIEMAP, map) === -1) return -1;
  return map.readUInt32LE(20); // fm_mapped_extents
}

/** FS_IOC_FSGETXATTR and FS_IOC_FSSETXATTR of linux/fs.h, and struct fsxattr: flags, extent size, extents, project, copy-on-write extent size. */
const GET_ATTRIBUTES = 0x801c581f;
const SET_ATTRIBUTES = 0x401c5820;
const ATTRIBUTES = 28;
const COW_EXTENT_SIZE = 0x10000;

/**
 * Files that are made in this folder from now on are copied block by block where they are written to. XFS by default sets 128 KiB aside
 * for each scattered page, for half an hour. Other file systems have no such thing.
 */
export function copyOnWriteByBlocks(dir: string): void {
  const fd = openSync(dir, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const attributes = Buffer.alloc(ATTRIBUTES);
    if (libc().ioctl(fd, GET_ATTRIBUTES, attributes) === -1) return;
    attributes.writeUInt32LE((attributes.readUInt32LE(0) | COW_EXTENT_SIZE) >>> 0, 0);
    attributes.writeUInt32LE(fstatSync(fd).blksize, 16);
    libc().ioctl(fd, SET_ATTRIBUTES, attributes);
  } finally {
    closeSync(fd);
  }
}

interface Extent {
  /** Bytes. */
  at: number;
  length: number;
  /** Where on the disk; null where nobody knows. */
  physical: number | null;
}

/** All of them, as they are now, in order; null where the file system tells none. */
function extentsOf(fd: number): Extent[] | null {
  const found: Extent[] = [];
  const [map] = maps;
  for (let start = 0; ; ) {
    const count = mapFrom(fd, map, start, 0);
    if (count < 0) return null;
    for (let i = 0; i < count; i++) {
      const entry = HEADER + i * EXTENT;
      const at = Number(map.readBigUInt64LE(entry));
      const length = Number(map.readBigUInt64LE(entry + 16));
      const flags = map.readUInt32LE(entry + 40);
      const usable = (flags & (EXTENT_UNUSABLE | EXTENT_UNWRITTEN)) === 0;
      const physical = usable ? Number(map.readBigUInt64LE(entry + 8)) : null;
      found.push({ at, length, physical });
      start = at + length;
      if (flags & EXTENT_LAST) return found;
    }
    if (count === 0) return found;
  }
}

/**
 * Which chunks of `size` bytes are at the same place, on the same blocks, in both files, both written to the disk. What can't be told
 * is not.
 * @returns one entry for each chunk of `a`
 */
export function sharedChunks(a: number, b: number, size: number): boolean[] {
  const length = fstatSync(a).size;
  const shared = new Array<boolean>(Math.ceil(length / size)).fill(false);
  const [mine, theirs] = [extentsOf(a), extentsOf(b)];
  if (!mine || !theirs) return shared;
  const same = new Array<number>(shared.length).fill(0);
  for (let i = 0, j = 0; i < mine.length && j < theirs.length; ) {
    const [x, y] = [mine[i]!, theirs[j]!];
    const from = Math.max(x.at, y.at);
    const to = Math.min(x.at + x.length, y.at + y.length, length);
    if (x.physical !== null && y.physical !== null && x.physical - x.at === y.physical - y.at)
      for (let at = from; at < to; ) {
        const chunk = Math.floor(at / size);
        const end = Math.min(to, (chunk + 1) * size);
        same[chunk]! += end - at;
        at = end;
      }
    if (x.at + x.length <= y.at + y.length) i++;
    else j++;
  }
  return same.map((bytes, chunk) => bytes === Math.min(size, length - chunk * size));
}

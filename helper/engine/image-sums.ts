/**
 * Checksums of a memory image: CRIU keeps none, and would restore damaged pages without a word. Against disks that forget and files
 * that get mixed up, not against an attacker. About 0.6 ms per MB, beside the restore.
 */
import { constants, statSync } from 'node:fs';
import { type FileHandle, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { TeleportError } from '../protocol/errors.ts';
import { sharedChunks } from './extents.ts';
import { pageAligned } from './libc.ts';

/** By file name: size and CRC-32; of large files one for each `PART`. */
export type ImageSums = Record<string, [size: number, sum: number | number[]]>;

/** CRIU's account of the dump and its log are no part of what is restored. */
const WRITTEN_LATER = /\.log$|^stats-/;
const CHUNK = 1 << 19;
/** Bytes that have a sum of their own, in files that are larger than some of them. */
const PART = 1 << 20;
const LARGE = 8 * PART;

/** What a disk gives no less of. */
const BLOCK = 4096;
/** A file can change again within one tick of the kernel's clock, 10 ms at most, and still say that it last did at the same time. */
export const TICK_MS = 20;

/** For all files of an image: new ones for each made the helper 30 MB larger until they were collected. */
type Chunks = [Buffer, Buffer];
const newChunks = (): Chunks => [pageAligned(CHUNK), pageAligned(CHUNK)];

/** Of `size` bytes from `start` on. One chunk is read while the one before is summed up. */
async function sumOf(file: FileHandle, chunks: Chunks, start: number, size: number): Promise<number> {
  // Whole blocks, past the end of the file too: where it is read directly, no less is.
  const left = (at: number) => Math.ceil((start + size - at) / BLOCK) * BLOCK;
  const read = (i: number, at: number) => file.read(chunks[i % 2]!, 0, Math.min(CHUNK, left(at)), at);
  let sum = 0;
  let reading = read(0, start);
  try {
    for (let i = 0, at = start; at < start + size; i++) {
      const { bytesRead, buffer } = await reading;
      if (bytesRead === 0) break; // cut short meanwhile: the sum tells
      at += bytesRead;
      reading = read(i + 1, at);
      sum = crc32(buffer.subarray(0, bytesRead), sum);
    }
    return sum;
  } finally {
    await reading.catch(() => {}); // told above, if it was waited for
  }
}

/** An image whose files may share blocks with the one that is summed up. */
export interface Known {
  dir: string;
  sums: ImageSums;
}

/** What is the very same on the disk as in a file whose sums are known need not be read: most of a large memory, often. */
async function partsOf(file: FileHandle, size: number, chunks: Chunks, name: string, known?: Known): Promise<number[]> {
  const before = known?.sums[name]?.[1];
  let shared: boolean[] = [];
  if (known && Array.isArray(before)) {
    const other = await open(join(known.dir, name), 'r').catch(() => null); // deleted meanwhile
    try {
      await file.datasync(); // before that nobody knows where it will be
      if (other) shared = sharedChunks(file.fd, other.fd, PART);
    } finally {
      await other?.close();
    }
  }
  const sums: number[] = [];
  for (let i = 0; i * PART < size; i++) {
    // The last part of the other file may have been shorter.
    const same = shared[i] && Array.isArray(before) && (i + 1) * PART <= Math.min(size, known!.sums[name]![0]);
    sums.push(same ? before[i]! : await sumOf(file, chunks, i * PART, Math.min(PART, size - i * PART)));
  }
  return sums;
}

async function sumFile(path: string, name: string, chunks: Chunks, known?: Known): Promise<ImageSums[string]> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    if (size < LARGE) return [size, await sumOf(file, chunks, 0, size)];
    return [size, await partsOf(file, size, chunks, name, known)];
  } finally {
    await file.close();
  }
}

/** @param known of the image that its memory was partly taken over from */
export async function sumImage(dir: string, known?: Known): Promise<ImageSums> {
  const sums: ImageSums = {};
  const chunks = newChunks();
  for (const name of (await readdir(dir)).sort())
    if (!WRITTEN_LATER.test(name)) sums[name] = await sumFile(join(dir, name), name, chunks, known);
  return sums;
}

/** Past the page cache where that is wanted and the file system can. */
async function openToCompare(path: string, direct: boolean): Promise<FileHandle | null> {
  const past = direct ? await open(path, constants.O_RDONLY | constants.O_DIRECT).catch(() => null) : null;
  return past ?? (await open(path, 'r').catch(() => null));
}

/** A file is what it was; null where it can't be read. */
async function compare(
  path: string,
  [size, sum]: ImageSums[string],
  chunks: Chunks,
  direct: boolean,
): Promise<{ size: number; same: boolean } | null> {
  const file = await openToCompare(path, direct && size >= LARGE);
  try {
    const found = (await file?.stat())?.size;
    if (!file || found === undefined) return null;
    if (found !== size) return { size: found, same: false };
    if (!Array.isArray(sum)) return { size, same: (await sumOf(file, chunks, 0, size)) === sum };
    for (const [i, part] of sum.entries())
      if ((await sumOf(file, chunks, i * PART, Math.min(PART, size - i * PART))) !== part) return { size, same: false };
    return { size, same: true };
  } catch {
    return null;
  } finally {
    await file?.close();
  }
}

/**
 * Changes whenever a file of the image does, as far as the file system knows of it.
 * @param since when one began to read them
 * @returns null where one is missing, or may have changed since then
 */
export function stampOf(dir: string, sums: ImageSums, since = Date.now()): string | null {
  try {
    const files = Object.keys(sums).map((name) => statSync(join(dir, name), { bigint: true }));
    if (files.some(({ ctimeMs }) => Number(ctimeMs) > since - TICK_MS)) return null;
    return files.map(({ ino, size, ctimeNs }) => `${ino} ${size} ${ctimeNs}`).join();
  } catch {
    return null;
  }
}

/**
 * @param direct large files are read past the page cache
 * @throws TeleportError `checkpointDamaged` naming the first file that is not what it was
 */
export async function checkImage(dir: string, sums: ImageSums, direct: boolean): Promise<void> {
  const chunks = newChunks();
  for (const [name, sum] of Object.entries(sums)) {
    const found = await compare(join(dir, name), sum, chunks, direct);
    if (found?.same) continue;
    const what = !found ? 'is missing' : found.size < sum[0] ? 'is cut short' : 'is not what was written';
    throw new TeleportError('checkpointDamaged', `its memory image is damaged: ${name} ${what}`, {
      hint: 'choose another checkpoint; the files of this one can still be read',
    });
  }
}

import { createHash } from 'node:crypto';
import { close, statOf } from './at.ts';
import { sameExtents } from './extents.ts';
import type { Entry } from './layer.ts';
import { check, libc } from './libc.ts';
import { openEntry } from './stack.ts';

/** Steps of a long computation: run it in one go, or with breaks at each `undefined`. */
export type Steps<T> = Generator<undefined, T>;

/** Below that many bytes, reading is as quick as asking for extents. */
const WORTH_MAPPING = 131_072;
const CHUNK = 1 << 20;
const left = Buffer.allocUnsafeSlow(CHUNK);
const right = Buffer.allocUnsafeSlow(CHUNK);

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

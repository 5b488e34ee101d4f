import { createHash } from 'node:crypto';
import { TeleportError } from '../../protocol/errors.ts';
import type { FileStat } from '../../protocol/model.ts';
import type { Requester } from '../connection.ts';

/** Files as of a checkpoint or in a live branch, read only. Paths are those inside the sandbox. */
export interface Place {
  /** Not through a last symlink; null where there is nothing. */
  stat(path: string): Promise<FileStat | null>;
  list(path: string): Promise<{ name: string; stat: FileStat }[]>;
  read(path: string): AsyncIterable<Buffer>;
}

const CHUNK = 4 * 1024 * 1024;

/** A place in the helper's care. */
export function remotePlace(helper: Requester, sandbox: string, at: string, signal?: AbortSignal): Place {
  const where = (path: string) => ({ sandbox, at, path });
  return {
    stat: (path) => orNull(helper.request('file/stat', where(path), { signal })),
    list: async (path) => (await helper.request('file/list', where(path), { signal })).entries,
    async *read(path) {
      for (let offset = 0; ; ) {
        const part = await helper.request('file/read', { ...where(path), offset, length: CHUNK }, { signal });
        const data = Buffer.from(part.data, 'base64');
        yield data;
        offset += data.length;
        if (part.eof || data.length === 0) return;
      }
    },
  };
}

async function orNull<T>(answer: Promise<T>): Promise<T | null> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof TeleportError && (error.code === 'unknownPath' || error.code === 'notADirectory')) return null;
    throw error;
  }
}

export async function readWhole(place: Place, path: string): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of place.read(path)) parts.push(part);
  return Buffer.concat(parts);
}

export async function sha256(data: AsyncIterable<Buffer>): Promise<string> {
  const hash = createHash('sha256');
  for await (const part of data) hash.update(part);
  return hash.digest('hex');
}

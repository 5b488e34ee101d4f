/**
 * Writes a tar stream: files, folders and symlinks, in POSIX's pax format, so that names in any language, of any length,
 * and files of any size arrive as they are. Nothing is changed on the way, line ends included.
 */
import { open } from 'node:fs/promises';

export interface TarSource {
  /** Relative, with `/` between its parts. */
  readonly path: string;
  readonly type: 'file' | 'folder' | 'symlink';
  readonly mode: number;
  readonly mtimeMs: number;
  /** Of a file, in bytes. */
  readonly size: number;
  /** Where a file's content is read from. */
  readonly file?: string;
  /** Of a symlink. */
  readonly target?: string;
}

export interface TarOptions {
  readonly signal?: AbortSignal;
  /** After each piece of content. */
  readonly onBytes?: (bytes: number) => void;
  /** Files that went or could not be read while it was written; the stream goes on without them. */
  readonly onLost?: (path: string, error: Error) => void;
}

const BLOCK = 512;
const CHUNK = 1 << 18;
const TYPES = { file: '0', symlink: '2', folder: '5' } as const;

export async function* tarOf(
  sources: AsyncIterable<TarSource> | Iterable<TarSource>,
  options: TarOptions = {},
): AsyncGenerator<Buffer> {
  const pack = new Packer();
  for await (const source of sources) {
    options.signal?.throwIfAborted();
    if (source.type !== 'file') {
      yield* pack.add(headers(source));
      continue;
    }
    let handle: Awaited<ReturnType<typeof open>>;
    try {
      handle = await open(source.file!, 'r');
    } catch (error) {
      options.onLost?.(source.path, error as Error);
      continue;
    }
    try {
      // What the header promises has to come: a file that grows is cut, one that shrinks is filled up.
      const { size } = await handle.stat();
      yield* pack.add(headers({ ...source, size }));
      for (let left = size; left > 0; ) {
        options.signal?.throwIfAborted();
        const buffer = Buffer.allocUnsafe(Math.min(CHUNK, left));
        const { bytesRead } = await handle.read(buffer, 0, buffer.length);
        if (bytesRead === 0) {
          options.onLost?.(source.path, new Error('it became shorter while it was read'));
          buffer.fill(0);
        }
        const taken = bytesRead || buffer.length;
        yield* pack.add(buffer.subarray(0, taken));
        options.onBytes?.(taken);
        left -= taken;
      }
      yield* pack.add(padding(size));
    } finally {
      await handle.close();
    }
  }
  yield* pack.add(Buffer.alloc(2 * BLOCK));
  yield* pack.rest();
}

/** Thousands of small files are handed on in few large pieces: a piece costs more than its bytes. */
class Packer {
  #parts: Buffer[] = [];
  #bytes = 0;

  *add(part: Buffer): Generator<Buffer> {
    this.#parts.push(part);
    this.#bytes += part.length;
    if (this.#bytes >= CHUNK) yield* this.rest();
  }

  *rest(): Generator<Buffer> {
    if (this.#bytes > 0) yield Buffer.concat(this.#parts);
    this.#parts = [];
    this.#bytes = 0;
  }
}

function padding(size: number): Buffer {
  return Buffer.alloc((BLOCK - (size % BLOCK)) % BLOCK);
}

/** The entry's header, after a pax header for what doesn't fit into it. */
export function headers(source: TarSource): Buffer {
  const path = source.type === 'folder' ? `${source.path}/` : source.path;
  const records: [string, string][] = [];
  if (!fits(path, 100)) records.push(['path', path]);
  if (source.target !== undefined && !fits(source.target, 100)) records.push(['linkpath', source.target]);
  const size = source.type === 'file' ? source.size : 0;
  if (size > 0o77777777777) records.push(['size', String(size)]);
  const seconds = Math.max(0, source.mtimeMs / 1000);
  if (!Number.isInteger(seconds)) records.push(['mtime', seconds.toFixed(3)]);
  const own = header(
    path,
    TYPES[source.type],
    source.mode,
    Math.min(size, 0o77777777777),
    seconds,
    source.target ?? '',
  );
  if (records.length === 0) return own;
  const extra = Buffer.concat(records.map(([key, value]) => record(key, value)));
  return Buffer.concat([header('pax', 'x', 0o644, extra.length, seconds, ''), extra, padding(extra.length), own]);
}

function fits(text: string, length: number): boolean {
  return /^[\x20-\x7e]*$/.test(text) && text.length <= length;
}

function header(path: string, type: string, mode: number, size: number, seconds: number, target: string): Buffer {
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, at: number, length: number) =>
    block.write(
      `${Math.floor(value)
        .toString(8)
        .padStart(length - 1, '0')}\0`,
      at,
      'latin1',
    );
  block.write(path, 0, 100, 'utf8');
  octal(mode & 0o7777, 100, 8);
  // Whoever unpacks owns what comes out.
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(size, 124, 12);
  octal(seconds, 136, 12);
  block.write('        ', 148, 'latin1');
  block.write(type, 156, 'latin1');
  block.write(target, 157, 100, 'utf8');
  block.write('ustar\x0000', 257, 'latin1');
  let sum = 0;
  for (const byte of block) sum += byte;
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

/** `LENGTH KEY=VALUE\n`, where the length counts its own digits. */
function record(key: string, value: string): Buffer {
  const rest = Buffer.from(` ${key}=${value}\n`);
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

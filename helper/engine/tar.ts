/**
 * Reads tar archives as a stream: POSIX ustar and pax, and GNU's long names. Knows nothing of file systems. Names are byte
 * strings (libc.ts). Source: POSIX pax(1), "ustar Interchange Format"; GNU tar's manual, "Basic Tar Format".
 */
const BLOCK = 512;
/** Of pax headers and long names; real ones are far below. */
const LARGEST_HEADER = 1 << 20;

export type TarType = 'file' | 'link' | 'symlink' | 'folder' | 'fifo' | 'device' | 'other';

export interface TarEntry {
  type: TarType;
  name: string;
  /** Target of a link. */
  target: string;
  mode: number;
  uid: number;
  gid: number;
  size: number;
  mtimeSec: number;
  mtimeNsec: number;
  xattrs: Map<string, Buffer>;
  /** Of its data, in the archive. */
  offset: number;
  /** What of the data was not read is passed over. */
  data(): AsyncGenerator<Buffer>;
}

export class TarError extends Error {}
const NOT_ONE = 'it is not a tar archive, or it is damaged';

/** Exact reads from a stream of chunks. */
class Source {
  private readonly chunks: AsyncIterator<Buffer>;
  private rest: Buffer = Buffer.alloc(0);
  at = 0;

  constructor(stream: AsyncIterable<Buffer>) {
    this.chunks = stream[Symbol.asyncIterator]();
  }

  /** Some bytes, `most` at most; null at the end. */
  async some(most: number): Promise<Buffer | null> {
    while (this.rest.length === 0) {
      const next = await this.chunks.next();
      if (next.done) return null;
      this.rest = next.value;
    }
    const part = this.rest.subarray(0, most);
    this.rest = this.rest.subarray(part.length);
    this.at += part.length;
    return part;
  }

  async exactly(length: number): Promise<Buffer | null> {
    const parts: Buffer[] = [];
    for (let left = length; left > 0; ) {
      const part = await this.some(left);
      if (part === null) {
        if (left === length) return null;
        throw new TarError('it is cut short');
      }
      parts.push(part);
      left -= part.length;
    }
    return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
  }

  async skip(length: number): Promise<void> {
    for (let left = length; left > 0; ) {
      const part = await this.some(left);
      if (part === null) throw new TarError('it is cut short');
      left -= part.length;
    }
  }
}

function text(header: Buffer, from: number, length: number): string {
  const field = header.subarray(from, from + length);
  const end = field.indexOf(0);
  return field.toString('latin1', 0, end < 0 ? length : end);
}

/** Octal digits, or where the first bit is set a big-endian number (GNU). */
function number(header: Buffer, from: number, length: number): number {
  if (header[from]! & 0x80) {
    let value = BigInt(header[from]! & 0x3f);
    for (let i = 1; i < length; i++) value = (value << 8n) | BigInt(header[from + i]!);
    if (header[from]! & 0x40) return 0; // negative: a time before 1970
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new TarError('a number in it is too large');
    return Number(value);
  }
  const digits = text(header, from, length).trim();
  if (digits === '') return 0;
  if (!/^[0-7]+$/.test(digits)) throw new TarError(NOT_ONE);
  return Number.parseInt(digits, 8);
}

function isSummed(header: Buffer): boolean {
  let sum = 8 * 32;
  for (let i = 0; i < BLOCK; i++) if (i < 148 || i >= 156) sum += header[i]!;
  return sum === number(header, 148, 8);
}

/** "LENGTH KEY=VALUE\n" each. */
function paxRecords(body: Buffer): Map<string, Buffer> {
  const records = new Map<string, Buffer>();
  for (let at = 0; at < body.length; ) {
    const space = body.indexOf(32, at);
    const length = Number(body.toString('latin1', at, space));
    const equals = body.indexOf(61, space);
    if (space < 0 || !Number.isInteger(length) || length <= 0 || equals < 0 || at + length > body.length)
      throw new TarError('an extended header in it is not one');
    records.set(body.toString('latin1', space + 1, equals), body.subarray(equals + 1, at + length - 1));
    at += length;
  }
  return records;
}

const TYPES: Record<string, TarType> = {
  '0': 'file',
  '\0': 'file',
  '7': 'file',
  '1': 'link',
  '2': 'symlink',
  '3': 'device',
  '4': 'device',
  '5': 'folder',
  '6': 'fifo',
};
const XATTR = 'SCHILY.xattr.';

/** @throws TarError where it is none, or cut short */
export async function* readTar(stream: AsyncIterable<Buffer>): AsyncGenerator<TarEntry> {
  const source = new Source(stream);
  const common = new Map<string, Buffer>();
  let own = new Map<string, Buffer>();
  let longName: string | undefined;
  let longTarget: string | undefined;
  for (;;) {
    const header = await source.exactly(BLOCK);
    if (header === null || header.every((byte) => byte === 0)) {
      while ((await source.some(1 << 20)) !== null); // whoever sums the stream up sees all of it
      return;
    }
    if (!isSummed(header)) throw new TarError(NOT_ONE);
    const flag = String.fromCharCode(header[156]!);
    let size = number(header, 124, 12);
    if ('xgLK'.includes(flag)) {
      if (size > LARGEST_HEADER) throw new TarError('a header in it is too large');
      const body = (await source.exactly(size)) ?? Buffer.alloc(0);
      await source.skip(padding(size));
      if (common.size > 1000) throw new TarError('it has too many headers');
      if (flag === 'x') own = paxRecords(body);
      else if (flag === 'g') for (const [key, value] of paxRecords(body).entries()) common.set(key, value);
      else if (flag === 'L') longName = text(body, 0, body.length);
      else longTarget = text(body, 0, body.length);
      continue;
    }
    const pax = new Map([...common, ...own]);
    const word = (key: string): string | undefined => pax.get(key)?.toString('latin1');
    const count = (key: string, plain: number): number => {
      const given = word(key);
      return given === undefined || !/^[0-9]+$/.test(given) ? plain : Number(given);
    };
    if (flag === 'S' || [...pax.keys()].some((key) => key.startsWith('GNU.sparse.')))
      throw new TarError('it holds sparse files: make it without (tar without --sparse)');
    size = count('size', size);
    const prefix = text(header, 257, 5) === 'ustar' && header[262] === 0 ? text(header, 345, 155) : '';
    const plainName = prefix ? `${prefix}/${text(header, 0, 100)}` : text(header, 0, 100);
    const [sec = '', fraction = ''] = (word('mtime') ?? '').split('.');
    const type = TYPES[flag] ?? 'other';
    const name = word('path') ?? longName ?? plainName;
    const begin = source.at;
    const entry: TarEntry = {
      // Archives older than POSIX have no type for folders.
      type: type === 'file' && flag !== '7' && name.endsWith('/') ? 'folder' : type,
      name,
      target: word('linkpath') ?? longTarget ?? text(header, 157, 100),
      mode: number(header, 100, 8) & 0o7777,
      uid: count('uid', number(header, 108, 8)),
      gid: count('gid', number(header, 116, 8)),
      size: type === 'file' || type === 'other' ? size : 0,
      mtimeSec: /^[0-9]+$/.test(sec) ? Number(sec) : number(header, 136, 12),
      mtimeNsec: /^[0-9]+$/.test(sec) ? Number(fraction.slice(0, 9).padEnd(9, '0')) || 0 : 0,
      xattrs: new Map([...pax].filter(([key]) => key.startsWith(XATTR)).map(([k, v]) => [k.slice(XATTR.length), v])),
      offset: begin,
      async *data() {
        while (source.at < begin + entry.size) {
          const part = await source.some(Math.min(1 << 18, begin + entry.size - source.at));
          if (part === null) throw new TarError('it is cut short');
          yield part;
        }
      },
    };
    own = new Map();
    longName = longTarget = undefined;
    yield entry;
    await source.skip(begin + entry.size - source.at + padding(entry.size));
  }
}

function padding(size: number): number {
  return (BLOCK - (size % BLOCK)) % BLOCK;
}

/** An animated PNG of plain ones: their image data stays as it is, in frames (https://www.w3.org/TR/png-3/#apng-chunks). */
import { crc32 } from 'node:zlib';

export interface Frame {
  /** A whole PNG; all of one animation have the same size and kind of pixels. */
  readonly png: Buffer;
  readonly seconds: number;
}

const SIGNATURE = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1');

export function animated(frames: readonly Frame[]): Buffer {
  const [first] = frames;
  if (!first) throw new Error('no frames');
  const header = chunksOf(first.png).find(({ type }) => type === 'IHDR')!.data;
  let sequence = 0;
  const parts = [SIGNATURE, chunk('IHDR', header), chunk('acTL', numbers(frames.length, 0))];
  for (const [i, { png, seconds }] of frames.entries()) {
    const chunks = chunksOf(png);
    if (!chunks[0]!.data.equals(header)) throw new Error(`frame ${i} has another size or kind of pixels`);
    const [width, height] = [header.readUInt32BE(0), header.readUInt32BE(4)];
    const delay = Buffer.alloc(6);
    delay.writeUInt16BE(Math.round(seconds * 100), 0);
    delay.writeUInt16BE(100, 2);
    parts.push(chunk('fcTL', Buffer.concat([numbers(sequence++, width, height, 0, 0), delay])));
    for (const { type, data } of chunks) {
      if (type !== 'IDAT') continue;
      parts.push(i === 0 ? chunk(type, data) : chunk('fdAT', Buffer.concat([numbers(sequence++), data])));
    }
  }
  return Buffer.concat([...parts, chunk('IEND', Buffer.alloc(0))]);
}

function chunksOf(png: Buffer): { type: string; data: Buffer }[] {
  const found: { type: string; data: Buffer }[] = [];
  for (let at = SIGNATURE.length; at < png.length; ) {
    const length = png.readUInt32BE(at);
    found.push({ type: png.toString('latin1', at + 4, at + 8), data: png.subarray(at + 8, at + 8 + length) });
    at += length + 12;
  }
  return found;
}

function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  return Buffer.concat([numbers(data.length), body, numbers(crc32(body))]);
}

function numbers(...values: number[]): Buffer {
  const buffer = Buffer.alloc(4 * values.length);
  for (const [i, value] of values.entries()) buffer.writeUInt32BE(value, 4 * i);
  return buffer;
}

/**
 * The files that a CRIU image opens again, by its own list (files.img): what processes had open, mapped or ran from.
 * Source: CRIU's images/regfile.proto and fdinfo.proto; crit's "Images" page for the framing.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Image magics: two words of 32 bits before the first entry. */
const BEGIN = 8;
/** Fields of file_entry and reg_file_entry. */
const REG = 3;
const NAME = 6;
const SIZE = 8;

export interface ImageFile {
  /** Byte string, absolute. */
  path: string;
  /** As CRIU will ask for it; undefined for what has none. */
  size: number | undefined;
}

/** @param image the checkpoint's image folder */
export function filesOf(image: string): ImageFile[] {
  const bytes = readFileSync(join(image, 'files.img'));
  const found: ImageFile[] = [];
  for (let at = BEGIN; at + 4 <= bytes.length; ) {
    const length = bytes.readUInt32LE(at);
    at += 4;
    const regular = field(bytes.subarray(at, at + length), REG)?.bytes;
    at += length;
    const name = regular && field(regular, NAME)?.bytes?.toString('latin1');
    if (name?.startsWith('/')) found.push({ path: name, size: field(regular!, SIZE)?.number });
  }
  return found;
}

/** The last field of that number in a protobuf message. */
function field(message: Buffer, wanted: number): { bytes?: Buffer; number?: number } | undefined {
  let found: { bytes?: Buffer; number?: number } | undefined;
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; ; shift++) {
      const byte = message[at++];
      if (byte === undefined) throw new RangeError('files.img is cut short');
      value += (byte & 0x7f) * 2 ** (7 * shift);
      if (byte < 0x80) return value;
    }
  };
  while (at < message.length) {
    const key = varint();
    const kind = key & 7;
    let value: { bytes?: Buffer; number?: number } = {};
    if (kind === 0) value = { number: varint() };
    else if (kind === 2) {
      const length = varint();
      value = { bytes: message.subarray(at, at + length) };
      at += length;
    } else if (kind === 1) at += 8;
    else if (kind === 5) at += 4;
    else throw new RangeError('files.img is not what it should be');
    if (Math.floor(key / 8) === wanted) found = value;
  }
  return found;
}

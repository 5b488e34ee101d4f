import { isUtf8 } from 'node:buffer';

/** Bytes for a JSON answer: as they are where they are UTF-8, base64 and saying so where not. */
export function asText(data: Buffer): { text: string; encoding?: 'base64' } {
  return isUtf8(data) ? { text: data.toString('utf8') } : { text: data.toString('base64'), encoding: 'base64' };
}

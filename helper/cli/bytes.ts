import { isUtf8 } from 'node:buffer';

/** Beyond that, escaping may make a text longer than a string can be. */
const CAREFUL = 64_000_000;

/** Bytes for a JSON answer: as they are where they are UTF-8, base64 and saying so where not. */
export function asText(data: Buffer): { text: string; encoding?: 'base64' } {
  return fitsJson(data) ? { text: data.toString('utf8') } : { text: data.toString('base64'), encoding: 'base64' };
}

export function fitsJson(data: Buffer): boolean {
  if (!isUtf8(data)) return false;
  if (data.length < CAREFUL) return true;
  try {
    return JSON.stringify(data.toString('utf8')).length > 0;
  } catch {
    return false;
  }
}

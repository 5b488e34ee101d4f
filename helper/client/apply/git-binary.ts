/** The binary part of git's patch format: https://git-scm.com/docs/diff-format, encoding as in git's base85.c. */
import { createHash } from 'node:crypto';
import { deflateSync } from 'node:zlib';

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~';
/** Bytes a line carries. */
const LINE = 52;

/** git's name for a content: `git apply` wants it for binary patches. */
export function blobId(content: Buffer): string {
  return createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex');
}

/** From one content to another and back. */
export function binaryHunks(before: Buffer, after: Buffer): string {
  return `GIT binary patch\n${literal(after)}\n${literal(before)}\n`;
}

function literal(content: Buffer): string {
  const packed = deflateSync(content);
  let text = `literal ${content.length}\n`;
  for (let at = 0; at < packed.length; at += LINE) {
    const part = packed.subarray(at, at + LINE);
    text += `${lengthMark(part.length)}${base85(part)}\n`;
  }
  return text;
}

function lengthMark(length: number): string {
  return String.fromCharCode(length <= 26 ? 64 + length : 96 + length - 26);
}

function base85(bytes: Buffer): string {
  let text = '';
  for (let at = 0; at < bytes.length; at += 4) {
    let word = 0;
    for (let i = 0; i < 4; i++) word = word * 256 + (bytes[at + i] ?? 0);
    let group = '';
    for (let i = 0; i < 5; i++) {
      group = ALPHABET[word % 85] + group;
      word = Math.floor(word / 85);
    }
    text += group;
  }
  return text;
}

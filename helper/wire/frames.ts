/** Messages in a stream of bytes, each behind a header with its `Content-Length`. */

const END_OF_HEADER = '\r\n\r\n';
/** Far more than ours take. */
const LARGEST_HEADER = 4096;

export function framed(message: unknown): string {
  const body = JSON.stringify(message);
  return `Content-Length: ${Buffer.byteLength(body)}${END_OF_HEADER}${body}`;
}

export class Frames {
  /** What came of a message that is not whole yet. */
  private parts: Buffer[] = [];
  private size = 0;
  /** With fewer bytes it is not worth looking. */
  private enough = 0;

  /** The messages that are whole with this piece. @throws Error where it is none, or not JSON */
  *take(chunk: Buffer): Generator<unknown> {
    this.parts.push(chunk);
    this.size += chunk.length;
    if (this.size < this.enough) return;
    let data = this.parts.length === 1 ? chunk : Buffer.concat(this.parts, this.size);
    this.parts = [];
    this.enough = 0;
    while (data.length) {
      const header = data.subarray(0, LARGEST_HEADER).indexOf(END_OF_HEADER);
      if (header < 0 && data.length >= LARGEST_HEADER)
        throw new Error('what came is no message: its header does not end');
      if (header < 0) break;
      const begin = header + END_OF_HEADER.length;
      const end = begin + contentLength(data.toString('latin1', 0, header));
      if (data.length < end) {
        this.enough = end;
        break;
      }
      yield JSON.parse(data.toString('utf8', begin, end));
      data = data.subarray(end);
    }
    if (data.length) this.parts = [data];
    this.size = data.length;
  }
}

function contentLength(header: string): number {
  const length = /^content-length:[ \t]*(\d+)[ \t]*$/im.exec(header)?.[1];
  if (length === undefined) throw new Error(`a message without Content-Length: ${JSON.stringify(header)}`);
  return Number(length);
}

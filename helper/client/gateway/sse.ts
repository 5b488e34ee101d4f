/** Server-sent events cut at their ends, byte for byte as they came, and read. */
import { StringDecoder } from 'node:string_decoder';

/** Bytes of one event above which it is passed on unread: no provider sends such. */
const LONGEST = 32 << 20;

export class EventCutter {
  private pending: Buffer = Buffer.alloc(0);

  /** Whole events, each with the blank line that ends it. */
  push(chunk: Buffer): Buffer[] {
    let rest: Buffer = this.pending.length ? Buffer.concat([this.pending, chunk]) : chunk;
    const events: Buffer[] = [];
    for (let end = endOf(rest); end > 0; end = endOf(rest)) {
      events.push(rest.subarray(0, end));
      rest = rest.subarray(end);
    }
    if (rest.length > LONGEST) {
      events.push(rest);
      rest = Buffer.alloc(0);
    }
    this.pending = rest;
    return events;
  }

  /** What is left without an end. */
  rest(): Buffer {
    return this.pending;
  }
}

function endOf(bytes: Buffer): number {
  const ends = ['\n\n', '\r\n\r\n'].map((mark) => {
    const at = bytes.indexOf(mark);
    return at < 0 ? Number.POSITIVE_INFINITY : at + mark.length;
  });
  const end = Math.min(...ends);
  return Number.isFinite(end) ? end : 0;
}

/** The `data` of an event as JSON; undefined where it has none, or says `[DONE]`. */
export function eventData(event: Buffer): unknown {
  const text = new StringDecoder('utf8').end(event);
  const data = text
    .split(/\r?\n/)
    .flatMap((line) => (line.startsWith('data:') ? [line.slice(5).replace(/^ /, '')] : []))
    .join('\n');
  if (!data.startsWith('{')) return undefined;
  try {
    return JSON.parse(data);
  } catch {
    return undefined;
  }
}

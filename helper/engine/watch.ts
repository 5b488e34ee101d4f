/** Hears what changes in a live branch's files: a small program watches its overlay (helper/native/watch.c) and sleeps meanwhile. */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';

export interface FileEvent {
  /** Absolute, inside. */
  path: string;
  kind: 'created' | 'changed' | 'deleted';
}

const KINDS: Record<string, FileEvent['kind']> = { c: 'created', m: 'changed', d: 'deleted' };
/** What waits for its end before it is taken for no record of ours. A path has 4096 bytes at most, and we print no more than 8192. */
const LONGEST = 65_536;

/** Cuts records out of the program's output, which comes in any parts. `rest`: the beginning of the next one. */
export function readEvents(rest: Buffer, part: Buffer): { events: FileEvent[]; missed: boolean; rest: Buffer } {
  const all = rest.length ? Buffer.concat([rest, part]) : part;
  const events: FileEvent[] = [];
  let missed = false;
  let start = 0;
  for (let end = all.indexOf(0); end >= 0; end = all.indexOf(0, start)) {
    const record = all.toString('utf8', start, end);
    const kind = KINDS[record[0] ?? ''];
    if (kind) events.push({ path: record.slice(1), kind });
    missed ||= record === 'o';
    start = end + 1;
  }
  const left = all.subarray(start);
  return { events, missed, rest: left.length > LONGEST ? Buffer.alloc(0) : Buffer.from(left) };
}

export class BranchWatch {
  private readonly child: ChildProcess;
  private over = false;
  /** Resolves once nothing is missed any more; false where this kernel can't watch an overlay. */
  readonly ready: Promise<boolean>;

  /**
   * @param init the program
   * @param root descriptor of the branch's root; ours to close is the caller's
   * @param heard is told events in their order; `missed`: there were more
   */
  constructor(init: string, root: number, heard: (events: FileEvent[], missed: boolean) => void) {
    const child = spawn(init, ['watch'], { env: {}, stdio: ['pipe', 'pipe', 'ignore', root] });
    this.child = child;
    let rest: Buffer = Buffer.alloc(0);
    this.ready = new Promise((resolve) => {
      child.once('error', () => resolve(false));
      child.once('close', () => resolve(false));
      (child.stdout as Readable).on('data', (part: Buffer) => {
        resolve(true); // its first word
        const read = readEvents(rest, part);
        rest = read.rest;
        if (!this.over && (read.events.length || read.missed)) heard(read.events, read.missed);
      });
    });
    child.stdin?.on('error', () => undefined); // it ended before us
  }

  stop(): void {
    this.over = true;
    this.child.stdin?.end();
    this.child.kill('SIGKILL');
  }
}

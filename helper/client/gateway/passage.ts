/** A connection that a program inside made to the gateway, as a stream of this process. */
import { Duplex } from 'node:stream';
import type { Connection } from '../connection.ts';

/** Bytes that may wait: a client sends its next request when it has the answer to this one. */
const MOST_UNREAD = 16 << 20;

export class Passage extends Duplex {
  private readonly helper: Connection;
  readonly connection: number;
  readonly branch: string;
  private gone = false;

  constructor(helper: Connection, connection: number, branch: string) {
    // What http asks of a socket besides being a stream, it does without.
    super({ allowHalfOpen: false, emitClose: true });
    this.helper = helper;
    this.connection = connection;
    this.branch = branch;
    this.on('error', () => this.destroy());
  }

  /** From the helper. A program that sends more than anybody reads is cut off. */
  deliver(data: Buffer): void {
    if (this.destroyed) return;
    if (this.readableLength > MOST_UNREAD) this.destroy();
    else this.push(data);
  }

  /** It ended inside. */
  end_(): void {
    this.gone = true;
    this.destroy();
  }

  override _read(): void {
    // pushed by `deliver`
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.send(chunk, false).then(() => done(), done);
  }

  override _writev(chunks: { chunk: Buffer }[], done: (error?: Error | null) => void): void {
    this.send(Buffer.concat(chunks.map(({ chunk }) => chunk)), false).then(() => done(), done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.send(Buffer.alloc(0), true).then(() => done(), done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (!this.gone) void this.send(Buffer.alloc(0), true).catch(() => undefined);
    this.gone = true;
    done(error);
  }

  private async send(data: Buffer, end: boolean): Promise<void> {
    if (this.gone) return;
    await this.helper.request('gateway/write', { connection: this.connection, data: data.toString('base64'), end });
  }
}

import type { Writable } from 'node:stream';
import type { Connection } from '../client/connection.ts';
import type { Sandbox } from '../protocol/model.ts';
import { type Io, write } from './io.ts';
import { type Style, styleFor } from './style.ts';
import { chooseSandbox } from './target.ts';

/** One call of the command line: its input and output, and the connection it may open. */
export class Context {
  json = false;
  verbose = false;
  /** What the process ends with; a command inside may decide it. */
  exitCode = 0;
  /** For stdout and for stderr. */
  readonly style: Style;
  readonly errorStyle: Style;
  /** Aborted when nobody reads our output any more. */
  readonly unread = new AbortController();
  #connection: Connection | undefined;

  constructor(
    readonly io: Io,
    /** The words after `--`; undefined: there was no `--`. */
    readonly tail: string[] | undefined,
  ) {
    this.style = styleFor(io.stdout, io.env);
    this.errorStyle = styleFor(io.stderr, io.env);
  }

  /** Connects, starting a daemon where none runs. The protocol is loaded here and not before, so that `--help` is quick. */
  async helper({ start = true } = {}): Promise<Connection> {
    if (this.#connection && !this.#connection.lost.aborted) return this.#connection;
    const { connectOrStart } = await import('../client/start.ts');
    const { version } = await import('../client/version.ts');
    this.#connection = await connectOrStart({ client: `cli ${version()}`, env: this.io.env, start });
    return this.#connection;
  }

  async sandbox(named: string | undefined): Promise<Sandbox> {
    const { sandboxes } = await (await this.helper()).request('sandbox/list', {});
    return chooseSandbox(sandboxes, named, this.io.cwd);
  }

  /** Passes on what comes from inside. Where our own reader is slow, so is what writes it there. */
  stream(to: 'stdout' | 'stderr', data: Buffer): void {
    const written = write(this.io[to], data);
    if ((this.io[to] as Writable).writableNeedDrain) void this.#connection?.holdUntil(written);
  }

  /** The answer of a command: one JSON object with --json, a text for people otherwise. */
  async answer(json: object, human: string): Promise<void> {
    await write(this.io.stdout, this.json ? `${JSON.stringify(json)}\n` : human);
  }

  /** A remark that is not the answer. Silent with --json. */
  async remark(text: string): Promise<void> {
    if (!this.json) await write(this.io.stderr, text);
  }

  close(): void {
    this.#connection?.close();
  }
}

/**
 * The helper's side of a connection to a branch's PID 1. One connection serves one session; frames as in
 * helper/native/serve.c. The socket is reached through /proc/PID/root, so nothing outside stands for it; and as what it is, so that
 * no link that root inside puts in its place leads us to a socket of the host's.
 */
import { createConnection, type Socket } from 'node:net';
import { close, openBeneath, openRoot } from './at.ts';

/** Of asm-generic/fcntl.h; node does not name it. */
const O_PATH = 0o10000000;

export type Opening = {
  kind: 'process' | 'terminal' | 'dial';
  id: string;
  cwd: string;
  cols: number;
  /** Terminals: rows. */
  rows: number;
  argv: string[];
  env: string[];
  /** Killed after so many milliseconds, by a clock that goes back with the branch. */
  timeoutMs?: number;
};

/** What a process inside asks for. */
export interface Ask {
  /** Of this PID 1, and of no other ask in its life or in that of its images. */
  number: number;
  /** A helper was told before: this is a restored branch, or the helper was away. It comes without its input then. */
  again: boolean;
  /** Arguments, then the working directory. Whatever the process likes. */
  words: string[];
  input: Buffer;
}

export interface Answer {
  code: number;
  /** For standard output and standard error. */
  out?: string;
  err?: string;
}

export interface Heard {
  asked?(ask: Ask): void;
  /** Nobody waits for the answer any more. */
  askEnded?(number: number): void;
  /** Attached; for a terminal with what it had shown (or, re-attached, what came meanwhile). */
  attached?(scrollback: Buffer): void;
  output?(stream: 'stdout' | 'stderr', data: Buffer): void;
  exit?(code: number): void;
  /** The last call: the connection is over, by `detach`, or since the branch ended. */
  closed?(): void;
}

/** Init refused a request: there is no such program, folder or session. `missing` where it was not found. */
export class InitRefusal extends Error {
  readonly missing: boolean;
  constructor(text: string) {
    super(/^[67]/.test(text) ? text.slice(1) : text);
    this.name = 'InitRefusal';
    this.missing = text.startsWith('7');
  }
}

export interface ListedSession {
  id: string;
  kind: 'process' | 'terminal' | 'dial';
  pid: number;
  running: boolean;
  exitCode: number;
}

export class InitConnection {
  private readonly socket: Socket;
  private readonly heard: Heard;
  private pending: { wants: string; resolve(body: Buffer): void; reject(error: Error): void }[] = [];
  private chunks: Buffer[] = [];
  private buffered = 0;
  private over = false;
  private leaving = false;
  readonly done: Promise<void>;

  private constructor(socket: Socket, heard: Heard) {
    this.socket = socket;
    this.heard = heard;
    this.done = new Promise((resolve) => {
      const end = (): void => {
        if (this.over) return;
        this.over = true;
        for (const p of this.pending.splice(0)) p.reject(new Error('the branch ended'));
        this.heard.closed?.();
        resolve();
      };
      socket.on('close', end);
      socket.on('error', () => socket.destroy());
    });
    socket.on('data', (chunk) => this.take(chunk));
  }

  /** Connects to the PID 1 with that host pid. It may be frozen: then it answers once it is thawed. */
  static open(pid: number, heard: Heard = {}): Promise<InitConnection> {
    return new Promise((resolve, reject) => {
      const place = findSocket(pid);
      const socket = createConnection(`/proc/self/fd/${place}`);
      const failed = (error: Error): void => {
        close(place);
        reject(error);
      };
      socket.once('error', failed);
      socket.once('connect', () => {
        close(place);
        socket.off('error', failed);
        resolve(new InitConnection(socket, heard));
      });
    });
  }

  /**
   * Output that lies one behind the other is told as one: a program that says little at a time, and often, leaves tens of thousands
   * of frames to a helper that comes late, and a checkpoint waits until all are heard.
   */
  private take(chunk: Buffer): void {
    this.chunks.push(chunk);
    this.buffered += chunk.length;
    if (this.buffered < 5) return;
    const data = this.chunks.length === 1 ? chunk : Buffer.concat(this.chunks);
    const frames: { type: string; body: Buffer }[] = [];
    let at = 0;
    while (data.length - at >= 5) {
      const end = at + 5 + data.readUInt32LE(at);
      if (data.length < end) break;
      frames.push({ type: String.fromCharCode(data[at + 4]!), body: data.subarray(at + 5, end) });
      at = end;
    }
    const rest = data.subarray(at);
    this.chunks = rest.length ? [rest] : [];
    this.buffered = rest.length;
    for (let i = 0; i < frames.length; ) {
      const { type, body } = frames[i]!;
      let next = i + 1;
      if (type === 'o' || type === 'e') while (frames[next]?.type === type) next++;
      this.frame(type, next === i + 1 ? body : Buffer.concat(frames.slice(i, next).map((one) => one.body)));
      i = next;
    }
  }

  private frame(type: string, body: Buffer): void {
    if (type === 'o') this.heard.output?.('stdout', body);
    else if (type === 'e') this.heard.output?.('stderr', body);
    else if (type === 'x') this.heard.exit?.(Number(body.toString()));
    else if (type === 'q') this.heard.asked?.(readAsk(body));
    else if (type === 'z') this.heard.askEnded?.(Number.parseInt(body.toString(), 10));
    else if (type === '!') this.pending.shift()?.reject(new InitRefusal(body.toString()));
    else {
      if (type === 'a') this.heard.attached?.(body);
      if (this.pending[0]?.wants === type) this.pending.shift()!.resolve(body);
    }
  }

  private send(type: string, body: Buffer | string = ''): boolean {
    const bytes = typeof body === 'string' ? Buffer.from(body) : body;
    const head = Buffer.allocUnsafe(5);
    head.writeUInt32LE(bytes.length, 0);
    head[4] = type.charCodeAt(0);
    if (this.over) return false;
    return this.socket.write(Buffer.concat([head, bytes]));
  }

  private ask(type: string, body: Buffer | string, wants: string): Promise<Buffer> {
    if (this.over) return Promise.reject(new Error('the branch ended'));
    return new Promise((resolve, reject) => {
      this.pending.push({ wants, resolve, reject });
      this.send(type, body);
    });
  }

  async ping(): Promise<void> {
    await this.ask('P', '', 'p');
  }

  /** Starts a program (or connects to a port) and attaches. @throws InitRefusal */
  async openSession(o: Opening): Promise<void> {
    const fields = [o.kind, o.id, o.cwd, o.cols, o.rows, o.argv.length, ...o.argv, o.env.length, ...o.env];
    const opened = this.ask('O', fields.map((f) => `${f}\0`).join(''), 'a');
    if (o.timeoutMs) this.send('T', `${o.timeoutMs}\0`);
    await opened;
  }

  /** Starts a program and leaves in the same breath: however soon it ends, PID 1 keeps that for who attaches. @throws InitRefusal */
  async openUnattended(opening: Opening): Promise<void> {
    this.socket.cork();
    const opened = this.openSession(opening);
    this.send('D');
    this.socket.uncork();
    await opened;
    await this.done;
  }

  /** `missed`: only what a terminal showed since the last attachment ended. @throws InitRefusal */
  async attach(id: string, what: 'all' | 'missed'): Promise<Buffer> {
    return await this.ask('A', `${id}\0${what}\0`, 'a');
  }

  async list(): Promise<ListedSession[]> {
    const text = (await this.ask('L', '', 'l')).toString();
    return text
      .split('\n')
      .filter(Boolean)
      .map((line) => {
        const [id, kind, pid, running, code] = line.split(' ');
        const listed = { id: id!, kind: kind as ListedSession['kind'], pid: Number(pid) };
        return { ...listed, running: running === '1', exitCode: Number(code) };
      });
  }

  /** From now on `asked` hears of what processes inside ask for. A PID 1 from before there was such a thing refuses, which is no matter. */
  hearAsks(): void {
    this.send('H');
  }

  answer(number: number, { code, out = '', err = '' }: Answer): void {
    const output = Buffer.from(out.replaceAll('\0', ''));
    const head = `${number}\0${code}\0${output.length}\0`;
    this.send('r', Buffer.concat([Buffer.from(head), output, Buffer.from(err)]));
  }

  /** False when the other side is slow: wait for `drained`. */
  write(data: Buffer): boolean {
    let room = true;
    for (let at = 0; at < data.length; at += 1 << 20) room = this.send('I', data.subarray(at, at + (1 << 20)));
    return room;
  }

  drained(): Promise<void> {
    if (this.over || !this.socket.writableNeedDrain) return Promise.resolve();
    return new Promise((resolve) => {
      this.socket.once('drain', resolve);
      this.socket.once('close', resolve);
    });
  }

  endInput(): void {
    this.send('E');
  }
  resize(cols: number, rows: number): void {
    this.send('R', `${cols}\0${rows}\0`);
  }
  signal(number: number): void {
    this.send('S', `${number}\0`);
  }
  hangUp(): void {
    this.send('C');
  }
  /** Not any more once it is to end: what is under way is little, and a capture waits for it, whoever reads slowly. */
  pause(): void {
    if (!this.leaving) this.socket.pause();
  }
  resume(): void {
    this.socket.resume();
  }

  /** Lets go of the session, which goes on; resolves when all that was under way has been heard. */
  async detach(): Promise<void> {
    this.leaving = true;
    this.socket.resume();
    this.send('D');
    await this.done;
  }

  /**
   * PID 1 ends it, after all that it had to say: another one attached. Nothing is sent, since to write to a connection that has
   * ended would lose what is still to be read from it.
   */
  async superseded(): Promise<void> {
    this.leaving = true;
    this.socket.resume();
    await this.done;
  }

  destroy(): void {
    this.socket.destroy();
  }
}

/** `q number\0 again\0 length\0 words input`, see helper/native/asks.c. */
function readAsk(body: Buffer): Ask {
  const heads: string[] = [];
  let at = 0;
  while (heads.length < 3) {
    const end = body.indexOf(0, at);
    heads.push(body.toString('latin1', at, end));
    at = end + 1;
  }
  const [number, again, length] = heads.map(Number) as [number, number, number];
  const words = body
    .toString('utf8', at, at + length)
    .split('\0')
    .slice(0, -1);
  return { number, again: again === 1, words, input: Buffer.from(body.subarray(at + length)) };
}

/** A descriptor of the socket's file. @throws Error where there is none, or something else on the way */
function findSocket(pid: number): number {
  const root = openRoot(`/proc/${pid}/root`);
  try {
    const found = openBeneath(root, '.teleport-env/init.sock', O_PATH);
    if (found === null) throw new Error('PID 1 of the branch has no socket any more: something inside removed it');
    return found;
  } finally {
    close(root);
  }
}

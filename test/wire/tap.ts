/** A socket between clients and the daemon: says which requests pass, and can keep back what the daemon tells. */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { Frames } from '../../helper/wire/frames.ts';

export class Tap {
  /** Methods of all requests since it was emptied. */
  readonly asked: string[] = [];
  private readonly server: Server;
  private readonly sockets = new Set<Socket>();
  private readonly told = new Set<Socket>();
  private holding = false;

  private constructor(daemon: string) {
    this.server = createServer((client) => {
      const helper = connect(daemon);
      const frames = new Frames();
      client.on('data', (chunk) => {
        for (const message of frames.take(Buffer.from(chunk)))
          this.asked.push((message as { method?: string }).method ?? 'answer');
      });
      client.pipe(helper);
      helper.on('data', (chunk) => client.write(chunk));
      if (this.holding) helper.pause();
      this.told.add(helper);
      for (const one of [client, helper]) {
        this.sockets.add(one);
        one.on('error', () => undefined);
        one.on('close', () => {
          client.destroy();
          helper.destroy();
          this.sockets.delete(one);
          this.told.delete(one);
        });
      }
    });
  }

  static async start(socket: string, daemon: string): Promise<Tap> {
    const tap = new Tap(daemon);
    await new Promise<void>((listening) => tap.server.listen(socket, listening));
    return tap;
  }

  /** From now on clients hear nothing, until `release`. */
  hold(): void {
    this.holding = true;
    for (const helper of this.told) helper.pause();
  }

  release(): void {
    this.holding = false;
    for (const helper of this.told) helper.resume();
  }

  close(): void {
    this.server.close();
    for (const one of this.sockets) one.destroy();
  }
}

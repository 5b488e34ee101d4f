/** Plays a model's provider from a script: a local HTTP server that keeps what it was asked. */
import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Asked {
  method: string;
  url: string;
  headers: IncomingHttpHeaders;
  // biome-ignore lint/suspicious/noExplicitAny: each test knows what it sent
  body: any;
  /** Whoever asked is gone. */
  gone: boolean;
}

type Play = (asked: Asked, response: ServerResponse) => void | Promise<void>;

export class Provider {
  readonly asked: Asked[] = [];
  /** What it does next; the last one goes on. */
  script: Play[] = [];
  private readonly server: Server;

  private constructor(server: Server) {
    this.server = server;
  }

  static async start(): Promise<Provider> {
    const server = createServer();
    const provider = new Provider(server);
    server.on('request', async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const text = Buffer.concat(chunks).toString();
      const { method = '', url = '', headers } = request;
      const asked: Asked = { method, url, headers, body: text ? JSON.parse(text) : null, gone: false };
      provider.asked.push(asked);
      response.on('close', () => {
        if (!response.writableFinished) asked.gone = true;
      });
      const play = provider.script.length > 1 ? provider.script.shift()! : provider.script[0];
      if (play) await play(asked, response);
      else response.writeHead(404).end('{}');
    });
    await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
    return provider;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((done) => this.server.close(done));
  }
}

export function json(status: number, body: unknown, headers: Record<string, string> = {}): Play {
  return (_, response) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
  };
}

/** Events, one after the other. `between` runs before each but the first. */
export function events(list: unknown[], between?: (at: number) => Promise<void>, named = false): Play {
  return async (_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
    for (const [at, event] of list.entries()) {
      if (at > 0) await between?.(at);
      const name = named ? `event: ${(event as { type: string }).type}\n` : '';
      response.write(`${name}data: ${JSON.stringify(event)}\n\n`);
    }
    response.end(named ? '' : 'data: [DONE]\n\n');
  };
}

export const USAGE = { prompt_tokens: 1000, completion_tokens: 20, prompt_tokens_details: { cached_tokens: 400 } };

/** A whole chat completion that says `content`. */
export function completion(content: string | null, more: object = {}): object {
  const message = { role: 'assistant', content, ...more };
  return {
    id: 'chatcmpl-1',
    object: 'chat.completion',
    created: 1,
    model: 'tester-1',
    choices: [{ index: 0, message, finish_reason: 'stop' }],
    usage: USAGE,
  };
}

/** The same word by word; the usage at its end, as OpenAI sends it to who asks for it. */
export function chunks(words: string[]): object[] {
  const chunk = (choices: object[], more: object = {}) => ({
    id: 'chatcmpl-1',
    object: 'chat.completion.chunk',
    created: 1,
    model: 'tester-1',
    choices,
    ...more,
  });
  return [
    chunk([{ index: 0, delta: { role: 'assistant', content: '' }, finish_reason: null }]),
    ...words.map((content) => chunk([{ index: 0, delta: { content }, finish_reason: null }])),
    chunk([{ index: 0, delta: {}, finish_reason: 'stop' }]),
    chunk([], { usage: USAGE }),
  ];
}

/**
 * The model gateway of one sandbox: serves HTTP to the programs inside, over connections that the helper passes on, and asks the
 * provider with the user's key. The key goes nowhere else.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { TeleportError } from '../../protocol/errors.ts';
import type { GatewaySettings, ProviderName } from '../../protocol/gateway.ts';
import { GATEWAY_PORT } from '../../protocol/methods.ts';
import type { Sandbox } from '../../protocol/model.ts';
import { addUsage, type ModelUsage } from '../../protocol/usage.ts';
import type { Connection } from '../connection.ts';
import { AnswerReader } from './answer.ts';
import { refusal } from './budget.ts';
import { toClient, toProvider } from './headers.ts';
import { Passage } from './passage.ts';
import { usageOf } from './prices.ts';
import { type Api, PROVIDERS, routeOf } from './provider.ts';
import { EventCutter, eventData } from './sse.ts';
import { Transcripts, transcriptFolder } from './transcript.ts';
import { ask, checkBaseUrl, UpstreamError } from './upstream.ts';

/** Bytes of a request: images of a long conversation fit. */
const LARGEST_REQUEST = 64 << 20;

type Json = Record<string, unknown>;

/** What has happened, for a log that people read. */
export interface Exchange {
  at: string;
  branch: string;
  provider: ProviderName | null;
  path: string;
  status: number;
  ms: number;
  usage: ModelUsage | null;
  /** Why it was refused or failed. */
  problem: string | null;
}

export interface GatewayEvents {
  exchanged?(exchange: Exchange): void;
}

interface Asked {
  provider: ProviderName;
  api: Api;
  path: string;
  query: string;
  body: Json | null;
  /** The client did not ask for the usage at the end of a stream; we do, and keep it to ourselves. */
  usageOnlyForUs: boolean;
}

export class ModelGateway {
  readonly sandbox: Sandbox;
  private readonly helper: Connection;
  private readonly settings: GatewaySettings;
  private readonly events: GatewayEvents;
  private readonly server: Server;
  private readonly passages = new Map<number, Passage>();
  private readonly stops: (() => void)[] = [];
  private readonly transcripts: Transcripts | null;
  private used: ModelUsage;
  private underWay = 0;
  private readonly closing = new AbortController();

  private constructor(
    helper: Connection,
    sandbox: Sandbox,
    settings: GatewaySettings,
    env: NodeJS.ProcessEnv,
    events: GatewayEvents,
    used: ModelUsage,
  ) {
    this.helper = helper;
    this.sandbox = sandbox;
    this.settings = settings;
    this.events = events;
    this.used = used;
    const folder = transcriptFolder(`${sandbox.name}-${sandbox.id}`, env);
    this.transcripts = settings.transcripts ? new Transcripts(folder) : null;
    // A model may think longer than any of http's own limits on a whole exchange.
    this.server = createServer({ keepAliveTimeout: 60_000, requestTimeout: 120_000 }, (request, response) => {
      this.serve(request, response).catch((error: Error) => {
        if (response.headersSent) response.destroy();
        else fail(response, 'openai', 500, `the gateway failed: ${error.message}`);
      });
    });
  }

  /** @throws TeleportError `gatewayTaken`, `invalidRequest`, `unknownSandbox` */
  static async open(
    helper: Connection,
    sandboxRef: string,
    settings: GatewaySettings,
    { env = process.env, ...events }: GatewayEvents & { env?: NodeJS.ProcessEnv } = {},
  ): Promise<ModelGateway> {
    for (const { name, baseUrl, key } of settings.providers)
      checkBaseUrl(baseUrl ?? PROVIDERS[name].baseUrl, key !== null);
    const { sandbox } = await helper.request('sandbox/get', { sandbox: sandboxRef });
    const used = sandbox.usage ?? usageOf(null, {});
    const gateway = new ModelGateway(helper, sandbox, settings, env, events, used);
    gateway.listen();
    try {
      gateway.used = (await helper.request('gateway/open', { sandbox: sandbox.id, env: gateway.variables })).used;
    } catch (error) {
      gateway.stop();
      throw error;
    }
    return gateway;
  }

  /** Where programs inside find it. */
  get variables(): Record<string, string> {
    return Object.assign({}, ...this.settings.providers.map(({ name }) => PROVIDERS[name].variables(GATEWAY_PORT)));
  }

  private listen(): void {
    this.stops.push(
      this.helper.on('gateway/connected', ({ sandbox, branch, connection }) => {
        if (sandbox !== this.sandbox.id) return;
        const passage = new Passage(this.helper, connection, branch);
        this.passages.set(connection, passage);
        passage.once('close', () => this.passages.delete(connection));
        this.server.emit('connection', passage);
      }),
      this.helper.on('gateway/data', ({ connection, data }) =>
        this.passages.get(connection)?.deliver(Buffer.from(data, 'base64')),
      ),
      this.helper.on('gateway/disconnected', ({ connection }) => this.passages.get(connection)?.end_()),
    );
  }

  /** Programs inside are told by a reset at once. */
  async close(): Promise<void> {
    this.stop();
    if (!this.helper.lost.aborted)
      await this.helper.request('gateway/close', { sandbox: this.sandbox.id }).catch(() => undefined);
  }

  private stop(): void {
    this.closing.abort();
    for (const stop of this.stops.splice(0)) stop();
    for (const passage of this.passages.values()) passage.destroy();
  }

  private async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const began = performance.now();
    const branch = (request.socket as unknown as Passage).branch;
    const { method = 'GET', url = '/' } = request;
    const route = routeOf(method, url);
    const told = (status: number, usage: ModelUsage | null, problem: string | null): void =>
      this.events.exchanged?.({
        at: new Date().toISOString(),
        branch,
        provider: 'provider' in route ? route.provider : null,
        path: route.path.slice(0, 200),
        status,
        ms: Math.round(performance.now() - began),
        usage,
        problem,
      });
    const refuse = (status: number, message: string): void => {
      request.resume();
      fail(response, 'provider' in route ? route.provider : 'openai', status, message);
      told(status, null, message);
    };
    if ('refused' in route)
      return refuse(
        route.refused === 'method' ? 405 : 404,
        `the gateway passes no ${method} ${route.path.slice(0, 200)} on`,
      );
    const provider = this.settings.providers.find(({ name }) => name === route.provider);
    if (!provider) return refuse(404, `the gateway is not switched on for ${PROVIDERS[route.provider].title}`);
    const spent = refusal(this.settings.budget, this.used, this.underWay, this.sandbox.name);
    if (spent !== null && route.api !== 'other') return refuse(429, spent);
    const counts = route.api !== 'other';
    if (counts) this.underWay++;
    try {
      const bytes = await readAll(request);
      if (bytes === null) return refuse(413, `the gateway takes requests of ${LARGEST_REQUEST >> 20} MB at most`);
      const query = url.includes('?') ? url.slice(url.indexOf('?')) : '';
      const asked = prepared({ ...route, query }, bytes);
      const { status, usage, problem } = await this.exchange(asked, provider, request, response, bytes);
      if (usage) await this.account(branch, usage);
      told(status, usage, problem);
    } finally {
      if (counts) this.underWay--;
    }
  }

  private async exchange(
    asked: Asked,
    provider: GatewaySettings['providers'][number],
    request: IncomingMessage,
    response: ServerResponse,
    bytes: Buffer,
  ): Promise<{ status: number; usage: ModelUsage | null; problem: string | null }> {
    const kind = PROVIDERS[provider.name];
    const endpoint = {
      baseUrl: provider.baseUrl ?? kind.baseUrl,
      answerMs: this.settings.answerSeconds * 1000,
      silenceMs: this.settings.silenceSeconds * 1000,
    };
    const given = new AbortController();
    response.once('close', () => given.abort());
    const signal = AbortSignal.any([given.signal, this.closing.signal]);
    const headers = toProvider(request.headers, provider.key === null ? {} : kind.keyHeaders(provider.key));
    const out = { method: request.method ?? 'GET', path: asked.path, query: asked.query, headers };
    const reader = new AnswerReader(asked.api);
    let status = 502;
    let begun = false;
    try {
      let answer = await ask(endpoint, { ...out, body: bodyOf(asked, bytes) }, signal);
      if (answer.statusCode === 400 && asked.usageOnlyForUs) {
        // Not every server that speaks OpenAI's protocol knows what we added.
        answer.resume();
        answer = await ask(endpoint, { ...out, body: bytes }, signal);
      }
      status = answer.statusCode ?? 502;
      const events = /^text\/event-stream\b/i.test(answer.headers['content-type'] ?? '');
      response.writeHead(status, toClient(answer.headers));
      response.flushHeaders();
      begun = true;
      const body = events
        ? await passEvents(answer, response, reader, asked.usageOnlyForUs)
        : await passBody(answer, response, reader);
      response.end();
      if (status >= 300 || asked.api === 'other') return { status, usage: null, problem: null };
      if (asked.body && this.transcripts)
        await this.transcripts.add(asked.api, asked.body, reader.said, typeof body?.id === 'string' ? body.id : null);
      return { status, usage: usageOf(reader.took, this.settings.prices), problem: null };
    } catch (error) {
      const failure = error as Error;
      const gone = given.signal.aborted;
      const problem = gone ? 'the program inside did not wait for the answer' : failure.message;
      status = error instanceof UpstreamError ? error.status : 502;
      // What has been said is kept; that it ends too soon, the client sees by how the connection ends.
      if (begun) response.destroy();
      else if (!gone) fail(response, provider.name, status, problem);
      const took = begun ? reader.took : null;
      return { status: gone ? 499 : status, usage: took && usageOf(took, this.settings.prices), problem };
    }
  }

  private async account(branch: string, usage: ModelUsage): Promise<void> {
    this.used = addUsage(this.used, usage);
    try {
      const params = { sandbox: this.sandbox.id, branch: branch as never, usage };
      this.used = (await this.helper.request('gateway/used', params)).used;
    } catch (error) {
      if (!(error instanceof TeleportError)) throw error;
      // The helper is gone, or the sandbox: what was counted here holds until it is back.
    }
  }
}

/** A stream of a chat tells what it took only where it is asked to. */
function prepared(route: { provider: ProviderName; api: Api; path: string; query: string }, bytes: Buffer): Asked {
  let body: Json | null = null;
  try {
    const value: unknown = JSON.parse(bytes.toString('utf8'));
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) body = value as Json;
  } catch {
    // The provider will say so.
  }
  const options = body?.stream_options as Json | undefined;
  const usageOnlyForUs = route.api === 'chat' && body?.stream === true && options?.include_usage === undefined;
  return { ...route, body, usageOnlyForUs };
}

function bodyOf({ body, usageOnlyForUs }: Asked, bytes: Buffer): Buffer {
  if (!usageOnlyForUs || !body) return bytes;
  const options = (body.stream_options as Json | undefined) ?? {};
  return Buffer.from(JSON.stringify({ ...body, stream_options: { ...options, include_usage: true } }));
}

async function readAll(request: IncomingMessage): Promise<Buffer | null> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > LARGEST_REQUEST) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Waits while the program inside is slow: then the provider is not read either. */
async function put(response: ServerResponse, chunk: Buffer): Promise<void> {
  if (response.write(chunk)) return;
  await new Promise<void>((resolve) => {
    const done = (): void => {
      response.off('drain', done);
      response.off('close', done);
      resolve();
    };
    response.on('drain', done);
    response.on('close', done);
  });
  if (response.destroyed) throw new Error('the connection ended');
}

/** Each event as it comes, but the one that only we asked for. Answers the response that a `response.completed` holds. */
async function passEvents(
  answer: IncomingMessage,
  response: ServerResponse,
  reader: AnswerReader,
  keepUsage: boolean,
): Promise<Json | null> {
  const cutter = new EventCutter();
  let whole: Json | null = null;
  const pass = async (bytes: Buffer): Promise<void> => {
    const data = eventData(bytes) as Json | undefined;
    if (data) reader.event(data);
    if (data?.response && typeof data.response === 'object') whole = data.response as Json;
    const ours = keepUsage && data?.usage && Array.isArray(data.choices) && data.choices.length === 0;
    if (!ours) await put(response, bytes);
  };
  for await (const chunk of answer as AsyncIterable<Buffer>) for (const event of cutter.push(chunk)) await pass(event);
  if (cutter.rest().length) await pass(cutter.rest());
  return whole;
}

async function passBody(answer: IncomingMessage, response: ServerResponse, reader: AnswerReader): Promise<Json | null> {
  const chunks: Buffer[] = [];
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    await put(response, chunk);
  }
  try {
    const body = JSON.parse(Buffer.concat(chunks).toString('utf8')) as Json;
    reader.body(body);
    return body;
  } catch {
    return null; // not JSON: nothing to count
  }
}

const TYPES: Record<number, string> = {
  404: 'not_found_error',
  405: 'not_found_error',
  413: 'request_too_large',
  429: 'rate_limit_error',
  504: 'timeout_error',
};

/** An error in the words of the provider's protocol. `x-should-retry: false` where asking again changes nothing: both SDKs heed it. */
function fail(response: ServerResponse, provider: ProviderName, status: number, message: string): void {
  const text = `teleport-env: ${message}`;
  const type = TYPES[status] ?? 'api_error';
  const body =
    provider === 'anthropic'
      ? { type: 'error', error: { type, message: text } }
      : { error: { message: text, type, param: null, code: status === 429 ? 'budget_exceeded' : null } };
  if (response.destroyed) return;
  const hopeless = status < 500 || status === 504;
  response.writeHead(status, {
    'content-type': 'application/json',
    ...(hopeless ? { 'x-should-retry': 'false' } : {}),
  });
  response.end(JSON.stringify(body));
}

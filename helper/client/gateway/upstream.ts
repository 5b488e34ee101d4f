/** One request to the provider, with the key, the time limits and the retries. Redirects are not followed: the key would go along. */
import { type IncomingMessage, Agent as PlainAgent, request as plain } from 'node:http';
import { Agent, request as secure } from 'node:https';
import { isIPv4 } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { TeleportError } from '../../protocol/errors.ts';
import { mayRecover, retryAfter, waitBefore } from './retry.ts';

const agents = {
  http: new PlainAgent({ keepAlive: true, maxSockets: 64 }),
  https: new Agent({ keepAlive: true, maxSockets: 64 }),
};

export interface Endpoint {
  baseUrl: string;
  answerMs: number;
  silenceMs: number;
}

export interface Outgoing {
  method: string;
  path: string;
  query: string;
  headers: Record<string, number | string | string[] | undefined>;
  body: Buffer;
}

/** It did not answer, or not as it should. `retryable` by the client inside. */
export class UpstreamError extends Error {
  readonly status: 502 | 504;
  constructor(status: 502 | 504, message: string) {
    super(message);
    this.status = status;
  }
}

/**
 * The provider's answer, its body not read yet. Answers that mean "later" are asked for again, as connections that fail are, until
 * the last attempt, whose answer is given as it is.
 * @throws UpstreamError
 */
export async function ask(endpoint: Endpoint, out: Outgoing, signal: AbortSignal): Promise<IncomingMessage> {
  for (let attempt = 1; ; attempt++) {
    let asked: number | null = null;
    try {
      const answer = await once(endpoint, out, signal);
      const { statusCode: status = 502 } = answer;
      if (status >= 300 && status < 400) {
        answer.destroy();
        throw new UpstreamError(502, `the endpoint ${endpoint.baseUrl} redirects, which is not followed`);
      }
      if (!mayRecover(status)) return answer;
      asked = retryAfter(answer.headers, Date.now());
      if (waitBefore(attempt, asked, 0) === null) return answer;
      answer.resume();
    } catch (error) {
      if (signal.aborted || error instanceof UpstreamError) throw error;
      if (waitBefore(attempt, null, 0) === null)
        throw new UpstreamError(502, `the endpoint ${endpoint.baseUrl} can't be reached: ${(error as Error).message}`);
    }
    await sleep(waitBefore(attempt, asked, Math.random()) ?? 0, undefined, { signal });
  }
}

function once(endpoint: Endpoint, out: Outgoing, signal: AbortSignal): Promise<IncomingMessage> {
  const url = new URL(endpoint.baseUrl.replace(/\/+$/, '') + out.path + out.query);
  const isSecure = url.protocol === 'https:';
  return new Promise((resolve, reject) => {
    const request = (isSecure ? secure : plain)(url, {
      method: out.method,
      headers: { ...out.headers, ...(out.body.length ? { 'content-length': out.body.length } : {}) },
      agent: isSecure ? agents.https : agents.http,
      signal,
    });
    const seconds = endpoint.answerMs / 1000;
    const late = setTimeout(() => {
      request.destroy(new UpstreamError(504, `the model did not answer within ${seconds} s`));
    }, endpoint.answerMs);
    request.on('error', (error) => {
      clearTimeout(late);
      reject(error);
    });
    request.on('response', (answer) => {
      clearTimeout(late);
      // The socket is watched, not the stream: a slow reader inside is not the provider's silence.
      answer.setTimeout(endpoint.silenceMs, () =>
        answer.destroy(new UpstreamError(504, `the model fell silent for ${endpoint.silenceMs / 1000} s`)),
      );
      resolve(answer);
    });
    request.end(out.body);
  });
}

/** @throws TeleportError `invalidRequest` where a key would travel readable */
export function checkBaseUrl(baseUrl: string, hasKey: boolean): void {
  const { protocol, hostname, username, password, search, hash } = new URL(baseUrl);
  if (username || password || search || hash)
    throw new TeleportError('invalidRequest', `${hostname}: a base URL has no user, query or fragment`);
  const local = hostname === 'localhost' || hostname === '[::1]' || (isIPv4(hostname) && hostname.startsWith('127.'));
  if (protocol === 'http:' && hasKey && !local)
    throw new TeleportError('invalidRequest', `the key would go to ${hostname} unencrypted`, {
      hint: 'give an https address, or no key',
    });
}

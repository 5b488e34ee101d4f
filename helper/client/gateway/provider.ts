/**
 * The providers that the gateway speaks to: where, with which header the key goes, which paths are passed on. Paths and headers
 * after their public documentation: platform.openai.com/docs/api-reference, docs.claude.com/en/api.
 */
import type { ProviderName } from '../../protocol/gateway.ts';

/** How an answer tells what it took, by path. */
export type Api = 'chat' | 'responses' | 'messages' | 'other';

export interface Provider {
  name: ProviderName;
  title: string;
  baseUrl: string;
  /** Variables of the user that the key may come from. */
  keyVariable: string;
  keyHeaders(key: string): Record<string, string>;
  /** Below the base URL. */
  paths: { method: 'GET' | 'POST'; path: RegExp; api: Api }[];
  /** What sessions inside get: where the gateway is, and a key that is none, because clients do not start without one. */
  variables(port: number): Record<string, string>;
}

/** Stands where a client inside must have a key. Whoever finds it in a log need not worry. */
export const NO_KEY = 'held-by-teleport-env';
/** One path segment: no slash, no dot that leads upwards. */
const ID = '[A-Za-z0-9_:-][A-Za-z0-9._:-]*';

export const PROVIDERS: Record<ProviderName, Provider> = {
  openai: {
    name: 'openai',
    title: 'OpenAI',
    baseUrl: 'https://api.openai.com/v1',
    keyVariable: 'OPENAI_API_KEY',
    keyHeaders: (key) => ({ authorization: `Bearer ${key}` }),
    paths: [
      { method: 'POST', path: /^\/chat\/completions$/, api: 'chat' },
      { method: 'POST', path: /^\/responses$/, api: 'responses' },
      { method: 'POST', path: /^\/completions$/, api: 'chat' },
      { method: 'POST', path: /^\/embeddings$/, api: 'other' },
      // Models of some servers have a slash in their name.
      { method: 'GET', path: new RegExp(`^/models(/${ID}){0,2}$`), api: 'other' },
    ],
    variables: (port) => ({ OPENAI_BASE_URL: `http://127.0.0.1:${port}/openai/v1`, OPENAI_API_KEY: NO_KEY }),
  },
  anthropic: {
    name: 'anthropic',
    title: 'Anthropic',
    baseUrl: 'https://api.anthropic.com',
    keyVariable: 'ANTHROPIC_API_KEY',
    keyHeaders: (key) => ({ 'x-api-key': key }),
    paths: [
      { method: 'POST', path: /^\/v1\/messages$/, api: 'messages' },
      { method: 'POST', path: /^\/v1\/messages\/count_tokens$/, api: 'other' },
      { method: 'GET', path: new RegExp(`^/v1/models(/${ID})?$`), api: 'other' },
    ],
    variables: (port) => ({ ANTHROPIC_BASE_URL: `http://127.0.0.1:${port}/anthropic`, ANTHROPIC_API_KEY: NO_KEY }),
  },
};

/** Where the paths of each provider begin, in the URL that a client inside uses. */
const PREFIXES: Record<ProviderName, string> = { openai: '/openai/v1', anthropic: '/anthropic' };

export type Route =
  | { provider: ProviderName; path: string; api: Api }
  | { refused: 'unknown' | 'method'; path: string };

/** Plain matching of what was asked: nothing is decoded or resolved, so nothing can lead elsewhere. The query is left out. */
export function routeOf(method: string, url: string): Route {
  const path = url.split('?')[0]!;
  for (const provider of Object.values(PROVIDERS)) {
    const prefix = PREFIXES[provider.name];
    if (!path.startsWith(`${prefix}/`)) continue;
    const rest = path.slice(prefix.length);
    const known = provider.paths.filter((one) => one.path.test(rest));
    const found = known.find((one) => one.method === method);
    if (found) return { provider: provider.name, path: rest, api: found.api };
    return { refused: known.length ? 'method' : 'unknown', path };
  }
  return { refused: 'unknown', path };
}

/** Which headers pass the gateway. Only what is known to be needed: keys, cookies and addresses stay on their own side. */
import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http';

const TO_PROVIDER = [
  /^accept$/,
  /^content-type$/,
  /^user-agent$/,
  /^anthropic-(version|beta)$/,
  /^openai-beta$/,
  /^idempotency-key$/,
  /^x-stainless-/,
];
const TO_CLIENT = [
  /^content-type$/,
  /^retry-after(-ms)?$/,
  /^x-should-retry$/,
  /^(x-)?request-id$/,
  /^x-ratelimit-/,
  /^anthropic-ratelimit-/,
  /^openai-(processing-ms|version|model)$/,
];

function picked(headers: IncomingHttpHeaders, allowed: RegExp[]): OutgoingHttpHeaders {
  const found: OutgoingHttpHeaders = {};
  for (const [name, value] of Object.entries(headers))
    if (value !== undefined && allowed.some((one) => one.test(name))) found[name] = value;
  return found;
}

/** `key`: what carries the key, which goes over whatever the program sent. The body is asked for as it is, so that it can be read. */
export function toProvider(headers: IncomingHttpHeaders, key: Record<string, string>): OutgoingHttpHeaders {
  return { ...picked(headers, TO_PROVIDER), 'accept-encoding': 'identity', ...key };
}

export function toClient(headers: IncomingHttpHeaders): OutgoingHttpHeaders {
  return picked(headers, TO_CLIENT);
}

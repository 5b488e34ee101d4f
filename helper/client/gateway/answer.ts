/**
 * What an answer took and said, from its JSON or from its events: OpenAI's chat completions and responses, Anthropic's messages.
 * Everything may be missing: servers that speak these protocols differ.
 */
import type { Api } from './provider.ts';

type Json = Record<string, unknown>;

export interface Took {
  model: string | null;
  /** Cached and newly cached ones included. */
  inputTokens: number;
  cachedTokens: number;
  /** Written to the provider's cache. */
  cacheWriteTokens: number;
  outputTokens: number;
}

function object(value: unknown): Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : {};
}

function count(value: unknown): number {
  return typeof value === 'number' && Number.isFinite(value) && value > 0 ? Math.round(value) : 0;
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

/** One answer as it comes. */
export class AnswerReader {
  private readonly api: Api;
  private model: string | null = null;
  private usage: Json = {};
  /** Of a chat: the message so far, its calls by index. Of Anthropic: blocks by index. */
  private message: Json = {};
  private readonly parts = new Map<number, Json>();
  private items: Json[] = [];
  /** The provider told that it failed, in the middle of a stream. */
  failed = false;

  constructor(api: Api) {
    this.api = api;
  }

  /** The whole answer. */
  body(value: unknown): void {
    const answer = object(value);
    this.seeModel(answer.model);
    this.usage = { ...this.usage, ...object(answer.usage) };
    if (this.api === 'chat') this.message = object(object(array(answer.choices)[0]).message);
    else if (this.api === 'responses') this.items = array(answer.output).map(object);
    else if (this.api === 'messages')
      array(answer.content).forEach((block, at) => void this.parts.set(at, object(block)));
  }

  /** One event's data. */
  event(value: unknown): void {
    const event = object(value);
    if (event.error || event.type === 'error' || event.type === 'response.failed') this.failed = true;
    if (this.api === 'chat') this.chatChunk(event);
    else if (this.api === 'responses') {
      const { response } = event;
      if (/^response\.(completed|incomplete|failed)$/.test(text(event.type))) this.body(response);
      else this.seeModel(object(response).model);
    } else if (this.api === 'messages') this.messagesEvent(event);
  }

  private seeModel(model: unknown): void {
    if (typeof model === 'string' && model) this.model = model.slice(0, 200);
  }

  private chatChunk(chunk: Json): void {
    this.seeModel(chunk.model);
    this.usage = { ...this.usage, ...object(chunk.usage) };
    const delta = object(object(array(chunk.choices).find((one) => count(object(one).index) === 0)).delta);
    for (const field of ['content', 'reasoning_content'])
      if (typeof delta[field] === 'string') this.message[field] = text(this.message[field]) + delta[field];
    for (const one of array(delta.tool_calls).map(object)) {
      const at = count(one.index);
      const call = this.parts.get(at) ?? { type: 'function', function: { name: '', arguments: '' } };
      if (one.id) call.id = one.id;
      const [had, more] = [object(call.function), object(one.function)];
      call.function = { name: text(had.name) + text(more.name), arguments: text(had.arguments) + text(more.arguments) };
      this.parts.set(at, call);
    }
  }

  private messagesEvent(event: Json): void {
    const at = count(event.index);
    if (event.type === 'message_start') this.body({ ...object(event.message), content: [] });
    else if (event.type === 'message_delta') this.usage = { ...this.usage, ...object(event.usage) };
    else if (event.type === 'content_block_start') this.parts.set(at, { ...object(event.content_block) });
    else if (event.type === 'content_block_delta') {
      const [block, delta] = [this.parts.get(at) ?? {}, object(event.delta)];
      for (const field of ['text', 'thinking', 'partial_json'])
        if (typeof delta[field] === 'string') block[field] = text(block[field]) + delta[field];
      this.parts.set(at, block);
    }
  }

  /** Null where the provider said nothing of it. */
  get took(): Took | null {
    const u = this.usage;
    const known = ['prompt_tokens', 'input_tokens', 'completion_tokens', 'output_tokens'].some((name) => name in u);
    if (!known) return null;
    const output = count(u.output_tokens) || count(u.completion_tokens);
    if (this.api === 'messages') {
      // Anthropic counts what it read from and wrote to its cache apart.
      const [read, written] = [count(u.cache_read_input_tokens), count(u.cache_creation_input_tokens)];
      const inputTokens = count(u.input_tokens) + read + written;
      return { model: this.model, inputTokens, cachedTokens: read, cacheWriteTokens: written, outputTokens: output };
    }
    const details = object(u.input_tokens_details ?? u.prompt_tokens_details);
    return {
      model: this.model,
      inputTokens: count(u.input_tokens) || count(u.prompt_tokens),
      cachedTokens: count(details.cached_tokens),
      cacheWriteTokens: 0,
      outputTokens: output,
    };
  }

  /** What was said, as messages or items of OpenAI's. */
  get said(): Json[] {
    if (this.api === 'responses') return this.items;
    if (this.api === 'chat') {
      const calls = [...this.parts.entries()].sort(([a], [b]) => a - b).map(([, call]) => call);
      return [{ role: 'assistant', ...this.message, ...(calls.length ? { tool_calls: calls } : {}) }];
    }
    const blocks = [...this.parts.entries()].sort(([a], [b]) => a - b).map(([, block]) => block);
    return fromAnthropic({ role: 'assistant', content: blocks.map(withInput) });
  }
}

function array(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

/** A tool's input comes as pieces of JSON. */
function withInput(block: Json): Json {
  if (typeof block.partial_json !== 'string') return block;
  try {
    return { ...block, input: JSON.parse(block.partial_json) };
  } catch {
    return block;
  }
}

/** One of Anthropic's messages as OpenAI's chat has them, so that one reader reads both. */
export function fromAnthropic(message: Json): Json[] {
  if (typeof message.content === 'string') return [{ role: message.role, content: message.content }];
  const blocks = array(message.content).map(object);
  const results = blocks
    .filter(({ type }) => type === 'tool_result')
    .map((block) => ({ role: 'tool', tool_call_id: block.tool_use_id, content: block.content }));
  const calls = blocks
    .filter(({ type }) => type === 'tool_use')
    .map(({ id, name, input }) => ({
      id,
      type: 'function',
      function: { name, arguments: JSON.stringify(input ?? {}) },
    }));
  const thoughts = blocks.map(({ thinking }) => text(thinking)).filter(Boolean);
  const content = blocks.map((block) => (block.type === 'text' ? text(block.text) : '')).filter(Boolean);
  const said = {
    role: message.role,
    content: content.join('\n'),
    ...(thoughts.length ? { reasoning_content: thoughts.join('\n') } : {}),
    ...(calls.length ? { tool_calls: calls } : {}),
  };
  return content.length || calls.length || thoughts.length ? [...results, said] : results;
}

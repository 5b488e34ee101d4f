/** What the model gateway decides, without a machine. */
import assert from 'node:assert/strict';
import { settingsOf } from '../../helper/cli/commands/gateway.ts';
import { AnswerReader, fromAnthropic } from '../../helper/client/gateway/answer.ts';
import { toClient, toProvider } from '../../helper/client/gateway/headers.ts';
import { priceOf, usageOf } from '../../helper/client/gateway/prices.ts';
import { PROVIDERS, routeOf } from '../../helper/client/gateway/provider.ts';
import { mayRecover, retryAfter, waitBefore } from '../../helper/client/gateway/retry.ts';
import { EventCutter, eventData } from '../../helper/client/gateway/sse.ts';
import { goesOn, sentMessages, sumOf, transcriptFolder } from '../../helper/client/gateway/transcript.ts';
import { checkBaseUrl } from '../../helper/client/gateway/upstream.ts';
import type { TeleportError } from '../../helper/protocol/errors.ts';
import { GatewaySettings } from '../../helper/protocol/gateway.ts';
import { costText } from '../../helper/protocol/usage-words.ts';
import { Random } from '../documents/random.ts';

describe('the model gateway decides', () => {
  it('which paths pass', () => {
    assert.deepEqual(routeOf('POST', '/openai/v1/responses?x=1'), {
      provider: 'openai',
      path: '/responses',
      api: 'responses',
    });
    assert.deepEqual(routeOf('POST', '/anthropic/v1/messages'), {
      provider: 'anthropic',
      path: '/v1/messages',
      api: 'messages',
    });
    assert.ok('provider' in routeOf('GET', '/openai/v1/models/meta-llama/Llama-3.1-8B'));
    for (const url of [
      '/openai/v1/models/..',
      '/openai/v1/models/../../x',
      '/openai/v1/responses/r1',
      '/openai/v1/responses/',
      '//openai/v1/responses',
      '/openai/v1',
      '/anthropic/v1/organizations',
    ])
      assert.ok('refused' in routeOf('GET', url), url);
  });

  it('which headers pass: no key, cookie or address of one side reaches the other', () => {
    const sent = {
      authorization: 'Bearer inside',
      'x-api-key': 'inside',
      cookie: 'c',
      host: 'h',
      'x-forwarded-for': 'f',
      'openai-organization': 'o',
      accept: 'a',
      'anthropic-beta': 'b',
      'x-stainless-lang': 'js',
      'accept-encoding': 'br',
    };
    assert.deepEqual(toProvider(sent, PROVIDERS.openai.keyHeaders('outside')), {
      accept: 'a',
      'anthropic-beta': 'b',
      'x-stainless-lang': 'js',
      'accept-encoding': 'identity',
      authorization: 'Bearer outside',
    });
    assert.deepEqual(toProvider(sent, {}), {
      accept: 'a',
      'anthropic-beta': 'b',
      'x-stainless-lang': 'js',
      'accept-encoding': 'identity',
    });
    assert.deepEqual(
      toClient({
        'set-cookie': ['c'],
        'content-type': 't',
        'retry-after': '1',
        server: 's',
        'x-ratelimit-limit': '5',
        'openai-organization': 'o',
      }),
      { 'content-type': 't', 'retry-after': '1', 'x-ratelimit-limit': '5' },
    );
  });

  it('whether and when to ask again', () => {
    assert.deepEqual([200, 400, 401, 404, 408, 429, 500, 501, 503, 529].filter(mayRecover), [408, 429, 500, 503, 529]);
    const now = Date.parse('2026-01-01T00:00:00Z');
    assert.equal(retryAfter({ 'retry-after': '2' }, now), 2000);
    assert.equal(retryAfter({ 'retry-after-ms': '15', 'retry-after': '2' }, now), 15);
    assert.equal(retryAfter({ 'retry-after': 'Thu, 01 Jan 2026 00:00:07 GMT' }, now), 7000);
    assert.equal(retryAfter({ 'retry-after': 'soon' }, now), null);
    assert.equal(waitBefore(1, 300, 0), 300);
    assert.equal(waitBefore(1, 60_000, 0), null);
    assert.equal(waitBefore(3, 1, 0), null);
    assert.ok(waitBefore(2, null, 1)! < waitBefore(2, null, 0)!);
  });

  it('where a key may go', () => {
    for (const url of [
      'https://api.example.com/v1',
      'http://127.0.0.1:11434/v1',
      'http://localhost/v1',
      'http://[::1]:1/',
    ])
      checkBaseUrl(url, true);
    checkBaseUrl('http://models.lan/v1', false);
    for (const url of [
      'http://models.lan/v1',
      'http://127.0.0.1.example.com/',
      'https://me:pass@example.com/',
      'https://example.com/?key=1',
    ])
      assert.throws(
        () => checkBaseUrl(url, true),
        (error: TeleportError) => error.code === 'invalidRequest',
        url,
      );
    assert.ok(
      !GatewaySettings.safeParse({ providers: [{ name: 'openai', baseUrl: 'file:///etc/passwd', key: null }] }).success,
    );
  });

  it('what it cost: by the user’s own table only', () => {
    const prices = {
      'gpt*': { input: 1, output: 2 },
      'gpt-mini*': { input: 0.5, output: 1 },
      'gpt-mini-1': { input: 0.1, output: 0.1 },
    };
    assert.deepEqual(
      ['gpt-mini-1', 'gpt-mini-2', 'gpt-9', 'other', 'toString'].map((model) => priceOf(prices, model)?.input),
      [0.1, 0.5, 1, undefined, undefined],
    );
    const took = {
      model: 'gpt-9',
      inputTokens: 1_000_000,
      cachedTokens: 0,
      cacheWriteTokens: 0,
      outputTokens: 500_000,
    };
    assert.equal(usageOf(took, prices).cost, 2);
    assert.deepEqual([usageOf(took, {}).unpriced, usageOf(null, prices).unpriced], [1, 1]);
    assert.deepEqual([0, 0.00001, 0.04117, 1.5].map(costText), ['0.00', '< 0.0001', '0.0412', '1.50']);
  });

  it('events, however their bytes are cut, byte for byte', () => {
    const random = new Random();
    const text = 'data: {"a":"é😀"}\n\n: ping\n\nevent: x\r\ndata: {"b":1}\r\n\r\ndata: [DONE]\n\nrest';
    const whole = Buffer.from(text);
    for (let n = 0; n < 200; n++) {
      const cutter = new EventCutter();
      const events: Buffer[] = [];
      for (let at = 0; at < whole.length; ) {
        const next = at + 1 + random.below(9);
        events.push(...cutter.push(whole.subarray(at, next)));
        at = next;
      }
      assert.equal(Buffer.concat([...events, cutter.rest()]).toString(), text, `seed ${random.seed}`);
      assert.deepEqual(events.map(eventData), [{ a: 'é😀' }, undefined, { b: 1 }, undefined], `seed ${random.seed}`);
    }
  });

  it('what a streamed answer said and took, in each protocol', () => {
    const chat = new AnswerReader('chat');
    const delta = (more: object) => chat.event({ model: 'm', choices: [{ index: 0, delta: more }] });
    delta({ role: 'assistant', content: 'Let ' });
    delta({ content: 'me.' });
    delta({ tool_calls: [{ index: 0, id: 'c1', function: { name: 'bash', arguments: '{"comm' } }] });
    delta({ tool_calls: [{ index: 0, function: { arguments: 'and":"ls"}' } }] });
    chat.event({ choices: [], usage: { prompt_tokens: 3, completion_tokens: 4 } });
    assert.deepEqual(chat.said, [
      {
        role: 'assistant',
        content: 'Let me.',
        tool_calls: [{ type: 'function', id: 'c1', function: { name: 'bash', arguments: '{"command":"ls"}' } }],
      },
    ]);
    assert.deepEqual([chat.took?.model, chat.took?.inputTokens, chat.took?.outputTokens], ['m', 3, 4]);

    const messages = new AnswerReader('messages');
    messages.event({ type: 'message_start', message: { model: 'm', usage: { input_tokens: 3, output_tokens: 1 } } });
    messages.event({ type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } });
    messages.event({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'Look.' } });
    messages.event({
      type: 'content_block_start',
      index: 1,
      content_block: { type: 'tool_use', id: 't', name: 'bash', input: {} },
    });
    messages.event({
      type: 'content_block_delta',
      index: 1,
      delta: { type: 'input_json_delta', partial_json: '{"command":' },
    });
    messages.event({
      type: 'content_block_delta',
      index: 1,
      delta: { type: 'input_json_delta', partial_json: '"ls"}' },
    });
    messages.event({ type: 'message_delta', usage: { output_tokens: 9 } });
    assert.deepEqual(messages.said, [
      {
        role: 'assistant',
        content: 'Look.',
        tool_calls: [{ id: 't', type: 'function', function: { name: 'bash', arguments: '{"command":"ls"}' } }],
      },
    ]);
    assert.equal(messages.took?.outputTokens, 9);

    const responses = new AnswerReader('responses');
    const output = [{ type: 'function_call', call_id: 'f', name: 'shell', arguments: '{}' }];
    responses.event({
      type: 'response.completed',
      response: {
        model: 'm',
        output,
        usage: { input_tokens: 5, output_tokens: 6, input_tokens_details: { cached_tokens: 2 } },
      },
    });
    assert.deepEqual(responses.said, output);
    assert.deepEqual([responses.took?.inputTokens, responses.took?.cachedTokens], [5, 2]);

    // An answer of anything else takes and says nothing, and breaks nothing.
    for (const api of ['chat', 'messages', 'responses', 'other'] as const)
      for (const junk of [
        null,
        [],
        3,
        'x',
        { choices: 3, usage: [], content: {}, output: 'x' },
        { choices: [{ delta: { tool_calls: [null, { index: 'x' }] } }] },
      ]) {
        const reader = new AnswerReader(api);
        reader.body(junk);
        reader.event(junk);
        assert.equal(reader.took, null);
        assert.ok(Array.isArray(reader.said));
      }
  });

  it('which request goes on from which', () => {
    const sums = (list: object[]) => list.map((one) => sumOf(one as Record<string, unknown>));
    const user = { role: 'user', content: 'x' };
    assert.ok(goesOn(sums([user]), sums([{ ...user, cache_control: { type: 'ephemeral' } }, user])));
    assert.ok(!goesOn(sums([user, user]), sums([user])));
    assert.deepEqual(sentMessages('responses', { instructions: 'i', input: 'go' }), [
      { role: 'system', content: 'i' },
      { role: 'user', content: 'go' },
    ]);
    assert.deepEqual(
      fromAnthropic({ role: 'user', content: [{ type: 'tool_result', tool_use_id: 't', content: 'ok' }] }),
      [{ role: 'tool', tool_call_id: 't', content: 'ok' }],
    );
    assert.equal(transcriptFolder('../../etc/x', { XDG_STATE_HOME: '/s' }), '/s/teleport-env/transcripts/__.._etc_x');
  });

  it('what the command line means, and what is missing', async () => {
    const asked = { key: true, transcripts: true };
    const code = (error: TeleportError) => `${error.code}: ${error.message}`;
    assert.match(
      await settingsOf(asked, {}).catch(code).then(String),
      /^noKey: there is no key: OPENAI_API_KEY, ANTHROPIC_API_KEY is not set/,
    );
    assert.match(
      await settingsOf({ ...asked, provider: 'anthropic' }, { OPENAI_API_KEY: 'k' })
        .catch(code)
        .then(String),
      /noKey: .*ANTHROPIC_API_KEY/,
    );
    const both = await settingsOf(asked, { OPENAI_API_KEY: 'a', ANTHROPIC_API_KEY: 'b' });
    assert.deepEqual(
      both.providers.map(({ name, key }) => [name, key]),
      [
        ['openai', 'a'],
        ['anthropic', 'b'],
      ],
    );
    const local = await settingsOf({ ...asked, key: false, baseUrl: 'http://127.0.0.1:1/v1', budgetTokens: 5 }, {});
    assert.deepEqual(local.providers, [{ name: 'openai', baseUrl: 'http://127.0.0.1:1/v1', key: null }]);
    assert.equal(local.budget.tokens, 5);
    assert.equal((await settingsOf({ ...asked, keyEnv: 'MINE' }, { MINE: 'm' })).providers[0]?.key, 'm');
    assert.match(
      await settingsOf({ ...asked, prices: '/nowhere.json' }, { OPENAI_API_KEY: 'a' })
        .catch(code)
        .then(String),
      /invalidRequest: \/nowhere\.json/,
    );
    assert.match(
      await settingsOf({ ...asked, baseUrl: 'nonsense' }, { OPENAI_API_KEY: 'a' })
        .catch(code)
        .then(String),
      /invalidRequest: providers\.0\.baseUrl/,
    );
  });
});

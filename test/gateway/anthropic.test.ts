/** The model gateway, as Anthropic's own package meets it in a sandbox without a network. Needs root. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildSync } from 'esbuild';
import type { Connection } from '../../helper/client/connection.ts';
import { type Exchange, ModelGateway } from '../../helper/client/gateway/gateway.ts';
import { GatewaySettings } from '../../helper/protocol/gateway.ts';
import { HelperProcess, needsMachine, workspace } from '../daemon/helper-process.ts';
import { events, json, Provider } from './provider.ts';

const KEY = 'sk-ant-secret-91c2-never-inside';
const USAGE = { input_tokens: 7, cache_read_input_tokens: 5, cache_creation_input_tokens: 3, output_tokens: 4 };
const message = (content: object[], more: object = {}) => ({
  id: 'msg_1',
  type: 'message',
  role: 'assistant',
  model: 'tester-2',
  content,
  stop_reason: 'end_turn',
  stop_sequence: null,
  usage: USAGE,
  ...more,
});

describe('model gateway and the package of Anthropic', () => {
  let helper: HelperProcess;
  let connection: Connection;
  let provider: Provider;
  let gateway: ModelGateway;
  let ws: string;
  let state: string;
  let sandbox: string;
  const exchanges: Exchange[] = [];

  before(async function () {
    needsMachine(this);
    ws = workspace();
    state = mkdtempSync(join(tmpdir(), 'teleport-transcripts-'));
    buildSync({
      entryPoints: { client: join(__dirname, 'programs/anthropic-client.ts') },
      outdir: ws,
      outExtension: { '.js': '.cjs' },
      bundle: true,
      platform: 'node',
      keepNames: true,
      logLevel: 'error',
    });
    helper = await HelperProcess.start();
    connection = await helper.connect();
    provider = await Provider.start();
    sandbox = (await connection.request('sandbox/create', { workspace: ws })).sandbox.id;
    const settings = GatewaySettings.parse({ providers: [{ name: 'anthropic', baseUrl: provider.url, key: KEY }] });
    gateway = await ModelGateway.open(connection, sandbox, settings, {
      env: { XDG_STATE_HOME: state },
      exchanged: (exchange) => exchanges.push(exchange),
    });
  });
  after(async () => {
    await gateway?.close();
    await provider?.stop();
    await helper?.stop();
    for (const dir of [ws, state]) if (dir) rmSync(dir, { recursive: true, force: true });
  });
  beforeEach(() => {
    provider.asked.length = 0;
    exchanges.length = 0;
  });
  afterEach(function () {
    if (this.currentTest?.state === 'failed') console.error(helper.logText(), exchanges);
  });

  // biome-ignore lint/suspicious/noExplicitAny: each test knows what it asked for
  async function ask(line: string): Promise<any> {
    const { output } = await connection.request('run', { sandbox, line: `node client.cjs ${line}`, checkpoint: false });
    return JSON.parse(Buffer.from(output, 'base64').toString().trim().split('\n').at(-1)!);
  }

  const counted = () =>
    exchanges.map(({ usage }) => usage && [usage.inputTokens, usage.cachedTokens, usage.outputTokens]);

  it('a message comes whole, with the key of outside', async () => {
    provider.script = [json(200, message([{ type: 'text', text: 'hello' }]))];
    const answer = await ask('message hi');
    assert.deepEqual([answer.text, answer.stop_reason, answer.usage], ['hello', 'end_turn', USAGE]);
    const [{ url, headers, body }] = provider.asked as [(typeof provider.asked)[0]];
    assert.deepEqual([url, headers['x-api-key']], ['/v1/messages', KEY]);
    assert.deepEqual(body.messages, [{ role: 'user', content: 'hi' }]);
    assert.ok(headers['anthropic-version']);
    assert.deepEqual(counted(), [[15, 5, 4]]);
  });

  it('a streamed one comes word by word, and what it took is counted', async () => {
    const words = ['one ', 'two ', 'thrée'];
    const list = [
      { type: 'message_start', message: message([], { stop_reason: null, usage: { ...USAGE, output_tokens: 1 } }) },
      { type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } },
      { type: 'ping' },
      ...words.map((text) => ({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text } })),
      { type: 'content_block_stop', index: 0 },
      { type: 'message_delta', delta: { stop_reason: 'max_tokens', stop_sequence: null }, usage: { output_tokens: 9 } },
      { type: 'message_stop' },
    ];
    provider.script = [events(list, undefined, true)];
    const answer = await ask('stream hi');
    assert.deepEqual([answer.pieces, answer.stop_reason], [words, 'max_tokens']);
    assert.deepEqual([answer.usage.input_tokens, answer.usage.output_tokens], [7, 9]);
    assert.equal(provider.asked[0]!.body.stream, true);
    assert.deepEqual(counted(), [[15, 5, 9]]);
  });

  it('an error in the middle of a stream is the package’s own error', async () => {
    const list = [
      { type: 'message_start', message: message([], { stop_reason: null }) },
      { type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } },
    ];
    provider.script = [events(list, undefined, true)];
    const answer = await ask('stream hi');
    assert.match(answer.error, /^(APIError|InternalServerError)$/);
    assert.match(answer.message, /overloaded/i);
  });

  it('it tries again where the provider is busy, and gives up where the request is wrong', async () => {
    const error = (type: string) => ({ type: 'error', error: { type, message: `no: ${type}` } });
    provider.script = [
      json(529, error('overloaded_error'), { 'retry-after-ms': '1' }),
      json(200, message([{ type: 'text', text: 'at last' }])),
    ];
    assert.equal((await ask('message hi')).text, 'at last');
    assert.equal(provider.asked.length, 2);
    provider.script = [json(400, error('invalid_request_error'))];
    const wrong = await ask('message hi');
    assert.deepEqual([wrong.error, wrong.status], ['BadRequestError', 400]);
    assert.match(wrong.message, /no: invalid_request_error/);
    assert.equal(provider.asked.length, 3);
  });

  it('tokens are counted and models listed, and no key is inside', async () => {
    provider.script = [json(200, { input_tokens: 12 })];
    assert.deepEqual(await ask('count hi'), { input_tokens: 12 });
    const one = { id: 'tester-2', type: 'model', display_name: 'Tester', created_at: '2026-01-01T00:00:00Z' };
    provider.script = [json(200, { data: [one], has_more: false, first_id: 'tester-2', last_id: 'tester-2' })];
    assert.deepEqual(await ask('models'), { models: ['tester-2'] });
    const { output } = await connection.request('run', { sandbox, line: 'env', checkpoint: false });
    const env = Buffer.from(output, 'base64').toString();
    assert.match(env, /^ANTHROPIC_BASE_URL=http:\/\/127\.0\.0\.1:61077\/anthropic$/m);
    assert.ok(!env.includes(KEY));
  });
});

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildSync } from 'esbuild';
import type { Connection } from '../../helper/client/connection.ts';
import { type Exchange, ModelGateway } from '../../helper/client/gateway/gateway.ts';
import { AttachedSession } from '../../helper/client/session.ts';
import { GatewaySettings } from '../../helper/protocol/gateway.ts';
import { HelperProcess, needsMachine, workspace } from '../daemon/helper-process.ts';
import { chunks, completion, events, json, Provider, USAGE } from './provider.ts';

const KEY = 'sk-secret-4f1c9e77-never-inside';

describe('model gateway', () => {
  let helper: HelperProcess;
  let connection: Connection;
  let provider: Provider;
  let ws: string;
  let state: string;
  let sandbox: string;
  let gateway: ModelGateway | undefined;
  let exchanges: Exchange[] = [];

  before(async function () {
    needsMachine(this);
    ws = workspace();
    state = mkdtempSync(join(tmpdir(), 'teleport-transcripts-'));
    buildSync({
      entryPoints: [join(__dirname, 'programs/openai-client.ts')],
      outfile: join(ws, 'client.cjs'),
      bundle: true,
      platform: 'node',
      logLevel: 'error',
    });
    helper = await HelperProcess.start();
    connection = await helper.connect();
    provider = await Provider.start();
  });
  after(async () => {
    await provider?.stop();
    await helper?.stop();
    for (const dir of [ws, state]) if (dir) rmSync(dir, { recursive: true, force: true });
  });
  beforeEach(async () => {
    sandbox = (await connection.request('sandbox/create', { workspace: ws })).sandbox.id;
    provider.asked.length = 0;
    exchanges = [];
  });
  afterEach(async function () {
    if (this.currentTest?.state === 'failed') console.error(helper.logText(), exchanges);
    await gateway?.close();
    gateway = undefined;
    await connection.request('sandbox/remove', { sandbox });
  });

  async function open(more: object = {}): Promise<ModelGateway> {
    gateway = await ModelGateway.open(
      connection,
      sandbox,
      GatewaySettings.parse({ providers: [{ name: 'openai', baseUrl: `${provider.url}/v1`, key: KEY }], ...more }),
      { env: { XDG_STATE_HOME: state }, exchanged: (exchange) => exchanges.push(exchange) },
    );
    return gateway;
  }

  // biome-ignore lint/suspicious/noExplicitAny: each test knows what it asked for
  async function ask(line: string): Promise<any> {
    const { output } = await connection.request('run', { sandbox, line: `node client.cjs ${line}`, checkpoint: false });
    return JSON.parse(Buffer.from(output, 'base64').toString().trim().split('\n').at(-1)!);
  }

  const checkpoint = async (label: string) =>
    (await connection.request('checkpoint/create', { sandbox, label })).checkpoint;

  /** A program that goes on while others do things; what it prints, and its last line as JSON. */
  async function start(words: string[], env: Record<string, string> = {}) {
    const heard = { text: '', lines: '' };
    let gone = '';
    const ended = new Promise<void>((resolve) => {
      const over = (why: string): void => {
        gone = why;
        resolve();
      };
      AttachedSession.open(
        connection,
        { sandbox, kind: 'process', argv: ['node', 'client.cjs', ...words], env },
        {
          output: (stream, data) => {
            if (stream === 'stdout') heard.text += data;
            else heard.lines += data;
          },
          exit: () => over(''),
          gone: over,
        },
      ).catch((error: Error) => over(error.message));
    });
    return { heard, ended, result: () => (gone ? { gone } : JSON.parse(heard.text)) };
  }

  async function until(what: string, holds: () => boolean): Promise<void> {
    for (const deadline = Date.now() + 20_000; !holds(); await sleep(10))
      if (Date.now() > deadline) throw new Error(`never came: ${what}`);
  }

  it('serves the openai package in a sandbox without a network: the key is added outside, and nothing else goes along', async () => {
    await open();
    provider.script = [json(200, completion('hello'), { 'set-cookie': 'a=b', 'x-request-id': 'r1' })];
    const answer = await ask('chat hi');
    assert.equal(answer.text, 'hello');
    const [{ headers, url, body }] = provider.asked as [(typeof provider.asked)[0]];
    assert.equal(url, '/v1/chat/completions');
    assert.equal(headers.authorization, `Bearer ${KEY}`);
    assert.deepEqual(body.messages, [{ role: 'user', content: 'hi' }]);
    assert.equal(headers.host, new URL(provider.url).host);
    for (const [name, value] of Object.entries(headers))
      assert.doesNotMatch(`${name}: ${value}`, /61077|cookie|forwarded/i);
    const inside = await connection.request('run', {
      sandbox,
      line: 'env; curl -si $OPENAI_BASE_URL/models',
      checkpoint: false,
    });
    const text = Buffer.from(inside.output, 'base64').toString();
    assert.match(text, /OPENAI_BASE_URL=http:\/\/127\.0\.0\.1:61077\/openai\/v1/);
    assert.doesNotMatch(text, /set-cookie/i);
    assert.ok(!text.includes(KEY));
    // It is no port of the sandbox's own.
    assert.deepEqual((await connection.request('port/list', { sandbox })).ports, []);
  });

  it('passes a stream on as it comes, and counts what it took though the client did not ask', async () => {
    await open();
    let heard = () => '';
    const words = ['one ', 'two ', 'three '];
    // Each word is sent when the one before has been heard inside: nothing waits for the end.
    provider.script = [
      events(chunks(words), (at) =>
        until(`word ${at}`, () => at < 2 || at > 4 || heard().includes(words[at - 2]!.trim())),
      ),
    ];
    const run = await start(['stream', 'hi']);
    heard = () => run.heard.lines;
    await run.ended;
    assert.deepEqual(run.result(), { text: 'one two three ', pieces: 3, empty: 0 });
    assert.equal(provider.asked[0]!.body.stream_options.include_usage, true);
    await until('the account', () => exchanges.length === 1);
    assert.equal(exchanges[0]!.usage?.inputTokens, USAGE.prompt_tokens);
  });

  it('a server that does not know of usage in streams is asked again without', async () => {
    await open();
    provider.script = [json(400, { error: { message: 'stream_options: unknown' } }), events(chunks(['fine']))];
    assert.equal((await ask('stream hi')).text, 'fine');
    assert.equal(provider.asked[1]!.body.stream_options, undefined);
  });

  it('tells tokens and cost in the checkpoint after them, and in all; no price, no cost', async () => {
    await open({ prices: { 'tester-*': { input: 2, output: 10, cachedInput: 0.5 } } });
    provider.script = [json(200, completion('hello'))];
    await ask('chat hi');
    const first = await checkpoint('asked once');
    const cost = (600 * 2 + 400 * 0.5 + 20 * 10) / 1e6;
    const one = { requests: 1, inputTokens: 1000, cachedTokens: 400, outputTokens: 20, cost, unpriced: 0 };
    assert.deepEqual(first.usage, one);
    assert.equal((await checkpoint('nothing asked')).usage, undefined);
    await gateway!.close();
    await open();
    await ask('chat hi');
    await ask('chat hi');
    await connection.request('checkpoint/rollback', { sandbox, checkpoint: first.id });
    const { checkpoints } = await connection.request('checkpoint/list', { sandbox });
    const saved = checkpoints.find(({ kind }) => kind === 'saved');
    assert.deepEqual(saved?.usage, {
      requests: 2,
      inputTokens: 2000,
      cachedTokens: 800,
      outputTokens: 40,
      cost: 0,
      unpriced: 2,
    });
    const { sandbox: info } = await connection.request('sandbox/get', { sandbox });
    assert.equal(info.usage?.requests, 3);
  });

  it('the key is in no memory image, in no layer and in no process inside', async () => {
    await open();
    let release = () => {};
    const held = new Promise<void>((resolve) => (release = resolve));
    provider.script = [events(chunks(['a', 'b']), (at) => (at === 2 ? held : Promise.resolve()))];
    const run = await start(['stream', 'hi']);
    await until('the first word', () => run.heard.lines.includes('a'));
    const { id } = await checkpoint('in the middle');
    const dirs = readdirSync(join(helper.state, 'volume', 'sandboxes', sandbox, 'checkpoints'));
    assert.ok(dirs.includes(id));
    const where = join(helper.state, 'volume', 'sandboxes', sandbox);
    // What the agent asked is found by the same search: it looks where memory is.
    const grep = (text: string) =>
      execFileSync('sh', ['-c', `grep -rlaF '${text}' . || true`], { cwd: where }).toString();
    assert.match(grep('OPENAI_BASE_URL'), /image/);
    assert.equal(grep(KEY), '');
    release();
    await run.ended;
    assert.equal(run.result().text, 'ab');
  });
});

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildSync } from 'esbuild';
import type { Connection } from '../../helper/client/connection.ts';
import { readDocument } from '../../helper/client/documents/read.ts';
import { type Exchange, ModelGateway } from '../../helper/client/gateway/gateway.ts';
import { transcriptsOf } from '../../helper/client/gateway/transcript.ts';
import { AttachedSession } from '../../helper/client/session.ts';
import type { TeleportError } from '../../helper/protocol/errors.ts';
import { GatewaySettings } from '../../helper/protocol/gateway.ts';
import { cli } from '../cli/run-cli.ts';
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
      entryPoints: { client: join(__dirname, 'programs/openai-client.ts'), pull: join(__dirname, 'programs/pull.ts') },
      outdir: ws,
      outExtension: { '.js': '.cjs' },
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
        { sandbox, kind: 'process', argv: ['node', ...words], env },
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
    const run = await start(['client.cjs', 'stream', 'hi']);
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
    const run = await start(['client.cjs', 'stream', 'hi']);
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

  it('a stream goes on through checkpoints, byte for byte', async () => {
    await open({ providers: [{ name: 'anthropic', baseUrl: provider.url, key: KEY }] });
    const block = (text: string) => ({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text } });
    const usage = { input_tokens: 7, cache_read_input_tokens: 5, cache_creation_input_tokens: 3, output_tokens: 1 };
    const list = [
      { type: 'message_start', message: { id: 'm', model: 'tester-2', role: 'assistant', content: [], usage } },
      { type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } },
      ...Array.from({ length: 400 }, (_, at) => block(`${at}`.padEnd(5000, 'x'))),
      { type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 400 } },
      { type: 'message_stop' },
    ];
    const size = list.reduce((sum, e) => sum + `event: ${e.type}\ndata: ${JSON.stringify(e)}\n\n`.length, 0);
    let over = false;
    let taken = 0;
    provider.script = [
      events(list, async (at) => (at > 398 ? until('three checkpoints', () => taken >= 3) : undefined), true),
    ];
    const run = await start(['pull.cjs'], { SLOW: '1' });
    void run.ended.then(() => (over = true));
    await until('the request', () => provider.asked.length === 1);
    while (taken < 3) {
      await checkpoint(`while it streams ${taken}`);
      taken++;
    }
    assert.ok(!over, 'it ended before');
    await run.ended;
    assert.deepEqual(run.result(), { status: 200, size });
    assert.equal(provider.asked.length, 1);
    const [{ headers }] = provider.asked as [(typeof provider.asked)[0]];
    assert.equal(headers['x-api-key'], KEY);
    assert.equal(headers['anthropic-version'], '2023-06-01');
    assert.equal(headers.cookie, undefined);
    await until('the account', () => exchanges.length === 1);
    const { cost, ...tokens } = exchanges[0]!.usage!;
    assert.deepEqual(tokens, { requests: 1, inputTokens: 15, cachedTokens: 5, outputTokens: 400, unpriced: 1 });
    assert.equal(cost, 0);
  });

  it('a program taken back to the middle of a request learns that the connection is gone, and asks again', async () => {
    await open();
    provider.script = [() => {}]; // never answers
    const run = await start(['client.cjs', 'chat', 'hi']);
    await until('the request', () => provider.asked.length === 1);
    const waiting = await checkpoint('waits for the model');
    provider.script = [json(200, completion('the second answer'))];
    // As cold as it gets, then from a standby that was made while nothing answered.
    for (const round of ['cold', 'warm']) {
      if (round === 'warm') await until('a standby', () => helper.liveBranches().length > 1);
      const began = Date.now();
      const before = provider.asked.length;
      await connection.request('checkpoint/rollback', { sandbox, checkpoint: waiting.id, discard: true });
      await until(
        `an answer after a ${round} rollback`,
        () => run.heard.text.split('\n').length > (round === 'cold' ? 1 : 2),
      );
      assert.equal(provider.asked.length, before + 1);
      assert.equal(JSON.parse(run.heard.text.trim().split('\n').at(-1)!).text, 'the second answer');
      assert.ok(Date.now() - began < 10_000, 'it took too long');
    }
    // Whoever asked first is not kept waiting for: the provider was told that nobody listens any more.
    await until('the first request to end', () => provider.asked[0]!.gone);
    assert.match(exchanges[0]!.problem ?? '', /did not wait/);
  });

  it('forks ask side by side, each for itself', async () => {
    await open();
    await checkpoint('first');
    const { id } = await checkpoint('here');
    provider.script = [json(200, completion('for a fork'))];
    const forks = await Promise.all([1, 2].map(() => connection.request('branch/fork', { sandbox, checkpoint: id })));
    const answers = await Promise.all(
      forks.map(({ branch }) =>
        connection.request('run', { sandbox, branch, line: 'node client.cjs chat hi', checkpoint: true }),
      ),
    );
    for (const { output, checkpoint: after } of answers) {
      assert.match(Buffer.from(output, 'base64').toString(), /for a fork/);
      assert.equal(after?.usage?.requests, 1);
    }
  });

  it('asks again for what may recover, as long as it is bidden to wait, and no longer than it may', async () => {
    await open();
    const busy = json(429, { error: { message: 'slow down' } }, { 'retry-after': '0.05' });
    provider.script = [busy, json(503, {}), json(200, completion('at last'))];
    assert.equal((await ask('chat hi')).text, 'at last');
    assert.equal(provider.asked.length, 3);
    provider.asked.length = 0;
    provider.script = [
      json(429, { error: { message: 'tomorrow' } }, { 'retry-after': '86400', 'x-should-retry': 'false' }),
    ];
    const refused = await ask('chat hi');
    assert.deepEqual([refused.status, provider.asked.length], [429, 1]);
    assert.match(refused.message, /tomorrow/);
    provider.asked.length = 0;
    provider.script = [json(500, { error: { message: 'down' } }, { 'retry-after': '0.01', 'x-should-retry': 'false' })];
    assert.equal((await ask('chat hi')).status, 500);
    assert.equal(provider.asked.length, 3);
  });

  it('a model that never answers, one that falls silent, an endpoint that is not there: an error in words, soon', async () => {
    await open({ answerSeconds: 0.3, silenceSeconds: 0.3 });
    provider.script = [() => {}];
    const never = await ask('chat hi');
    assert.equal(never.status, 504);
    assert.match(never.message, /the model did not answer within 0\.3 s/);
    assert.equal(provider.asked.length, 1, 'it was asked again and again');
    provider.script = [
      events(chunks(['half', 'more']), (at) => (at === 2 ? new Promise(() => {}) : Promise.resolve())),
    ];
    const cut = await connection.request('run', {
      sandbox,
      line: 'RETRIES=0 node client.cjs stream hi',
      checkpoint: false,
    });
    assert.equal(cut.exitCode, 1, 'half an answer passed for a whole one');
    assert.match(exchanges.at(-1)!.problem ?? '', /fell silent/);
    await gateway!.close();
    await open({ providers: [{ name: 'openai', baseUrl: 'http://127.0.0.1:9/v1', key: KEY }] });
    const nobody = await connection.request('run', {
      sandbox,
      line: 'RETRIES=0 node client.cjs chat hi',
      checkpoint: false,
    });
    assert.match(Buffer.from(nobody.output, 'base64').toString(), /"status":502.*can't be reached/);
  });

  it('keeps to a budget, which holds over rollbacks and over gateways, and says so clearly', async () => {
    provider.script = [json(200, completion('yes'))];
    const { id } = await checkpoint('before');
    await open({ budget: { requests: 2 } });
    assert.equal((await ask('chat hi')).text, 'yes');
    await connection.request('checkpoint/rollback', { sandbox, checkpoint: id });
    assert.equal((await ask('chat hi')).text, 'yes');
    for (const budget of [{ requests: 2 }, { tokens: 2000 }]) {
      await gateway!.close();
      await open({ budget });
      const refused = await ask('chat hi');
      assert.equal(refused.status, 429);
      assert.match(refused.message, /budget of 2(000 tokens| requests).* is used up/);
    }
    assert.equal(provider.asked.length, 2);
    await gateway!.close();
    await open({ budget: { tokens: 1_000_000 } });
    assert.equal((await ask('chat hi')).text, 'yes');
  });

  it('passes on only what it knows', async () => {
    await open();
    provider.script = [json(200, { data: [{ id: 'tester-1' }], object: 'list' })];
    assert.deepEqual(await ask('models'), { models: ['tester-1'] });
    provider.asked.length = 0;
    const refused = [
      ['GET', '/openai/v1/files', 404],
      ['DELETE', '/openai/v1/models/x', 405],
      ['GET', '/openai/v1/models/../files', 404],
      ['GET', '/openai/v1/models/%2e%2e%2ffiles', 404],
      ['POST', '/openai/v1/organization/admin_api_keys', 404],
      ['GET', '/anthropic/v1/models', 404],
      ['GET', '/', 404],
    ] as const;
    const curls = refused.map(
      ([method, path]) => `curl -s --path-as-is -o /dev/null -w '%{http_code} ' -X ${method} "$base${path}"`,
    );
    const line = `base=\${OPENAI_BASE_URL%/openai/v1}; ${curls.join('; ')}`;
    const { output } = await connection.request('run', { sandbox, line, checkpoint: false });
    assert.equal(Buffer.from(output, 'base64').toString().trim(), refused.map(([, , status]) => status).join(' '));
    assert.deepEqual(provider.asked, []);
    provider.script = [(_, response) => void response.writeHead(302, { location: 'http://elsewhere.example/' }).end()];
    const moved = await connection.request('run', {
      sandbox,
      line: 'RETRIES=0 node client.cjs chat hi',
      checkpoint: false,
    });
    assert.match(Buffer.from(moved.output, 'base64').toString(), /"status":502.*redirects/);
  });

  it("is one client's at a time, ends with it, and sessions know of it while it is there", async () => {
    await open();
    const env = async (): Promise<string> => {
      const { output } = await connection.request('run', {
        sandbox,
        line: 'false; echo $? $OPENAI_BASE_URL',
        checkpoint: false,
      });
      return Buffer.from(output, 'base64').toString().trim();
    };
    const line = await connection.request('run', { sandbox, line: '(exit 3)', checkpoint: false });
    assert.equal(line.exitCode, 3);
    assert.equal(await env(), '1 http://127.0.0.1:61077/openai/v1');
    const other = await helper.connect();
    const settings = GatewaySettings.parse({ providers: [{ name: 'openai', key: KEY }] });
    await assert.rejects(
      ModelGateway.open(other, sandbox, settings),
      (error: TeleportError) => error.code === 'gatewayTaken' && /gateway/.test(error.hint ?? ''),
    );
    await assert.rejects(
      other.request('gateway/used', {
        sandbox,
        branch: 'b0',
        usage: { requests: 1, inputTokens: 0, cachedTokens: 0, outputTokens: 0, cost: 0, unpriced: 0 },
      }),
      (error: TeleportError) => error.code === 'notAllowed',
    );
    await gateway!.close();
    assert.equal(await env(), '1');
    gateway = await ModelGateway.open(other, sandbox, settings);
    assert.equal(await env(), '1 http://127.0.0.1:61077/openai/v1');
    other.close(); // as a client that crashes
    for (const deadline = Date.now() + 5000; ; await sleep(10)) {
      const { sandbox: info } = await connection.request('sandbox/get', { sandbox });
      if (!info.gateway) break;
      assert.ok(Date.now() < deadline, 'it is still there');
    }
    assert.equal(await env(), '1');
  });

  it('keeps each conversation as a document that can be stepped through; a rollback begins another', async () => {
    await open();
    const call = (id: string, command: string) => ({
      tool_calls: [{ id, type: 'function', function: { name: 'bash', arguments: JSON.stringify({ command }) } }],
    });
    const first = [{ role: 'user', content: 'Fix it' }];
    const second = [
      ...first,
      { role: 'assistant', content: null, ...call('c1', 'npm test') },
      { role: 'tool', tool_call_id: 'c1', content: 'exit code: 1' },
    ];
    const say = async (messages: object[], answer: object): Promise<void> => {
      provider.script = [json(200, completion('Let me see.', answer))];
      const body = JSON.stringify({ model: 'tester-1', messages }).replaceAll("'", "'\\''");
      const line = `curl -sf $OPENAI_BASE_URL/chat/completions -H 'content-type: application/json' -d '${body}'`;
      assert.equal((await connection.request('run', { sandbox, line, checkpoint: false })).exitCode, 0);
    };
    await say(first, call('c1', 'npm test'));
    await say(second, call('c2', 'sed -i s/a/b/ x'));
    await say(
      [
        ...second,
        { role: 'assistant', ...call('c2', 'sed -i s/a/b/ x') },
        { role: 'tool', tool_call_id: 'c2', content: 'ok' },
      ],
      {},
    );
    await say(second, call('c3', 'git diff'));
    await until('what was said', () => exchanges.length === 4);
    const kept = await transcriptsOf(connection, sandbox, { XDG_STATE_HOME: state });
    assert.deepEqual(
      kept.map(({ title, steps }) => ({ title, steps })),
      [
        { title: 'Fix it', steps: 2 },
        { title: 'Fix it', steps: 2 },
      ],
    );
    const documents = await Promise.all(kept.map(({ file }) => readDocument(readFileSync(file, 'utf8'))));
    const commands = documents.map(({ steps }) => steps.map(({ command }) => command));
    assert.deepEqual(commands, [
      ['npm test', 'git diff'],
      ['npm test', 'sed -i s/a/b/ x'],
    ]);
    assert.equal(documents[0]!.steps[0]!.outcome.exitCode, 1);
    assert.equal(documents[0]!.steps[1]!.note, 'Let me see.');
    assert.equal(statSync(kept[0]!.file).mode & 0o777, 0o600);
    assert.ok(!readFileSync(kept[0]!.file, 'utf8').includes(KEY));
  });

  it('the command line serves until it is told to end, and goes on with the next daemon; log tells tokens', async () => {
    provider.script = [json(200, completion('from the command line'))];
    let send = (_signal: string): void => {};
    const prices = join(state, 'prices.json');
    writeFileSync(prices, '{ "tester-1": { "input": 1, "output": 1 } }');
    const env = { TELEPORT_ENV_SOCKET: helper.socket, XDG_STATE_HOME: state, MY_KEY: KEY };
    const words = ['gateway', sandbox, '--base-url', `${provider.url}/v1`, '--key-env', 'MY_KEY', '--prices', prices];
    const serving = cli(null, words, { env, signals: (raise) => (send = raise) });
    const served = async (): Promise<boolean> => {
      const other = await helper.connect();
      return (await other.request('sandbox/get', { sandbox })).sandbox.gateway !== undefined;
    };
    const come = async (): Promise<void> => {
      for (const deadline = Date.now() + 15_000; !(await served().catch(() => false)); await sleep(50))
        if (Date.now() > deadline) throw new Error('nobody serves');
    };
    await come();
    await helper.restart();
    connection = await helper.connect();
    await come();
    assert.equal((await ask('chat hi')).text, 'from the command line');
    await checkpoint('asked');
    const logged = await cli(null, ['log', sandbox, '--json'], { env });
    assert.deepEqual(JSON.parse(logged.stdout).checkpoints[0].usage.cost, 0.00102);
    assert.match((await cli(null, ['log', sandbox], { env })).stdout, /asked +1,020 tokens/);
    send('SIGINT');
    const { code, stdout, stderr } = await serving;
    assert.equal(code, 0);
    assert.match(stdout, /can ask models: new sessions have OPENAI_BASE_URL, OPENAI_API_KEY · Ctrl-C ends it/);
    assert.match(
      stderr,
      /the helper ended; waiting for the next\n✓ b\d+ \/chat\/completions 200 · \d+ ms · 1 request · 1,000 in \(400 cached\) · 20 out · cost 0\.001/,
    );
    assert.ok(!stderr.includes(KEY) && !stdout.includes(KEY));
    assert.ok(!(await served()));
  });
});

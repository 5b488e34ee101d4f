/** The MCP server by its own command line, with the official client and the real helper. Needs root. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { Connection } from '../../helper/client/connection.ts';
import { HelperProcess, needsMachine, workspace } from '../daemon/helper-process.ts';

const root = resolve(__dirname, '../..');
const tsx = pathToFileURL(createRequire(__filename).resolve('tsx')).href;

interface Ran {
  texts: string[];
  data: Record<string, unknown>;
  failed: boolean;
}

describe('the MCP server', () => {
  let helper: HelperProcess;
  let user: Connection;
  let ws: string;
  let client: Client;

  before(async function () {
    needsMachine(this);
    helper = await HelperProcess.start();
    user = await Connection.open(helper.socket, 'test');
  });
  after(async () => {
    user?.close();
    await helper?.stop();
  });
  beforeEach(async () => {
    ws = realpathSync(workspace({ 'a.txt': 'one\n', 'b.txt': 'two\n' }));
    client = await connect();
  });
  afterEach(async function () {
    if (this.currentTest?.state === 'failed') console.error(helper.logText());
    await client.close();
    const { sandboxes } = await user.request('sandbox/list', {});
    for (const { id } of sandboxes) await user.request('sandbox/remove', { sandbox: id });
    rmSync(ws, { recursive: true, force: true });
  });

  async function connect(): Promise<Client> {
    const made = new Client({ name: 'test', version: '1' });
    const env = {
      PATH: process.env.PATH!,
      HOME: process.env.HOME!,
      SECRET: 'hidden',
      TELEPORT_ENV_SOCKET: helper.socket,
      XDG_STATE_HOME: join(helper.dir, 'user-state'),
    };
    const args = ['--import', tsx, join(root, 'helper/cli/main.ts'), 'mcp'];
    await made.connect(new StdioClientTransport({ command: process.execPath, args, env, cwd: ws, stderr: 'inherit' }));
    return made;
  }

  async function call(name: string, input: Record<string, unknown> = {}): Promise<Ran> {
    const result = await client.callTool({ name, arguments: input });
    const texts = (result.content as { text: string }[]).map(({ text }) => text);
    return {
      texts,
      data: (result.structuredContent ?? {}) as Record<string, unknown>,
      failed: result.isError === true,
    };
  }
  async function ok(name: string, input: Record<string, unknown> = {}): Promise<Ran> {
    const ran = await call(name, input);
    assert.ok(!ran.failed, `${name}: ${ran.texts.join('\n')}`);
    return ran;
  }

  it('describes its tools strictly', async () => {
    const { tools } = await client.listTools();
    assert.deepEqual(
      tools.map(({ name }) => name),
      ['create', 'run', 'checkpoint', 'rollback', 'fork', 'keep_fork', 'discard_fork', 'diff', 'log', 'apply'],
    );
    for (const { name, description, inputSchema, annotations } of tools) {
      assert.ok(description!.length > 60, name);
      assert.equal((inputSchema as { additionalProperties?: unknown }).additionalProperties, false, name);
      for (const [field, schema] of Object.entries(inputSchema.properties ?? {}))
        assert.ok((schema as { description?: string }).description, `${name}.${field}`);
      assert.equal(typeof annotations?.destructiveHint, 'boolean');
    }
    assert.match(client.getInstructions() ?? '', /undo/);
    const wrong = await call('rollback', { checkpoint: 'yesterday' });
    assert.ok(wrong.failed);
    assert.match(wrong.texts[0]!, /checkpoint id looks like k3/);
    assert.ok((await call('run', { line: 'ls', sudo: true })).failed);
  });

  it('says what to do where there is no sandbox yet', async () => {
    const { failed, texts } = await call('run', { line: 'ls' });
    assert.ok(failed);
    assert.match(texts[0]!, /there is no sandbox of .* yet\nHint: make one with create/);
  });

  it('runs, looks, rolls back, and applies', async () => {
    const { data } = await ok('create');
    assert.deepEqual([data.workspace, data.checkpoint, data.notes], [ws, 'k0', []]);
    const ran = await ok('run', {
      line: 'x=5; echo "$x $(printenv SECRET || echo none)" | tee c.txt; rm a.txt; false',
      note: 'why',
    });
    assert.match(ran.texts[0]!, /^exit 1 · \d+ ms · 2 files changed · checkpoint k1\n5 none\n$/);
    assert.deepEqual([ran.data.exitCode, ran.data.output, ran.data.undone], [1, '5 none\n', false]);
    assert.ok(existsSync(join(ws, 'a.txt')));

    const { texts } = await ok('diff', { patch: true });
    assert.match(texts[0]!, new RegExp(`deleted ${ws}/a.txt\\nadded ${ws}/c.txt`));
    assert.match(texts[0]!, /^\+5 none$/m);

    assert.equal((await ok('run', { line: 'rm -rf *; exit 3', undoOnFail: true })).data.undone, true);
    assert.equal((await ok('run', { line: 'echo $x; ls' })).data.output, '5\nb.txt\nc.txt\n');
    const named = await ok('checkpoint', { label: 'before' });
    const back = await ok('rollback', { checkpoint: 'k1' });
    assert.equal(back.texts.length, 1);
    assert.match(back.texts[0]!, /^Rolled back to k1 in [\d.]+ ms\. k\d+ keeps where it was/);
    assert.match(
      (await ok('log')).texts[0]!,
      new RegExp(
        `${named.data.checkpoint} before .*\\n(?:.*\\n)*k1 x=5.* · exit 1 · 2 files changed · after k0 · current\\nk0 sandbox created`,
      ),
    );

    const plan = await ok('apply', { dryRun: true });
    assert.deepEqual(
      (plan.data.changes as { path: string }[]).map(({ path }) => path),
      ['a.txt', 'c.txt'],
    );
    writeFileSync(join(ws, 'c.txt'), 'mine\n');
    const applied = await ok('apply', { paths: ['a.txt', 'c.txt'] });
    assert.deepEqual(
      [applied.data.applied, applied.data.conflicts],
      [['a.txt'], [{ path: 'c.txt', conflict: 'exists' }]],
    );
    assert.deepEqual([existsSync(join(ws, 'a.txt')), readFileSync(join(ws, 'c.txt'), 'utf8')], [false, 'mine\n']);
  });

  it('tries in a fork, keeps one and discards another', async () => {
    await ok('create', { name: 'mine' });
    const one = (await ok('fork')).data.branch as string;
    const two = (await ok('fork', { checkpoint: 'k0' })).data.branch as string;
    await ok('run', { line: 'echo 1 > one', branch: one, sandbox: 'mine' });
    assert.equal(
      (await ok('run', { line: 'ls one; echo', branch: two })).data.output,
      "ls: cannot access 'one': No such file or directory\n\n",
    );
    await ok('discard_fork', { branch: two });
    assert.equal((await ok('keep_fork', { branch: one })).texts.length, 1);
    assert.equal((await ok('run', { line: 'cat one' })).data.output, '1\n');
    assert.ok((await call('discard_fork', { branch: two })).failed);
  });

  it('prepares what the agent expects to go to, told by any tool that moves on', async () => {
    const sandbox = (await ok('create')).data.sandbox as string;
    for (let n = 1; n <= 8; n++) await ok('run', { line: `echo ${n} > n` });
    await ok('run', { line: 'true', expect: ['k1'] });
    await helper.standsBy(sandbox, 'k1');
    await ok('checkpoint', { expect: ['k2'] });
    await helper.standsBy(sandbox, 'k2');
    const { data } = await ok('fork', { checkpoint: 'k8', expect: ['k3'] });
    await helper.standsBy(sandbox, 'k3');
    await ok('discard_fork', { branch: data.branch });
    await ok('rollback', { checkpoint: 'k8', expect: ['k4'] });
    await helper.standsBy(sandbox, 'k4');
    await ok('run', { line: 'true', expect: [] });
    for (let tries = 0; tries < 200 && helper.standbys(sandbox).includes('k4'); tries++) await sleep(20);
    assert.ok(!helper.standbys(sandbox).includes('k4'));

    const before = (await ok('log')).data;
    for (const [name, input] of [
      ['run', { line: 'touch ran' }],
      ['checkpoint', {}],
      ['rollback', { checkpoint: 'k1' }],
      ['fork', { checkpoint: 'k1' }],
      ['fork', {}],
    ] as const) {
      const { failed, texts } = await call(name, { ...input, expect: ['k99'] });
      assert.ok(failed, name);
      assert.match(texts[0]!, /has no checkpoint k99\nHint: teleport-env log/);
    }
    assert.deepEqual((await ok('log')).data, before);
    assert.equal((await ok('run', { line: 'ls ran' })).data.exitCode, 2);
  });

  it('tells the agent, once, that the user rolled back', async () => {
    const { data } = await ok('create');
    const sandbox = data.sandbox as string;
    await ok('run', { line: 'echo 1 > one' });
    await ok('run', { line: 'echo 2 > two' });
    await user.request('checkpoint/rollback', { sandbox, checkpoint: 'k1' });
    const { texts, data: told } = await ok('run', { line: 'ls' });
    assert.match(texts[0]!, /^The user rolled this sandbox back: .* at k1 "echo 1 > one"\. .* kept as k3\.$/);
    assert.equal(told.rolledBack, texts[0]);
    assert.match(texts[1]!, /a.txt\nb.txt\none\n$/);
    assert.equal((await ok('run', { line: 'ls' })).texts.length, 1);
  });

  it('reports progress, and survives output that is no text', async () => {
    await ok('create');
    const heard: string[] = [];
    await client.callTool({ name: 'run', arguments: { line: 'echo begun; sleep 0.3; echo ended' } }, undefined, {
      onprogress: ({ message }) => heard.push(message ?? ''),
    });
    assert.deepEqual(heard, ['begun', 'ended']);
    const { data } = await ok('run', { line: 'head -c 100000 /dev/urandom' });
    assert.ok((data.output as string).length < 31_000);
    assert.equal(data.truncated, true);
  });
});

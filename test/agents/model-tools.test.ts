/**
 * What the editor's own agents are given, in a real VS Code with the real helper: language-model tools, and the MCP server. An
 * extension of the test's stands in for the agent: it asks the editor for its tools and invokes them. Needs root.
 */
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SETTINGS } from '../../src/ids.ts';
import { HelperProcess, needsMachine } from '../daemon/helper-process.ts';
import { stageExtension } from '../extension/stage.ts';
import { type Editor, startEditor } from '../vscode/harness.ts';
import { isSetUp } from '../vscode/paths.ts';
import { waitFor } from '../vscode/waiting.ts';

const AGENT = `
const vscode = require('vscode')
const { existsSync, readFileSync, renameSync, rmSync, writeFileSync } = require('fs')
const file = name => process.env.AGENT_PLACE + '/' + name
const act = async ({ tool, input }) => {
  if (!tool) return vscode.lm.tools.map(({ name, inputSchema }) => ({ name, required: inputSchema?.required ?? [] }))
  const { content } = await vscode.lm.invokeTool(tool, { toolInvocationToken: undefined, input })
  return content.map(part => part.value).join('')
}
const look = async () => {
  if (!existsSync(file('request.json'))) return
  const request = JSON.parse(readFileSync(file('request.json'), 'utf8'))
  rmSync(file('request.json'))
  const answer = await act(request).catch(error => ({ failed: String(error) }))
  writeFileSync(file('answer.tmp'), JSON.stringify(answer))
  renameSync(file('answer.tmp'), file('answer.json'))
}
exports.activate = context => {
  const timer = setInterval(look, 100)
  context.subscriptions.push({ dispose: () => clearInterval(timer) })
}
`;

describe('what the editor’s own agents are given', function () {
  this.timeout(180_000);
  let place: string;
  let folder: string;
  let helper: HelperProcess;
  let editor: Editor;
  let sandbox: string;

  before(async function () {
    needsMachine(this);
    if (!isSetUp()) this.skip();
    place = realpathSync(mkdtempSync(join(tmpdir(), 'te-tools-')));
    folder = join(place, 'api-server');
    const agent = join(place, 'agent');
    for (const path of [folder, agent]) mkdirSync(path);
    writeFileSync(join(folder, 'config.json'), '{ "api": "v1" }\n');
    const manifest = {
      name: 'agent',
      publisher: 'tests',
      version: '0.0.1',
      engines: { vscode: '^1.100.0' },
      main: './main.js',
    };
    writeFileSync(
      join(agent, 'package.json'),
      JSON.stringify({ ...manifest, activationEvents: ['onStartupFinished'] }),
    );
    writeFileSync(join(agent, 'main.js'), AGENT);
    helper = await HelperProcess.start();
    sandbox = (await (await helper.connect()).request('sandbox/create', { workspace: folder })).sandbox.id;
    editor = await startEditor({
      workspaceFolder: folder,
      developmentPath: stageExtension(place),
      besides: [agent],
      env: { TELEPORT_ENV_SOCKET: helper.socket, XDG_STATE_HOME: join(place, 'state'), AGENT_PLACE: place },
      settings: { [SETTINGS.helperStart]: false, 'chat.disableAIFeatures': false },
      size: { width: 1360, height: 860 },
    });
    await editor.openContainer('Teleport Env');
    await editor.treeRows('Checkpoint timeline', (rows) => rows.length > 0);
  });
  after(async () => {
    await editor?.close();
    await helper?.stop();
    if (place) rmSync(place, { recursive: true, force: true });
  });
  afterEach(async function () {
    if (this.currentTest?.state !== 'failed') return;
    console.error(helper.logText());
    await editor.screenshot(`failed-tools-${this.currentTest.title.slice(0, 20)}`);
  });

  const answerFile = () => join(place, 'answer.json');
  async function begin(request: { tool?: string; input?: object }): Promise<void> {
    rmSync(answerFile(), { force: true });
    writeFileSync(join(place, 'request.tmp'), JSON.stringify(request));
    renameSync(join(place, 'request.tmp'), join(place, 'request.json'));
  }
  // biome-ignore lint/suspicious/noExplicitAny: each test knows what it asked for
  async function answer(): Promise<any> {
    await waitFor(async () => existsSync(answerFile()), 30_000);
    return JSON.parse(readFileSync(answerFile(), 'utf8'));
  }
  async function ask(tool: string, input: object): Promise<string> {
    await begin({ tool: `teleport_env_${tool}`, input });
    return answer();
  }
  const current = async () => (await (await helper.connect()).request('sandbox/get', { sandbox })).sandbox.current;

  it('six tools, each with its schema', async () => {
    await begin({});
    const tools: { name: string; required: string[] }[] = (await answer()).filter(({ name }: { name: string }) =>
      name.startsWith('teleport_env_'),
    );
    assert.deepEqual(tools.map(({ name, required }) => [name.slice('teleport_env_'.length), required]).sort(), [
      ['apply', []],
      ['checkpoint', []],
      ['diff', []],
      ['log', []],
      ['rollback', ['checkpoint']],
      ['run', ['line']],
    ]);
  });

  it('run, look and go back without a question, since nothing is lost', async () => {
    assert.match(
      await ask('run', { line: 'sed -i s/v1/v2/ config.json; cat config.json', note: 'the version' }),
      /^exit 0 · 1 files changed · checkpoint k1\n\{ "api": "v2" \}/,
    );
    assert.match(await ask('run', { line: 'echo lost > lost; exit 3', undoOnFail: true }), /^exit 3 · undone/);
    assert.match(await ask('checkpoint', { label: 'before the storm' }), /^Checkpoint k\d+$/);
    assert.match(await ask('diff', {}), /^changed .*config\.json$/m);
    assert.match(await ask('rollback', { checkpoint: 'k0' }), /^Rolled back to k0: /);
    assert.match(await ask('log', {}), /^k0 .* · current$/m);
    assert.equal(await ask('diff', {}), 'Nothing changed.');
    assert.match(await ask('rollback', { checkpoint: 'k99' }), /^Failed: .*k99/);
  });

  it('prepare what the agent expects to go to, and do nothing where that does not exist', async () => {
    const connection = await helper.connect();
    const line: string[] = [];
    for (let n = 0; n < 8; n++) line.push((await connection.request('run', { sandbox, line: 'true' })).checkpoint!.id);
    const [first, second, third] = line as [string, string, string];
    await ask('run', { line: 'true', expect: [first] });
    await helper.standsBy(sandbox, first);
    await ask('checkpoint', { expect: [second] });
    await helper.standsBy(sandbox, second);
    await ask('rollback', { checkpoint: line.at(-1), expect: [third] });
    await helper.standsBy(sandbox, third);
    const here = await current();
    for (const [tool, input] of [
      ['run', { line: 'touch ran' }],
      ['checkpoint', {}],
      ['rollback', { checkpoint: 'k0' }],
    ] as const)
      assert.match(await ask(tool, { ...input, expect: ['k999'] }), /^Failed: .*no checkpoint k999/, tool);
    assert.equal(await current(), here);
    assert.match(await ask('run', { line: 'ls ran' }), /^exit 2/);
  });

  it('tell the agent once that the user rolled back meanwhile', async () => {
    const before = await ask('run', { line: 'echo 1 > one' });
    assert.doesNotMatch(before, /rolled this sandbox back/);
    const connection = await helper.connect();
    await connection.request('checkpoint/rollback', { sandbox, checkpoint: 'k1' });
    await editor.treeRows('Checkpoint timeline', (rows) =>
      rows.some((row) => /^sed/.test(row.label) && /current/.test(row.description)),
    );
    assert.match(await ask('run', { line: 'ls' }), /^The user rolled this sandbox back: .* at k1 "sed -i.*\n\nexit 0/s);
    assert.doesNotMatch(await ask('run', { line: 'ls' }), /rolled this sandbox back/);
  });

  it('ask before state is dropped or the folder written: not confirmed, nothing happens', async () => {
    const here = await current();
    for (const [tool, input, question] of [
      ['rollback', { checkpoint: 'k0', discard: true }, /Roll back to k0 without keeping where the sandbox is now/],
      ['apply', {}, /Write all changes of the sandbox to the workspace\?/],
    ] as const) {
      await begin({ tool: `teleport_env_${tool}`, input });
      const dialog = await editor.dialog(question);
      await editor.screenshot(`tools-confirm-${tool}`);
      await dialog.click('Cancel');
      assert.match((await answer()).failed, /cancel/i);
    }
    assert.equal(await current(), here);
    assert.equal(readFileSync(join(folder, 'config.json'), 'utf8'), '{ "api": "v1" }\n');

    await begin({ tool: 'teleport_env_apply', input: {} });
    const dialog = await editor.dialog(/Write all changes/);
    await dialog.click(dialog.buttons.find((label) => label !== 'Cancel')!);
    assert.match(await answer(), /^Applied 1 files\./);
    assert.equal(readFileSync(join(folder, 'config.json'), 'utf8'), '{ "api": "v2" }\n');
  });

  it('the MCP server: the editor finds it, starts it, and has its tools', async () => {
    await editor.command('workbench.mcp.listServer');
    await editor.screenshot('tools-mcp-servers');
    await editor.pick(/Teleport Env/);
    await editor.screenshot('tools-mcp-server');
    // The editor may have started it by itself, for an agent that asked what tools there are.
    await editor.pick(/^(Start|Restart) Server/);
    // biome-ignore lint/suspicious/noExplicitAny: as the editor lists them
    let found: any[] = [];
    await waitFor(async () => {
      await begin({});
      found = (await answer()).filter(({ name }: { name: string }) => /^mcp_teleport/.test(name));
      return found.length > 0;
    }, 60_000).catch((error) => assert.fail(`${error.message}: ${JSON.stringify(found)}`));
    assert.ok(found.some(({ name }) => /rollback/.test(name)));
    // What only looks asks for no confirmation. The editor hands on the data, and not the text beside it.
    await begin({ tool: found.find(({ name }) => /_log$/.test(name)).name, input: {} });
    assert.equal(JSON.parse(await answer()).current, await current());
  });
});

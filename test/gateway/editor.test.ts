/** The model gateway from a real VS Code, with the real helper and a provider that plays a script. Needs root. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SETTINGS } from '../../src/ids.ts';
import { HelperProcess, needsMachine } from '../daemon/helper-process.ts';
import { sideBar } from '../extension/side-bar.ts';
import { stageExtension } from '../extension/stage.ts';
import { type Editor, startEditor } from '../vscode/harness.ts';
import { isSetUp } from '../vscode/paths.ts';
import { waitFor } from '../vscode/waiting.ts';
import { completion, json, Provider } from './provider.ts';

const KEY = 'sk-typed-into-the-box-8d21';
/** Of the user's environment, which the editor has been started with. */
const OTHER_KEY = 'sk-ant-from-the-environment-51c0';
const TIMELINE = 'Checkpoint timeline';

describe('the model gateway in VS Code', function () {
  this.timeout(180_000);
  let place: string;
  let helper: HelperProcess;
  let provider: Provider;
  let editor: Editor;
  let sandbox: string;

  before(async function () {
    needsMachine(this);
    if (!isSetUp()) this.skip();
    place = mkdtempSync(join(tmpdir(), 'te-gateway-'));
    const folder = join(place, 'api-server');
    mkdirSync(folder);
    provider = await Provider.start();
    const call = { id: 'c1', type: 'function', function: { name: 'bash', arguments: '{"command":"npm test"}' } };
    provider.script = [json(200, completion('Tests first.', { tool_calls: [call] }))];
    helper = await HelperProcess.start();
    const connection = await helper.connect();
    sandbox = (await connection.request('sandbox/create', { workspace: folder })).sandbox.id;
    editor = await startEditor({
      workspaceFolder: folder,
      developmentPath: stageExtension(place),
      env: { TELEPORT_ENV_SOCKET: helper.socket, XDG_STATE_HOME: join(place, 'state'), ANTHROPIC_API_KEY: OTHER_KEY },
      settings: { [SETTINGS.helperStart]: false },
      size: { width: 1360, height: 860 },
    });
    await editor.changeSettings({
      [SETTINGS.helperStart]: false,
      [SETTINGS.gatewayBaseUrls]: { openai: `${provider.url}/v1`, anthropic: provider.url },
      [SETTINGS.gatewayPrices]: { 'tester-1': { input: 3, output: 15 } },
    });
    await editor.openContainer('Teleport Env');
  });
  after(async () => {
    await editor?.close();
    await helper?.stop();
    await provider?.stop();
    if (place) rmSync(place, { recursive: true, force: true });
  });
  afterEach(async function () {
    if (this.currentTest?.state !== 'failed') return;
    console.error(helper.logText());
    await editor.screenshot(`failed-gateway-${this.currentTest.title.slice(0, 20)}`);
  });

  it('takes the key in a box that hides it, and switches on', async () => {
    await editor.treeRows('Sandboxes', (rows) => /^running/.test(rows[0]?.description ?? ''));
    await editor.command('teleportEnv.setModelKey');
    await editor.pick('OpenAI');
    const box = editor.page.locator('.quick-input-widget input.input');
    await editor.page.locator('.quick-input-widget').getByText('secret storage').waitFor();
    assert.equal(await box.getAttribute('type'), 'password');
    await editor.screenshot('gateway-key');
    await editor.answer(KEY);
    await editor.newTerminal('teleportEnv.openTerminal');
    await editor.terminalText(/[#$] ?$/);
    await editor.command('teleportEnv.startGateway');
    const told = await editor.notification(/can ask models now.*open before needs a line that you paste/);
    assert.deepEqual(told.buttons, ['Open terminal', 'Copy that line']);
    await editor.screenshot('gateway-on');
    await told.click('Copy that line');
    await editor.treeRows('Sandboxes', (rows) => /asks models/.test(rows[0]?.description ?? ''));
    await editor.statusBar(/models/);
  });

  it('a terminal that was open before learns where by the line that was copied', async () => {
    const pasted = () => editor.page.evaluate('navigator.clipboard.readText()') as Promise<string>;
    for (const deadline = Date.now() + 10_000; !/^export /.test(await pasted()); )
      assert.ok(Date.now() < deadline, 'nothing was copied');
    await editor.typeInTerminal('echo "before: $OPENAI_BASE_URL."\n');
    await editor.terminalText(/^before: \.$/m);
    await editor.typeInTerminal(`${await pasted()}; echo "then: $OPENAI_BASE_URL"\n`);
    await editor.terminalText(/^then: http:\/\/127\.0\.0\.1:61077\/openai\/v1$/m);
  });

  it('a program in a new terminal asks, without a network and without the key; the timeline tells what it took', async () => {
    await editor.newTerminal('teleportEnv.openTerminal');
    await editor.terminalText(/[#$] ?$/);
    const body = '{"model":"tester-1","messages":[{"role":"user","content":"Fix_the_tests"}]}';
    await editor.typeInTerminal(
      `curl -s -H content-type:application/json -d '${body}' $OPENAI_BASE_URL/chat/completions | wc -c\n`,
    );
    await editor.terminalText(/^\d{3}$/m);
    assert.equal(provider.asked.at(-1)?.headers.authorization, `Bearer ${KEY}`);
    await editor.statusBar(/1k tokens/);
    const rows = await editor.treeRows(TIMELINE, (all) => all.some(({ label }) => label.startsWith('curl -s')));
    assert.ok(rows.length > 1);
    const { row, away } = sideBar(() => editor);
    const hover = editor.page
      .locator('.monaco-hover')
      .getByText(/1 model request · 1,000 tokens in/)
      .first();
    // A row that is drawn anew under the mouse loses its hover.
    await waitFor(async () => {
      await away();
      await row(/^curl -s/).hover();
      return hover.waitFor({ timeout: 4000 }).then(
        () => true,
        () => false,
      );
    });
    await editor.screenshot('gateway-hover');
    const text = await editor.page.locator('.monaco-hover').first().textContent();
    assert.match(text ?? '', /cost 0\.0033/);
  });

  it('takes the key of the user’s environment where none is stored', async () => {
    const usage = { input_tokens: 1, output_tokens: 1 };
    provider.script = [json(200, { type: 'message', role: 'assistant', model: 'm', content: [], usage })];
    const body = '{"model":"tester-2","max_tokens":9,"messages":[{"role":"user","content":"Hello"}]}';
    await editor.typeInTerminal(
      `curl -s -H content-type:application/json -d '${body}' $ANTHROPIC_BASE_URL/v1/messages; env | grep -c sk-ant\n`,
    );
    await editor.terminalText(/^\{"type":"message".*\}0$/m);
    assert.equal(provider.asked.at(-1)?.url, '/v1/messages');
    assert.equal(provider.asked.at(-1)?.headers['x-api-key'], OTHER_KEY);
  });

  it('opens the conversation as a run document', async () => {
    await editor.command('teleportEnv.openConversation');
    await editor.page.locator('.quick-input-list').getByText('Fix_the_tests').waitFor();
    await editor.screenshot('gateway-conversations');
    await editor.pick('Fix_the_tests');
    await editor.page.locator('.monaco-editor .view-line').filter({ hasText: 'npm' }).first().waitFor();
    await editor.screenshot('gateway-conversation');
  });

  it('goes on after the helper was started anew, and is switched off', async () => {
    const on = async () => {
      const connection = await helper.connect();
      return (await connection.request('sandbox/get', { sandbox })).sandbox.gateway !== undefined;
    };
    const until = async (is: boolean) => {
      for (const deadline = Date.now() + 40_000; (await on().catch(() => !is)) !== is; ) {
        if (Date.now() > deadline) throw new Error(`the gateway is ${is ? 'not' : 'still'} on`);
        await new Promise((later) => setTimeout(later, 100));
      }
    };
    await helper.restart();
    await until(true);
    await editor.command('teleportEnv.modelGateway');
    await editor.page.locator('.quick-input-list').getByText('Switch off').waitFor();
    await editor.screenshot('gateway-actions');
    await editor.pick(/Switch off/);
    await until(false);
    // Nothing that the editor wrote down holds the key in the clear.
    for (const key of [KEY, OTHER_KEY])
      assert.equal(execFileSync('sh', ['-c', `grep -rlaF ${key} '${helper.state}/volume' || true`]).toString(), '');
  });
});

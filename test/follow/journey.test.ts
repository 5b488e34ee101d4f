/** Following and comparing in a real VS Code, with the real helper and the real CRIU. Needs root. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Connection } from '../../helper/client/connection.ts';
import { SETTINGS } from '../../src/ids.ts';
import { HelperProcess, needsMachine } from '../daemon/helper-process.ts';
import { stageExtension } from '../extension/stage.ts';
import { type Editor, startEditor } from '../vscode/harness.ts';
import { isSetUp } from '../vscode/paths.ts';
import { waitFor } from '../vscode/waiting.ts';
import { Tap } from '../wire/tap.ts';

describe('a workspace that follows', function () {
  this.timeout(120_000);
  let place: string;
  let folder: string;
  let helper: HelperProcess;
  let connection: Connection;
  let tap: Tap;
  let editor: Editor;
  let sandbox: string;
  let first: string;

  before(async function () {
    needsMachine(this);
    if (!isSetUp()) this.skip();
    place = mkdtempSync(join(tmpdir(), 'te-follow-ui-'));
    folder = join(place, 'api');
    mkdirSync(folder);
    for (const name of ['app.txt', 'list.txt', 'notes.txt']) writeFileSync(join(folder, name), 'one\nsame\nsame\n');
    helper = await HelperProcess.start();
    connection = await helper.connect();
    const socket = join(place, 'helper.sock');
    tap = await Tap.start(socket, helper.socket);
    sandbox = (await connection.request('sandbox/create', { workspace: folder })).sandbox.id;
    editor = await startEditor({
      workspaceFolder: folder,
      developmentPath: stageExtension(place),
      env: { TELEPORT_ENV_SOCKET: socket, XDG_STATE_HOME: join(place, 'state') },
      settings: {
        [SETTINGS.helperStart]: false,
        'git.enabled': false,
        'workbench.editor.enablePreview': false,
        'files.autoSave': 'off', // in a browser it is on, and text would not stay unsaved
      },
      size: { width: 1360, height: 860 },
    });
    await editor.openContainer('Teleport Env');
    await editor.treeRows('Sandboxes', (rows) => /^running/.test(rows[0]?.description ?? ''));
    first = (await step('true')).id;
  });
  after(async () => {
    await editor?.close();
    tap?.close();
    await helper?.stop();
    if (place) rmSync(place, { recursive: true, force: true });
  });
  afterEach(function () {
    if (this.currentTest?.state === 'failed') console.error(helper.logText());
  });

  const step = async (line: string) =>
    (await connection.request('run', { sandbox, line: `cd ${folder}; ${line}` })).checkpoint!;
  const inside = async (line: string) => {
    const { output } = await connection.request('run', { sandbox, line: `cd ${folder}; ${line}`, checkpoint: false });
    return Buffer.from(output, 'base64').toString();
  };
  const onDisk = (name: string) => readFileSync(join(folder, name), 'utf8');
  const text = async () =>
    (await editor.page.locator('.editor-group-container.active .view-lines').first().allInnerTexts())
      .join()
      .replace(/\u00a0/g, ' ');
  const shows = (pattern: RegExp, timeout = 10_000) => waitFor(async () => pattern.test(await text()), timeout);
  /** Until the file has it, and the editor shows it. Told, not limited: a busy machine may take longer than a second. */
  const timed = async (since: string, word: string) => {
    const begun = Date.now();
    await waitFor(async () => onDisk('app.txt').startsWith(word), 10_000);
    const written = Date.now() - begun;
    await shows(new RegExp(`^${word}`));
    console.log(`      ${since}: in the workspace within ${written} ms, in the editor within ${Date.now() - begun} ms`);
  };
  const open = async (name: string) => {
    const tab = editor.page.locator(`.tab[data-resource-name="${name}"]`);
    if (await tab.isVisible()) {
      await tab.click();
      await editor.page.locator(`.tab.active[data-resource-name="${name}"]`).waitFor();
      return;
    }
    await editor.page.keyboard.press('Control+P');
    await editor.page.locator('.quick-input-widget input').fill(name);
    await editor.page.locator('.quick-input-list .monaco-list-row').getByText(name, { exact: true }).first().waitFor();
    await editor.page.keyboard.press('Enter');
    await editor.page.locator(`.tab.active[data-resource-name="${name}"]`).waitFor();
  };
  const typeAtTop = async (words: string) => {
    await editor.page.locator('.editor-group-container.active .view-lines').first().click();
    await editor.page.keyboard.press('Control+Home');
    await editor.page.keyboard.type(words);
  };
  const save = () => editor.page.keyboard.press('Control+S');
  const row = (name: string) => editor.page.locator('.scm-view .monaco-list-row').filter({ hasText: name }).first();

  it('is off at first, and on by a click', async () => {
    await editor.statusBar(/Follow: off/);
    await editor.page.locator('.statusbar-item').getByText('Follow: off').click();
    await editor.statusBar(/^\s*Follow\s*$/);
  });

  it('shows in the open editor what the agent writes, and goes back with the sandbox', async () => {
    await open('app.txt');
    await shows(/^one/);
    await step('sed -i s/one/two/ app.txt');
    await timed('after the step', 'two');
    await editor.screenshot('follow-step');
    await connection.request('checkpoint/rollback', { sandbox, checkpoint: first as never });
    await timed('after the rollback', 'one');
    assert.equal(onDisk('app.txt'), 'one\nsame\nsame\n');
  });

  it('follows because it is told: it asks nothing while nothing happens, nor while the news is kept back', async () => {
    await open('app.txt');
    const quiet = async () => {
      tap.asked.length = 0;
      await sleep(2_500);
      return [...tap.asked];
    };
    // What the step before set off may still be under way.
    await waitFor(async () => (await quiet()).length === 0, 30_000);
    tap.hold();
    await step('sed -i s/one/three/ app.txt');
    assert.deepEqual(await quiet(), []);
    assert.match(onDisk('app.txt'), /^one/);
    tap.release();
    await timed('after the news', 'three');
    assert.ok(tap.asked.includes('diff'), tap.asked.join(' '));
    await connection.request('checkpoint/rollback', { sandbox, checkpoint: first as never });
    await shows(/^one/);
  });

  it('lets what is saved in', async () => {
    await open('notes.txt');
    await typeAtTop('mine ');
    await save();
    await waitFor(async () => (await inside('head -1 notes.txt')) === 'mine one\n', 10_000);
  });

  it('never touches unsaved text, says the conflict, and takes one or the other', async () => {
    await open('app.txt');
    await typeAtTop('typed ');
    await step('sed -i s/one/agent/ app.txt');
    const held = await editor.notification(/app\.txt did not follow .*unsaved changes/);
    await shows(/^typed one/);
    await editor.screenshot('follow-unsaved');
    await held.close();
    await open('app.txt');
    await save();
    const said = await editor.notification(/app\.txt did not follow .*changed in the workspace too/);
    await editor.statusBar(/Follow: 1 file/);
    await editor.screenshot('follow-conflict');
    assert.equal(await inside('head -1 app.txt'), 'agent\n');
    await said.click('Take mine');
    await waitFor(async () => (await inside('head -1 app.txt')) === 'typed one\n', 10_000);
    await editor.statusBar(/^\s*Follow\s*$/);
  });

  it('off, is compared with the sandbox: list, gutter, one file taken', async () => {
    await editor.page.locator('.statusbar-item').getByText('Follow', { exact: true }).click();
    await editor.statusBar(/Follow: off/);
    await step('sed -i s/one/three/ list.txt; echo new > new.txt');
    await editor.command('workbench.view.scm');
    await row('list.txt').waitFor();
    await row('new.txt').waitFor();
    await open('list.txt');
    await editor.page.locator('.dirty-diff-glyph, [class*="dirty-diff-"]').first().waitFor();
    await editor.screenshot('follow-scm');
    assert.equal(onDisk('list.txt'), 'one\nsame\nsame\n');
    await row('list.txt').hover();
    await row('list.txt').locator('.action-label[aria-label^="Take the sandbox"]').click();
    await waitFor(async () => onDisk('list.txt') === 'three\nsame\nsame\n', 10_000);
    await row('list.txt').waitFor({ state: 'detached' });
    await row('new.txt').hover();
    await row('new.txt').locator('.action-label[aria-label^="Keep mine"]').click();
    await waitFor(async () => (await inside('ls new.txt 2>/dev/null')) === '', 10_000);
  });

  it('has the sandbox itself as a folder, live and writable', async () => {
    await editor.command('teleportEnv.addSandboxFolder');
    const files = editor.page.locator('.explorer-folders-view .monaco-list-row');
    const root = files.filter({ hasText: '(sandbox)' }).first();
    await waitFor(async () => {
      await editor.command('workbench.view.explorer');
      return root.isVisible();
    }, 30_000);
    if ((await root.getAttribute('aria-expanded')) !== 'true') await root.click();
    await inside('echo appeared > fresh.txt');
    const fresh = files.filter({ hasText: 'fresh.txt' }).first();
    await fresh.waitFor();
    await fresh.dblclick();
    await shows(/^appeared/);
    await inside('echo changed > fresh.txt');
    await shows(/^changed/);
    await typeAtTop('by hand ');
    await save();
    await waitFor(async () => (await inside('cat fresh.txt')) === 'by hand changed\n', 10_000);
    await editor.screenshot('follow-folder');
    await connection.request('checkpoint/rollback', { sandbox, checkpoint: first as never });
    await fresh.waitFor({ state: 'detached' });
  });
});

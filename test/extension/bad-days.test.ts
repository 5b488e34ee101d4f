/** What goes wrong, in a real VS Code with a scripted helper: each ends in a clear message with a way on, never in a spinner. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SETTINGS } from '../../src/ids.ts';
import { type Editor, startEditor } from '../vscode/harness.ts';
import { isSetUp } from '../vscode/paths.ts';
import { waitFor } from '../vscode/waiting.ts';
import { makeFakeHelper } from './fake-helper-build.ts';
import { checkpointOf, type ScenarioName } from './scenarios.ts';
import { sideBar } from './side-bar.ts';
import { stageExtension } from './stage.ts';

describe('bad days of the extension', function () {
  this.timeout(120_000);
  let place: string;
  let folder: string;
  let editor: Editor;
  let helper: ReturnType<typeof makeFakeHelper>;

  const { inline, row, away, timeline, sandboxes } = sideBar(() => editor);
  const play = async (scenario: ScenarioName) => {
    helper = makeFakeHelper(place, scenario, folder);
    await editor.changeSettings({ [SETTINGS.helperPath]: helper.path, [SETTINGS.survivesReload]: false });
    await waitFor(async () => helper.asked());
  };
  const entry = (name: string) => editor.page.locator('.multiDiffEntry').filter({ hasText: name }).first();

  const welcome = (text: RegExp) =>
    editor.page.locator('.part.sidebar .welcome-view-content').filter({ hasText: text, visible: true }).first();

  /** An arrow does nothing until there is a connection, and rows stand there before. */
  const goBack = (name: string) =>
    waitFor(async () => {
      await inline(name, 'Roll back');
      const toast = await editor.notification(new RegExp(`Back at “${name}”`), 5_000).catch(() => undefined);
      await toast?.close();
      return toast !== undefined;
    });

  before(async function () {
    if (!isSetUp()) this.skip();
    place = mkdtempSync(join(tmpdir(), 'te-bad-days-'));
    folder = join(place, 'api-server');
    mkdirSync(folder);
    writeFileSync(join(folder, 'config1.json'), '{ "api_version": "v1" }\n');
    editor = await startEditor({
      workspaceFolder: folder,
      developmentPath: stageExtension(place),
      size: { width: 1360, height: 860 },
    });
    await editor.openContainer('Teleport Env');
    await play('odd');
  });

  after(async () => {
    await editor?.close();
    if (place) rmSync(place, { recursive: true, force: true });
  });

  it('shows odd names, and says what is binary or too large', async () => {
    await timeline((rows) => rows.length === 4);
    await away();
    await row('make all of it').click();
    for (const name of ['a b #1 %20 ?.txt', '-rf *.json', 'logo.png']) await entry(name).waitFor();
    await editor.screenshot('bad-days-odd');
    await editor.statusBar(/1 file is too large to show: huge\.bin/);
    await row('make huge').click();
    await editor.statusBar(/no file to show.*huge\.bin/);
  });

  it('says that the connection was lost in the middle of an operation, and is there again', async () => {
    await play('sample');
    await timeline((rows) => rows.length === 9);
    helper.order({ do: 'stall', method: 'checkpoint/rollback' });
    await inline('before the rewrite', 'Roll back');
    helper.order({ do: 'exit' });
    const message = await editor.notification(/The connection to the helper was lost\./);
    assert.deepEqual(message.buttons, ['Reconnect']);
    await message.click('Reconnect');
    await timeline((rows) => rows.length === 9 && /current/.test(rows[0]!.description));
    await goBack('before the rewrite');
  });

  it('is as it was after the window was reloaded in the middle of an operation', async () => {
    helper.order({ do: 'stall', method: 'checkpoint/rollback' });
    await inline('npm ci', 'Roll back');
    await editor.openFolder(folder);
    await editor.openContainer('Teleport Env');
    // Its helper went with the window; the new one knows of no rollback.
    await timeline((rows) => rows.length === 9 && /current/.test(rows[0]!.description));
    await sandboxes((rows) => /^running/.test(rows[0]?.description ?? ''));
    await inline('npm ci', 'Roll back');
    await (await editor.notification(/Back at “npm ci”/)).close();
  });

  it('shows what is, in whatever order it hears of it', async () => {
    const createdAt = new Date().toISOString();
    const notify = (name: string, params: object) => helper.order({ do: 'notify', name, params });
    const checkpoint = (id: string, parent: string) =>
      checkpointOf({ id, parent, createdAt, kind: 'run', command: `late ${id}`, exitCode: 0 });
    const before = (await timeline((rows) => rows.length >= 9)).length;
    const moved = { sandbox: 's1', head: 'b40', checkpoint: 'k41', cause: 'rollback', ms: 1, saved: null };
    notify('head/moved', moved);
    notify('checkpoint/changed', { sandbox: 's1', checkpoint: checkpoint('k41', 'k40') });
    notify('checkpoint/removed', { sandbox: 's1', checkpoint: 'k42' });
    notify('checkpoint/added', { sandbox: 's1', checkpoint: checkpoint('k42', 'k41') });
    notify('checkpoint/added', { sandbox: 's1', checkpoint: checkpoint('k41', 'k40') });
    notify('checkpoint/added', { sandbox: 's1', checkpoint: checkpoint('k40', 'k8') });
    const rows = await timeline((all) => all.length === before + 2);
    assert.deepEqual(
      rows.slice(0, 2).map((one) => one.label),
      ['late k41', 'late k40'],
    );
    assert.match(rows[0]!.description, /← current$/);
  });

  it('says that what is open was deleted by somebody, and keeps it readable', async () => {
    await play('empty');
    await play('sample');
    await timeline((rows) => rows.length === 9);
    await away();
    await row(/^│ saved before/).click();
    await entry('config1.json').waitFor();
    helper.order({ do: 'remove', checkpoint: 'k7' });
    await (await editor.notification(/Checkpoint k7 was deleted\. What is open of it stays readable/)).close();
    await timeline((rows) => rows.length === 8);
    assert.ok((await entry('config1.json').locator('.view-line').allInnerTexts()).join().includes('api_version'));
    await editor.screenshot('bad-days-deleted');
  });

  it('lets go of a helper that stands still, says so, and is there again with another', async () => {
    helper.order({ do: 'hang' });
    await inline('before the rewrite', 'Roll back');
    const message = await editor.notification(/The connection to the helper was lost\./, 40_000);
    assert.deepEqual(message.buttons, ['Reconnect']);
    await message.close();
    await editor.statusBar(/api-server: npm test/);
    await goBack('before the rewrite');
  });

  it('says that a helper does not answer, with a way on', async () => {
    await play('empty');
    await welcome(/No sandbox yet/).waitFor();
    await play('hanging');
    // Long before it is given up.
    await welcome(/has not answered yet.*Try anew/).waitFor();
    await editor.statusBar(/no answer from the helper yet/);
    await editor.screenshot('bad-days-slow');
    await editor.statusBar(/helper unreachable/, 40_000);
    await welcome(/runs but does not answer.*Try now/).waitFor();
    await editor.screenshot('bad-days-hanging');
    await play('sample');
    await timeline((rows) => rows.length === 9);
  });

  it('overwrites a conflict only where it is ticked, and names what can’t be written', async () => {
    await editor.command('teleportEnv.apply');
    const list = editor.page.locator('.quick-input-widget .quick-input-list');
    const line = (text: string) => list.locator('.monaco-list-row').filter({ hasText: text });
    await line('no permission to write').waitFor();
    await line('changed in the workspace too').locator('input, .monaco-checkbox').first().click();
    await editor.screenshot('bad-days-apply');
    await editor.page.locator('.quick-input-widget .monaco-button').filter({ hasText: 'OK' }).click();
    await (await editor.notification(/^3 files applied\.$/)).close();
  });
});

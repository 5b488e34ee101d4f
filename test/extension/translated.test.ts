/** A window in another language: the manifest's texts, and those that code says, in a real VS Code. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SETTINGS } from '../../src/ids.ts';
import { type Editor, startEditor } from '../vscode/harness.ts';
import { isSetUp } from '../vscode/paths.ts';
import { makeFakeHelper } from './fake-helper-build.ts';
import type { ScenarioName } from './scenarios.ts';
import { sideBar } from './side-bar.ts';
import { stageExtension } from './stage.ts';

const TIMELINE = 'Checkpoint-Zeitleiste';

describe('a window in German', function () {
  this.timeout(120_000);
  let place: string;
  let folder: string;
  let editor: Editor;
  const play = (scenario: ScenarioName) =>
    editor.changeSettings({
      [SETTINGS.helperPath]: makeFakeHelper(place, scenario, folder).path,
      [SETTINGS.survivesReload]: false,
    });

  before(async function () {
    if (!isSetUp()) this.skip();
    place = mkdtempSync(join(tmpdir(), 'te-translated-'));
    folder = join(place, 'api-server');
    mkdirSync(folder);
    editor = await startEditor({
      workspaceFolder: folder,
      developmentPath: stageExtension(place),
      language: 'de',
      size: { width: 1360, height: 860 },
    });
    await play('empty');
    await editor.openContainer('Teleport Env');
  });

  after(async () => {
    await editor?.close();
    if (place) rmSync(place, { recursive: true, force: true });
  });

  it('has German titles, and a German word with its button where there is nothing to list', async () => {
    const welcome = editor.page
      .locator('.part.sidebar .welcome-view-content')
      .filter({ hasText: 'Noch keine Sandbox' });
    await welcome.getByText('Sandbox dieses Ordners starten', { exact: true }).waitFor();
    await editor.page.locator('.part.sidebar .pane-header').filter({ hasText: TIMELINE }).waitFor();
    await editor.screenshot('translated-empty');
  });

  it('has German rows, buttons and messages', async () => {
    await play('sample');
    const rows = await editor.treeRows(TIMELINE, (all) => all.length === 9);
    assert.match(rows[0]!.description, /^.* · Exit 1 · 2 Dateien ← aktuell$/);
    assert.equal(rows.at(-1)!.label, 'Sandbox angelegt');
    await sideBar(() => editor).inline('before the rewrite', 'Zurückgehen');
    const toast = await editor.notification(/Zurück bei „before the rewrite“ in /);
    assert.deepEqual(toast.buttons, ['Rückgängig', 'Änderungen zeigen']);
    await editor.screenshot('translated');
    await toast.close();
  });
});

/** Windows of a real VS Code over one real helper: without a folder, not trusted, empty, two at once. Needs root. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Connection } from '../../helper/client/connection.ts';
import { SETTINGS } from '../../src/ids.ts';
import { HelperProcess, needsMachine } from '../daemon/helper-process.ts';
import { type Editor, type EditorWindow, startEditor } from '../vscode/harness.ts';
import { isSetUp } from '../vscode/paths.ts';
import { waitFor } from '../vscode/waiting.ts';
import { sideBar } from './side-bar.ts';
import { stageExtension } from './stage.ts';

describe('windows of the extension, with the real helper', function () {
  this.timeout(180_000);
  let place: string;
  let folder: string;
  let helper: HelperProcess;
  let other: Connection;
  let editor: Editor;
  let second: EditorWindow | undefined;

  const first = sideBar(() => editor);
  const welcome = (text: RegExp) =>
    editor.page.locator('.part.sidebar .welcome-view-content').filter({ hasText: text, visible: true }).first();
  const offered = async (id: string) =>
    editor.command(id, 1_500).then(
      () => true,
      () => false,
    );

  const trust = async () => {
    await editor.command('workbench.trust.manage');
    const sheet = editor.page.locator('.workspace-trust-editor');
    await sheet.getByText('Trust', { exact: true }).click();
    await sheet.getByText('You trust this folder').waitFor();
    await editor.command('workbench.action.closeActiveEditor');
  };

  before(async function () {
    needsMachine(this);
    if (!isSetUp()) this.skip();
    place = mkdtempSync(join(tmpdir(), 'te-windows-'));
    folder = join(place, 'shop');
    mkdirSync(folder);
    mkdirSync(join(place, 'empty'));
    writeFileSync(join(folder, 'price.txt'), 'v1\n');
    writeFileSync(join(folder, 'stock.txt'), '12\n');
    helper = await HelperProcess.start();
    other = await helper.connect();
    editor = await startEditor({
      workspaceFolder: folder,
      trust: true,
      developmentPath: stageExtension(place),
      env: { TELEPORT_ENV_SOCKET: helper.socket, XDG_STATE_HOME: join(place, 'state') },
      settings: { [SETTINGS.helperStart]: false, 'workbench.editor.useModal': 'off' },
      size: { width: 1360, height: 860 },
    });
    await editor.changeSettings({ [SETTINGS.helperStart]: false });
  });

  after(async () => {
    await editor?.close();
    await helper?.stop();
    if (place) rmSync(place, { recursive: true, force: true });
  });

  afterEach(function () {
    if (this.currentTest?.state === 'failed') console.error(helper.logText());
  });

  it('shows an untrusted folder’s way to trust, and starts nothing', async () => {
    await editor.openContainer('Teleport Env');
    await welcome(/This folder is not trusted.*Manage trust/).waitFor();
    await editor.screenshot('windows-untrusted-empty');
    for (const id of ['teleportEnv.createSandbox', 'teleportEnv.tryIt']) assert.equal(await offered(id), false, id);
    assert.deepEqual((await other.request('sandbox/list', {})).sandboxes, []);
  });

  it('lets one look at what another client did to an untrusted folder, and change nothing', async () => {
    const { sandbox } = await other.request('sandbox/create', { workspace: folder });
    await other.request('run', { sandbox: sandbox.id, line: 'echo v2 >price.txt' });
    await first.timeline((rows) => rows.length === 2 && rows[0]!.label === 'echo v2 >price.txt');
    await first.away();
    const changed = editor.page.locator('.multiDiffEntry').getByText('price.txt').first();
    // A row that is drawn anew under the mouse loses a click.
    await waitFor(async () => {
      await first.row('echo v2 >price.txt').click();
      return changed.waitFor({ timeout: 5000 }).then(
        () => true,
        () => false,
      );
    });
    await editor.screenshot('windows-untrusted');
    for (const id of ['teleportEnv.rollback', 'teleportEnv.apply']) assert.equal(await offered(id), false, id);
    // Its arrow is there but does nothing.
    await first.row('sandbox created').hover();
    const arrow = first.row('sandbox created').locator('.action-label[aria-label^="Roll back"]');
    assert.match((await arrow.getAttribute('class')) ?? '', /disabled/);
    await first.away();
    const { checkpoints, current } = await other.request('checkpoint/list', { sandbox: sandbox.id });
    assert.deepEqual([checkpoints.length, current], [2, 'k1']);
  });

  it('works once the folder is trusted', async () => {
    await trust();
    await first.inline('sandbox created', 'Roll back');
    await (await editor.notification(/Back at “sandbox created”/)).close();
    const { sandboxes } = await other.request('sandbox/list', {});
    assert.equal(sandboxes[0]!.current, 'k0');
    await other.request('sandbox/remove', { sandbox: sandboxes[0]!.id });
    await welcome(/No sandbox yet/).waitFor();
  });

  it('says in an empty window what to open, and shows the sample there', async () => {
    await editor.openNothing();
    await editor.openContainer('Teleport Env');
    await welcome(/Open a folder to make a sandbox of it.*Open folder/s).waitFor();
    await editor.screenshot('windows-empty');
    await welcome(/Open a folder/)
      .getByText('Try it', { exact: true })
      .click();
    await editor.terminalText(/Everything is back\./, 90_000);
    const toast = await editor.notification(/That was the sample/);
    assert.deepEqual(toast.buttons, ['Remove the sample']);
    await toast.click('Remove the sample');
    await welcome(/Open a folder/).waitFor();
  });

  it('makes a sandbox of an empty folder', async () => {
    await editor.openFolder(join(place, 'empty'));
    await trust();
    await editor.openContainer('Teleport Env');
    await welcome(/No sandbox yet/)
      .getByText('Start sandbox of this folder')
      .click();
    await first.sandboxes((rows) => rows[0]?.label === 'empty' && /^running/.test(rows[0].description));
    await first.timeline((rows) => rows.length === 1 && rows[0]!.label === 'sandbox created');
    await editor.newTerminal('teleportEnv.openTerminal');
    await editor.terminalText(/[#$] ?$/);
    await editor.typeInTerminal('echo first >first.txt\n');
    await first.timeline((rows) => /1 file ← current$/.test(rows[0]!.description));
    await first.inline('sandbox created', 'Roll back');
    await (await editor.notification(/Back at “sandbox created”/)).close();
    await editor.command('teleportEnv.removeSandbox');
    await (await editor.dialog(/Remove the sandbox empty\?/)).click('Remove');
    await welcome(/No sandbox yet/).waitFor();
  });

  describe('two of one folder', () => {
    const there = sideBar(() => second!);

    before(async () => {
      await editor.openFolder(folder);
      await editor.openContainer('Teleport Env');
      await editor.command('teleportEnv.createSandbox');
      await first.sandboxes((rows) => /^running/.test(rows[0]?.description ?? ''));
      second = await editor.openWindow(folder);
      await second.openContainer('Teleport Env');
    });

    it('show the same, and what either does', async () => {
      await there.sandboxes((rows) => rows[0]?.label === 'shop' && /^running/.test(rows[0].description));
      await editor.newTerminal('teleportEnv.openTerminal');
      await editor.terminalText(/[#$] ?$/);
      await second!.newTerminal('teleportEnv.openTerminal');
      await second!.terminalText(/[#$] ?$/);
      await editor.typeInTerminal('WHO=first; echo v2 >price.txt\n');
      const done = (rows: { label: string; description: string }[]) =>
        rows[0]!.label.startsWith('WHO=first') && /current/.test(rows[0]!.description);
      await first.timeline(done);
      await there.timeline(done);
      await second!.typeInTerminal('WHO=second; echo v3 >price.txt\n');
      await first.timeline((rows) => rows[0]!.label.startsWith('WHO=second'));
      assert.match(await editor.statusBar(/shop/), /WHO=second/);
    });

    it('go back together, and either undoes it', async () => {
      await first.inline(/^WHO=first/, 'Roll back');
      await (await editor.notification(/Back at “WHO=first/)).close();
      // The other window asked for nothing, and its terminal is as it was then too.
      await second!.terminalText(/— back at .* ms —/);
      await there.timeline((rows) =>
        rows.some((r) => r.label.startsWith('WHO=first') && /current/.test(r.description)),
      );
      await second!.typeInTerminal('echo "I am [$WHO], $(cat price.txt)"\n');
      await second!.terminalText(/^I am \[\], v2$/m);
      await there.timeline((rows) => rows[0]!.label.startsWith('echo "I am'));
      await second!.screenshot('windows-second');
      await second!.command('teleportEnv.undoRollback');
      await (await second!.notification(/Rollback undone/)).close();
      await editor.typeInTerminal('echo "here [$WHO], $(cat price.txt)"\n');
      await editor.terminalText(/^here \[first\], v3$/m);
      await second!.typeInTerminal('echo "there [$WHO]"\n');
      await second!.terminalText(/^there \[second\]$/m);
      await there.timeline((rows) => rows[0]!.label.startsWith('echo "there'));
    });

    it('close a terminal that was not there yet at that moment, say so, and show it again when that is undone', async () => {
      await first.inline('sandbox created', 'Roll back');
      const toast = await editor.notification(
        /Back at “sandbox created” in .* 1 terminal was not open then, and closed\./,
      );
      await second!.statusBar(/shop: 1 terminal was not open then/);
      await editor.screenshot('windows-terminal-not-open-then');
      for (const { page } of [editor, second!])
        await waitFor(async () => (await page.locator('.terminal-wrapper.active').count()) === 0);
      await toast.click('Undo');
      await (await editor.notification(/Rollback undone/)).close();
      await editor.typeInTerminal('echo "again [$WHO]"\n');
      await editor.terminalText(/^again \[first\]$/m);
      await second!.typeInTerminal('echo "again [$WHO]"\n');
      await second!.terminalText(/^again \[second\]$/m);
    });

    it('ends with a window, and the other goes on', async () => {
      await second!.close();
      second = undefined;
      await editor.command('teleportEnv.checkpointWithLabel');
      await editor.answer('alone now');
      await first.timeline((rows) => rows[0]!.label === 'alone now');
    });
  });

  describe('that is alone again', () => {
    it('forks: both alive, on the same port, each with its own files', async () => {
      await editor.command('workbench.action.terminal.killAll');
      await waitFor(async () => (await editor.page.locator('.terminal-wrapper.active').count()) === 0);
      await editor.newTerminal('teleportEnv.openTerminal');
      await editor.terminalText(/[#$] ?$/);
      await editor.typeInTerminal('python3 -m http.server 8123 --bind 127.0.0.1 >/dev/null 2>&1 &\n');
      await first.timeline(
        (rows) => rows[0]!.label.startsWith('python3 -m http') && /current/.test(rows[0]!.description),
      );
      await first.inline(/^python3 -m http/, 'Fork');
      const toast = await editor.notification(/Live fork b\d+ of “python3/);
      await editor.newTerminal(() => toast.click('Open terminal'));
      await editor.terminalText(/[#$] ?$/);
      const ask = `python3 -c "import urllib.request as u; print('served', u.urlopen('http://127.0.0.1:8123/price.txt').read())"`;
      await editor.typeInTerminal(`echo fork >price.txt; ${ask}\n`);
      await editor.terminalText(/^served b'fork\\n'$/m);
      await editor.screenshot('windows-fork');
      // The head's own, which it had all the time.
      await editor.command('workbench.action.terminal.focusPrevious');
      await editor.terminalText(/-m http\.server/);
      await editor.typeInTerminal(`echo head >price.txt; ${ask}\n`);
      await editor.terminalText(/^served b'head\\n'$/m);
      const { sandboxes } = await other.request('sandbox/list', {});
      const { id, head, branches } = sandboxes[0]!;
      const fork = branches.find((branch) => branch.role === 'fork')!.id;
      for (const branch of [head!, fork])
        await waitFor(async () =>
          (await other.request('port/list', { sandbox: id, branch })).ports.some(({ port }) => port === 8123),
        );
      // Each has a line of its own in the tree, the fork's in the fork.
      await first.sandboxes((rows) => rows.some((row) => /^Live fork/.test(row.label) && row.expanded === false)); // it has its port
      await first.row(/^Live fork/).click();
      await first.sandboxes((rows) => rows.filter(({ label }) => label === '8123').length === 2);
      await first.inline(/^Live fork/, 'Discard live fork');
      await first.sandboxes((rows) => rows.every((one) => !/^Live fork/.test(one.label)));
      await editor.command('workbench.action.terminal.killAll');
    });

    it('exports what the sandbox changed as a patch', async () => {
      await editor.command('teleportEnv.exportPatch');
      const toast = await editor.notification(/A patch of \d+ files?\./);
      assert.deepEqual(toast.buttons, ['Save as…']);
      // Spaces are drawn as no-break ones.
      for (const line of [/^diff.--git.a\/price\.txt.b\/price\.txt$/, /^-v1$/, /^\+head$/])
        await editor.page.locator('.view-line').getByText(line).first().waitFor();
      await editor.screenshot('windows-patch');
      assert.equal(readFileSync(join(folder, 'price.txt'), 'utf8'), 'v1\n');
    });
  });
});

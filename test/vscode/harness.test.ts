// The harness's own test: each of its functions once, on a dummy extension.

import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeDummyExtension } from './dummy-extension.ts';
import { type Editor, startEditor } from './harness.ts';
import { isSetUp } from './paths.ts';
import { marked } from './processes.ts';
import { MARK } from './server.ts';

describe('the harness for a real VS Code', function () {
  this.timeout(180_000);
  let place: string;
  let dummy: { folder: string; vsix: string };
  let editor: Editor;

  before(async function () {
    if (!isSetUp()) this.skip();
    place = mkdtempSync(join(tmpdir(), 'te-harness-'));
    for (const folder of ['one', 'two']) {
      mkdirSync(join(place, folder));
      writeFileSync(join(place, folder, `in-${folder}.txt`), 'text\n');
    }
    dummy = await makeDummyExtension(place);
    editor = await startEditor({
      workspaceFolder: join(place, 'one'),
      vsix: dummy.vsix,
      env: { HARNESS_VARIABLE: 'inherited' },
    });
  });

  after(async () => {
    await editor?.close();
    if (place) rmSync(place, { recursive: true, force: true });
  });

  it('reads a tree, the part out of sight included', async () => {
    await editor.openContainer('Harness Things');
    const rows = await editor.treeRows('Things', (all) => all.length > 0);
    assert.equal(rows.length, 60);
    assert.equal(rows[59]?.label, 'thing 60');
    assert.deepEqual(
      { ...rows[0], ariaLabel: '' },
      { label: 'thing 1', description: '', level: 1, selected: false, ariaLabel: '', expanded: false, icon: 'history' },
    );
  });

  it('clicks an item', async () => {
    await editor.clickTreeItem('thing 1', 'Things');
    const rows = await editor.treeRows('Things', (all) => all.length === 61);
    assert.equal(rows[1]?.label, 'thing 1 child');
    assert.equal(rows[1]?.level, 2);
    assert.ok(rows[0]?.selected && rows[0].expanded);
  });

  it('clicks an inline action', async () => {
    await editor.clickInlineAction('thing 2', 'Touch');
    await editor.treeRows('Things', (all) => all.find((row) => row.label === 'thing 2')?.description === 'touched');
  });

  it('chooses in a context menu', async () => {
    await editor.contextMenu(/^thing 3$/, 'Touch', 'Things');
    await editor.treeRows('Things', (all) => all.find((row) => row.label === 'thing 3')?.description === 'touched');
  });

  it('runs a command by title and by id, and answers a notification', async () => {
    await editor.command('Harness: Greet');
    const hello = await editor.notification(/Hello from the dummy/);
    assert.deepEqual(
      { text: hello.text, buttons: hello.buttons },
      { text: 'Hello from the dummy', buttons: ['Wave', 'Ignore'] },
    );
    await hello.click('Wave');
    await (await editor.notification(/You chose Wave/)).close();
    await editor.command('harness.greet');
    await (await editor.notification(/Hello from the dummy/)).close();
  });

  it('answers a modal dialog, a quick pick and an input box', async () => {
    await editor.command('Ask First');
    await (await editor.dialog(/Really\?/)).click('Yes');
    await (await editor.notification(/Answer: Yes/)).close();
    await editor.command('Choose Something');
    await editor.pick('pear');
    await editor.answer('3');
    await (await editor.notification(/Chosen: 3 pear/)).close();
  });

  it('gives variables to the extension host', async () => {
    assert.match(await editor.statusBar(/dummy ready/), /inherited/);
  });

  it('types in a terminal and reads it', async () => {
    await editor.openTerminal('Harness Terminal');
    await editor.terminalText(/^harness>$/m);
    await editor.typeInTerminal(
      'for i in $(seq 300); do echo "line $i of many"; done; echo "$HARNESS_VARIABLE" $((40 + 2))\n',
    );
    const text = await editor.terminalText(/^inherited 42$/m);
    assert.match(text, /^line 1 of many$/m);
  });

  it('changes the theme and takes screenshots', async () => {
    for (const theme of ['light', 'high-contrast', 'high-contrast-light', 'dark'] as const) {
      await editor.setTheme(theme);
      const picture = await editor.screenshot(`harness-${theme}`);
      assert.ok(statSync(picture).size > 10_000);
    }
  });

  it('opens another folder', async () => {
    await editor.openFolder(join(place, 'two'));
    await editor.openContainer('Explorer');
    await editor.page.getByText('in-two.txt').waitFor();
  });

  it('runs mocha in the extension host', async () => {
    const tests = join(place, 'tests');
    mkdirSync(tests);
    writeFileSync(join(tests, 'part.ts'), `export const variable: string = 'inherited'\n`);
    writeFileSync(
      join(tests, 'some.test.ts'),
      `import assert from 'node:assert/strict'
import * as vscode from 'vscode'
import { variable } from './part.ts'
it('finds the installed extension', async () => {
  const extension = vscode.extensions.getExtension('harness.dummy')!
  const exported = await extension.activate()
  assert.equal(exported.variable, variable)
  assert.equal(vscode.workspace.workspaceFolders?.[0]?.uri.fsPath, ${JSON.stringify(join(place, 'two'))})
})
`,
    );
    const good = await editor.runMochaInHost(tests);
    assert.equal(good.code, 0, good.output);
    assert.match(good.output, /1 passing/);

    writeFileSync(join(tests, 'bad.test.ts'), `it('fails', () => { throw new Error('on purpose') })\n`);
    const bad = await editor.runMochaInHost(join(tests, 'bad.test.ts'));
    assert.equal(bad.code, 1, bad.output);
    assert.match(bad.output, /on purpose/);
    await editor.command('Harness: Greet'); // the window is an ordinary one again
    await (await editor.notification(/Hello/)).close();
  });

  it('explains a failure with a picture and the logs', async () => {
    const error = await editor.command('No Such Thing', 2000).then(
      () => assert.fail(),
      (reason: Error) => reason.message,
    );
    assert.match(error, /No command “No Such Thing”/);
    assert.match(error, /harness\.dummy/); // the extension host's log names it
    const picture = /The window then: (.*)/.exec(error)?.[1];
    assert.ok(picture && existsSync(picture));
    rmSync(picture);
  });

  it('runs an unpackaged extension, beside another editor, and leaves nothing behind', async () => {
    const second = await startEditor({ workspaceFolder: join(place, 'two'), developmentPath: dummy.folder });
    await second.command('Harness: Greet');
    await second.notification(/Hello/);
    const mark = `${MARK}=${second.folders.base}`;
    assert.ok(marked(mark).length > 0);
    await second.close();
    assert.deepEqual(marked(mark), []);
    assert.ok(!existsSync(second.folders.base));
    assert.ok(existsSync(join(dummy.folder, 'main.js')));
    assert.match(await editor.statusBar(/dummy ready/), /inherited/);
  });
});

/** The package installed in a real VS Code, with the real helper and the real CRIU: what it is for. Needs root. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { COMMANDS, SETTINGS } from '../../src/ids.ts';
import { HelperProcess, needsMachine } from '../daemon/helper-process.ts';
import { type Editor, startEditor } from '../vscode/harness.ts';
import { isSetUp } from '../vscode/paths.ts';
import { waitFor } from '../vscode/waiting.ts';
import { sideBar } from './side-bar.ts';
import { packageExtension } from './stage.ts';

/** Counts in its memory, ten times a second, and writes down where it is. */
const COUNTER =
  'import itertools, time; [(print(n, file=open("/tmp/n", "w")), time.sleep(0.1)) for n in itertools.count()]';

describe('the extension with the real helper', function () {
  this.timeout(180_000);
  let place: string;
  let folder: string;
  let helper: HelperProcess;
  let editor: Editor;

  const { row, away, inline, timeline, sandboxes } = sideBar(() => editor);
  /** Types a line and waits for its own entry of the timeline. */
  const step = async (line: string) => {
    await editor.typeInTerminal(`${line}\n`);
    await timeline((rows) =>
      rows.some((one) => one.label.startsWith(line.slice(0, 20)) && /current/.test(one.description)),
    );
  };

  const welcome = (text: RegExp) =>
    editor.page.locator('.part.sidebar .welcome-view-content').filter({ hasText: text, visible: true }).first();
  /** Until the timeline shows what the helper says: which entry is the current one, and how many there are. */
  const atOne = async () => {
    const other = await helper.connect();
    const { checkpoints, current } = await other.request('checkpoint/list', { sandbox: 'api-server' });
    other.close();
    const at = checkpoints.findIndex((one) => one.id === current);
    const rows = await timeline((all) => all.length === checkpoints.length && /← current$/.test(all[at]!.description));
    assert.equal(rows.filter((one) => /← current$/.test(one.description)).length, 1);
  };

  before(async function () {
    needsMachine(this);
    if (!isSetUp()) this.skip();
    place = mkdtempSync(join(tmpdir(), 'te-real-'));
    folder = join(place, 'api-server');
    mkdirSync(folder);
    for (const name of ['config1.json', 'config2.json', 'ignore_me.txt'])
      writeFileSync(join(folder, name), '{ "api_version": "v1" }\n');
    helper = await HelperProcess.start(undefined, { faults: true });
    editor = await startEditor({
      workspaceFolder: folder,
      vsix: packageExtension(),
      env: { TELEPORT_ENV_SOCKET: helper.socket, XDG_STATE_HOME: join(place, 'state') },
      settings: {
        'terminal.integrated.enablePersistentSessions': true,
        // This test's own is started by this test alone.
        [SETTINGS.helperStart]: false,
      },
      size: { width: 1360, height: 1060 },
    });
    await editor.changeSettings({ [SETTINGS.helperStart]: false });
    await editor.openContainer('Teleport Env');
  });

  after(async () => {
    await editor?.close();
    await helper?.stop();
    if (place) rmSync(place, { recursive: true, force: true });
  });

  afterEach(function () {
    if (this.currentTest?.state === 'failed') console.error(helper.logText());
  });

  it('lets a sample wreck itself and come back, within half a minute', async () => {
    const start = Date.now();
    await editor.page.locator('.welcome-view-content').getByText('Try it on a sample').click();
    const text = await editor.terminalText(/Everything is back\./, 30_000);
    assert.ok(Date.now() - start < 30_000);
    assert.match(text, /NAME is ''/);
    assert.match(text, /NAME is 'unchanged'/);
    const [, from, to] = /counted from (\d+) to (\d+)/.exec(text)!;
    assert.ok(Number(to) > Number(from));
    await editor.screenshot('real-try-it');
    await (await editor.notification(/That was the sample/)).click('Remove the sample');
    await sandboxes((rows) => rows.length === 0);
  });

  it('starts a sandbox of the folder', async () => {
    await editor.command('teleportEnv.createSandbox');
    await sandboxes((rows) => rows[0]?.label === 'api-server' && /^running/.test(rows[0].description));
    await timeline((rows) => rows.length === 1 && rows[0]!.label === 'sandbox created');
  });

  it('makes each command of its terminal an entry', async () => {
    await editor.newTerminal('teleportEnv.openTerminal');
    await editor.terminalText(/[#$] ?$/);
    await step(`python3 -c '${COUNTER}' &`);
    await step('cd /usr; WHERE=here; sleep 1');
    await editor.screenshot('real-terminal');
  });

  it('goes back by one click: files, a running program, variables, folder and screen', async () => {
    await step(`rm -rf ${folder}/*; kill -9 %1; WHERE=lost; cd /`);
    await inline(/^cd \/usr; WHERE=here/, 'Roll back');
    const toast = await editor.notification(/Back at “cd \/usr/);
    await editor.terminalText(/— back at .* ms —/);
    await editor.screenshot('real-rolled-back');
    await toast.close();
    await editor.typeInTerminal(
      `a=$(cat /tmp/n); sleep 1; echo "$PWD $WHERE" $(ls ${folder} | wc -l) $(( $(cat /tmp/n) > a ))\n`,
    );
    await editor.terminalText(/^\/usr here 3 1$/m);
    // Its own entry moves the rows: wait for it before one reaches for them.
    await timeline((rows) => rows.some((one) => one.label.startsWith('a=$(cat') && /current/.test(one.description)));
  });

  it('undoes the rollback', async () => {
    await inline('sandbox created', 'Roll back');
    const toast = await editor.notification(/Back at “sandbox created”/);
    await toast.click('Undo');
    await (await editor.notification(/Rollback undone/)).close();
    // Its terminal, which was not there at the beginning, comes back with it.
    await editor.terminalText(/^\/usr here 3 1$/m);
    const tabs = await editor.page.locator('.terminal-tabs-entry').allInnerTexts();
    assert.equal(tabs.filter((tab) => tab.includes('api-server')).length, 1, tabs.join());
  });

  it('shows what a step changed', async () => {
    await step(`cd ${folder}; WHERE=there`);
    await step("sed -i 's/v1/v2/g' *.json");
    const shown = (name: string) => editor.page.locator('.multiDiffEntry').getByText(name).first();
    // Its row moves when the step's files have been counted.
    await waitFor(async () => {
      await away();
      return row(/^sed -i/)
        .click({ timeout: 2_000 })
        .then(() => shown('config1.json').waitFor({ timeout: 5_000 }))
        .then(
          () => true,
          () => false,
        );
    });
    await shown('config2.json').waitFor();
    await editor.screenshot('real-changes');
  });

  it('shows in the editor’s own timeline of a file the steps that touched it, and no others', async () => {
    const { page } = editor;
    const list = page.locator('.timeline-tree-view');
    const entries = list.locator('.monaco-list-row').filter({ hasText: 'api-server' });
    const labels = async () => (await entries.allInnerTexts()).map((text) => text.replace(/\s+/g, ' '));
    await step('echo one more >>config1.json');
    try {
      /** Opens a file, and waits for those entries; earlier steps of this journey removed all files once. */
      const shows = async (name: string, ...steps: RegExp[]) => {
        await editor.openContainer('Explorer');
        await editor.clickTreeItem(name);
        await editor.command('timeline.focus');
        await page.locator('.pane-header').filter({ hasText: 'Timeline' }).filter({ hasText: name }).waitFor();
        let last: string[] = [];
        await waitFor(async () => {
          last = (await labels()).filter((one) => !one.startsWith('rm -rf'));
          const none = list.getByText(/Local History will track|No timeline information/);
          const answered = (await entries.count()) > 0 || (await none.isVisible());
          return answered && last.length === steps.length && steps.every((step, n) => step.test(last[n]!));
        }).catch(() => assert.fail(`${name} has ${last.join(' | ') || 'none'}`));
      };
      const sed = /^sed -i 's\/v1\/v2\/g' \*\.json/;
      await shows('config2.json', sed);
      await shows('config1.json', /^echo one more >>config1\.json/, sed);
      await editor.screenshot('real-file-timeline');
      await entries.filter({ hasText: 'sed -i' }).click();
      await page.locator('.multiDiffEntry').getByText('config2.json').first().waitFor();
      await shows('ignore_me.txt');
    } finally {
      await editor.openContainer('Teleport Env');
    }
  });

  it('forks, both alive', async () => {
    await inline(/^sed -i/, 'Fork');
    await (await editor.notification(/Live fork b\d+ of/)).close();
    await sandboxes((rows) => rows.some((one) => /^Live fork/.test(one.label)));
    await inline(/^Live fork/, 'Discard live fork');
    await sandboxes((rows) => rows.every((one) => !/^Live fork/.test(one.label)));
  });

  it('shows what listens, and brings it here', async () => {
    await editor.typeInTerminal(`cd ${folder}; python3 -m http.server 8123 --bind 127.0.0.1 >/dev/null 2>&1 &\n`);
    await sandboxes((rows) => rows.some((one) => one.label === '8123'));
    await inline('8123', 'Preview port in editor');
    const rows = await sandboxes((all) => all.some((one) => /→ localhost:\d+/.test(one.description)));
    const [, local] = /localhost:(\d+)/.exec(rows.map((one) => one.description).join())!;
    const answer = await fetch(`http://127.0.0.1:${local}/config1.json`);
    assert.match(await answer.text(), /v2/);
    // It takes the focus once it is there.
    await editor.page.locator('iframe.webview.ready').first().waitFor();
    await editor.screenshot('real-ports');
  });

  it('lets a launch configuration attach to what runs inside, and again after each checkpoint', async () => {
    mkdirSync(join(folder, '.vscode'));
    const attach = {
      type: 'node',
      request: 'attach',
      name: 'Inside',
      address: '127.0.0.1',
      port: `\${input:inspector}`,
      restart: true,
    };
    const inspector = { id: 'inspector', type: 'command', command: COMMANDS.forwardPort, args: { port: 9229 } };
    const launch = { version: '0.2.0', configurations: [attach], inputs: [inspector] };
    writeFileSync(join(folder, '.vscode/launch.json'), JSON.stringify(launch));
    const attached = (times: number) =>
      waitFor(async () => (await editor.terminalText()).split(/^Debugger attached\.$/m).length > times);
    await step(`clear; node --inspect=127.0.0.1:9229 -e 'setInterval(() => {}, 100)' &`);
    await editor.command('workbench.action.debug.start');
    const toolbar = editor.page.locator('.debug-toolbar');
    await toolbar.waitFor();
    await editor.command('workbench.action.terminal.focus');
    await attached(1);
    await editor.typeInTerminal('echo "one more"\n'); // whose checkpoint ends the connection
    await attached(2);
    await editor.screenshot('real-attached');
    await toolbar.locator('.codicon-debug-disconnect').click();
    await toolbar.waitFor({ state: 'hidden' });
    await editor.typeInTerminal('kill %%\n');
    await sandboxes((rows) => rows.every((one) => one.label !== '9229'));
    rmSync(join(folder, '.vscode'), { recursive: true });
  });

  it('applies to the workspace, and leaves a conflict alone', async () => {
    writeFileSync(join(folder, 'config2.json'), '{ "mine": true }\n');
    await editor.command('teleportEnv.apply');
    await editor.page.locator('.quick-input-list').getByText('changed in the workspace too').waitFor();
    await editor.screenshot('real-apply');
    await editor.page.keyboard.press('Enter');
    await (await editor.notification(/1 file applied/)).close();
    assert.match(readFileSync(join(folder, 'config1.json'), 'utf8'), /v2/);
    assert.match(readFileSync(join(folder, 'config2.json'), 'utf8'), /mine/);
  });

  it('keeps its terminals when the window is reloaded', async () => {
    // Its answer is looked for: bash does not show a line that was typed while it stood still.
    await editor.typeInTerminal('KEPT=yes; echo "now ""kept"\n');
    await editor.terminalText(/^now kept$/m);
    await timeline((rows) => rows.some((one) => one.label.startsWith('KEPT=yes')));
    // The same window anew: what runs in it starts again.
    await editor.openFolder(folder);
    await editor.openContainer('Teleport Env');
    await sandboxes((rows) => /^running/.test(rows[0]?.description ?? ''));
    await editor.terminalText(/^now kept$/m, 40_000);
    await editor.typeInTerminal('echo "kept: $KEPT"\n');
    await editor.terminalText(/^kept: yes$/m);
  });

  it('shows a command that ran on while the window was reloaded', async () => {
    const go = join(place, 'api-server', 'go');
    await editor.typeInTerminal(`until test -e ${go}; do sleep 0.1; done; echo "waited for it"\n`);
    await editor.openFolder(folder);
    await editor.openContainer('Teleport Env');
    await editor.terminalText(/^kept: yes$/m, 40_000);
    const other = await helper.connect();
    await other.request('run', { sandbox: 'api-server', line: `touch ${go}`, checkpoint: false });
    await editor.terminalText(/^waited for it$/m);
  });

  it('is of one mind with the helper after a reload in the middle of a rollback', async () => {
    // It hears nothing until the window that asked is gone.
    process.kill(helper.pid, 'SIGSTOP');
    try {
      await inline(/^sed -i/, 'Roll back');
      await editor.openFolder(folder);
      await editor.openContainer('Teleport Env');
      // The diff that was open waits for its content, and the window for it: by then the first try may be over.
      await welcome(/Connecting|does not answer/).waitFor();
    } finally {
      process.kill(helper.pid, 'SIGCONT');
    }
    await sandboxes((rows) => /^running/.test(rows[0]?.description ?? ''));
    await atOne();
    await inline(/^sed -i/, 'Roll back');
    await (await editor.notification(/Back at “sed -i/)).close();
    await atOne();
  });

  it('stands 2,000 checkpoints', async () => {
    const long = join(place, 'long-run');
    mkdirSync(long);
    writeFileSync(join(long, 'at.txt'), 'the beginning\n');
    const other = await helper.connect();
    const { sandbox } = await other.request('sandbox/create', { workspace: long });
    const { id } = sandbox;
    await other.request('run', { sandbox: id, line: 'echo the end >at.txt' });
    for (let n = 2; n < 2_000; n++)
      await other.request('checkpoint/create', { sandbox: id, label: `step ${n}`, filesOnly: true });
    await editor.command('teleportEnv.selectSandbox');
    await editor.pick(/long-run/);
    const list = editor.page
      .locator('.part.sidebar .pane')
      .filter({ has: editor.page.getByText('Checkpoint timeline') })
      .locator('.monaco-list')
      .last();
    await list.getByText('step 1999', { exact: true }).waitFor();
    const rowAt = (index: number) => list.locator(`.monaco-list-row[data-index="${index}"]`);
    const last = async (index: number, label: string) => {
      await list.focus();
      await waitFor(async () => {
        await editor.page.keyboard.press('End');
        return (await rowAt(index).getByText(label, { exact: true }).count()) > 0;
      });
    };
    for (const index of [200, 1_200]) {
      await last(index, 'Show older');
      await rowAt(index).click();
    }
    await last(1_999, 'sandbox created');
    await inline('sandbox created', 'Roll back');
    await (await editor.notification(/Back at “sandbox created”/)).close();
    const now = await other.request('run', { sandbox: id, line: 'cat at.txt' });
    assert.equal(Buffer.from(now.output, 'base64').toString(), 'the beginning\n');
    await other.request('sandbox/remove', { sandbox: id });
    // The only one that is left is shown again.
    await row(/^sed -i/).waitFor();
    await timeline((rows) => rows.some((one) => one.label.startsWith('sed -i')));
  });

  it('says when the helper was killed in the middle of a rollback, and is back by itself', async () => {
    writeFileSync(helper.fault, 'head:obtained');
    await inline('sandbox created', 'Roll back');
    const toast = await editor.notification(/The connection to the helper was lost\./);
    assert.deepEqual(toast.buttons, ['Reconnect']);
    assert.ok(await helper.died(10_000));
    await toast.close();
    await editor.statusBar(/helper unreachable/);
    await sandboxes((rows) => rows[0]?.description === 'unreachable');
    await editor.screenshot('real-unreachable');
    await helper.restart();
    await sandboxes((rows) => /^running/.test(rows[0]?.description ?? ''));
    assert.ok(existsSync(helper.socket));
    await atOne();
    await inline('sandbox created', 'Roll back');
    await (await editor.notification(/Back at “sandbox created”/)).close();
    await atOne();
  });

  it('copies for a bug report what helps, and nothing that says who or what', async () => {
    await editor.command('teleportEnv.copyDiagnostics');
    const text = await waitFor(async () => {
      const pasted = await editor.page.evaluate<string>('navigator.clipboard.readText()');
      return /Teleport Env diagnostics/.test(pasted) ? pasted : undefined;
    });
    assert.match(text, /^- Extension: \d+\.\d+\.\d+$/m);
    assert.match(text, /^- Helper: native, ready$/m);
    assert.match(text, /^\| CRIU \| ok \| .*4\.\d/m);
    assert.match(text, /^Sandboxes: s\d+ running, \d+ checkpoints/m);
    assert.match(text, /^- Machine: Linux \d\S+ \w+, packaging none, /m);
    assert.match(text, /\[warn\] connection lost: /);
    for (const secret of [place, 'api-server', 'config1', process.env.HOME!]) assert.ok(!text.includes(secret), text);
  });
});

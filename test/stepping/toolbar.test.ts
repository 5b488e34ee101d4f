/** Stepping by the debug toolbar's own buttons, in a real VS Code with the real helper. Needs root. */
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SETTINGS } from '../../src/ids.ts';
import { HelperProcess, needsMachine } from '../daemon/helper-process.ts';
import { sideBar } from '../extension/side-bar.ts';
import { stageExtension } from '../extension/stage.ts';
import { type Editor, startEditor } from '../vscode/harness.ts';
import { isSetUp } from '../vscode/paths.ts';
import type { Locator } from '../vscode/playwright.ts';
import { waitFor } from '../vscode/waiting.ts';

const RUN = `# teleport-env run 1

# %%
# The version is wrong everywhere.
sed -i s/v1/v2/g *.json

# %%
rm -rf *

# %%
ls
`;

/** By line: 1 assignment, 2 a file, 3 a failure, 4 what never ends, 5 the rest. */
const WALK = `stage=begun
echo one > one.txt; stage=written
(exit 3)
sleep 300
echo end
`;

/** By line: 1 nothing, 2 a failure, 3 a file below `src`, 4 another file, 5 nothing. */
const CHECKS = `echo begin
(exit 4)
mkdir -p src; echo 1 > src/made.ts
echo 2 > other.txt
echo end
`;

describe('the debug toolbar', function () {
  this.timeout(180_000);
  let place: string;
  let folder: string;
  let helper: HelperProcess;
  let editor: Editor;
  let sandbox: string;

  before(async function () {
    needsMachine(this);
    if (!isSetUp()) this.skip();
    place = mkdtempSync(join(tmpdir(), 'te-toolbar-'));
    folder = join(place, 'shop');
    mkdirSync(folder);
    writeFileSync(join(folder, 'config.json'), '{ "api": "v1" }\n');
    writeFileSync(join(folder, 'fix.teleport-env.sh'), RUN);
    writeFileSync(join(folder, 'walk.sh'), WALK);
    writeFileSync(join(folder, 'checks.sh'), CHECKS);
    copyFileSync(join(__dirname, '../documents/samples/claude-code.jsonl'), join(folder, 'chat.jsonl'));
    helper = await HelperProcess.start();
    const connection = await helper.connect();
    sandbox = (await connection.request('sandbox/create', { workspace: folder })).sandbox.id;
    editor = await startEditor({
      workspaceFolder: folder,
      developmentPath: stageExtension(place),
      env: { TELEPORT_ENV_SOCKET: helper.socket, XDG_STATE_HOME: join(place, 'state') },
      settings: {
        [SETTINGS.helperStart]: false,
        'debug.toolBarLocation': 'docked',
        'editor.acceptSuggestionOnEnter': 'off', // Enter is for what was typed
        'editor.codeLens': true,
      },
      size: { width: 1500, height: 900 },
    });
  });
  after(async () => {
    await editor?.close();
    await helper?.stop();
    if (place) rmSync(place, { recursive: true, force: true });
  });

  afterEach(async function () {
    if (this.currentTest?.state !== 'failed') return;
    await editor.screenshot(`failed-${this.currentTest.title.slice(0, 20)}`);
    // What is tried once more begins without a walk under way.
    await editor.command('workbench.action.debug.stop').catch(() => {});
  });

  const press = (title: RegExp) => editor.page.getByRole('button', { name: title }).first().click({ timeout: 20_000 });
  /** What the editor shows with blanks of its own. */
  const plain = (text: string | null) => (text ?? '').replace(/\u00a0/g, ' ').trim();
  const { inline, timeline } = sideBar(() => editor);
  /** By its command: the icon may lie beneath its badge. */
  const debugView = () => editor.command('workbench.view.debug');
  const begin = async () => {
    await editor.command('teleportEnv.stepThrough');
    // It takes the focus when it stops, which closes a palette that is open.
    await editor.page.locator('.debug-top-stack-frame-line').first().waitFor({ timeout: 20_000 });
    await debugView();
  };
  /** Ends the walk, and waits until the editor is done with it. */
  const stop = async () => {
    await press(/^(Stop|Disconnect)/);
    await editor.page.locator('.debug-top-stack-frame-line').first().waitFor({ state: 'detached' });
    await editor.page
      .getByRole('button', { name: /^Step Over/ })
      .first()
      .waitFor({ state: 'hidden' });
  };
  const frame = (text: RegExp) =>
    editor.page
      .locator('.debug-call-stack .stack-frame')
      .filter({ hasText: text })
      .first()
      .waitFor({ timeout: 20_000 });
  const inside = async (line: string) => {
    const connection = await helper.connect();
    const { output } = await connection.request('run', { sandbox, line, checkpoint: false });
    return Buffer.from(output, 'base64').toString();
  };

  it('shows lenses and hints of danger in a run document', async () => {
    const { page } = editor;
    await page
      .locator('.explorer-viewlet .monaco-list-row')
      .filter({ hasText: 'fix.teleport-env.sh' })
      .first()
      .dblclick();
    await page.locator('.monaco-editor .view-line').filter({ hasText: 'sed' }).first().waitFor();
    await page.locator('.codelens-decoration').filter({ hasText: 'Run to here' }).first().waitFor({ timeout: 60_000 });
    assert.match(
      (await page.locator('.editor-instance').first().getAttribute('data-mode-id')) ?? '',
      /teleport-env-run|^$/,
    );
    await page.locator('.squiggly-hint').first().waitFor({ timeout: 20_000 });
    await editor.screenshot('stepping-lenses');
  });

  it('steps over, back, continues, reverses and restarts', async () => {
    await begin();
    await frame(/sed -i/);
    await press(/^Step Over/);
    await frame(/rm -rf/);
    assert.equal(await inside('cat config.json'), '{ "api": "v2" }\n');
    await press(/^Step Over/);
    await frame(/^ls/);
    assert.equal(await inside('ls'), '');
    await editor.screenshot('stepping-toolbar');
    await press(/^Step Back/);
    await frame(/rm -rf/);
    assert.equal(await inside('cat config.json'), '{ "api": "v2" }\n');
    await press(/^Continue/);
    await frame(/end of the run/);
    await press(/^Reverse/);
    await frame(/sed -i/);
    assert.equal(await inside('cat config.json'), '{ "api": "v1" }\n');
    await press(/^Step Over/);
    await frame(/rm -rf/);
    await press(/^Restart/);
    await frame(/sed -i/);
    assert.equal(await inside('cat config.json'), '{ "api": "v1" }\n');
    await stop();
  });

  /** Opens a file of the folder and puts the cursor at a line. */
  const openAt = async (file: string, line: number) => {
    const input = editor.page.locator('.quick-input-widget input.input');
    // A key that comes while the focus moves is lost.
    await waitFor(async () => {
      await editor.page.keyboard.press('Control+P');
      return input.fill(`${file}:${line}`, { timeout: 3000 }).then(
        () => true,
        () => false,
      );
    });
    // What it found before it has looked is something else.
    await editor.page
      .locator(`.quick-input-widget .quick-input-list .monaco-list-row[data-index="0"][aria-label^="${file}"]`)
      .waitFor();
    await editor.page.keyboard.press('Enter');
    await editor.page.locator('.tab.active').filter({ hasText: file }).waitFor();
  };
  const variable = (text: RegExp) =>
    editor.page
      .locator('.debug-variables .monaco-list-row')
      .filter({ hasText: text })
      .first()
      .waitFor({ timeout: 20_000 });

  /** A walk says what it has to say in its own places, and pops nothing up. */
  const quiet = async () => {
    const toasts = editor.page.locator('.notifications-toasts .notification-list-item-message');
    assert.deepEqual(await toasts.allInnerTexts(), []);
  };

  /**
   * Clicks a lens of the line with that text, until something comes of it: where lenses are drawn anew, as each step has it, one may
   * be clicked away, and for a moment the next one above the line is another line's.
   */
  const lens = async (line: string, title: string, come: () => Promise<unknown>) => {
    const box = (place: Locator) => place.boundingBox({ timeout: 2000 }).catch(() => null);
    const click = async () => {
      const under = await box(editor.page.locator('.view-lines .view-line').filter({ hasText: line }).first());
      if (!under) return false;
      for (const row of await editor.page.locator('.codelens-decoration').all()) {
        const at = await box(row);
        if (!at || at.y >= under.y || at.y < under.y - 2 * under.height) continue;
        return row
          .locator('a')
          .filter({ hasText: title })
          .first()
          .click({ timeout: 2000 })
          .then(
            () => true,
            () => false,
          );
      }
      return false;
    };
    await waitFor(async () => {
      await waitFor(click);
      return come().then(
        () => true,
        () => false,
      );
    }, 50_000);
  };

  it('the lenses of a run document do what they say; hints and hovers tell how a step went', async () => {
    await openAt('fix.teleport-env.sh', 11);
    await lens('rm -rf', 'Run to here', async () => {
      await debugView();
      await frame(/rm -rf/);
    });
    assert.equal(await inside('cat config.json'), '{ "api": "v2" }\n');
    const done = editor.page.locator('.view-lines .view-line').filter({ hasText: 'sed -i' }).first();
    await waitFor(async () => /exit 0 · .* · 1 file · k\d+/.test(plain(await done.textContent())));
    const hover = editor.page.locator('.monaco-hover').getByText(/^exit 0 · .* · 1 file · k\d+$/);
    await waitFor(async () => {
      await editor.page.mouse.move(0, 0);
      await done.locator('span span').first().hover();
      return hover
        .first()
        .waitFor({ timeout: 4000 })
        .then(
          () => true,
          () => false,
        );
    });
    await editor.screenshot('stepping-hover');
    await quiet();
    await editor.page.mouse.move(0, 0);
    const compared = editor.page.locator('.tab.active').filter({ hasText: '↔' });
    await lens('sed -i', 'Changes of this step', () => compared.waitFor({ timeout: 20_000 }));
    await editor.page.locator('.monaco-diff-editor').filter({ hasText: 'v2' }).first().waitFor();
    await editor.screenshot('stepping-changes');
    await openAt('fix.teleport-env.sh', 11);
    await lens('sed -i', 'Roll back to before this', () => frame(/sed -i/));
    assert.equal(await inside('cat config.json'), '{ "api": "v1" }\n');
    await stop();
  });

  const current = (label: string) =>
    timeline((rows) => rows.some((row) => row.label.startsWith(label) && /← current$/.test(row.description)));

  it('runs to the cursor; timeline and debugger show the same moment, whichever of them moved', async () => {
    await openAt('fix.teleport-env.sh', 11);
    await begin();
    await frame(/sed -i/);
    await openAt('fix.teleport-env.sh', 11);
    await editor.command('editor.debug.action.runToCursor');
    await frame(/^ls/);
    assert.equal(await inside('ls'), '');
    const connection = await helper.connect();
    const at = async () => (await connection.request('sandbox/get', { sandbox })).sandbox.current;
    await variable(new RegExp(`checkpoint.*\\b${await at()}\\b`));
    await editor.openContainer('Teleport Env');
    await current('rm -rf *');
    await editor.screenshot('stepping-same-moment');

    await inline('sed -i s/v1/v2/g *.json', 'Roll back');
    await debugView();
    await frame(/rm -rf/);
    await variable(new RegExp(`checkpoint.*\\b${await at()}\\b`));
    assert.equal(await inside('cat config.json'), '{ "api": "v2" }\n');

    await press(/^Step Back/);
    await frame(/sed -i/);
    await editor.openContainer('Teleport Env');
    await current('before fix.teleport');
    await debugView();
  });

  it('runs in the sandbox what is typed into the debug console, as part of that moment', async () => {
    await frame(/sed -i/);
    await editor.command('workbench.panel.repl.view.focus');
    const console = editor.page.locator('.repl');
    await console.locator('.repl-input-wrapper .view-lines').click();
    await editor.page.keyboard.type('echo by hand > hand.json; echo it says $((6 * 7)); (exit 5)');
    await editor.page.keyboard.press('Enter');
    for (const said of [/it says 42/, /^\s*exit 5\s*$/])
      await console.locator('.monaco-list-row').filter({ hasText: said }).first().waitFor({ timeout: 20_000 });
    assert.equal(await inside('cat hand.json'), 'by hand\n');
    await editor.screenshot('stepping-console');
    await press(/^Step Over/);
    await frame(/rm -rf/);
    await press(/^Step Back/);
    await frame(/sed -i/);
    assert.equal(await inside('cat hand.json'), 'by hand\n');
    await stop();
  });

  it('stops at a breakpoint and shows the shell’s variables', async () => {
    await openAt('walk.sh', 3);
    await editor.command('editor.debug.action.toggleBreakpoint');
    await begin();
    await frame(/stage=begun/);
    await press(/^Continue/);
    await frame(/\(exit 3\)/);
    const scope = editor.page
      .locator('.debug-variables .monaco-list-row')
      .filter({ hasText: 'Shell variables' })
      .first();
    const written = editor.page.locator('.debug-variables .monaco-list-row').filter({ hasText: /stage.*written/ });
    // The scopes are drawn anew once their values are there, and a click just then is lost.
    await waitFor(async () => {
      if (await written.first().isVisible()) return true;
      if ((await scope.getAttribute('aria-expanded')) !== 'true')
        await scope.click({ timeout: 3000 }).catch(() => undefined);
      return false;
    });
    await editor.screenshot('stepping-variables');
  });

  it('pauses what never ends, and goes on', async () => {
    await press(/^Continue/);
    const running = async () => (await inside0()).some((command) => command.startsWith('sleep 300'));
    const inside0 = async () => {
      const connection = await helper.connect();
      return (await connection.request('process/list', { sandbox })).processes.map(({ command }) => command);
    };
    for (const deadline = Date.now() + 20_000; !(await running()); ) assert.ok(Date.now() < deadline, 'it never ran');
    await press(/^Pause/);
    await press(/^Pause/);
    await frame(/echo end/);
    await variable(/exit code.*130/);
    await stop();
  });

  /** By the editor's own box for it, at a line of the file that is open. */
  const breakWhere = async (file: string, line: number, condition: string) => {
    await openAt(file, line);
    const box = editor.page.locator('.breakpoint-widget .monaco-editor');
    await editor.command('editor.debug.action.conditionalBreakpoint');
    await box.waitFor();
    await waitFor(async () => {
      await box.click();
      await editor.page.keyboard.press('Control+A');
      await editor.page.keyboard.type(condition);
      return plain(await box.locator('.view-lines').textContent()) === condition;
    });
    await editor.page.keyboard.press('Enter');
    await box.waitFor({ state: 'detached' });
  };
  const glyphs = (kind: string) => editor.page.locator(`.monaco-editor .codicon-debug-breakpoint${kind}`);

  it('stops where a command ends with that exit code, and where one changes a path like that', async () => {
    await editor.command('workbench.debug.viewlet.action.removeAllBreakpoints');
    // The first two never hold: a plain breakpoint would stop before each line.
    await breakWhere('checks.sh', 1, 'exit == 4');
    await breakWhere('checks.sh', 4, 'changed src/**');
    await breakWhere('checks.sh', 2, 'exit == 4');
    await breakWhere('checks.sh', 3, 'changed src/**');
    await begin();
    await frame(/echo begin/);
    await openAt('checks.sh', 1);
    await waitFor(async () => (await glyphs('-conditional').count()) === 4);
    await press(/^Continue/);
    await frame(/mkdir -p src/);
    await variable(/exit code.*4/);
    await press(/^Continue/);
    await frame(/echo 2 > other\.txt/);
    await variable(/exit code.*0/);
    await editor.screenshot('stepping-conditions');
    await quiet();
    await press(/^Continue/);
    await frame(/end of the run/);
    // Backwards it stops at the same two.
    await press(/^Reverse/);
    await frame(/echo 2 > other\.txt/);
    await press(/^Reverse/);
    await frame(/mkdir -p src/);
    assert.equal(await inside('ls other.txt src 2>/dev/null'), '');
    await press(/^Reverse/);
    await frame(/echo begin/);
  });

  it('says of words that are no condition that they are none', async () => {
    await breakWhere('checks.sh', 5, 'exit is bad');
    await waitFor(async () => (await glyphs('-unverified').count()) === 1);
    const said = editor.page.locator('.monaco-hover').getByText(/“exit is bad” is no condition\. Try: exit != 0/);
    await waitFor(async () => {
      await editor.page.mouse.move(0, 0);
      await glyphs('-unverified').hover();
      return said
        .first()
        .waitFor({ timeout: 3000 })
        .then(
          () => true,
          () => false,
        );
    });
    await editor.screenshot('stepping-no-condition');
    await stop();
    await editor.command('workbench.debug.viewlet.action.removeAllBreakpoints');
  });

  it('tries a dangerous line in a fork by the quick fix, and keeps or discards it', async () => {
    const connection = await helper.connect();
    await inside('cd "$OLDPWD" 2>/dev/null; echo precious > keep.txt');
    const branches = async () => (await connection.request('sandbox/get', { sandbox })).sandbox;
    const before = await branches();
    for (const choice of ['Discard', 'Keep']) {
      await openAt('fix.teleport-env.sh', 8);
      const fix = editor.page.locator('.action-widget').getByText('Try in a fork');
      // The key is lost where the focus is not in the text yet, and the list is another while the hints are looked for.
      await waitFor(async () => {
        await editor.page.keyboard.press('Escape');
        await editor.page.keyboard.press('Control+.');
        return fix.waitFor({ timeout: 3000 }).then(
          () => true,
          () => false,
        );
      }, 30_000);
      if (choice === 'Keep') await editor.screenshot('stepping-quick-fix');
      await editor.page.keyboard.press('Enter');
      const toast = await editor.notification(/Tried in live fork b\d+: exit 0/, 40_000);
      assert.deepEqual(toast.buttons, ['Keep', 'Discard']);
      // Beside the exit code, what it did.
      await editor.page.locator('.tab.active').filter({ hasText: '↔' }).waitFor();
      await editor.page.locator('.monaco-diff-editor, .multiDiffEntry').first().waitFor();
      await editor.screenshot(`stepping-fork-${choice.toLowerCase()}`);
      assert.equal(await inside('ls keep.txt'), 'keep.txt\n');
      await toast.click(choice);
      for (const deadline = Date.now() + 20_000; ; ) {
        const now = await branches();
        if (choice === 'Discard' ? now.branches.length === 1 && now.head === before.head : now.head !== before.head)
          break;
        assert.ok(Date.now() < deadline, `nothing came of ${choice}`);
      }
    }
    assert.equal(await inside('ls'), '');
  });

  it('walks through a run that is written down, and through an agent’s transcript, each a document then', async () => {
    const text = editor.page.locator('.editor-group-container.active .view-lines').first();
    // Lines do not lie in the page in their order.
    const shows = (...patterns: RegExp[]) =>
      waitFor(async () => {
        const shown = plain(await text.textContent());
        return patterns.every((pattern) => pattern.test(shown));
      });
    await editor.command('teleportEnv.recordRun');
    await shows(/# teleport-env run 1/, /# sandbox: /, /# %% exit 0 · [^#]* · k\d+/, /rm -rf \*/);
    await begin();
    await frame(/./);
    await press(/^Step Over/);
    await variable(/exit code/);
    await editor.screenshot('stepping-written-down');
    await stop();
    await openAt('chat.jsonl', 1);
    await editor.command('teleportEnv.openTranscript');
    await shows(/# title: Fix the price/, /# Run the test first\./, /npm test/);
    await begin();
    await frame(/npm test/);
    await editor.screenshot('stepping-transcript');
    await stop();
  });
});

/**
 * The extension in a real VS Code, with a helper made of answers: what people see and do, and nothing of the engine. The
 * journeys with the real one are elsewhere.
 */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SETTINGS } from '../../src/ids.ts';
import { type Editor, startEditor } from '../vscode/harness.ts';
import { isSetUp } from '../vscode/paths.ts';
import { waitFor } from '../vscode/waiting.ts';
import { makeFakeHelper } from './fake-helper-build.ts';
import type { ScenarioName } from './scenarios.ts';
import { sideBar } from './side-bar.ts';
import { stageExtension } from './stage.ts';

const SANDBOXES = 'Sandboxes';
const TIMELINE = 'Checkpoint timeline';

describe('the extension in a real VS Code, with a scripted helper', function () {
  this.timeout(120_000);
  let place: string;
  let folder: string;
  let editor: Editor;
  let helper: ReturnType<typeof makeFakeHelper>;

  const labels = async () => (await timeline()).map((row) => row.label);
  const editorTitle = (text: RegExp) =>
    editor.page.locator('.part.editor .tab.active').filter({ hasText: text }).first().waitFor({ timeout: 20_000 });
  const play = async (scenario: ScenarioName) => {
    helper = makeFakeHelper(place, scenario, folder);
    await editor.changeSettings({ [SETTINGS.helperPath]: helper.path, [SETTINGS.survivesReload]: false });
    await waitFor(async () => helper.asked());
  };
  const welcome = (text: RegExp) =>
    editor.page.locator('.part.sidebar .welcome-view-content').filter({ hasText: text, visible: true }).first();

  const { row, away, inline, menu, timeline, sandboxes } = sideBar(() => editor);

  before(async function () {
    if (!isSetUp()) this.skip();
    place = mkdtempSync(join(tmpdir(), 'te-journeys-'));
    folder = join(place, 'api-server');
    mkdirSync(join(folder, 'src'), { recursive: true });
    writeFileSync(join(folder, 'config1.json'), '{ "api_version": "v1" }\n');
    writeFileSync(join(folder, 'ignore_me.txt'), 'mine\n');
    editor = await startEditor({
      workspaceFolder: folder,
      developmentPath: stageExtension(place),
      size: { width: 1360, height: 860 },
    });
    await editor.openContainer('Teleport Env');
    await play('sample');
  });

  after(async () => {
    await editor?.close();
    if (place) rmSync(place, { recursive: true, force: true });
  });

  it('shows sandboxes and moments', async () => {
    const tree = await sandboxes(
      (rows) => rows.some((one) => /2 files changed/.test(one.description)) && rows.some((one) => one.label === '3000'),
    );
    assert.deepEqual(
      tree.map((row) => row.label),
      ['api-server', 'Current', 'Live fork b7', 'Ports', '3000', 'Processes', 'docs-site'],
    );
    assert.equal(tree[1]!.description, 'after “npm test” · 2 files changed');
    const rows = await timeline((all) => all.length === 9);
    assert.match(rows[0]!.description, /^\w.* · exit 1 · 2 files ← current$/);
    assert.match(rows[0]!.ariaLabel, /^npm test, .*, current/);
    assert.equal(rows[1]!.label, '│ saved before rollback');
    assert.match(await editor.statusBar(/api-server/), /api-server: npm test/);
    for (const theme of ['light', 'high-contrast', 'high-contrast-light', 'dark'] as const) {
      await editor.setTheme(theme);
      await editor.screenshot(`sidebar-${theme}`);
    }
  });

  it('keeps the time of each moment in sight in a narrow side bar', async () => {
    const bar = editor.page.locator('.part.sidebar');
    const widen = async (width: number) => {
      const box = (await bar.boundingBox())!;
      const { mouse } = editor.page;
      await mouse.move(box.x + box.width, box.y + 200);
      await mouse.down();
      await mouse.move(box.x + box.width + 10, box.y + 200);
      await mouse.move(box.x + width, box.y + 200);
      await mouse.up();
      await waitFor(async () => Math.abs((await bar.boundingBox())!.width - width) < 3);
      return box.width;
    };
    const before = await widen(260);
    for (const theme of ['light', 'high-contrast', 'dark'] as const) {
      await editor.setTheme(theme);
      await editor.screenshot(`sidebar-narrow-${theme}`);
    }
    const rows = await editor.page.evaluate<{ label: string; time: string; over: number }[]>(TIMES);
    assert.equal(rows.length, 9);
    for (const { label, time, over } of rows) assert.ok(over <= 0, `${label}: “${time}” is cut by ${over} px`);
    await widen(before);
  });

  it('shows what a step changed', async () => {
    await editor.clickTreeItem("sed -i 's/v1/v2/g' *", TIMELINE);
    await editorTitle(/“sed -i 's\/v1\/v2\/g' \*” \(k6\) \(3 files\)/);
    await editor.page.locator('.multiDiffEntry').first().waitFor();
    await editor.screenshot('changes-of-a-step');
  });

  it('opens the folded lines of the sandbox', async () => {
    await editor.clickTreeItem('Current', SANDBOXES);
    await sandboxes((rows) => rows.some((one) => one.label === 'config1.json'));
    await editor.clickTreeItem('Processes', SANDBOXES);
    const tree = await sandboxes((rows) => rows.some((row) => row.label === 'postgres'));
    assert.equal(tree.find((row) => row.label === 'config1.json')!.description, 'changed');
    assert.match(tree.find((row) => row.label === 'node')!.description, /^57 · 48 MB$/);
    await editor.clickTreeItem('config1.json', SANDBOXES);
    await editorTitle(/config1\.json \(“npm test” \(k8\) ↔ Current\)/);
    await editor.screenshot('change-of-a-file');
  });

  it('goes back with one click, and undoes it', async () => {
    await inline('before the rewrite', 'Roll back');
    const toast = await editor.notification(/Back at “before the rewrite” in 1\.3 ms\./);
    assert.deepEqual(toast.buttons, ['Undo', 'Show changes']);
    await timeline((rows) => rows.some((row) => row.label === 'before the rewrite' && /current/.test(row.description)));
    await editor.screenshot('rolled-back');
    await toast.click('Undo');
    await (await editor.notification(/Rollback undone: at “saved before rollback”/)).close();
    const rows = await timeline((all) => /current/.test(all[0]!.description));
    assert.equal(rows[0]!.label, 'saved before rollback');
  });

  it('forks, makes a fork current, and discards one', async () => {
    await inline('before the rewrite', 'Fork');
    await (await editor.notification(/Live fork b\d+ of “before the rewrite” in 24 ms\./)).close();
    await sandboxes((rows) => rows.filter((row) => row.label.startsWith('Live fork')).length === 2);
    await inline(/Live fork b7/, 'Discard live fork');
    await sandboxes((rows) => rows.filter((row) => row.label.startsWith('Live fork')).length === 1);
    await inline(/Live fork/, 'Make current');
    await (await editor.notification(/is current now/)).close();
    await timeline((all) => all.some((row) => row.label === 'before the rewrite' && /current/.test(row.description)));
  });

  it('renames, and deletes only after asking', async () => {
    await menu('npm ci', 'Rename…');
    await editor.answer('dependencies in');
    await timeline((all) => all.some((row) => row.label === 'dependencies in' && row.icon === 'bookmark'));
    await menu('dependencies in', 'Delete checkpoint…');
    const question = await editor.dialog(/Delete checkpoint k2, “dependencies in”\?/);
    await question.click('Delete');
    await (await editor.notification(/k2 can’t be deleted: later checkpoints are built on it/)).close();
  });

  it('compares any two moments', async () => {
    await menu('dependencies in', 'Select for compare');
    await timeline((all) => all.some((row) => /selected to compare/.test(row.description)));
    await menu("│ sed -i 's/v1/v2/g' *", 'Compare with selected');
    await editorTitle(/“dependencies in” \(k2\) ↔ “sed -i/);
    await editor.page.locator('.multiDiffEntry').first().waitFor();
  });

  it('compares with the current state, and copies an id', async () => {
    await menu('before the rewrite', 'Compare with current');
    await editorTitle(/“before the rewrite” \(k3\) ↔ Current/);
    await menu('before the rewrite', 'Copy id');
    await editor.statusBar(/Copied k3/);
  });

  it('is walked along, gone back in and undone by keys', async () => {
    const keys = async (second: string) => {
      await editor.page.keyboard.press('Control+k');
      await editor.page.keyboard.press(second);
    };
    await away();
    await row('before the rewrite').click();
    await editorTitle(/“before the rewrite” \(k3\)/);
    await keys('Alt+ArrowDown');
    await timeline((all) => all.some((one) => one.label === 'dependencies in' && one.selected));
    await keys('Alt+r');
    await (await editor.notification(/Back at “dependencies in”/)).close();
    await keys('Alt+z');
    await (await editor.notification(/Rollback undone/)).close();
  });

  it('offers in the status bar what can be done', async () => {
    await editor.page.locator('.part.statusbar .statusbar-item').filter({ hasText: 'api-server:' }).first().click();
    for (const action of ['Roll back to…', 'Open terminal', 'Apply to workspace…', 'Doctor'])
      await editor.page.locator('.quick-input-list').getByText(action, { exact: true }).waitFor();
    await editor.screenshot('actions');
    await editor.pick('Checkpoint now');
    await editor.statusBar(/Checkpoint k\d+, stopped for/);
  });

  it('marks in the explorer what the sandbox has otherwise', async () => {
    await editor.openContainer('Explorer');
    const mark = (name: string) =>
      editor.page
        .locator('.explorer-folders-view .monaco-list-row')
        .filter({ hasText: name })
        .first()
        .evaluate<string>((line) => {
          const { getComputedStyle } = line.ownerDocument.defaultView;
          return [...line.querySelectorAll('*')].map((part) => getComputedStyle(part, '::after').content).join();
        });
    await waitFor(async () => (await mark('config1.json')).includes('◆'));
    assert.ok(!(await mark('ignore_me.txt')).includes('◆'));
    await editor.screenshot('explorer');
    await editor.openContainer('Teleport Env');
  });

  it('has a terminal whose commands become entries', async () => {
    await editor.newTerminal('teleportEnv.openTerminal');
    await editor.terminalText(/me@box:~\/api-server\$/);
    await editor.typeInTerminal('make it so\n');
    await editor.terminalText(/you said make it so/);
    await timeline((rows) => rows[0]!.label === 'make it so' && /current/.test(rows[0]!.description));
    await editor.screenshot('terminal');
  });

  it('shows the terminal as it was, with a line about it', async () => {
    const before = (await labels()).length;
    await inline('before the rewrite', 'Roll back');
    await editor.terminalText(/you said make it so\n— back at \d\d:\d\d:\d\d, 1\.3 ms —\nme@box:~\/api-server\$$/);
    await editor.screenshot('terminal-after-rollback');
    await (await editor.notification(/Back at/)).close();
    // What the terminal shows again are no new commands: only the saved state came.
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    assert.equal((await labels()).length, before + 1);
    await editor.typeInTerminal('go on\n');
    await timeline((rows) => rows[0]!.label === 'go on');
  });

  it('shows what another window did', async () => {
    helper.order({ do: 'add', count: 2, command: 'made elsewhere' });
    await timeline((rows) => rows[0]!.label === 'made elsewhere' && rows[1]!.label === 'made elsewhere');
  });

  it('filters', async () => {
    await editor.command('teleportEnv.filterTimeline');
    await editor.pick('Only failures');
    await timeline((rows) => rows.length === 2);
    await editor.page.getByText('Only failures: 2 shown').waitFor();
    await editor.command('teleportEnv.clearFilter');
    await timeline((rows) => rows.length > 9);
  });

  it('applies what was ticked, conflicts aside', async () => {
    await editor.command('teleportEnv.apply');
    const list = editor.page.locator('.quick-input-widget .quick-input-list');
    await list.getByText('changed in the workspace too').waitFor();
    await editor.screenshot('apply');
    await editor.page.keyboard.press('Enter');
    await (await editor.notification(/^2 files applied\.$/)).close();
  });

  it('says when the daemon is gone, and is there again by itself', async () => {
    helper.order({ do: 'lost', message: 'killed' });
    await timeline((rows) => rows.length > 9);
    await sandboxes((rows) => rows[0]!.description.startsWith('running'));
    // And when its own client process ends.
    helper.order({ do: 'exit' });
    await sandboxes((rows) => rows.length > 0 && rows[0]!.description.startsWith('running'));
    assert.match(await editor.statusBar(/api-server/), /api-server/);
  });

  it('asks before it copies a large folder in', async () => {
    await play('large');
    await welcome(/No sandbox yet/).waitFor();
    await editor.command('teleportEnv.createSandbox');
    const question = await editor.dialog(/Copy 2\.3 GB in 12 files into the sandbox\?/);
    await editor.screenshot('copy-in');
    await question.click('Leave out…');
    await editor.page.locator('.quick-input-list').getByText('node_modules').waitFor();
    await editor.page.keyboard.press('Escape');
  });

  it('cancels in the helper what is cancelled here', async () => {
    helper.order({ do: 'stall', method: 'sandbox/create' });
    await editor.command('teleportEnv.createSandbox');
    await (await editor.dialog(/Copy 2\.3 GB/)).click('Copy all of it');
    await (await editor.notification(/Starting a sandbox of api-server/)).click('Cancel');
    await waitFor(async () => helper.heard('cancelled').some(({ method }) => method === 'sandbox/create'));
    await welcome(/No sandbox yet/).waitFor();
  });

  for (const [scenario, words] of [
    ['noHelper', /installs a helper that runs as root.*Set up/],
    ['old', /older than the extension.*Update the helper/],
    ['new', /newer than the extension/],
    ['noCriu', /CRIU, which saves live processes, is missing.*Install it/],
    ['empty', /No sandbox yet.*Start sandbox of this folder/],
  ] as const)
    it(`has one sentence and a way on: ${scenario}`, async () => {
      await play(scenario);
      await welcome(words).waitFor({ timeout: 20_000 });
      await editor.screenshot(`welcome-${scenario}`);
    });

  it('lets a sample wreck itself', async () => {
    await editor.command('teleportEnv.tryIt');
    await editor.terminalText(/Everything is back\./, 30_000);
    await timeline((rows) => rows.some((row) => row.label === 'before the accident'));
    await editor.screenshot('try-it');
    await (await editor.notification(/That was the sample/)).close();
  });

  it('says what the machine has and lacks', async () => {
    await editor.command('teleportEnv.doctor');
    await editor.page.locator('.quick-input-list').getByText('Dirty tracking').waitFor();
    await editor.screenshot('doctor');
    await editor.page.keyboard.press('Escape');
  });

  describe('with 10,000 entries', () => {
    const list = () =>
      editor.page
        .locator('.part.sidebar .pane')
        .filter({ has: editor.page.getByText(TIMELINE) })
        .locator('.monaco-list')
        .last();
    const rowAt = (index: number) => list().locator(`.monaco-list-row[data-index="${index}"]`);

    it('shows the first ones at once, asking for one page', async () => {
      // From nothing, as a window that opens: over rows that another helper left, it would be drawn twice.
      await play('empty');
      await welcome(/No sandbox yet/).waitFor();
      await editor.page.evaluate(watchFirstPaint('step 9999'));
      await play('many');
      await timeline((rows) => rows.some((row) => row.label === 'step 9999'));
      const painted = await editor.page.evaluate<number>('window.firstPaint');
      console.log(`      first paint: ${painted - helper.answered('checkpoint/list')} ms after the helper’s answer`);
      assert.deepEqual(helper.heard('checkpoint/list'), [{ sandbox: 's1', limit: 200 }]);
      assert.equal(await rowAt(0).locator('.label-name').textContent(), 'step 9999');
    });

    it('draws only the row that changed', async () => {
      await editor.page.evaluate(WATCH_ROWS);
      helper.order({ do: 'label', checkpoint: 'k9995', label: 'changed elsewhere' });
      await list().getByText('changed elsewhere').waitFor();
      assert.deepEqual(await editor.page.evaluate('window.drawnRows()'), ['changed elsewhere']);
    });

    it('shows older ones when asked, and new ones above all of them', async () => {
      await editor.clickTreeItem('Show older', TIMELINE);
      await list().focus();
      await waitFor(async () => {
        await editor.page.keyboard.press('End');
        return (await rowAt(1_200).count()) > 0;
      });
      assert.equal(await rowAt(1_200).locator('.label-name').textContent(), 'Show older');
      assert.equal(await rowAt(1_199).locator('.label-name').textContent(), 'step 8800');
      helper.order({ do: 'add', command: 'one more' });
      await waitFor(async () => {
        await editor.page.keyboard.press('Home');
        return (await rowAt(0).getByText('one more').count()) > 0;
      });
    });
  });

  it('gives other extensions an API', async () => {
    await play('sample');
    const run = await editor.runMochaInHost(join(__dirname, 'api-in-host.ts'));
    assert.equal(run.code, 0, run.output);
    await editor.openContainer('Teleport Env');
  });

  it('has a walkthrough', async () => {
    await editor.command('teleportEnv.openWalkthrough');
    await editor.page.getByText('Undo for the whole machine').first().waitFor();
    await editor.screenshot('walkthrough');
  });
});

/** In the page: how far the time of each row of the timeline, the first of its facts, reaches beyond what is in sight. */
const TIMES = `[...document.querySelectorAll('.part.sidebar .pane')].at(-1).querySelectorAll('.monaco-list-row').values().map((row) => {
  const text = row.querySelector('.label-description').firstChild;
  const time = text.textContent.split(' · ')[0].split(' ←')[0];
  const range = document.createRange();
  range.setStart(text, 0);
  range.setEnd(text, time.length);
  const { right } = row.querySelector('.monaco-icon-label-container').getBoundingClientRect();
  return { label: row.querySelector('.label-name').textContent, time, over: range.getBoundingClientRect().right - right };
}).toArray()`;

/** In the page: when a row with that label was drawn first. */
function watchFirstPaint(label: string): string {
  return `void (window.firstPaint = new Promise((done) => {
    const observer = new MutationObserver(() => {
      const names = [...document.querySelectorAll('.part.sidebar .label-name')];
      if (!names.some((name) => name.textContent === ${JSON.stringify(label)})) return;
      observer.disconnect();
      requestAnimationFrame(() => done(Date.now()));
    });
    observer.observe(document.body, { subtree: true, childList: true, characterData: true });
  }))`;
}

/** In the page: which rows of the side bar are drawn from now on. */
const WATCH_ROWS = `(() => {
  const drawn = new Set();
  const observer = new MutationObserver((changes) => {
    for (const { target } of changes)
      drawn.add((target.nodeType === Node.ELEMENT_NODE ? target : target.parentElement)?.closest('.monaco-list-row'));
  });
  observer.observe(document.querySelector('.part.sidebar'), { subtree: true, childList: true, characterData: true });
  window.drawnRows = () => [...drawn].filter(Boolean).map((row) => row.querySelector('.label-name')?.textContent);
})()`;

/**
 * The sandbox's terminal in a real VS Code, with the real helper and the real CRIU: it is like any other. Needs root. Both ways that
 * there are of showing one: by a process of its own, and over the extension's connection.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SETTINGS } from '../../src/ids.ts';
import { HelperProcess, needsMachine } from '../daemon/helper-process.ts';
import { type Editor, startEditor } from '../vscode/harness.ts';
import { isSetUp } from '../vscode/paths.ts';
import { waitFor } from '../vscode/waiting.ts';
import { sideBar } from './side-bar.ts';
import { stageExtension } from './stage.ts';

const WIDE = { width: 1360, height: 860 };
const NARROW = { width: 900, height: 600 };

interface Screen {
  rows: number;
  cols: number;
  /** `alternate` while a full-screen program has it. */
  type: 'normal' | 'alternate';
  /** What is in sight. */
  lines: string[];
}

describe('the terminal of a sandbox', function () {
  this.timeout(180_000);
  let place: string;
  let folder: string;
  let helper: HelperProcess;
  let editor: Editor;
  const { sandboxes, timeline } = sideBar(() => editor);

  before(async function () {
    needsMachine(this);
    if (!isSetUp()) this.skip();
    place = mkdtempSync(join(tmpdir(), 'te-terminal-'));
    folder = join(place, 'api-server');
    mkdirSync(folder);
    writeFileSync(join(folder, 'long.txt'), Array.from({ length: 300 }, (_, n) => `line ${n + 1}\n`).join(''));
    helper = await HelperProcess.start();
    editor = await startEditor({
      workspaceFolder: folder,
      developmentPath: stageExtension(place),
      env: { TELEPORT_ENV_SOCKET: helper.socket, XDG_STATE_HOME: join(place, 'state') },
      settings: {
        [SETTINGS.helperStart]: false,
        // Colours as they are asked for.
        'terminal.integrated.minimumContrastRatio': 1,
      },
      size: WIDE,
    });
    await editor.openContainer('Teleport Env');
    await editor.command('teleportEnv.createSandbox');
    await sandboxes((rows) => rows[0]?.label === 'api-server' && /^running/.test(rows[0].description));
  });

  after(async () => {
    await editor?.close();
    await helper?.stop();
    if (place) rmSync(place, { recursive: true, force: true });
  });

  afterEach(async function () {
    if (this.currentTest?.state !== 'failed') return;
    console.error(helper.logText());
    for (const [name, text] of editor.logs()) if (/Teleport Env\.log$/.test(name)) console.error(text);
    await editor.page.setViewportSize(WIDE);
  });

  const screen = () =>
    editor.page.evaluate<Screen>(`(() => {
      const { xterm } = document.querySelector('.terminal-wrapper.active');
      const { active } = xterm.buffer;
      const lines = Array.from({ length: xterm.rows }, (_, y) =>
        active.getLine(active.viewportY + y)?.translateToString(true) ?? '');
      return { rows: xterm.rows, cols: xterm.cols, type: active.type, lines };
    })()`);
  /** Until the screen is so. */
  const shows = async (what: string, holds: (screen: Screen) => boolean) => {
    let last: Screen | undefined;
    await waitFor(async () => {
      last = await screen();
      return holds(last);
    }).catch(() => {
      throw new Error(
        `${what} did not come. There was:\n${JSON.stringify({ ...last, lines: undefined })}\n${last?.lines.join('\n')}`,
      );
    });
  };
  const answers = async (line: string, answer: RegExp) => {
    await editor.typeInTerminal(`${line}\n`);
    return answer.exec(await editor.terminalText(answer))!;
  };
  /** Points at the last place where this stands on the screen. */
  const pointAt = async (text: string) => {
    const box = (await editor.page.locator('.terminal-wrapper.active .xterm-screen').boundingBox())!;
    const { rows, cols, lines } = await screen();
    const y = lines.findLastIndex((line) => line.includes(text));
    assert.ok(y >= 0, lines.join('\n'));
    const x = lines[y]!.lastIndexOf(text) + text.length / 2;
    const at = { x: box.x + (x / cols) * box.width, y: box.y + ((y + 0.5) / rows) * box.height };
    await editor.page.mouse.move(0, 0);
    await editor.page.mouse.move(at.x - 2, at.y);
    await editor.page.mouse.move(at.x, at.y);
    return at;
  };
  /** Clicks at what stands there, as at a link, until that has done what it is for. */
  const follow = async (text: string, done: () => Promise<boolean>) => {
    const { keyboard, mouse } = editor.page;
    // What VS Code lays over a link that is pointed at.
    const target = editor.page.locator('.terminal-hover-target');
    await waitFor(async () => {
      await keyboard.down('Control');
      try {
        const at = await pointAt(text);
        if (!(await waitFor(async () => (await target.count()) > 0, 2_000).catch(() => false))) return false;
        await mouse.click(at.x, at.y);
      } finally {
        await keyboard.up('Control');
      }
      return waitFor(done, 3_000).catch(() => false);
    });
  };

  for (const [way, own] of [
    ['by a process of its own', true],
    ['over the connection', false],
  ] as const)
    describe(way, () => {
      before(async () => {
        await editor.changeSettings({ [SETTINGS.survivesReload]: own });
        await editor.newTerminal('teleportEnv.openTerminal');
      });

      it('takes what is typed', async () => {
        await answers('echo "typed: äß€ $((6 * 7))"', /^typed: äß€ 42$/m);
        await answers('tty; test -t 0 && echo "is a terminal"', /^is a terminal$/m);
      });

      it('ends what runs by Ctrl-C', async () => {
        await editor.typeInTerminal('echo "be""gun"; sleep 1000; echo "not ""ended"\n');
        await editor.terminalText(/^begun$/m);
        await editor.page.keyboard.press('Control+c');
        const text = (await answers('echo "ended with $?"', /\^C[\s\S]*^ended with 130$/m))[0];
        assert.ok(!text.includes('not ended'));
      });

      it('names an entry by its command, whatever was said in the background meanwhile', async () => {
        await editor.typeInTerminal('clear; (sleep 1; echo "said behind"" the prompt"; echo "and below it") &\n');
        await editor.terminalText(/^.*said behind the prompt\n(.*\n)*and below it$/m);
        await editor.typeInTerminal('true one more\n');
        await timeline((rows) => rows.some((one) => one.label === 'true one more'));
      });

      it('has colours', async () => {
        await answers(
          String.raw`printf '\e[31mre\e[0m''\e[38;5;46mgr\e[0m''\e[38;2;1;2;200mbl\e[0m\n'; echo "col""oured"`,
          /^coloured$/m,
        );
        // A row that is drawn anew meanwhile has none.
        const colourOf = (text: string) => waitFor(() => drawn(text));
        const drawn = (text: string) =>
          editor.page
            .locator('.terminal-wrapper.active .xterm-rows span')
            .getByText(text, { exact: true })
            .last()
            .evaluate<string>((it) => it.ownerDocument.defaultView.getComputedStyle(it).color);
        assert.equal(await colourOf('re'), 'rgb(205, 49, 49)');
        assert.equal(await colourOf('gr'), 'rgb(0, 255, 0)');
        assert.equal(await colourOf('bl'), 'rgb(1, 2, 200)');
      });

      it('is as large as it is drawn, whatever the window becomes', async () => {
        let asked = 0;
        const size = async () => {
          const [, rows, cols] = await answers(
            `echo "size ${++asked}:" $(stty size)`,
            new RegExp(`^size ${asked}: (\\d+) (\\d+)$`, 'm'),
          );
          return { rows: Number(rows), cols: Number(cols) };
        };
        const drawn = async () => {
          const { rows, cols } = await screen();
          return { rows, cols };
        };
        const before = await size();
        assert.deepEqual(before, await drawn());
        await editor.page.setViewportSize(NARROW);
        await shows('a narrow terminal', ({ cols }) => cols < before.cols);
        await waitFor(async () => JSON.stringify(await size()) === JSON.stringify(await drawn()));
        await editor.page.setViewportSize(WIDE);
        await shows('a wide terminal', ({ cols }) => cols === before.cols);
        await waitFor(async () => JSON.stringify(await size()) === JSON.stringify(before));
      });

      it('gives the screen to a full-screen program, and has its own again afterwards', async () => {
        await answers('clear; echo "what was ""there"', /^what was there$/m);
        await editor.typeInTerminal('vim -u NONE long.txt\n');
        await shows('vim', ({ type, lines }) => type === 'alternate' && lines[0] === 'line 1');
        await editor.page.keyboard.type(':set nocp laststatus=2\n');
        await editor.page.keyboard.type('Ohello');
        await editor.page.keyboard.press('Escape');
        await shows('what was typed', ({ lines }) => lines[0] === 'hello');
        const { cols } = await screen();
        await editor.page.setViewportSize(NARROW);
        // Its status line is as long as the screen is wide.
        const drawnFor = (now: Screen) =>
          /^long\.txt \[\+\]/.test(now.lines.at(-2)!) && now.lines.at(-2)!.length === now.cols;
        await shows('vim in a narrow window', (now) => now.cols < cols && drawnFor(now));
        await editor.page.setViewportSize(WIDE);
        await shows('vim in a wide one', (now) => now.cols === cols && drawnFor(now));
        if (own) await editor.screenshot('terminal-vim');
        await editor.page.keyboard.type(':q!\n');
        await shows('the shell', ({ type, lines }) => type === 'normal' && lines[0] === 'what was there');
        await editor.typeInTerminal('less long.txt\n');
        await shows('less', ({ type, lines }) => type === 'alternate' && lines[0] === 'line 1');
        await editor.page.keyboard.type('G');
        await shows('its end', ({ lines }) => lines.includes('line 300'));
        await editor.page.keyboard.type('q');
        await shows('the shell again', ({ type, lines }) => type === 'normal' && lines[0] === 'what was there');
      });

      it('has links', async () => {
        await answers('echo "https://docs.example/""a?b=1 is a link"', /^https:\/\/docs\.example\/a\?b=1 is a link$/m);
        const dialog = editor.page.locator('.monaco-dialog-box').filter({ hasText: 'https://docs.example/a?b=1' });
        await follow('https://docs.example/a?b=1', () => dialog.isVisible());
        await (await editor.dialog(/docs\.example/)).click('Cancel');
        // A file that the folder outside has not.
        const name = own ? 'mine.txt' : 'theirs.txt';
        await answers(`mkdir -p new; echo "of ${way}" >new/${name}; echo "./new/${name}"":1 is it"`, /:1 is it$/m);
        assert.ok(!existsSync(join(folder, 'new')));
        const text = editor.page.locator('.part.editor .view-line').getByText(`of ${way}`);
        await follow(`./new/${name}:1`, () => text.isVisible());
        await editor.command('workbench.action.closeAllEditors');
      });

      it('is one of several', async () => {
        await answers('MINE=first; echo "shell $$ has ""$MINE"', /^shell \d+ has first$/m);
        const [, first] = /^shell (\d+) has first$/m.exec(await editor.terminalText())!;
        await editor.newTerminal('teleportEnv.openTerminal');
        const [, second] = await answers('echo "shell $$ has <""$MINE>"', /^shell (\d+) has <>$/m);
        assert.notEqual(first, second);
        await editor.command('workbench.action.terminal.focusPrevious');
        // Its answer may be drawn over: where the list of terminals takes its room, bash writes its prompt anew.
        await editor.terminalText(/MINE=first; echo/);
        await answers('echo "still $$ ""$MINE"', new RegExp(`^still ${first} first$`, 'm'));
      });
    });
});

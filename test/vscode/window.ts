// One window of an editor: what a person sees and does there. A failing step says what the window looked like.

import { isAbsolute, join, resolve } from 'node:path';
import { explaining } from './failures.ts';
import { type HostRun, runMocha } from './mocha.ts';
import { repository } from './paths.ts';
import type { Page } from './playwright.ts';
import * as quickInput from './quick-input.ts';
import { type Settings, type ThemeName, themes } from './settings.ts';
import * as terminal from './terminal.ts';
import { chooseInContextMenu, clickInlineAction, clickTreeItem, type TreeRow, treeRows } from './tree.ts';
import * as workbench from './workbench.ts';

/** What the windows of an editor share. */
interface Shared {
  readonly url: string;
  readonly base: string;
  readonly settings: Settings;
  logs(): Map<string, string>;
  /** What any window wrote to its console. */
  readonly console: string[];
}

export type Window = ReturnType<typeof makeWindow>;

export function makeWindow(page: Page, shared: Shared, workspaceFolder: string) {
  const { url, base, settings, logs } = shared;
  let folder = resolve(workspaceFolder);
  const open = async (query: string) => {
    await page.goto(`${url}/?${query}`);
    await workbench.waitUntilReady(page);
  };
  const openFolder = (dir: string) => {
    folder = resolve(dir);
    return open(`folder=${encodeURIComponent(folder)}`);
  };
  const actions = {
    openFolder,
    /** A window without a folder. */
    openNothing: () => open('ew=true'),
    /** Test files (`*.test.ts`, or one file) inside the extension host, in a window of their own kind: see mocha.ts. */
    runMochaInHost: async (testsPath: string, timeout?: number): Promise<HostRun> => {
      const run = await runMocha(page, { url, folder, base, testsPath: resolve(testsPath), timeout });
      await openFolder(folder);
      return run;
    },
    screenshot: async (name: string) => {
      const file = isAbsolute(name) ? name : join(repository, 'build', 'screenshots', `${name}.png`);
      await page.screenshot({ path: file, animations: 'disabled' });
      return file;
    },
    setTheme: async (name: ThemeName) => {
      settings.change({ 'workbench.colorTheme': themes[name].id });
      await page.locator(`.monaco-workbench[class*="${themes[name].file}"]`).waitFor();
    },
    /** Written to the settings file, which VS Code watches: they apply a moment later. */
    changeSettings: async (changes: Record<string, unknown>) => settings.change(changes),
    /** Runs a command by the palette, as a person would. By its title, with or without category, or its id. */
    command: (titleOrId: string, timeout?: number) => quickInput.command(page, titleOrId, timeout),
    /** Chooses in a quick pick that is or comes up. */
    pick: (label: string | RegExp) => quickInput.pick(page, label),
    /** Types into an input box that is or comes up, and accepts. */
    answer: (text: string) => quickInput.answer(page, text),
    /** Shows a container of the activity bar. */
    openContainer: (title: string) => workbench.openContainer(page, title),
    /** Waits for a toast. */
    notification: (text: RegExp, timeout?: number) => workbench.notification(page, text, timeout),
    /** Waits for a modal dialog. */
    dialog: (text: RegExp, timeout?: number) => workbench.dialog(page, text, timeout),
    /** Waits for an entry of the status bar and returns its text. */
    statusBar: (text: RegExp, timeout?: number) => workbench.statusBar(page, text, timeout),
    /** All rows of a view, scrolled-away ones too; with a condition, as soon as it holds. */
    treeRows: (viewTitle: string, until?: (rows: TreeRow[]) => boolean) => treeRows(page, viewTitle, until),
    clickTreeItem: (rowText: string | RegExp, viewTitle?: string) => clickTreeItem(page, rowText, viewTitle),
    clickInlineAction: (rowText: string | RegExp, action: string, viewTitle?: string) =>
      clickInlineAction(page, rowText, action, viewTitle),
    /** Opens a row's context menu and chooses in it. */
    contextMenu: (rowText: string | RegExp, entry: string, viewTitle?: string) =>
      chooseInContextMenu(page, rowText, entry, viewTitle),
    /** Opens a terminal by the name of its profile. */
    openTerminal: (profile: string | RegExp) => quickInput.openTerminal(page, profile),
    /** Does what makes a terminal (a command, or more), and waits until that one has the focus: one that was there does not count. */
    newTerminal: (make: string | (() => Promise<void>)) =>
      terminal.made(page, typeof make === 'string' ? () => quickInput.command(page, make) : make),
    /** The active terminal, scrollback included, blanks at the ends of lines not; with a pattern, as soon as it matches. */
    terminalText: (until?: RegExp, timeout?: number) => terminal.text(page, until, timeout),
    /** Key by key into the active terminal; `\n` is Enter. */
    typeInTerminal: (text: string) => terminal.type(page, text),
  };
  return { page, logs, ...explaining(actions, { logs, console: shared.console, page }) };
}

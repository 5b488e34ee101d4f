// A real VS Code with an extension in it, for tests: code-server in folders of its own, shown by a Chromium without a
// window. What a person sees and does is in workbench.ts, quick-input.ts, tree.ts and terminal.ts; this file puts the parts together.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';
import { Browser } from './browser.ts';
import { explaining } from './failures.ts';
import { type HostRun, runMocha } from './mocha.ts';
import { repository, requireSetUp } from './paths.ts';
import type { Page } from './playwright.ts';
import { killMarkedNow } from './processes.ts';
import * as quickInput from './quick-input.ts';
import { type Folders, installVsix, MARK, Server, serverEnvironment } from './server.ts';
import { Settings, type ThemeName, themes } from './settings.ts';
import * as terminal from './terminal.ts';
import { chooseInContextMenu, clickInlineAction, clickTreeItem, type TreeRow, treeRows } from './tree.ts';
import * as workbench from './workbench.ts';

export type { HostRun, Page, ThemeName, TreeRow };

export interface EditorOptions {
  workspaceFolder: string;
  /** A packaged extension to install. */
  vsix?: string;
  /** Or the folder of an unpackaged one. */
  developmentPath?: string;
  /** Beside those that make tests steady. */
  settings?: Record<string, unknown>;
  /** For the server, and so for extension host and terminals: `TELEPORT_ENV_SOCKET`, say. The rest is inherited. */
  env?: Record<string, string>;
  /** To keep state from one editor to the next; by default it is new and thrown away. */
  userDataDir?: string;
  size?: { width: number; height: number };
  /** Pixels of a screenshot for one of the page. */
  scale?: number;
}

export type Editor = Awaited<ReturnType<typeof startEditor>>;

export async function startEditor(options: EditorOptions) {
  requireSetUp();
  const base = mkdtempSync(join(tmpdir(), 'te-vscode-'));
  const folders: Folders = {
    base,
    userData: options.userDataDir ? resolve(options.userDataDir) : join(base, 'user'),
    extensions: join(base, 'extensions'),
  };
  const mark = `${MARK}=${base}`;
  const clean = () => {
    killMarkedNow(mark);
    rmSync(base, { recursive: true, force: true, maxRetries: 5 });
  };
  process.once('exit', clean); // tests that end in the middle leave nothing behind
  try {
    mkdirSync(folders.extensions, { recursive: true });
    const settings = new Settings(folders.userData, options.settings);
    const env = serverEnvironment(folders, options.env ?? {});
    // Before the server's first start, when it takes stock of this folder.
    if (options.developmentPath) linkExtension(resolve(options.developmentPath), folders.extensions);
    if (options.vsix) await installVsix(resolve(options.vsix), folders, env);
    const [{ server, url }, browser] = await both(
      Server.start(folders, env),
      Browser.start({ ...options, folder: join(base, 'chromium'), env }),
    );
    const { page } = browser;

    let folder = resolve(options.workspaceFolder);
    const openFolder = async (dir: string) => {
      folder = resolve(dir);
      await page.goto(`${url}/?folder=${encodeURIComponent(folder)}`);
      await workbench.waitUntilReady(page);
    };

    const screenshot = async (name: string) => {
      const file = isAbsolute(name) ? name : join(repository, 'build', 'screenshots', `${name}.png`);
      await page.screenshot({ path: file, animations: 'disabled' });
      return file;
    };

    const actions = {
      openFolder,
      /** Test files (`*.test.ts`, or one file) inside the extension host, in a window of their own kind: see mocha.ts. */
      runMochaInHost: async (testsPath: string, timeout?: number): Promise<HostRun> => {
        const run = await runMocha(page, { url, folder, base, testsPath: resolve(testsPath), timeout });
        await openFolder(folder);
        return run;
      },
      screenshot,
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
      /** The active terminal, scrollback included, blanks at the ends of lines not; with a pattern, as soon as it matches. */
      terminalText: (until?: RegExp, timeout?: number) => terminal.text(page, until, timeout),
      /** Key by key into the active terminal; `\n` is Enter. */
      typeInTerminal: (text: string) => terminal.type(page, text),
    };

    const failures = { logs: () => server.logs(), console: browser.messages, page };
    const editor = {
      page,
      url,
      /** Where the server keeps settings, logs and extensions. */
      folders,
      ...explaining(actions, failures),
      logs: () => server.logs(),
      close: async () => {
        await browser.close();
        await server.stop();
        process.removeListener('exit', clean);
        clean();
      },
    };
    await editor.openFolder(folder);
    return editor;
  } catch (error) {
    process.removeListener('exit', clean);
    clean();
    throw error;
  }
}

/** Installed by a link: what VS Code calls extension development would silence notifications and dialogs. */
function linkExtension(path: string, extensions: string): void {
  const { publisher, name, version } = JSON.parse(readFileSync(join(path, 'package.json'), 'utf8'));
  symlinkSync(path, join(extensions, `${publisher}.${name}-${version}`));
}

/** Like `Promise.all`, but waits for both even if one fails, so that nothing is started after the clean-up. */
async function both<A, B>(a: Promise<A>, b: Promise<B>): Promise<[A, B]> {
  await Promise.allSettled([a, b]);
  return [await a, await b];
}

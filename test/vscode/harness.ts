// A real VS Code with an extension in it, for tests: code-server in folders of its own, shown by a Chromium without a
// window. What a person sees and does is in window.ts; this file puts the parts together.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Browser } from './browser.ts';
import type { HostRun } from './mocha.ts';
import { requireSetUp } from './paths.ts';
import type { Page } from './playwright.ts';
import { killMarkedNow } from './processes.ts';
import { addLanguage, type Folders, installVsix, MARK, Server, serverEnvironment } from './server.ts';
import { Settings, type ThemeName } from './settings.ts';
import type { TreeRow } from './tree.ts';
import { makeWindow, type Window } from './window.ts';

export type { HostRun, Page, ThemeName, TreeRow };

export interface EditorOptions {
  workspaceFolder: string;
  /** A packaged extension to install. */
  vsix?: string;
  /** Or the folder of an unpackaged one. */
  developmentPath?: string;
  /** And of others beside it. */
  besides?: string[];
  /** Beside those that make tests steady. */
  settings?: Record<string, unknown>;
  /** For the server, and so for extension host and terminals: `TELEPORT_ENV_SOCKET`, say. The rest is inherited. */
  env?: Record<string, string>;
  /** To keep state from one editor to the next; by default it is new and thrown away. */
  userDataDir?: string;
  size?: { width: number; height: number };
  /** The window's language, such as `de`, for extensions: VS Code's own texts stay English. */
  language?: string;
  /** Pixels of a screenshot for one of the page. */
  scale?: number;
  /** With Workspace Trust, which asks nothing here: folders are not trusted until somebody says so. */
  trust?: boolean;
}

export type Editor = Awaited<ReturnType<typeof startEditor>>;
export type EditorWindow = Window & { close(): Promise<void> };

export async function startEditor(options: EditorOptions) {
  requireSetUp();
  const base = mkdtempSync(join(tmpdir(), 'te-vscode-'));
  const folders: Folders = {
    base,
    userData: options.userDataDir ? resolve(options.userDataDir) : join(base, 'user'),
    extensions: join(base, 'extensions'),
    trust: options.trust ?? false,
    language: options.language,
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
    for (const path of [options.developmentPath, ...(options.besides ?? [])])
      if (path) linkExtension(resolve(path), folders.extensions);
    if (options.language) addLanguage(options.language, folders);
    if (options.vsix) await installVsix(resolve(options.vsix), folders, env);
    const [{ server, url }, browser] = await both(
      Server.start(folders, env),
      Browser.start({ ...options, folder: join(base, 'chromium'), env }),
    );
    const shared = { url, base, settings, logs: () => server.logs(), console: browser.messages };
    const windowOf = (page: Page) => makeWindow(page, shared, options.workspaceFolder);
    const editor = {
      ...windowOf(browser.page),
      url,
      /** Where the server keeps settings, logs and extensions. */
      folders,
      /** One more window, with an extension host of its own, as a person has several. */
      openWindow: async (dir: string): Promise<EditorWindow> => {
        const page = await browser.newPage();
        const window = { ...windowOf(page), close: () => page.close() };
        await window.openFolder(dir);
        return window;
      },
      close: async () => {
        await browser.close();
        await server.stop();
        process.removeListener('exit', clean);
        clean();
      },
    };
    await editor.openFolder(options.workspaceFolder);
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

// playwright-core is part of what scripts/setup-vscode.sh installs, not a dependency of the package: a type check must
// work where it is missing. So these are the parts of its interface that the tests use, by its names and shapes.

import { createRequire } from 'node:module';
import { playwrightFolder } from './paths.ts';

// biome-ignore lint/suspicious/noExplicitAny: what lives in the page has no types here, the DOM's are not loaded
type InPage = any;

interface Timeout {
  timeout?: number;
}

export interface Locator {
  locator(selector: string, options?: { hasText?: string | RegExp; has?: Locator }): Locator;
  filter(options: { hasText?: string | RegExp; has?: Locator; visible?: boolean }): Locator;
  getByRole(role: string, options?: { name?: string | RegExp; exact?: boolean }): Locator;
  getByText(text: string | RegExp, options?: { exact?: boolean }): Locator;
  first(): Locator;
  last(): Locator;
  nth(index: number): Locator;
  all(): Promise<Locator[]>;
  count(): Promise<number>;
  isVisible(): Promise<boolean>;
  click(options?: Timeout & { button?: 'left' | 'right'; clickCount?: number; force?: boolean }): Promise<void>;
  dblclick(options?: Timeout): Promise<void>;
  hover(options?: Timeout & { force?: boolean }): Promise<void>;
  focus(options?: Timeout): Promise<void>;
  fill(text: string, options?: Timeout): Promise<void>;
  press(key: string, options?: Timeout): Promise<void>;
  inputValue(options?: Timeout): Promise<string>;
  getAttribute(name: string, options?: Timeout): Promise<string | null>;
  textContent(options?: Timeout): Promise<string | null>;
  allInnerTexts(): Promise<string[]>;
  scrollIntoViewIfNeeded(options?: Timeout): Promise<void>;
  waitFor(options?: Timeout & { state?: 'attached' | 'detached' | 'visible' | 'hidden' }): Promise<void>;
  evaluate<R, A = undefined>(script: string | ((element: InPage, argument: A) => R), argument?: A): Promise<R>;
  evaluateAll<R, A = undefined>(script: string | ((elements: InPage[], argument: A) => R), argument?: A): Promise<R>;
  boundingBox(options?: { timeout?: number }): Promise<{ x: number; y: number; width: number; height: number } | null>;
  screenshot(options?: { path?: string }): Promise<Buffer>;
}

interface Keyboard {
  down(key: string): Promise<void>;
  up(key: string): Promise<void>;
  press(key: string, options?: { delay?: number }): Promise<void>;
  type(text: string, options?: { delay?: number }): Promise<void>;
  insertText(text: string): Promise<void>;
}

interface Mouse {
  move(x: number, y: number): Promise<void>;
  down(): Promise<void>;
  up(): Promise<void>;
  click(x: number, y: number): Promise<void>;
  wheel(deltaX: number, deltaY: number): Promise<void>;
}

interface Route {
  fetch(): Promise<{ text(): Promise<string> }>;
  fulfill(options: { response?: unknown; body?: string }): Promise<void>;
}

export interface Page extends Pick<Locator, 'locator' | 'getByRole' | 'getByText'> {
  keyboard: Keyboard;
  mouse: Mouse;
  url(): string;
  title(): Promise<string>;
  goto(url: string, options?: Timeout & { waitUntil?: 'load' | 'domcontentloaded' | 'commit' }): Promise<unknown>;
  reload(options?: Timeout): Promise<unknown>;
  evaluate<R, A = undefined>(script: string | ((argument: A) => R), argument?: A): Promise<R>;
  waitForFunction<A = undefined>(
    script: string | ((argument: A) => unknown),
    argument?: A,
    options?: Timeout & { polling?: number | 'raf' },
  ): Promise<unknown>;
  waitForSelector(selector: string, options?: Timeout): Promise<unknown>;
  exposeFunction(name: string, run: (...values: InPage[]) => unknown): Promise<void>;
  route(url: (url: URL) => boolean, handle: (route: Route) => Promise<void>): Promise<void>;
  unroute(url: (url: URL) => boolean): Promise<void>;
  screenshot(options?: { path?: string; fullPage?: boolean; animations?: 'disabled' | 'allow' }): Promise<Buffer>;
  setViewportSize(size: { width: number; height: number }): Promise<void>;
  setDefaultTimeout(milliseconds: number): void;
  on(event: 'console', listen: (message: { type(): string; text(): string }) => void): void;
  on(event: 'pageerror', listen: (error: Error) => void): void;
  on(event: 'crash', listen: () => void): void;
  close(): Promise<void>;
}

export interface BrowserContext {
  pages(): Page[];
  newPage(): Promise<Page>;
  waitForEvent(event: 'page'): Promise<Page>;
  grantPermissions(permissions: string[]): Promise<void>;
  close(): Promise<void>;
}

interface Playwright {
  chromium: {
    launchPersistentContext(
      userDataDir: string,
      options: {
        executablePath: string;
        args: string[];
        env?: Record<string, string>;
        headless: boolean;
        viewport: { width: number; height: number };
        deviceScaleFactor?: number;
        handleSIGINT?: boolean;
        handleSIGTERM?: boolean;
        handleSIGHUP?: boolean;
      },
    ): Promise<BrowserContext>;
  };
}

export function loadPlaywright(): Playwright {
  return createRequire(__filename)(playwrightFolder) as Playwright;
}

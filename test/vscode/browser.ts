import { setTimeout as delay } from 'node:timers/promises';
import { appendTail } from './failures.ts';
import { chromium } from './paths.ts';
import { type BrowserContext, loadPlaywright, type Page } from './playwright.ts';

interface BrowserOptions {
  /** Empty: Chromium's profile. */
  folder: string;
  env: Record<string, string>;
  size?: { width: number; height: number };
  scale?: number;
}

const flags = [
  '--no-sandbox', // it refuses to start as root with it
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

export class Browser {
  /** What the window wrote to its console, newest last. */
  readonly messages: string[] = [];

  private constructor(
    private readonly context: BrowserContext,
    readonly page: Page,
  ) {
    this.listen(page);
  }

  /** One more window, and no tab: what is drawn in a tab that is not in front stands still. */
  async newPage(): Promise<Page> {
    const opened = this.context.waitForEvent('page');
    await this.page.evaluate("void window.open('about:blank', '_blank', 'popup,width=1280,height=800')");
    const page = await opened;
    page.setDefaultTimeout(20_000);
    this.listen(page);
    return page;
  }

  private listen(page: Page): void {
    page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') appendTail(this.messages, message.text());
    });
    page.on('pageerror', (error) => appendTail(this.messages, String(error)));
    page.on('crash', () => appendTail(this.messages, 'the page crashed'));
  }

  static async start(options: BrowserOptions): Promise<Browser> {
    const context = await loadPlaywright().chromium.launchPersistentContext(options.folder, {
      executablePath: chromium()!,
      headless: true,
      args: flags,
      env: options.env,
      viewport: options.size ?? { width: 1280, height: 800 },
      deviceScaleFactor: options.scale ?? 1,
    });
    // Local network: a page that a test has changed on its way no longer counts as one from this machine (see mocha.ts).
    await context.grantPermissions(['clipboard-read', 'clipboard-write', 'local-network-access']);
    const page = context.pages()[0] ?? (await context.newPage());
    page.setDefaultTimeout(20_000);
    return new Browser(context, page);
  }

  /** Asks for it; a browser that hangs is killed with the rest. */
  async close(): Promise<void> {
    await Promise.race([this.context.close().catch(() => {}), delay(5000, undefined, { ref: false })]);
  }
}

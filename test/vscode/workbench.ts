// What a person sees of a window outside of trees and terminals: notifications, dialogs, the status bar.

import type { Locator, Page } from './playwright.ts';
import { command } from './quick-input.ts';
import { waitFor } from './waiting.ts';

export async function waitUntilReady(page: Page): Promise<void> {
  // Marks that VS Code sets itself: the parts are laid out, and every extension's contributions are known.
  const marks = ['code/didStartWorkbench', 'code/didLoadExtensions'];
  await page.waitForFunction(
    `${JSON.stringify(marks)}.every(mark => performance.getEntriesByName(mark).length > 0)`,
    undefined,
    { timeout: 60_000 },
  );
  // And the settings are read, of which the theme is the last to show.
  await page.locator('.monaco-workbench[class*="vscode-theme-"]').waitFor();
}

export async function openContainer(page: Page, title: string): Promise<void> {
  const item = page.locator(`.part.activitybar .action-item:has(> .action-label[aria-label^="${title}"])`).first();
  await item.waitFor();
  // A click on the one that is shown would hide it.
  if (/\bchecked\b/.test((await item.getAttribute('class')) ?? '')) return;
  await item.locator('.action-label').click();
  await page
    .locator('.part.sidebar .composite.title')
    .filter({ hasText: new RegExp(literally(title), 'i') })
    .waitFor();
}

export interface Box {
  text: string;
  buttons: string[];
  click(button: string): Promise<void>;
  close(): Promise<void>;
}

/** In a toast. One that is gone, or that VS Code held back because several came at once, is read in the centre. */
export async function notification(page: Page, text: RegExp, timeout = 20_000): Promise<Box> {
  const items = page.locator('.notifications-toasts, .notifications-center').locator('.notification-list-item');
  const wanted = items.filter({ hasText: text, visible: true }).first();
  const end = Date.now() + timeout;
  for (;;) {
    const shown = await wanted.waitFor({ timeout: Math.min(2500, timeout) }).then(
      () => true,
      () => false,
    );
    if (shown) break;
    if (Date.now() > end) throw new Error(`no notification ${text} in ${timeout / 1000} s`);
    // Its toast is gone on a slow machine, or there was none: the centre has it in any case. Where something else takes the focus
    // meanwhile, which closes the palette, it is perhaps just coming.
    await command(page, 'notifications.showList', 5000).catch(() => undefined);
  }
  return box(page, wanted, '.notification-list-item-message', '[aria-label^="Clear Notification"]');
}

export async function dialog(page: Page, text: RegExp, timeout = 20_000): Promise<Box> {
  const modal = page.locator('.monaco-dialog-box').filter({ hasText: text }).first();
  await modal.waitFor({ timeout });
  return box(page, modal, '.dialog-message-container', '.codicon-dialog-close');
}

async function box(page: Page, place: Locator, message: string, close: string): Promise<Box> {
  const buttons = place.locator('.monaco-button');
  const text = ((await place.locator(message).first().textContent()) ?? '').trim();
  const gone = () => waitFor(async () => !(await place.isVisible()), 5000);
  return {
    text,
    buttons: (await buttons.allInnerTexts()).map((label) => label.trim()),
    click: async (label) => {
      await place.getByRole('button', { name: label, exact: true }).click();
      await gone();
    },
    close: async () => {
      await place.hover();
      await place.locator(close).first().click();
      await gone();
      await page.mouse.move(0, 0);
    },
  };
}

export async function statusBar(page: Page, text: RegExp, timeout = 20_000): Promise<string> {
  const entry = page.locator('.part.statusbar .statusbar-item').filter({ hasText: text }).first();
  await entry.waitFor({ timeout });
  return ((await entry.textContent()) ?? '').trim();
}

function literally(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}

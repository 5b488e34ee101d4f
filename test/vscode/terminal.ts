// The active terminal. Its text comes from xterm's buffer, which holds scrollback and joins wrapped lines, not from
// what is drawn.

import type { Page } from './playwright.ts';
import { waitFor } from './waiting.ts';

const active = '.terminal-wrapper.active';

const readBuffer = `(() => {
  const wrapper = [...document.querySelectorAll('${active}')].find(one => one.xterm && one.offsetParent !== null);
  if (!wrapper) return undefined;
  const buffer = wrapper.xterm.buffer.active;
  let text = '';
  for (let i = 0; i < buffer.length; i++) {
    const line = buffer.getLine(i);
    const wraps = buffer.getLine(i + 1)?.isWrapped;
    text += line.translateToString(!wraps) + (wraps ? '' : '\\n');
  }
  return text.trimEnd();
})()`;

export async function text(page: Page, until: RegExp = /(?:)/, timeout = 20_000): Promise<string> {
  let last: string | undefined;
  await waitFor(async () => {
    last = await page.evaluate<string | undefined>(readBuffer);
    return last !== undefined && until.test(last);
  }, timeout).catch(() => {
    throw new Error(last === undefined ? 'no terminal is shown' : `${until} did not come. There was:\n${last}`);
  });
  return last!;
}

/** Makes a terminal by `make`, and waits until it is the active one and takes keys. */
export async function made(page: Page, make: () => Promise<void>): Promise<void> {
  await page.evaluate("document.querySelectorAll('.terminal-wrapper').forEach(one => { one.wasThere = true })");
  await make();
  await waitFor(() =>
    page.evaluate<boolean>(
      `[...document.querySelectorAll('${active}')].some(one => !one.wasThere && one.xterm && one.contains(document.activeElement))`,
    ),
  );
}

export async function type(page: Page, keys: string): Promise<void> {
  const terminal = page.locator(`${active} .xterm`).filter({ visible: true }).first();
  await terminal.waitFor();
  await terminal.locator('.xterm-helper-textarea').focus();
  for (const [index, line] of keys.split('\n').entries()) {
    if (index > 0) await page.keyboard.press('Enter');
    await page.keyboard.type(line);
  }
}

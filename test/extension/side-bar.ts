import type { Editor } from '../vscode/harness.ts';
import { waitFor } from '../vscode/waiting.ts';

/** Rows of the side bar that move while one reaches for them, and buttons whose names end with the key that does the same. */
export function sideBar(editor: () => Editor) {
  const page = () => editor().page;
  const row = (text: string | RegExp) =>
    page()
      .locator('.part.sidebar .monaco-list-row')
      .filter({ has: page().locator('.label-name').getByText(text, { exact: true }) })
      .first();
  /** A hover would lie over the rows below. */
  const away = async () => {
    await page().mouse.move(0, 0);
    const none = async () => (await page().locator('.monaco-hover:visible').count()) === 0;
    await waitFor(none, 2_000).catch(() => page().keyboard.press('Escape'));
  };
  return {
    row,
    away,
    inline: async (text: string | RegExp, action: string) => {
      const button = row(text).locator(`.action-label[aria-label^="${action}"]`);
      await waitFor(async () => {
        await away();
        try {
          await row(text).hover({ timeout: 2_000 });
          await button.click({ timeout: 1_000 });
          return true;
        } catch {
          return false;
        }
      });
      await away();
    },
    menu: async (text: string | RegExp, entry: string) => {
      await away();
      await row(text).click({ button: 'right' });
      const item = page().locator('.monaco-menu .action-label').getByText(entry, { exact: true });
      await item.waitFor();
      // A menu ignores clicks for a moment after it opened.
      await waitFor(async () => {
        await item.click({ timeout: 1_000 }).catch(() => {});
        return !(await item.isVisible());
      });
    },
  };
}

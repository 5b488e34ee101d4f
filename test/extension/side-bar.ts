import type { TreeRow } from '../vscode/harness.ts';
import { waitFor } from '../vscode/waiting.ts';
import type { Window } from '../vscode/window.ts';

/** Rows of the side bar that move while one reaches for them, and buttons whose names end with the key that does the same. */
export function sideBar(editor: () => Window) {
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
  /** A row that its view's edge cuts is scrolled to: its buttons could not be clicked. */
  const whole = async (text: string | RegExp) => {
    const box = await row(text).boundingBox({ timeout: 2_000 });
    const view = await row(text).locator('xpath=ancestor::*[contains(@class, "monaco-list ")][1]').boundingBox();
    if (!box || !view) return;
    const below = box.y + box.height - (view.y + view.height);
    const above = view.y - box.y;
    if (below <= 0 && above <= 0) return;
    await page().mouse.move(view.x + view.width / 2, view.y + view.height / 2);
    await page().mouse.wheel(0, below > 0 ? 2 * box.height : -2 * box.height);
  };
  return {
    row,
    away,
    timeline: (until?: (rows: TreeRow[]) => boolean) => editor().treeRows('Checkpoint timeline', until),
    sandboxes: (until?: (rows: TreeRow[]) => boolean) => editor().treeRows('Sandboxes', until),
    inline: async (text: string | RegExp, action: string) => {
      const button = row(text).locator(`.action-label[aria-label^="${action}"]`);
      let last = '';
      await waitFor(async () => {
        await away();
        try {
          await whole(text);
          await row(text).hover({ timeout: 2_000 });
          await button.click({ timeout: 1_000 });
          return true;
        } catch (error) {
          last = String(error);
          return false;
        }
      }).catch(async (error) => {
        const picture = await editor().screenshot(`../failures/inline-${process.pid}-${Date.now()}`);
        throw new Error(`${action} of ${text}: ${error.message}; ${last}\n\nThe window then: ${picture}`);
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

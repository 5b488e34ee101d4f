// Views with a tree. VS Code draws only the rows in sight, so reading or finding one may mean scrolling.

import type { Locator, Page } from './playwright.ts';
import { waitFor } from './waiting.ts';

export interface TreeRow {
  label: string;
  description: string;
  /** From 1. */
  level: number;
  /** Undefined where there are no children. */
  expanded?: boolean;
  selected: boolean;
  /** What a screen reader says. */
  ariaLabel: string;
  /** The name of the codicon. */
  icon?: string;
}

interface RowInSight {
  row: TreeRow;
  /** Of the element, while it shows this row. */
  id: string;
  index: number;
  last: boolean;
}

/** A view's pane, opened if it is collapsed. */
async function openView(page: Page, title: string): Promise<Locator> {
  const quoted = [title, `${title} Section`].map((name) => `[aria-label=${JSON.stringify(name)}]`);
  // A view's description follows its title there.
  const labels = [...quoted, `[aria-label^=${JSON.stringify(`${title} - `)}]`];
  const pane = page.locator(labels.map((label) => `.pane:has(> .pane-header${label})`).join(', ')).first();
  await pane.waitFor();
  const header = pane.locator('> .pane-header');
  // A view alone in its container has no header to click, and is always open.
  if ((await header.isVisible()) && (await header.getAttribute('aria-expanded')) === 'false') await header.click();
  return pane;
}

async function inSight(pane: Locator): Promise<RowInSight[]> {
  const found: RowInSight[] = await pane.locator('.monaco-list-row').evaluateAll((rows) =>
    rows.map((row) => {
      const expanded = row.getAttribute('aria-expanded');
      const icon = row.querySelector('.custom-view-tree-node-item-icon');
      const name = icon ? /codicon-([\w-]+)/.exec(icon.className)?.[1] : undefined;
      return {
        id: row.id,
        index: Number(row.getAttribute('data-index')),
        last: row.getAttribute('data-last-element') === 'true',
        row: {
          label: row.querySelector('.label-name')?.textContent ?? '',
          description: row.querySelector('.label-description')?.textContent ?? '',
          level: Number(row.getAttribute('aria-level') ?? 1),
          selected: row.classList.contains('selected'),
          ariaLabel: row.getAttribute('aria-label') ?? '',
          ...(expanded ? { expanded: expanded === 'true' } : {}),
          ...(name ? { icon: name } : {}),
        },
      };
    }),
  );
  return found.sort((a, b) => a.index - b.index);
}

const starts = (rows: RowInSight[]) => rows.length === 0 || rows[0]?.index === 0;
const ends = (rows: RowInSight[]) => rows.length === 0 || rows.some((one) => one.last);

/**
 * Shows the rows to `visit`, from the first to the last, until it wants no more. Scrolls only where it has to, and by
 * keys: they move the focus, which does nothing else, while VS Code takes any turn of a wheel for two rows.
 */
async function scan(page: Page, pane: Locator, visit: (rows: RowInSight[]) => boolean): Promise<void> {
  let rows = await inSight(pane);
  if (starts(rows) && ends(rows)) {
    visit(rows);
    return;
  }
  const scroll = async (key: string, until: (rows: RowInSight[]) => boolean) => {
    await pane.locator('.monaco-list').first().focus();
    await waitFor(async () => {
      await page.keyboard.press(key);
      const moved = async () => {
        rows = await inSight(pane);
        return until(rows);
      };
      // The first PageDown moves only the focus, to the last row in sight.
      return waitFor(moved, 200).catch(() => false);
    }, 5000);
  };
  if (!starts(rows)) await scroll('Home', starts);
  for (;;) {
    const lastSeen = rows.at(-1)?.index ?? 0;
    if (visit(rows)) return;
    if (ends(rows)) return scroll('Home', starts);
    await scroll('PageDown', (now) => (now.at(-1)?.index ?? 0) > lastSeen);
  }
}

export async function treeRows(
  page: Page,
  title: string,
  until: (rows: TreeRow[]) => boolean = () => true,
): Promise<TreeRow[]> {
  const pane = await openView(page, title);
  let rows: TreeRow[] = [];
  await waitFor(async () => {
    const seen = new Map<number, TreeRow>();
    await scan(page, pane, (found) => {
      for (const one of found) seen.set(one.index, one.row);
      return false;
    });
    rows = [...seen].sort(([a], [b]) => a - b).map(([, row]) => row);
    return until(rows);
  }).catch((error) => {
    throw new Error(`${error.message}; the rows were: ${names(rows)}`);
  });
  return rows;
}

const names = (rows: TreeRow[]) => rows.map((row) => `${row.label} ${row.description}`.trim()).join(' | ') || 'none';

/** The row whose label is this text, or whose label and description fit the pattern: brought into sight. */
async function findRow(page: Page, text: string | RegExp, title?: string): Promise<Locator> {
  const fits = (row: TreeRow) =>
    typeof text === 'string' ? row.label === text : text.test(`${row.label} ${row.description}`.trim());
  const seen = new Map<string, TreeRow>();
  return waitFor(async () => {
    const open = title ? [await openView(page, title)] : await page.locator('.part.sidebar .pane.expanded').all();
    for (const pane of open) {
      let id: string | undefined;
      await scan(page, pane, (rows) => {
        for (const one of rows) seen.set(one.id, one.row);
        id = rows.find((one) => fits(one.row))?.id;
        return id !== undefined;
      });
      if (id) return pane.locator(`[id="${id}"]`);
    }
    return undefined;
  }).catch((error) => {
    throw new Error(`No row ${text}: ${error.message}. Seen: ${names([...seen.values()])}`);
  });
}

export async function clickTreeItem(page: Page, text: string | RegExp, title?: string): Promise<void> {
  const row = await findRow(page, text, title);
  await row.locator('.monaco-tl-contents').click();
}

export async function clickInlineAction(
  page: Page,
  text: string | RegExp,
  action: string,
  title?: string,
): Promise<void> {
  const row = await findRow(page, text, title);
  await row.hover(); // which shows them
  await row.locator(`.action-label[aria-label=${JSON.stringify(action)}]`).click();
  await page.mouse.move(0, 0);
}

export async function chooseInContextMenu(
  page: Page,
  text: string | RegExp,
  entry: string,
  title?: string,
): Promise<void> {
  const row = await findRow(page, text, title);
  await row.locator('.monaco-tl-contents').click({ button: 'right' });
  const menu = page.locator('.context-view .monaco-menu');
  const item = menu.getByRole('menuitem', { name: entry, exact: true });
  await item.waitFor();
  // A menu ignores clicks for a moment after it opened, so that the one that opened it chooses nothing.
  await waitFor(async () => {
    await item.click({ timeout: 1000 }).catch(() => {});
    return waitFor(async () => !(await item.isVisible()), 300).catch(() => false);
  });
}

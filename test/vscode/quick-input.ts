// The quick input: the command palette, lists to choose from, boxes to answer in.

import type { Locator, Page } from './playwright.ts';
import { waitFor } from './waiting.ts';

const quickInput = '.quick-input-widget:not([style*="display: none"])';

/** Rows of a list as text, with the id of a command where there is one. */
async function quickRows(page: Page): Promise<{ id: string; label: string }[]> {
  return page.locator(`${quickInput} .quick-input-list .monaco-list-row`).evaluateAll((rows) =>
    rows.map((row) => ({
      id: row.querySelector('[data-quick-input-id]')?.getAttribute('data-quick-input-id') ?? '',
      label: row.querySelector('.label-name')?.textContent.trim() ?? '',
    })),
  );
}

async function closeQuickInput(page: Page): Promise<void> {
  for (let i = 0; i < 3 && (await page.locator(quickInput).isVisible()); i++) await page.keyboard.press('Escape');
}

async function quickOpen(page: Page, text: string): Promise<void> {
  const input = page.locator(`${quickInput} input.input`);
  let tries = 0;
  await waitFor(async () => {
    await closeQuickInput(page);
    // A key that comes while the focus moves (a toast or a terminal that closes) is lost: a click on the command centre is not.
    if (++tries % 2 > 0) await page.keyboard.press(text.startsWith('>') ? 'F1' : 'Control+P');
    else
      await page
        .locator('.command-center .action-item')
        .last()
        .click({ timeout: 2000 })
        .catch(() => undefined);
    // It closes again when something else takes the focus just then.
    return input.fill(text, { timeout: 2000 }).then(
      () => true,
      () => false,
    );
  }).catch((error: Error) => {
    throw new Error(`the quick input did not open (${tries} tries): ${error.message}`);
  });
}

export async function command(page: Page, titleOrId: string, timeout = 20_000): Promise<void> {
  for (let tries = 3; ; tries--) {
    const row = await findCommand(page, titleOrId, timeout);
    const clicked = await row.click({ timeout: tries > 1 ? 3_000 : timeout }).catch((error) => error);
    // The palette closes by itself when something else takes the focus, as a debugger that stops does.
    if (!clicked) return;
    if (tries === 1) throw clicked;
  }
}

async function findCommand(page: Page, titleOrId: string, timeout: number): Promise<Locator> {
  const fits = (row: { id: string; label: string }) =>
    row.id === titleOrId || row.label === titleOrId || row.label.replace(/^[^:]+: /, '') === titleOrId;
  let rows: { id: string; label: string }[] = [];
  let opened = 0;
  try {
    // A command may be contributed, or allowed by its `when`, only in a moment; an open palette does not notice.
    await waitFor(async () => {
      await quickOpen(page, `>${titleOrId}`);
      opened++;
      const found = async () => {
        rows = await quickRows(page);
        return rows.some(fits);
      };
      // Its first list takes seconds on a busy machine, and each opening begins that anew. It closes when the focus goes elsewhere.
      const closed = async () => !(await page.locator(quickInput).isVisible());
      await waitFor(async () => (await found()) || rows.length > 0 || closed(), 8000).catch(() => false);
      return waitFor(async () => (await found()) || ((await closed()) ? 'closed' : undefined), 1500).then(
        (how) => how === true,
        () => false,
      );
    }, timeout);
  } catch (error) {
    const seen = rows.slice(0, 8).map((row) => `${row.label} (${row.id})`);
    await closeQuickInput(page);
    const showed = `Opened ${opened} times, it showed: ${seen.join(', ') || 'nothing'}`;
    throw new Error(`No command “${titleOrId}” in the palette (${(error as Error).message}). ${showed}`);
  }
  const exact = rows.findIndex((row) => row.id === titleOrId || row.label === titleOrId);
  const index = exact >= 0 ? exact : rows.findIndex(fits);
  return page.locator(`${quickInput} .quick-input-list .monaco-list-row`).nth(index);
}

export async function pick(page: Page, label: string | RegExp): Promise<void> {
  const fits = (text: string) => (typeof label === 'string' ? text === label : label.test(text));
  let rows: { label: string }[] = [];
  const index = await waitFor(async () => {
    rows = await quickRows(page);
    const at = rows.findIndex((row) => fits(row.label));
    return at >= 0 ? { at } : undefined;
  }, 20_000).catch(() => {
    throw new Error(`No choice ${label}. There were: ${rows.map((row) => row.label).join(', ') || 'none'}`);
  });
  await page.locator(`${quickInput} .quick-input-list .monaco-list-row`).nth(index.at).click();
}

export async function answer(page: Page, text: string): Promise<void> {
  const input = page.locator(`${quickInput} input.input`);
  await input.waitFor();
  await input.fill(text);
  await input.press('Enter');
}

/** Opens a terminal of this profile and shows it, which VS Code alone does only if the panel is open already. */
export async function openTerminal(page: Page, profile: string | RegExp): Promise<void> {
  const fits = (label: string) => (typeof profile === 'string' ? label === profile : profile.test(label));
  const terminals = async () => {
    await quickOpen(page, 'term ');
    const offered = await waitFor(async () => {
      const rows = await quickRows(page);
      return rows.some((row) => /Create New Terminal/.test(row.label)) ? rows : undefined;
    });
    return offered.findIndex((row) => /Create New Terminal/.test(row.label));
  };
  const before = await terminals();
  // Contributed profiles are known some seconds late, and an open list does not notice.
  await waitFor(async () => {
    await command(page, 'workbench.action.terminal.newWithProfile');
    return waitFor(async () => (await quickRows(page)).some((row) => fits(row.label)), 1500).catch(() => false);
  });
  await pick(page, profile);
  await waitFor(async () => (await terminals()) > before);
  await page.locator(`${quickInput} .quick-input-list .monaco-list-row`).nth(before).click();
}

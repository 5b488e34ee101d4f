/** The same in a real VS Code: what a person does with a folder when sandboxes live in a machine. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SETTINGS } from '../../src/ids.ts';
import { sideBar } from '../extension/side-bar.ts';
import { type Editor, startEditor } from '../vscode/harness.ts';
import { settings, standIn } from './world.ts';

/** Emulated, and on a machine that does other things as well. */
const PATIENCE_MS = 4 * 60_000;

/**
 * Sets up (a machine that is there is found), makes a sandbox, wrecks it, goes back, applies.
 * @param home where the stand-in's machines are; its `vms`
 */
export async function journey(home: string, extension: string): Promise<void> {
  const folder = join(home, 'projects', 'shop');
  mkdirSync(join(folder, 'node_modules'), { recursive: true });
  writeFileSync(join(folder, 'price.txt'), '1 €\r\n');
  // Settings of the machine's own are read from here only, and one of them decides when the extension starts.
  const userDataDir = join(home, 'editor');
  rmSync(userDataDir, { recursive: true, force: true });
  mkdirSync(join(userDataDir, 'Machine'), { recursive: true });
  const own = { [SETTINGS.place]: 'machine', [SETTINGS.multipassPath]: standIn, [SETTINGS.machineName]: settings.name };
  writeFileSync(join(userDataDir, 'Machine/settings.json'), JSON.stringify(own));
  const editor = await startEditor({
    userDataDir,
    workspaceFolder: folder,
    developmentPath: extension,
    env: { TELEPORT_ENV_VM_HOME: join(home, 'vms'), XDG_STATE_HOME: join(home, 'state') },
    size: { width: 1360, height: 860 },
  });
  try {
    await inside(editor, folder);
  } catch (error) {
    await editor.screenshot('vm-failed');
    for (const [name, text] of await editor.logs()) if (/Teleport Env/.test(name)) console.error(text.slice(-6_000));
    throw error;
  } finally {
    await editor.close();
  }
}

async function inside(editor: Editor, folder: string): Promise<void> {
  const { inline, away } = sideBar(() => editor);
  const rows = (view: string, until: (labels: string) => boolean) =>
    eventually(() =>
      editor.treeRows(view, (all) => until(all.map((one) => `${one.label} ${one.description}`).join('\n'))),
    );
  const step = async (line: string) => {
    await editor.typeInTerminal(`${line}\n`);
    await rows('Checkpoint timeline', (all) => new RegExp(`^${escaped(line.slice(0, 20))}.*current`, 'm').test(all));
  };

  await editor.openContainer('Teleport Env');
  await editor.command('teleportEnv.setUpMachine');
  // Ends with the doctor run inside.
  await editor.page
    .locator('.quick-input-widget')
    .getByText('Doctor: what sandboxes need here')
    .waitFor({ timeout: PATIENCE_MS });
  await editor.screenshot('vm-doctor');
  await editor.page.keyboard.press('Escape');
  await editor.command('teleportEnv.createSandbox');
  await rows('Sandboxes', (all) => /^shop running/m.test(all));
  await editor.command('teleportEnv.openTerminal');
  await editor.terminalText(/[#$] ?$/, PATIENCE_MS);
  await step('uname -s; ls; echo 2 >>price.txt');
  const text = await editor.terminalText(/Linux\s+price\.txt/, PATIENCE_MS);
  assert.doesNotMatch(text, /node_modules/);
  await step('rm -rf /workspaces/shop/*');
  await away();
  await inline(/^uname -s; ls/, 'Roll back');
  await (await editor.notification(/Back at “uname/, PATIENCE_MS)).close();
  await editor.screenshot('vm-rolled-back');
  await editor.typeInTerminal('wc -l </workspaces/shop/price.txt\n');
  await editor.terminalText(/^2$/m, PATIENCE_MS);
  await editor.command('teleportEnv.apply');
  await editor.page.locator('.quick-input-list').getByText('price.txt').first().waitFor({ timeout: PATIENCE_MS });
  await editor.page.keyboard.press('Enter');
  await (await editor.notification(/1 file applied/, PATIENCE_MS)).close();
  assert.equal(readFileSync(join(folder, 'price.txt'), 'utf8'), '1 €\r\n2\n');
  assert.ok(existsSync(join(folder, 'node_modules')));
  rmSync(join(folder, 'node_modules'), { recursive: true });
}

const escaped = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

/** What waits for its own short while, for as long as emulation takes. */
async function eventually<T>(look: () => Promise<T>): Promise<T> {
  for (const until = Date.now() + PATIENCE_MS; ; ) {
    try {
      return await look();
    } catch (error) {
      if (Date.now() > until) throw error;
    }
  }
}

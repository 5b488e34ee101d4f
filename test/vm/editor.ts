/** The same in a real VS Code: what a person does with a folder when sandboxes live in a machine. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SETTINGS } from '../../src/ids.ts';
import { sideBar } from '../extension/side-bar.ts';
import { type Editor, startEditor } from '../vscode/harness.ts';
import { settings } from './world.ts';

/** Emulated, and on a machine that does other things as well. */
const PATIENCE_MS = 9 * 60_000;
const SANDBOXES = 'Sandboxes';
const TIMELINE = 'Checkpoint timeline';
const MACHINE = 'Linux machine';

export class Journey {
  readonly #page;
  readonly #bar;

  constructor(
    readonly editor: Editor,
    readonly folder: string,
  ) {
    this.#page = editor.page;
    this.#bar = sideBar(() => editor);
  }

  /** A window on `projects/shop`, whose sandboxes are to live in a machine. */
  static async start(home: string, standIn: string, extension: string): Promise<Journey> {
    const folder = join(home, 'projects', 'shop');
    if (!existsSync(folder)) {
      mkdirSync(join(folder, 'node_modules'), { recursive: true });
      writeFileSync(join(folder, 'price.txt'), '1 €\r\n');
    }
    // Settings of the machine's own are read from here only, and one of them decides when the extension starts.
    const userDataDir = userData(home);
    mkdirSync(join(userDataDir, 'Machine'), { recursive: true });
    const { name, cpus, memory, disk } = settings;
    const own = {
      [SETTINGS.place]: 'machine',
      [SETTINGS.multipassPath]: standIn,
      [SETTINGS.machineName]: name,
      [SETTINGS.machineCpus]: cpus,
      [SETTINGS.machineMemory]: memory,
      [SETTINGS.machineDisk]: disk,
    };
    writeFileSync(join(userDataDir, 'Machine/settings.json'), JSON.stringify(own));
    const editor = await startEditor({
      userDataDir,
      workspaceFolder: folder,
      developmentPath: extension,
      env: { TELEPORT_ENV_VM_HOME: join(home, 'vms'), XDG_STATE_HOME: join(home, 'state') },
      size: { width: 1360, height: 860 },
    });
    await editor.openContainer('Teleport Env');
    return new Journey(editor, folder);
  }

  /**
   * By the button that an empty view has; where there is a machine already, by the command.
   * @returns what the progress said, in order
   */
  async setUp(anew: boolean): Promise<string[]> {
    if (anew) await this.#button('Set up Linux machine').click();
    else await this.editor.command('teleportEnv.setUpMachine');
    const said = new Set<string>();
    const doctor = this.#page.locator('.quick-input-widget').getByText('Doctor: what sandboxes need here');
    const toasts = this.#page.locator('.notification-list-item-message');
    for (const until = Date.now() + PATIENCE_MS; !(await doctor.isVisible()); await sleep(200)) {
      for (const text of await toasts.allInnerTexts()) said.add(text);
      if (Date.now() > until) throw new Error(`no machine within ${PATIENCE_MS / 60_000} minutes`);
    }
    await this.editor.screenshot('vm-doctor');
    await this.#page.keyboard.press('Escape');
    return [...said];
  }

  /** Sandbox, terminal, checkpoint, destruction, rollback, apply. */
  async wreckAndComeBack(): Promise<void> {
    const { editor, folder } = this;
    await editor.command('teleportEnv.createSandbox');
    await this.rows(SANDBOXES, /^shop running/m);
    await editor.newTerminal('teleportEnv.openTerminal');
    await editor.terminalText(/[#$] ?$/, PATIENCE_MS);
    await this.#step('uname -s; ls; echo 2 >>price.txt');
    const text = await editor.terminalText(/Linux\s+price\.txt/, PATIENCE_MS);
    assert.doesNotMatch(text, /node_modules/);
    await this.#step('rm -rf /workspaces/shop/*');
    await this.#bar.away();
    await this.#bar.inline(/^uname -s; ls/, 'Roll back');
    await (await editor.notification(/Back at “uname/, PATIENCE_MS)).close();
    await editor.screenshot('vm-rolled-back');
    await editor.typeInTerminal('wc -l </workspaces/shop/price.txt\n');
    await editor.terminalText(/^2$/m, PATIENCE_MS);
    await editor.command('teleportEnv.apply');
    await this.#page.locator('.quick-input-list').getByText('price.txt').first().waitFor({ timeout: PATIENCE_MS });
    await this.#page.keyboard.press('Enter');
    await (await editor.notification(/1 file applied/, PATIENCE_MS)).close();
    assert.equal(readFileSync(join(folder, 'price.txt'), 'utf8'), '1 €\r\n2\n');
    assert.ok(existsSync(join(folder, 'node_modules')));
  }

  /** As a person who comes back to the window. */
  async lookAgain(): Promise<void> {
    await this.editor.openContainer('Explorer');
    await this.editor.openContainer('Teleport Env');
    await this.connected();
  }

  /** What is in the machine is shown. */
  connected(): Promise<void> {
    return this.rows(SANDBOXES, /^shop (running|stopped)/m);
  }

  async stop(): Promise<void> {
    await this.#bar.inline(settings.name, 'Stop Linux machine');
    await this.rows(MACHINE, /stopped/);
  }

  async start(): Promise<void> {
    await this.#bar.inline(settings.name, 'Start Linux machine');
    await this.rows(MACHINE, /running/);
    await this.connected();
  }

  /** Rows whose labels and descriptions, a line each, are like that. */
  async rows(view: string, like: RegExp): Promise<void> {
    await eventually(() =>
      this.editor.treeRows(view, (all) => like.test(all.map((one) => `${one.label} ${one.description}`).join('\n'))),
    );
  }

  async #step(line: string): Promise<void> {
    await this.editor.typeInTerminal(`${line}\n`);
    await this.rows(TIMELINE, new RegExp(`^${escaped(line.slice(0, 20))}.*current`, 'm'));
  }

  #button(text: string) {
    return this.#page.locator('.welcome-view-content').getByText(text, { exact: true }).first();
  }
}

export const userData = (home: string) => join(home, 'editor');
/** Where VS Code keeps what an extension stores for all folders. */
export const storageOf = (home: string) => join(userData(home), 'User/globalStorage/teleport-env.teleport-env/machine');

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

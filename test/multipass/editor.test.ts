/**
 * What a person sees and does with the machine, in a real VS Code: a multipass that misbehaves where it is told to, and a
 * helper made of answers inside. Whether a real machine works is test/vm's.
 */
import assert from 'node:assert/strict';
import { chmodSync, cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SETTINGS } from '../../src/ids.ts';
import { makeFakeHelper } from '../extension/fake-helper-build.ts';
import { sideBar } from '../extension/side-bar.ts';
import { stageExtension } from '../extension/stage.ts';
import { type Editor, startEditor } from '../vscode/harness.ts';
import { isSetUp, repository } from '../vscode/paths.ts';
import { waitFor } from '../vscode/waiting.ts';
import { FakeWorld, OTHERS } from './fake-world.ts';

const MACHINE = 'Linux machine';
const SANDBOXES = 'Sandboxes';
/** As the real one says what it is at; it installs nothing on this machine. */
const PROVISION = `PROVISION=1
echo '@@ 1 2 Looking for what is missing'
echo '@@ 2 2 Installing the helper'
echo "1 VERSION $TELEPORT_ENV_PAYLOAD" >"$HOME/guest/etc/teleport-env/provisioned"
`;

describe('the machine in VS Code', function () {
  this.timeout(120_000);
  let fake: FakeWorld;
  let editor: Editor;
  let folder: string;
  const { inline, menu, away } = sideBar(() => editor);

  const fault = (...names: string[]) =>
    fake.change((s) => ({ ...s, faults: Object.fromEntries(names.map((name) => [name, true])) }));
  const button = (text: string) =>
    editor.page.locator('.welcome-view-content').getByText(text, { exact: true }).first();
  const machineIs = (state: RegExp) => editor.treeRows(MACHINE, (rows) => state.test(rows[0]?.description ?? ''));
  const connected = () => editor.treeRows(SANDBOXES, (rows) => rows.some((row) => /running/.test(row.description)));
  const toast = (text: RegExp) => editor.page.locator('.notification-list-item').filter({ hasText: text }).first();

  before(async function () {
    if (!isSetUp()) return this.skip();
    fake = new FakeWorld({}, {}, 'linux');
    folder = join(fake.dir, 'api-server');
    mkdirSync(join(folder, '.vscode'), { recursive: true });
    writeFileSync(join(folder, 'config1.json'), '{\n  "api_version": "v1"\n}\n');
    const problemMatcher = {
      owner: 'checked',
      fileLocation: 'absolute',
      pattern: { regexp: '^(.*):(\\d+):(\\d+): (error): (.*)$', file: 1, line: 2, column: 3, severity: 4, message: 5 },
    };
    const line = 'echo /workspaces/api-server/config1.json:2:3: error: v1 is no more';
    const task = { type: 'teleport-env', label: 'check it', line, sandbox: 'api-server', problemMatcher };
    writeFileSync(join(folder, '.vscode/tasks.json'), JSON.stringify({ version: '2.0.0', tasks: [task] }));
    const helper = makeFakeHelper(fake.dir, 'sample', '/workspaces/api-server');
    fake.inside(
      'usr/local/bin/teleport-env',
      `#!/bin/sh\n[ "$1" = connect ] || exit 0\nexec '${process.execPath}' '${helper.path}'\n`,
    );
    const extension = stageExtension(fake.dir);
    const { version } = JSON.parse(readFileSync(join(extension, 'package.json'), 'utf8'));
    mkdirSync(join(extension, 'multipass'));
    writeFileSync(join(extension, 'multipass/provision.sh'), PROVISION.replace('VERSION', version));
    cpSync(join(repository, 'multipass/cloud-init.yaml'), join(extension, 'multipass/cloud-init.yaml'));
    chmodSync(join(fake.guest, 'usr/local/bin/teleport-env'), 0o755);
    // Read when the extension starts.
    const userDataDir = join(fake.dir, 'editor');
    mkdirSync(join(userDataDir, 'Machine'), { recursive: true });
    const own = { [SETTINGS.place]: 'machine', [SETTINGS.multipassPath]: join(fake.dir, 'none') };
    writeFileSync(join(userDataDir, 'Machine/settings.json'), JSON.stringify(own));
    // The sandbox is there already, so its folder has a place.
    const storage = join(userDataDir, 'User/globalStorage/teleport-env.teleport-env/machine');
    mkdirSync(storage, { recursive: true });
    writeFileSync(join(storage, 'machines.json'), JSON.stringify({ folders: { [folder]: 'api-server' } }));
    editor = await startEditor({
      userDataDir,
      workspaceFolder: folder,
      developmentPath: extension,
      env: { XDG_STATE_HOME: join(fake.dir, 'state') },
      size: { width: 1360, height: 860 },
    });
    await editor.openContainer('Teleport Env');
  });

  after(async () => {
    await editor?.close();
    fake?.dispose();
  });

  it('without Multipass: one button, which says how to get it', async () => {
    await button('Set up Linux machine').click();
    const said = await editor.notification(/Multipass is not installed\. Install it: sudo snap install multipass/);
    await editor.screenshot('machine-none');
    await said.close();
    // Found as soon as it is there.
    symlinkSync(fake.command, join(fake.dir, 'none'));
  });

  it('the walkthrough has it as a step', async () => {
    await editor.command('teleportEnv.openWalkthrough');
    await editor.page.getByText('Set up a Linux machine', { exact: true }).first().click();
    await editor.page
      .locator('.gettingStartedContainer')
      .getByText('Set up Linux machine', { exact: true })
      .first()
      .waitFor();
    await editor.screenshot('machine-walkthrough');
    await editor.command('workbench.action.closeAllEditors');
  });

  it('its daemon is down: that and what starts it', async () => {
    fault('daemonDown');
    await button('Set up Linux machine').click();
    await (await editor.notification(/daemon does not answer\. Start it: sudo snap restart multipass/)).close();
    fault('noDisk');
    await button('Set up Linux machine').click();
    await (await editor.notification(/The disk has 1\.1 GB left, and the machine’s image takes 3\.8 GB/)).close();
  });

  it('the download is told in MB, and can be cancelled', async () => {
    fault('slowImage');
    await button('Set up Linux machine').click();
    const progress = toast(/Downloading Ubuntu 26\.04: 78 of about 650 MB/);
    await progress.waitFor();
    await editor.screenshot('machine-download');
    await toast(/Downloading/)
      .getByRole('button', { name: 'Cancel' })
      .click();
    await waitFor(async () => !(await toast(/Downloading/).isVisible()));
    assert.equal(fake.scenario.instances['teleport-env'], undefined);
  });

  it('set up: a machine, a helper in it, the doctor’s word, and sandboxes', async () => {
    // A Multipass from before the image that is the default, which nobody has chosen by a setting here.
    fake.change((s) => ({ ...s, faults: { unknownImage: '26.04' } }));
    await button('Set up Linux machine').click();
    await editor.page.locator('.quick-input-widget').getByText('Doctor: what sandboxes need here').waitFor();
    await editor.page.keyboard.press('Escape');
    await connected();
    assert.equal(fake.calls('launch').at(-1)?.[1], '24.04');
    await machineIs(/^running · 2\.0 of 19\.4 GB$/);
    await editor.screenshot('machine-running');
    assert.match(fake.scenario.cloudInit ?? '', /ssh-ed25519 \S+ teleport-env/);
  });

  it('a task’s problem is found in the file of this host', async () => {
    await editor.command('workbench.action.tasks.runTask');
    await editor.pick(/check it/);
    await editor.terminalText(new RegExp(`${folder}/config1\\.json:2:3: error: v1 is no more`));
    await editor.command('workbench.actions.view.problems');
    const problem = editor.page.locator('.markers-panel').getByText('v1 is no more').first();
    await problem.waitFor();
    await editor.screenshot('machine-problem');
    await problem.dblclick();
    await editor.page.locator('.tab.active').filter({ hasText: 'config1.json' }).waitFor();
    await editor.statusBar(/Ln 2, Col 3/);
  });

  it('a shell in it', async () => {
    await inline('teleport-env', 'Open shell in Linux machine');
    await editor.terminalText(/[#$] ?$/);
    await editor.typeInTerminal('echo $((40 + 2)) in the machine\n');
    await editor.terminalText(/42 in the machine/);
    await editor.typeInTerminal('exit\n');
  });

  for (const [action, state] of [
    ['Stop Linux machine', /^stopped/],
    ['Suspend Linux machine', /^suspended/],
  ] as const)
    it(`${action}: it rests until somebody wants it`, async () => {
      const starts = fake.calls('start').length;
      await inline('teleport-env', action);
      await machineIs(state);
      await editor.screenshot(`machine-${action.split(' ')[0]!.toLowerCase()}`);
      // Neither a lost connection nor somebody who looks.
      await editor.openContainer('Explorer');
      await editor.openContainer('Teleport Env');
      await sleep(1_500);
      assert.equal(fake.calls('start').length, starts);
      await inline('teleport-env', 'Start Linux machine');
      await connected();
      await machineIs(/^running/);
      assert.equal(fake.calls('start').length, starts + 1);
    });

  it('woken by somebody else, it is worked in again as soon as one looks', async () => {
    await inline('teleport-env', 'Suspend Linux machine');
    await machineIs(/^suspended/);
    const starts = fake.calls('start').length;
    fake.change((s) => ({
      ...s,
      instances: { ...s.instances, 'teleport-env': { state: 'Running', ipv4: ['192.168.64.9'] } },
    }));
    await editor.openContainer('Explorer');
    await editor.openContainer('Teleport Env');
    await connected();
    await machineIs(/^running/);
    assert.equal(fake.calls('start').length, starts);
  });

  it('gone from under us: said so, and set up anew', async () => {
    fake.change((s) => ({ ...s, instances: { ...OTHERS } }));
    await editor.command('teleportEnv.reconnect');
    await button('Set up Linux machine').click();
    await editor.page.locator('.quick-input-widget').getByText('Doctor: what sandboxes need here').waitFor();
    await editor.page.keyboard.press('Escape');
    await connected();
  });

  it('deleted after a question, alone', async () => {
    await away();
    await menu('teleport-env', 'Delete Linux machine…');
    const question = await editor.dialog(/Delete the machine teleport-env\?/);
    await editor.screenshot('machine-delete');
    await question.click('Delete');
    await button('Set up Linux machine').waitFor();
    assert.deepEqual(fake.scenario.instances, OTHERS);
    for (const call of fake.scenario.calls)
      assert.ok(!call.some((word) => word in OTHERS || word === '--all'), `named another: ${call.join(' ')}`);
  });
});

/**
 * Makes the README's pictures of a real session: a real VS Code (scripts/setup-vscode.sh), the real helper, real CRIU. Needs root.
 *
 *   npx tsx scripts/screenshots.ts
 *
 *   media/pictures/rollback.png    an animated PNG: everything deleted, a program killed, one click, all back
 *   media/pictures/*.png           what a step changed; apply with a conflict
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SETTINGS } from '../src/ids.ts';
import { HelperProcess } from '../test/daemon/helper-process.ts';
import { sideBar } from '../test/extension/side-bar.ts';
import { stageExtension } from '../test/extension/stage.ts';
import { startEditor } from '../test/vscode/harness.ts';
import { animated, type Frame } from './apng.ts';

const pictures = join(__dirname, '..', 'media', 'pictures');
const COUNTER =
  'import itertools, time; [(print(n, file=open("/tmp/n", "w")), time.sleep(0.1)) for n in itertools.count()]';

async function main(): Promise<void> {
  const place = mkdtempSync(join(tmpdir(), 'te-pictures-'));
  const folder = join(place, 'api-server');
  mkdirSync(join(folder, 'src'), { recursive: true });
  for (const name of ['config.json', 'package.json'])
    writeFileSync(join(folder, name), '{\n  "name": "api-server",\n  "api": "v1"\n}\n');
  writeFileSync(join(folder, 'src/server.js'), "const api = 'v1';\nrequire('./routes')(api);\n");
  const helper = await HelperProcess.start();
  const editor = await startEditor({
    workspaceFolder: folder,
    developmentPath: stageExtension(place),
    env: { TELEPORT_ENV_SOCKET: helper.socket, XDG_STATE_HOME: join(place, 'state') },
    settings: { [SETTINGS.helperStart]: false, 'workbench.editor.useModal': 'off', 'terminal.integrated.fontSize': 13 },
    size: { width: 1120, height: 640 },
  });
  const { row, away, inline, timeline } = sideBar(() => editor);
  const frames: Frame[] = [];
  const frame = async (seconds: number) =>
    void frames.push({ png: await editor.page.screenshot({ animations: 'disabled' }), seconds });
  const step = async (line: string) => {
    await editor.typeInTerminal(`${line}\n`);
    await timeline((rows) => rows[0]!.label.startsWith(line.slice(0, 20)) && /current/.test(rows[0]!.description));
    await away();
  };
  try {
    await editor.changeSettings({ [SETTINGS.helperStart]: false });
    await editor.openContainer('Teleport Env');
    await editor.command('teleportEnv.createSandbox');
    await timeline((rows) => rows.length === 1);
    await editor.newTerminal('teleportEnv.openTerminal');
    await editor.terminalText(/[#$] ?$/);
    await step("PS1='$ '; clear");
    await frame(1);
    await step(`python3 -c '${COUNTER}' &`);
    await step("sed -i 's/v1/v2/g' *.json src/*.js");
    await step('NAME=unchanged; ls; cat /tmp/n');
    await frame(2);
    await editor.typeInTerminal('rm -rf * ; kill -9 %1; unset NAME');
    await frame(1.5);
    await step('');
    await timeline((rows) => rows[0]!.label.startsWith('rm -rf'));
    await step('ls; echo "[$NAME]"; cat /tmp/n; cat /tmp/n');
    await frame(2.5);
    await row(/^NAME=unchanged/).hover();
    await frame(1.5);
    await inline(/^NAME=unchanged/, 'Roll back');
    const toast = await editor.notification(/Back at “NAME=unchanged/);
    await editor.terminalText(/— back at .* ms —/);
    await frame(3);
    await toast.close();
    await step('ls; echo "[$NAME]"; cat /tmp/n');
    await frame(3.5);
    writeFileSync(join(pictures, 'rollback.png'), animated(frames));

    await editor.command('workbench.action.closePanel');
    await row(/^sed -i/).click();
    await editor.page.locator('.multiDiffEntry').getByText('server.js').first().waitFor();
    await away();
    await editor.screenshot(join(pictures, 'changes.png'));
    writeFileSync(join(folder, 'config.json'), '{ "mine": true }\n');
    await editor.command('teleportEnv.apply');
    await editor.page.locator('.quick-input-list').getByText('changed in the workspace too').waitFor();
    await editor.screenshot(join(pictures, 'apply.png'));
  } finally {
    await editor.close();
    await helper.stop();
    rmSync(place, { recursive: true, force: true });
  }
}

mkdirSync(pictures, { recursive: true });
main().catch((error) => {
  console.error(error);
  process.exit(1);
});

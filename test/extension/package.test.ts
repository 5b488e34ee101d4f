/**
 * The package as it is published: made by the command that makes it, for both processors; what is in it; and installed in a real
 * VS Code, where it sets a machine up by the script that it brings.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { payloadOf } from '../../src/connection/multipass/payload.ts';
import { SETTINGS } from '../../src/ids.ts';
import { needsMachine } from '../daemon/helper-process.ts';
import { type Editor, startEditor } from '../vscode/harness.ts';
import { isSetUp, repository } from '../vscode/paths.ts';
import { waitFor } from '../vscode/waiting.ts';
import { makeFakeHelper } from './fake-helper-build.ts';

/** All that may be in it. */
const ALLOWED = [
  /^(\[Content_Types\]\.xml|extension\.vsixmanifest)$/,
  /^extension\/(package\.json|package\.nls(\.[\w-]+)?\.json|media\/l10n\/bundle\.l10n\.[\w-]+\.json|readme\.md|changelog\.md|LICENSE\.txt)$/,
  /^extension\/media\/(activity-bar\.svg|icon\.png|run-[\w-]+\.json|walkthrough\/[\w-]+(\.nls\.\w+)?\.md|(try-it|pictures)\/[\w-]+\.\w+)$/,
  /^extension\/dist\/([\w-]+\.(js|wasm)|package\.json|node_modules\/.+)$/,
  /^extension\/multipass\//,
  /^extension\/scripts\/([\w-]+\.sh|criu\/[\w-]+\.patch)$/,
  /^extension\/helper\/native\/[\w-]+\.[ch]$/,
  /^extension\/build\/criu(-aarch64)?\/(criu|KEY|LICENSE|SOURCE|patches\/[\w-]+\.patch)$/,
  /^extension\/build\/init\/teleport-init(-aarch64)?$/,
];
const NEEDED = [
  'dist/extension.js',
  'dist/teleport-env.js',
  'dist/node_modules/@koromix/koffi-linux-x64/package.json',
  'dist/node_modules/@koromix/koffi-linux-arm64/package.json',
  'scripts/setup-linux.sh',
  'media/icon.png',
  ...['criu', 'criu-aarch64'].flatMap((name) => ['criu', 'LICENSE', 'SOURCE'].map((file) => `build/${name}/${file}`)),
  'build/init/teleport-init',
  'build/init/teleport-init-aarch64',
];
/** Where an ELF header names the processor. */
const ELF_MACHINE = 18;
const AARCH64 = 183;

describe('the package', function () {
  this.timeout(600_000);
  const vsix = join(repository, 'build/teleport-env.vsix');
  const python = (script: string) => execFileSync('python3', ['-c', script, vsix], { maxBuffer: 1 << 26 });
  const read = (name: string) =>
    python(`import sys, zipfile; sys.stdout.buffer.write(zipfile.ZipFile(sys.argv[1]).read('extension/${name}'))`);
  let names: string[];

  before(function () {
    needsMachine(this);
    execFileSync(join(repository, 'scripts/package.sh'), { stdio: ['ignore', 'ignore', 'inherit'] });
    assert.ok(existsSync(vsix));
    names = String(python('import sys, zipfile; print("\\n".join(zipfile.ZipFile(sys.argv[1]).namelist()))'))
      .split('\n')
      .filter((name) => name && !name.endsWith('/'));
  });

  it('holds what is listed and nothing else, in 8 MB', () => {
    assert.deepEqual(
      names.filter((name) => !ALLOWED.some((allowed) => allowed.test(name))),
      [],
    );
    assert.deepEqual(
      NEEDED.filter((name) => !names.includes(`extension/${name}`)),
      [],
    );
    assert.ok(!names.some((name) => name.endsWith('.map')));
    assert.ok(statSync(vsix).size <= 8 * 1024 * 1024);
  });

  it('has programs for arm64, and says that its CRIU is untried', () => {
    for (const name of ['build/init/teleport-init-aarch64', 'build/criu-aarch64/criu'])
      assert.equal(read(name).readUInt16LE(ELF_MACHINE), AARCH64, name);
    assert.match(String(read('build/criu-aarch64/SOURCE')), /^Untried:/m);
    for (const name of ['criu', 'criu-aarch64'])
      assert.match(String(read(`build/${name}/LICENSE`)), /GNU GENERAL PUBLIC/);
  });

  it('brings all that a machine is set up with', async () => {
    const place = mkdtempSync(join(tmpdir(), 'te-machine-'));
    try {
      const unpack = 'import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])';
      execFileSync('python3', ['-c', unpack, vsix, place]);
      for (const processor of ['x86_64', 'aarch64']) {
        const parts: Buffer[] = [];
        for await (const part of payloadOf(join(place, 'extension')).stream(processor)) parts.push(part);
        const there = execFileSync('tar', ['-t'], { input: Buffer.concat(parts), maxBuffer: 1 << 26 })
          .toString()
          .split('\n');
        const native = processor === 'aarch64' ? 'arm64' : 'x64';
        assert.deepEqual(
          [
            'LICENSE.txt', // set-up puts it beside the helper
            'package.json',
            'dist/teleport-env.js',
            ...names.filter((name) => /dist\/helper-/.test(name)).map((name) => name.slice('extension/'.length)),
            `dist/node_modules/@koromix/koffi-linux-${native}/package.json`,
            ...['criu', 'KEY', 'LICENSE', 'SOURCE'].map((name) => `build/criu/${name}`),
            'build/init/teleport-init',
            'helper/native/main.c',
            'scripts/setup-linux.sh',
            'multipass/provision.sh',
          ].filter((name) => !there.includes(name)),
          [],
          processor,
        );
      }
    } finally {
      rmSync(place, { recursive: true, force: true });
    }
  });

  describe('installed', function () {
    this.timeout(180_000);
    let place: string;
    let editor: Editor;
    let helper: ReturnType<typeof makeFakeHelper>;
    const welcome = (text: RegExp) =>
      editor.page.locator('.part.sidebar .welcome-view-content').filter({ hasText: text, visible: true }).first();

    before(async function () {
      if (!isSetUp()) this.skip();
      place = mkdtempSync(join(tmpdir(), 'te-package-'));
      const folder = join(place, 'project');
      mkdirSync(folder);
      helper = makeFakeHelper(place, 'noHelper', folder);
      editor = await startEditor({
        workspaceFolder: folder,
        vsix,
        settings: {
          [SETTINGS.helperPath]: helper.path,
          'workbench.editor.useModal': 'off',
          'terminal.integrated.env.linux': { PATH: `${bashOfItsOwn(place)}:${process.env.PATH}` },
        },
        size: { width: 1360, height: 1600 }, // with room for all extensions that run
      });
      await editor.changeSettings({ [SETTINGS.helperPath]: helper.path });
    });

    after(async () => {
      await editor?.close();
      if (place) rmSync(place, { recursive: true, force: true });
    });

    it('is active soon, by the editor’s own account, and asks for no helper before a view is opened', async () => {
      await editor.command('workbench.action.showRuntimeExtensions');
      const row = editor.page.locator('.runtime-extensions-editor .extension').filter({ hasText: 'Teleport Env' });
      const text = await waitFor(async () => {
        const shown = (await row.count()) > 0 ? await row.first().textContent() : null;
        return shown && /Activation: (\d+)ms/.exec(shown)?.[1];
      });
      console.log(`      activation: ${text} ms`);
      assert.equal(helper.asked(), false);
      await editor.openContainer('Teleport Env');
      await waitFor(async () => helper.asked());
    });

    it('sets up by the script that is in it, and has nothing to do a second time', async () => {
      for (const done of [/setup: copying the helper to .*\nsetup: done\./s, /^\s*Done\. Press Enter to go on\.$/]) {
        await welcome(/installs a helper that runs as root/)
          .getByText('Set up', { exact: true })
          .click();
        const text = await editor.terminalText(/Press Enter/, 120_000);
        assert.match(text, done);
        await editor.screenshot('package-set-up');
        await editor.typeInTerminal('\n');
        await waitFor(async () => (await editor.page.locator('.terminal-wrapper.active').count()) === 0);
      }
      const { extensions } = editor.folders;
      const [installed] = readdirSync(extensions).filter((name) => /^teleport-env\./.test(name));
      const script = join(extensions, installed!, 'scripts/setup-linux.sh');
      assert.deepEqual(readFileSync(join(place, 'ran'), 'utf8'), `${script}\n`.repeat(2));
      const [version] = readdirSync(join(place, 'opt/teleport-env')).filter((name) => /^[\d.]+-/.test(name));
      const bundle = (folder: string) => readFileSync(join(folder, 'teleport-env.js'));
      assert.ok(
        bundle(join(place, 'opt/teleport-env', version!)).equals(bundle(join(extensions, installed!, 'dist'))),
        'what was installed is what the package brings',
      );
      const others = ['-not', '-uid', '0', '-o', '-not', '-type', 'l', '-perm', '/022'];
      assert.equal(execFileSync('find', [join(place, 'opt/teleport-env'), ...others], { encoding: 'utf8' }), '');
    });
  });
});

/**
 * A folder with a `bash` that runs scripts for real, but with an /opt of their own and no sight of this machine's helper, which
 * a set-up from another build would replace. Says what it ran.
 */
function bashOfItsOwn(place: string): string {
  const bin = join(place, 'bin');
  const opt = join(place, 'opt');
  for (const folder of [bin, opt]) mkdirSync(folder);
  const file = join(bin, 'bash');
  writeFileSync(
    file,
    `#!/bin/sh
case \${1:-} in */setup-linux.sh) ;; *) exec /bin/bash "$@" ;; esac
echo "$1" >>'${place}/ran'
exec unshare --mount --pid --fork --mount-proc sh -c '
  mount --bind "$0" /opt
  [ ! -d /run/systemd ] || mount -t tmpfs tmpfs /run/systemd
  exec /bin/bash "$@"' '${opt}' "$@"
`,
  );
  chmodSync(file, 0o755);
  return bin;
}

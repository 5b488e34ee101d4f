/** The package as it is published: made by the command that makes it, for both processors, and what is in it. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { needsMachine } from '../daemon/helper-process.ts';
import { repository } from '../vscode/paths.ts';

/** All that may be in it. */
const ALLOWED = [
  /^(\[Content_Types\]\.xml|extension\.vsixmanifest)$/,
  /^extension\/(package\.json|package\.nls\.json|readme\.md|changelog\.md|LICENSE\.txt)$/,
  /^extension\/media\/(activity-bar\.svg|icon\.png|run-[\w-]+\.json|(walkthrough|try-it)\/[\w-]+\.\w+)$/,
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
});

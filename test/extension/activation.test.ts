/** What an editor reads at each start of a window. How long that takes is said by the editor itself: see package.test.ts. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import type { Metafile } from 'esbuild';
import { repository } from '../vscode/paths.ts';

/** Of the file that each window reads, whatever is in it. */
const MOST = 16_384;

describe('what is read when a window opens', () => {
  const place = mkdtempSync(join(tmpdir(), 'te-activation-'));
  after(() => rmSync(place, { recursive: true, force: true }));
  let outputs: Metafile['outputs'];

  before(function () {
    this.timeout(60_000);
    const account = join(place, 'account.json');
    const tsx = createRequire(__filename).resolve('tsx/cjs');
    const build = join(repository, 'scripts/build.ts');
    const args = [
      '--require',
      tsx,
      build,
      '--minify',
      '--no-maps',
      '--out',
      join(place, 'dist'),
      '--metafile',
      account,
    ];
    execFileSync(process.execPath, args, { cwd: repository, stdio: ['ignore', 'ignore', 'inherit'] });
    const { outputs: all } = JSON.parse(readFileSync(account, 'utf8')) as Metafile;
    outputs = Object.fromEntries(Object.entries(all).map(([path, output]) => [basename(path), output]));
  });

  const read = (file: string) => readFileSync(join(place, 'dist', file), 'utf8');

  /** The sources in a part and in all that it loads at once, or by calls as well. */
  function sourcesOf(entry: string, kinds: readonly string[]): Set<string> {
    const parts = new Set<string>();
    const visit = (part: string) => {
      if (parts.has(part) || !outputs[part]) return;
      parts.add(part);
      for (const { path, kind } of outputs[part].imports) if (kinds.includes(kind)) visit(basename(path));
    };
    visit(Object.keys(outputs).find((name) => outputs[name]!.entryPoint === entry)!);
    return new Set([...parts].flatMap((part) => Object.keys(outputs[part]!.inputs)));
  }

  it('asks for the editor’s API once: each time costs a way through the file system', () => {
    for (const file of ['extension.js', 'whole.js'])
      assert.equal(read(file).split('require("vscode")').length - 1, 1, file);
  });

  it('is one small file, that loads nothing but what comes with the editor', () => {
    const [entry, parts] = [read('extension.js'), outputs['extension.js']!.imports];
    assert.ok(entry.length <= MOST, `${entry.length} bytes`);
    assert.deepEqual(
      parts.filter(({ path }) => path !== 'vscode' && !path.startsWith('node:')),
      [{ path: './whole.js', kind: 'dynamic-import', external: true }],
    );
  });

  it('knows no view and no connection; packages, schemas, the machine and the debug adapter come later still', () => {
    const door = sourcesOf('src/extension.ts', ['import-statement']);
    assert.deepEqual(
      [...door].filter((source) =>
        /^node_modules|^helper|^src\/(views|documents|follow|connection\/helper)/.test(source),
      ),
      [],
    );
    const atOnce = sourcesOf('src/whole.ts', ['import-statement', 'require-call']);
    assert.ok(atOnce.has('src/views/timeline-view.ts'));
    const late = /^node_modules|^src\/connection\/(multipass|wire)|^src\/stepping\/session|^helper\/client/;
    assert.deepEqual(
      [...atOnce].filter((source) => late.test(source)),
      [],
    );
    const ever = sourcesOf('src/whole.ts', ['import-statement', 'require-call', 'dynamic-import']);
    for (const name of ['zod', 'vscode-languageclient', '@vscode/debugadapter', 'execa'])
      assert.ok(
        [...ever].some((source) => source.startsWith(`node_modules/${name}/`)),
        name,
      );
  });
});

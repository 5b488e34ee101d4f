/** What an editor reads at each start of a window. How long that takes is said by the editor itself: see package.test.ts. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Metafile } from 'esbuild';
import { repository } from '../vscode/paths.ts';

describe('what is read when a window opens', () => {
  const place = mkdtempSync(join(tmpdir(), 'te-activation-'));
  after(() => rmSync(place, { recursive: true, force: true }));
  let entry: string;
  let outputs: Metafile['outputs'];

  before(function () {
    this.timeout(60_000);
    const account = join(place, 'account.json');
    const tsx = createRequire(__filename).resolve('tsx/cjs');
    const build = join(repository, 'scripts/build.ts');
    const args = ['--require', tsx, build, '--no-maps', '--out', join(place, 'dist'), '--metafile', account];
    execFileSync(process.execPath, args, { cwd: repository, stdio: ['ignore', 'ignore', 'inherit'] });
    entry = readFileSync(join(place, 'dist/extension.js'), 'utf8');
    outputs = (JSON.parse(readFileSync(account, 'utf8')) as Metafile).outputs;
  });

  /** The sources in a part and in all that it loads at once, or by calls as well. */
  function sourcesOf(entry: string, kinds: readonly string[]): Set<string> {
    const parts = new Set<string>();
    const visit = (part: string) => {
      if (parts.has(part) || !outputs[part]) return;
      parts.add(part);
      for (const { path, kind } of outputs[part].imports) if (kinds.includes(kind)) visit(path);
    };
    visit(Object.keys(outputs).find((name) => outputs[name]!.entryPoint === entry)!);
    return new Set([...parts].flatMap((part) => Object.keys(outputs[part]!.inputs)));
  }

  it('asks for the editor’s API once: each time costs a way through the file system', () => {
    assert.equal(entry.split('require("vscode")').length - 1, 1);
  });

  it('is our own code alone: packages, schemas, the machine and the debug adapter come when they are asked for', () => {
    const atOnce = sourcesOf('src/extension.ts', ['import-statement', 'require-call']);
    assert.ok(atOnce.has('src/views/timeline-view.ts'));
    const late = /^node_modules|^src\/connection\/(multipass|wire)|^src\/stepping\/session|^helper\/client/;
    assert.deepEqual(
      [...atOnce].filter((source) => late.test(source)),
      [],
    );
    const ever = sourcesOf('src/extension.ts', ['import-statement', 'require-call', 'dynamic-import']);
    for (const name of ['zod', 'vscode-languageclient', '@vscode/debugadapter', 'execa'])
      assert.ok(
        [...ever].some((source) => source.startsWith(`node_modules/${name}/`)),
        name,
      );
  });
});

/** What of the program is read, and kept, by whom: node holds the text of each file that it loads, and what it made of it. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import type { Metafile } from 'esbuild';

const repository = resolve(__dirname, '../..');
/** Of 2.1 MB in all. They were 0.9 MB when this was written. */
const MOST_OF_DAEMON = 1_100_000;

describe('the parts of the program', function () {
  this.timeout(60_000);
  let place: string;
  let outputs: Metafile['outputs'];
  before(() => {
    place = mkdtempSync(join(tmpdir(), 'te-parts-'));
    const account = join(place, 'account.json');
    const tsx = createRequire(__filename).resolve('tsx/cjs');
    const args = ['--require', tsx, join(repository, 'scripts/build.ts'), '--no-maps', '--out', place];
    execFileSync(process.execPath, [...args, '--metafile', account], { cwd: repository, stdio: 'inherit' });
    const { outputs: all } = JSON.parse(readFileSync(account, 'utf8')) as Metafile;
    outputs = Object.fromEntries(Object.entries(all).map(([path, output]) => [basename(path), output]));
  });
  after(() => rmSync(place, { recursive: true }));

  /** What is loaded at once with the part that has that source as its entry. */
  function loadedWith(entry: string): Set<string> {
    const parts = new Set<string>();
    const visit = (part: string) => {
      if (parts.has(part) || !outputs[part]) return;
      parts.add(part);
      for (const { path, kind } of outputs[part].imports) if (kind !== 'dynamic-import') visit(basename(path));
    };
    visit(Object.keys(outputs).find((name) => outputs[name]!.entryPoint === entry)!);
    return parts;
  }
  const sources = (parts: Set<string>) => [...parts].flatMap((part) => Object.keys(outputs[part]!.inputs));
  const others =
    /^node_modules\/(openai|ajv|@modelcontextprotocol|web-tree-sitter)|^helper\/(bench|client\/(mcp|language|documents|follow))\//;

  it('that the daemon loads are its own, and what all commands have in common', () => {
    const parts = new Set([...loadedWith('helper/cli/main.ts'), ...loadedWith('helper/daemon/main.ts')]);
    const all = sources(parts);
    assert.ok(all.includes('helper/daemon/service.ts'));
    assert.deepEqual(
      all.filter((source) => others.test(source) || /zod\/v4\/locales\/(?!en\.)/.test(source)),
      [],
    );
    const bytes = [...parts].reduce((sum, part) => sum + statSync(join(place, part)).size, 0);
    assert.ok(bytes <= MOST_OF_DAEMON, `${bytes} bytes`);
    // One character beyond Latin 1, and all of that file takes twice the memory.
    for (const part of loadedWith('helper/daemon/main.ts'))
      assert.doesNotMatch(readFileSync(join(place, part), 'latin1'), /[\x80-\xff]/, part);
  });

  it('that commands load have nothing of the daemon', () => {
    const all = sources(loadedWith('helper/cli/main.ts'));
    assert.deepEqual(
      all.filter((source) => /^helper\/(daemon|engine)\//.test(source) || others.test(source)),
      [],
    );
  });

  it('are all that there is, none of them from an earlier build', () => {
    const there = readdirSync(place).filter((name) => /^helper-.*\.js$/.test(name));
    assert.deepEqual(
      there.filter((name) => !outputs[name]),
      [],
    );
  });
});

/** That the design's choices are at work, and that things are where it says. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { repository } from '../vscode/paths.ts';

const manifest = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8'));

/** Each package of the design, and a place where it does its work. */
const AT_WORK: Record<string, [file: string, use: RegExp]> = {
  '@types/vscode': ['src/extension.ts', /from 'vscode'/],
  '@vscode/vsce': ['scripts/package.sh', /\bnode_modules\/\.bin\/vsce package\b/],
  esbuild: ['scripts/build.ts', /from 'esbuild'/],
  'vscode-languageclient': ['src/connection/wire.ts', /from 'vscode-languageclient\/node'/],
  'vscode-jsonrpc': ['helper/client/connection.ts', /from 'vscode-jsonrpc/],
  execa: ['src/connection/multipass/runner.ts', /from 'execa'|import\('execa'\)/],
  mocha: ['scripts/test.ts', /node_modules\/mocha\/bin\/mocha\.js/],
  zod: ['helper/protocol/model.ts', /from 'zod'/],
  protobufjs: ['helper/engine/criu-rpc.ts', /from 'protobufjs/],
  koffi: ['helper/engine/libc.ts', /require\('koffi'\)/],
  '@modelcontextprotocol/sdk': ['helper/client/mcp/server.ts', /from '@modelcontextprotocol\/sdk/],
  '@vscode/debugadapter': ['src/stepping/base-session.ts', /from '@vscode\/debugadapter'/],
  'web-tree-sitter': ['helper/client/documents/tree-sitter.ts', /from 'web-tree-sitter'/],
  'tree-sitter-bash': ['scripts/build.ts', /tree-sitter-bash\.wasm/],
};

describe('the house', () => {
  it('has its top-level entries', () => {
    for (const name of ['src', 'helper', 'media', 'scripts', 'multipass', 'test'])
      assert.ok(readdirSync(join(repository, name)).length > 0, name);
    for (const name of ['package.json', 'tsconfig.json', '.vscodeignore'])
      assert.ok(existsSync(join(repository, name)), name);
  });

  for (const [name, [file, use]] of Object.entries(AT_WORK))
    it(`uses ${name}`, () => {
      assert.ok(manifest.devDependencies[name], 'package.json names it');
      assert.match(readFileSync(join(repository, file), 'utf8'), use);
    });

  it('is typed for the editor that it says it needs', () => {
    const [, major, minor] = /^\^?(\d+)\.(\d+)/.exec(manifest.engines.vscode)!;
    assert.match(manifest.devDependencies['@types/vscode'], new RegExp(`^[~^]?${major}\\.${minor}\\b`));
  });
});

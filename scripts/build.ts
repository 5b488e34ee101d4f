/**
 * Bundles the extension and the command line into dist/, with the one native package that the helper needs.
 *
 *   dist/extension.js      what of the VS Code extension is read when a window opens
 *   dist/whole.js          the rest of it, in parts: part-*.js are loaded when they are needed
 *   dist/teleport-env.js   the command line, which is also the daemon and the client process; helper-*.js are parts of it
 *   dist/*.wasm            the grammar of bash and what runs it
 *   dist/node_modules/     koffi, reduced to what Linux needs
 *
 *   tsx scripts/build.ts [--out DIR] [--minify] [--no-maps] [--metafile FILE] [--watch]
 *
 *   --metafile FILE   esbuild's account: which source is in which part
 */
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import {
  type BuildOptions,
  type BuildResult,
  build,
  context,
  type Metafile,
  type Plugin,
  type PluginBuild,
  type TransformOptions,
  transform,
} from 'esbuild';

const root = resolve(__dirname, '..');
const option = (name: string) =>
  process.argv.includes(name) ? process.argv[process.argv.indexOf(name) + 1] : undefined;
const dist = resolve(option('--out') ?? join(root, 'dist'));
const metafile = option('--metafile');
const version: string = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version;

const common: BuildOptions = {
  absWorkingDir: root,
  bundle: true,
  platform: 'node',
  target: 'node20.19',
  format: 'cjs',
  sourcemap: process.argv.includes('--no-maps') ? false : 'linked',
  sourcesContent: false,
  minify: process.argv.includes('--minify'),
  legalComments: 'none',
  logLevel: 'warning',
  define: { TELEPORT_ENV_VERSION: JSON.stringify(version) },
  alias: {
    // Its other build finds its own place by import.meta, which a CommonJS bundle has not.
    'web-tree-sitter': join(root, 'node_modules/web-tree-sitter/web-tree-sitter.cjs'),
    // Its other build requires its parts in a way that a bundler does not see.
    'jsonc-parser': join(root, 'node_modules/jsonc-parser/lib/esm/main.js'),
  },
};

const PROGRAM = 'teleport-env.js';

/** Of the program, and of both parts of the extension. */
const outputs: Metafile['outputs'] = {};

const asCommonJs: Plugin = { name: 'as-commonjs', setup: ({ onEnd }) => onEnd((result) => writeAsCommonJs(result)) };

const inEditor: BuildOptions = {
  ...common,
  outdir: dist,
  external: ['vscode'],
  chunkNames: 'part-[name]-[hash]',
  // Only modules can be split, and only CommonJS is loaded by every editor.
  format: 'esm',
  sourcemap: common.sourcemap && 'inline',
  write: false,
  metafile: true,
};

/** Node holds the whole text of each file that it loads: the daemon's parts are its own, and without comments, an eighth of all. */
const asProgram: Plugin = {
  name: 'as-program',
  setup: ({ onEnd }) =>
    onEnd((result) =>
      writeAsCommonJs(result, {
        minifyWhitespace: true,
        minifySyntax: true,
        lineLimit: 160,
        // By Node's other loader it would take longer, and memory for that one.
        supported: { 'dynamic-import': false },
      }),
    ),
};

const bundles: BuildOptions[] = [
  {
    ...common,
    entryPoints: { 'teleport-env': 'helper/cli/main.ts' },
    outdir: dist,
    external: ['koffi'],
    chunkNames: 'helper-[name]-[hash]',
    format: 'esm',
    splitting: true,
    sourcemap: common.sourcemap && 'inline',
    write: false,
    metafile: true,
    plugins: [asProgram],
  },
  // One small file: in a window that opens, each further one costs as much as its content.
  { ...inEditor, entryPoints: ['src/extension.ts'], plugins: [asCommonJs, { name: 'whole-apart', setup: wholeApart }] },
  { ...inEditor, entryPoints: ['src/whole.ts'], splitting: true, plugins: [asCommonJs] },
];

/** What both have of the sources is in both: they share no state but what one hands to the other. */
function wholeApart({ onResolve }: PluginBuild): void {
  onResolve({ filter: /\/whole\.ts$/ }, () => ({ path: './whole.js', external: true }));
}

/** What is imported by a call is in files of its own, so that an editor doesn't read it before it is needed. */
async function writeAsCommonJs(
  { outputFiles = [], metafile: account }: BuildResult,
  more: TransformOptions = {},
): Promise<void> {
  Object.assign(outputs, account?.outputs);
  for (const [path, { exports: names }] of Object.entries(account?.outputs ?? {}))
    if (names.length === 1 && names[0] === 'default')
      throw new Error(
        `${path} is a CommonJS package that is imported by a call: its names are lost; import a module of ours that exports them`,
      );
  for (const { path, text } of outputFiles) {
    const { minify, target, sourcemap } = common;
    const { code, map } = await transform(text, {
      ...more,
      format: 'cjs',
      platform: 'node',
      banner: `${basename(path) === PROGRAM ? '#!/usr/bin/env node\n' : ''}"use strict";`,
      ...(minify ? { minify } : {}),
      target,
      sourcefile: basename(path),
      sourcemap: sourcemap ? 'external' : false,
      sourcesContent: false,
    });
    const whole = vscodeOnce(code);
    writeFileSync(path, sourcemap ? `${whole}//# sourceMappingURL=${basename(path)}.map\n` : whole);
    if (sourcemap) writeFileSync(`${path}.map`, map);
  }
}

/**
 * Each source file's own `require("vscode")` makes the editor find out anew, by the real path of the file, who asks: forty
 * times took one to two milliseconds of an activation, more on a busy disk.
 */
function vscodeOnce(code: string): string {
  const asked = 'require("vscode")';
  return code.includes(asked) ? `const vscodeOnce=${asked};${code.replaceAll(asked, 'vscodeOnce')}` : code;
}

/** koffi loads `@koromix/koffi-<platform>`; only Linux with glibc, x64 and arm64, ever runs the helper. */
function copyKoffi(): void {
  const modules = join(root, 'node_modules');
  const target = join(dist, 'node_modules');
  for (const file of ['package.json', 'index.cjs', 'LICENSE.txt', 'src/koffi/index.cjs', 'src/koffi/package.json'])
    copyIfThere(join(modules, 'koffi', file), join(target, 'koffi', file));
  cpSync(join(modules, 'koffi/src/koffi'), join(target, 'koffi/src/koffi'), {
    recursive: true,
    filter: (path) => !/\.(cc|hh|h|S|asm|inc|txt|ts)$/.test(path),
  });
  for (const arch of ['x64', 'arm64']) {
    const from = join(modules, '@koromix', `koffi-linux-${arch}`);
    if (!existsSync(from)) continue;
    cpSync(from, join(target, relative(modules, from)), { recursive: true, filter: (path) => !path.includes('musl') });
  }
}

function copyGrammar(): void {
  for (const file of ['web-tree-sitter/web-tree-sitter.wasm', 'tree-sitter-bash/tree-sitter-bash.wasm'])
    copyIfThere(join(root, 'node_modules', file), join(dist, file.split('/')[1]!));
}

function copyIfThere(from: string, to: string): void {
  if (!existsSync(from)) return;
  mkdirSync(dirname(to), { recursive: true });
  cpSync(from, to);
}

async function main(): Promise<void> {
  if (process.argv.includes('--watch')) {
    for (const bundle of bundles) await (await context(bundle)).watch();
    return;
  }
  mkdirSync(dist, { recursive: true });
  for (const name of readdirSync(dist)) if (/^(part|helper)-.*\.js(\.map)?$/.test(name)) rmSync(join(dist, name));
  // The sources are CommonJS in the bundle whatever the package says.
  writeFileSync(join(dist, 'package.json'), '{ "type": "commonjs" }\n');
  copyKoffi();
  copyGrammar();
  await Promise.all(bundles.map((one) => build(one)));
  if (metafile) writeFileSync(metafile, JSON.stringify({ outputs }));
  chmodSync(join(dist, PROGRAM), 0o755);
}

main().catch((error) => {
  console.error(String(error));
  process.exit(1);
});

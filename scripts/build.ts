/**
 * Bundles the extension and the command line into dist/, with the one native package that the helper needs.
 *
 *   dist/extension.js      the VS Code extension, with languageclient.js and zod.js, which it loads later
 *   dist/teleport-env.js   the command line, which is also the daemon and the client process
 *   dist/*.wasm            the grammar of bash and what runs it
 *   dist/node_modules/     koffi, reduced to what Linux needs
 *
 *   tsx scripts/build.ts [--out DIR] [--minify] [--no-maps] [--watch]
 */
import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { type BuildOptions, build, context, type PluginBuild } from 'esbuild';

const root = resolve(__dirname, '..');
const out = process.argv.indexOf('--out');
const dist = out > 0 ? resolve(process.argv[out + 1]!) : join(root, 'dist');
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
  // Its other build finds its own place by import.meta, which a CommonJS bundle has not.
  alias: { 'web-tree-sitter': join(root, 'node_modules/web-tree-sitter/web-tree-sitter.cjs') },
};

/**
 * Nine tenths of the extension's code, needed only once there is a connection to a helper: in files of their own, so that
 * an editor doesn't read them at every start.
 */
const APART = {
  'vscode-languageclient/node': {
    entry: 'node_modules/vscode-languageclient/lib/node/main.js',
    file: 'languageclient.js',
  },
  zod: { entry: 'node_modules/zod/index.js', file: 'zod.js' },
};

const bundles: BuildOptions[] = [
  {
    ...common,
    entryPoints: ['helper/cli/main.ts'],
    outfile: join(dist, 'teleport-env.js'),
    external: ['koffi'],
    banner: { js: '#!/usr/bin/env node' },
  },
  {
    ...common,
    entryPoints: ['src/extension.ts'],
    outfile: join(dist, 'extension.js'),
    external: ['vscode'],
    plugins: [{ name: 'apart', setup: setApart }],
  },
  ...Object.values(APART).map(({ entry, file }) => ({
    ...common,
    entryPoints: [entry],
    outfile: join(dist, file),
    external: ['vscode'],
  })),
];

/** The extension loads these from files beside it. */
function setApart({ onResolve }: PluginBuild): void {
  for (const [name, { file }] of Object.entries(APART))
    onResolve({ filter: new RegExp(`^${name}$`) }, () => ({ path: `./${file}`, external: true }));
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
  // The sources are CommonJS in the bundle whatever the package says.
  writeFileSync(join(dist, 'package.json'), '{ "type": "commonjs" }\n');
  copyKoffi();
  copyGrammar();
  await Promise.all(
    bundles.filter((b) => existsSync(join(root, (b.entryPoints as string[])[0]!))).map((b) => build(b)),
  );
  chmodSync(join(dist, 'teleport-env.js'), 0o755);
}

main().catch((error) => {
  console.error(String(error));
  process.exit(1);
});

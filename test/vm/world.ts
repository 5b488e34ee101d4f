/** The extension's machine over the stand-in: everything is real but the hypervisor's command. */

import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { buildSync } from 'esbuild';
import type { Settings, World } from '../../src/connection/multipass/launch.ts';
import { Machine } from '../../src/connection/multipass/machine.ts';
import { payloadOf } from '../../src/connection/multipass/payload.ts';
import { multipassRunner, runProgram } from '../../src/connection/multipass/runner.ts';
import { Storage } from '../../src/connection/multipass/storage.ts';
import { IMAGE } from './qemu.ts';

export const root = resolve(__dirname, '../..');

/** The stand-in as one plain script: it is started dozens of times, beside a processor that is being emulated. */
export function buildStandIn(dir: string): string {
  mkdirSync(dir, { recursive: true });
  const bundle = join(dir, 'multipass.cjs');
  const entryPoints = [join(__dirname, 'multipass.ts')];
  buildSync({ entryPoints, outfile: bundle, bundle: true, platform: 'node', format: 'cjs', logLevel: 'error' });
  const command = join(dir, 'multipass');
  const image = `TELEPORT_ENV_VM_IMAGE='${IMAGE}' TELEPORT_ENV_VM_ARCH='${process.env.TELEPORT_ENV_VM_ARCH ?? ''}'`;
  writeFileSync(command, `#!/bin/sh\n${image} exec '${process.execPath}' '${bundle}' "$@"\n`, { mode: 0o755 });
  return command;
}

export const settings: Settings = { name: 'teleport-env', image: '26.04', cpus: 2, memory: 2048, disk: 12 };

/** Emulated, at a tenth of the speed: everything is waited for so many times as long. */
const SLOWNESS = 8;

/** The extension as its package has it, built from the sources. */
export function stageExtension(dir: string): string {
  mkdirSync(dir, { recursive: true });
  cpSync(join(root, 'package.json'), join(dir, 'package.json'));
  for (const part of [
    'LICENSE',
    'package.nls.json',
    'media',
    'multipass',
    'build/criu',
    'build/criu-aarch64',
    'build/init',
    'helper/native',
    'scripts/criu',
    'scripts/build-criu.sh',
    'scripts/build-init.sh',
    'scripts/setup-linux.sh',
  ]) {
    const to = join(dir, part === 'LICENSE' ? 'LICENSE.txt' : part);
    mkdirSync(dirname(to), { recursive: true });
    if (existsSync(join(root, part)) && !existsSync(to)) symlinkSync(join(root, part), to);
  }
  execFileSync(
    process.execPath,
    ['--import', 'tsx', join(root, 'scripts/build.ts'), '--out', join(dir, 'dist'), '--no-maps'],
    { cwd: root },
  );
  return dir;
}

/** The same as a later version, which differs in nothing else. */
export function stageNewer(of: string, dir: string, version: string): string {
  cpSync(of, dir, { recursive: true, verbatimSymlinks: true });
  const manifest = join(dir, 'package.json');
  const { version: own, ...rest } = JSON.parse(readFileSync(manifest, 'utf8'));
  writeFileSync(manifest, JSON.stringify({ ...rest, version }));
  for (const name of readdirSync(join(dir, 'dist'))) {
    const file = join(dir, 'dist', name);
    if (!/^(teleport-env|helper-.*)\.js$/.test(name)) continue;
    writeFileSync(file, readFileSync(file, 'utf8').replaceAll(JSON.stringify(own), JSON.stringify(version)));
  }
  return dir;
}

/** @param storage where the extension keeps its key and what it found out */
export function worldOf(standIn: string, storage: string, extension: string): World {
  const payload = payloadOf(extension);
  const runner = multipassRunner(standIn, 'linux');
  return {
    runner: {
      ...runner,
      run: (operation, options) => runner.run({ ...operation, timeoutMs: operation.timeoutMs * SLOWNESS }, options),
    },
    run: (program, options) => runProgram(program, { ...options, timeoutMs: options.timeoutMs * SLOWNESS }),
    storage: new Storage(storage),
    host: { platform: 'linux', cpus: 2, memory: 16 * 2 ** 30 },
    settings,
    payload: () => payload,
  };
}

export function machineOf(world: World): Machine {
  return new Machine(() => world);
}

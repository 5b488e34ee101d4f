/** The extension's machine over the stand-in: everything is real but the hypervisor's command. */

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type { Settings, World } from '../../src/connection/multipass/launch.ts';
import { Machine } from '../../src/connection/multipass/machine.ts';
import { payloadOf } from '../../src/connection/multipass/payload.ts';
import { multipassRunner, runProgram } from '../../src/connection/multipass/runner.ts';
import { Storage } from '../../src/connection/multipass/storage.ts';

export const root = resolve(__dirname, '../..');
export const standIn = join(__dirname, 'multipass');

export const settings: Settings = { name: 'teleport-env', image: '26.04', cpus: 2, memory: 2048, disk: 12 };

/** Emulated at a tenth of the speed, beside other tests: everything is waited for so many times as long. */
const SLOWNESS = 8;

/** The extension as its package has it, built from the sources, with that version. */
export function stageExtension(dir: string, version?: string): string {
  mkdirSync(dir, { recursive: true });
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  if (version !== undefined) manifest.version = version;
  writeFileSync(join(dir, 'package.json'), JSON.stringify(manifest));
  for (const part of [
    'LICENSE',
    'package.nls.json',
    'media',
    'multipass',
    'build/criu',
    'build/init',
    'scripts/criu',
    'scripts/build-criu.sh',
    'scripts/build-init.sh',
    'scripts/setup-linux.sh',
  ]) {
    const to = join(dir, part);
    mkdirSync(dirname(to), { recursive: true });
    if (!existsSync(to)) symlinkSync(join(root, part), to);
  }
  execFileSync(
    process.execPath,
    ['--import', 'tsx', join(root, 'scripts/build.ts'), '--out', join(dir, 'dist'), '--no-maps'],
    { cwd: root },
  );
  if (version === undefined) return dir;
  // The build puts the checkout's version in; a later one differs in nothing else.
  const bundle = join(dir, 'dist/teleport-env.js');
  const own = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version;
  writeFileSync(bundle, readFileSync(bundle, 'utf8').replaceAll(JSON.stringify(own), JSON.stringify(version)));
  return dir;
}

export function worldOf(home: string, extension: string, more: Partial<World> = {}): World {
  const payload = payloadOf(extension);
  const runner = multipassRunner(standIn, 'linux');
  return {
    runner: {
      ...runner,
      run: (operation, options) => runner.run({ ...operation, timeoutMs: operation.timeoutMs * SLOWNESS }, options),
    },
    run: (program, options) => runProgram(program, { ...options, timeoutMs: options.timeoutMs * SLOWNESS }),
    storage: new Storage(join(home, 'storage')),
    host: { platform: 'linux', cpus: 2, memory: 16 * 2 ** 30 },
    settings,
    payload: () => payload,
    ...more,
  };
}

export function machineOf(world: World): Machine {
  return new Machine(() => world);
}

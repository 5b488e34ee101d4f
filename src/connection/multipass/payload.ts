/** What a machine is provisioned with: the extension's own files for Linux, as one tar stream. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Provisioned } from './plan.ts';
import { type TarSource, tarOf } from './workspace/tar.ts';
import { walk } from './workspace/walk.ts';

/** Folders and files of the extension, as in its package; those that a package leaves out are passed over. */
const PARTS = [
  'package.json',
  'LICENSE',
  'LICENSE.txt', // what a package calls it
  'dist/package.json',
  'dist/teleport-env.js',
  'dist/node_modules',
  'build/criu',
  'build/init',
  // Where no CRIU for the machine's processor comes with the extension, it is built in the machine, of these.
  'helper/native',
  'scripts/criu',
  'scripts/build-criu.sh',
  'scripts/build-init.sh',
  'scripts/setup-linux.sh',
  'multipass/provision.sh',
];

/** What tells one build from another: the program names its parts, and those are named after their content. */
const MARKS = [
  'dist/teleport-env.js',
  'build/init/teleport-init',
  'build/criu/KEY',
  'scripts/setup-linux.sh',
  'multipass/provision.sh',
];

export interface Payload {
  readonly provisioned: Provisioned;
  /** The cloud-init document for that key. */
  cloudInit(publicKey: string): string;
  /** @param processor the machine's, as `uname -m` says it */
  stream(processor: string, signal?: AbortSignal): AsyncIterable<Buffer>;
}

export function payloadOf(extensionPath: string): Payload {
  const text = (path: string) => readFileSync(join(extensionPath, path), 'utf8');
  const provision = Number(text('multipass/provision.sh').match(/^PROVISION=(\d+)$/m)?.[1]);
  const hash = createHash('sha256');
  for (const mark of MARKS) {
    const path = join(extensionPath, mark);
    if (existsSync(path)) hash.update(readFileSync(path));
  }
  return {
    provisioned: {
      provision,
      version: JSON.parse(text('package.json')).version,
      payload: hash.digest('hex').slice(0, 12),
    },
    // A replacement as a function: `$&` and its kind mean nothing in one.
    cloudInit: (publicKey) => text('multipass/cloud-init.yaml').replace('@KEY@', () => publicKey),
    stream: (processor, signal) => tarOf(sources(extensionPath, processor), { signal }),
  };
}

/** Those of `dist/teleport-env.js`. */
function partsOfProgram(root: string): string[] {
  const parts = readdirSync(join(root, 'dist')).filter((name) => /^helper-.*\.js$/.test(name));
  return parts.sort().map((name) => `dist/${name}`);
}

async function* sources(root: string, processor: string): AsyncIterable<TarSource> {
  for (const part of [...PARTS, ...partsOfProgram(root)]) {
    const path = join(root, part);
    const stat = statSync(path, { throwIfNoEntry: false });
    if (part in PROGRAMS) yield* programs(root, part as keyof typeof PROGRAMS, processor);
    else if (stat?.isDirectory())
      for await (const entry of walk(path, { exclude: new Set() })) yield { ...entry, path: `${part}/${entry.path}` };
    else if (stat) {
      const mode = part.endsWith('.sh') || part === 'dist/teleport-env.js' ? 0o755 : 0o644;
      yield { path: part, type: 'file', mode, mtimeMs: stat.mtimeMs, size: stat.size, file: path };
    }
  }
}

/** Folders with a program for a processor, and the program's name. */
const PROGRAMS = { 'build/criu': 'criu', 'build/init': 'teleport-init' } as const;

/**
 * The folder with the program for that processor under its plain name. A package brings the other processor's in a folder
 * beside it (`criu-aarch64/criu`) or under a name of its own in the same one (`teleport-init-aarch64`). Nothing at all where
 * there is none, so that set-up makes one.
 */
async function* programs(root: string, part: keyof typeof PROGRAMS, processor: string): AsyncIterable<TarSource> {
  const name = PROGRAMS[part];
  for (const folder of [`${part}-${processor}`, part])
    for (const file of [`${name}-${processor}`, name]) {
      if (processorOf(join(root, folder, file)) !== processor) continue;
      for await (const entry of walk(join(root, folder), { exclude: new Set() })) {
        if (entry.path === file) yield { ...entry, path: `${part}/${name}`, mode: 0o755 };
        else if (!entry.path.startsWith(name)) yield { ...entry, path: `${part}/${entry.path}` };
      }
      return;
    }
}

/** What a Linux program is for, in `uname -m`'s words; null where it isn't one. */
export function processorOf(path: string): string | null {
  let start: Buffer;
  try {
    start = readFileSync(path).subarray(0, 20);
  } catch {
    return null;
  }
  if (start.length < 20 || start.toString('latin1', 0, 4) !== '\x7fELF') return null;
  return { 62: 'x86_64', 183: 'aarch64' }[start.readUInt16LE(18)] ?? null;
}

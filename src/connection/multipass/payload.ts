/** What a machine is provisioned with: the extension's own files for Linux, as one tar stream. */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Provisioned } from './plan.ts';
import { type TarSource, tarOf } from './workspace/tar.ts';
import { walk } from './workspace/walk.ts';

/** Folders and files of the extension, as in its package; those that a package leaves out are passed over. */
const PARTS = [
  'package.json',
  'LICENSE',
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

/** What tells one build from another. */
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
  stream(signal?: AbortSignal): AsyncIterable<Buffer>;
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
    stream: (signal) => tarOf(sources(extensionPath), { signal }),
  };
}

async function* sources(root: string): AsyncIterable<TarSource> {
  for (const part of PARTS) {
    const path = join(root, part);
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat?.isDirectory()) {
      for await (const entry of walk(path, { exclude: new Set() })) yield prefixed(part, entry);
    } else if (stat) {
      const executable = part.endsWith('.sh') || part === 'dist/teleport-env.js';
      yield {
        path: part,
        type: 'file',
        mode: executable ? 0o755 : 0o644,
        mtimeMs: stat.mtimeMs,
        size: stat.size,
        file: path,
      };
    }
  }
}

/** A host without permission bits can't say what may be run: in these folders, everything that has no suffix may. */
function prefixed(part: string, entry: TarSource): TarSource {
  const program = entry.type === 'file' && part.startsWith('build/') && !/\.[a-z]+$/.test(entry.path);
  return { ...entry, path: `${part}/${entry.path}`, ...(program ? { mode: 0o755 } : {}) };
}

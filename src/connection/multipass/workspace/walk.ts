/** A folder of this host, entry by entry, a folder before what it holds. */
import { lstat, open, opendir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { TarSource } from './tar.ts';

export interface WalkOptions {
  /** Names that are left out at any depth. */
  readonly exclude: ReadonlySet<string>;
  readonly platform?: NodeJS.Platform;
  /** Left out because of its name. */
  readonly onExcluded?: (path: string) => void;
  /** Sockets, pipes, devices, and what can't be read. */
  readonly onSkipped?: (path: string, reason: string) => void;
  readonly signal?: AbortSignal;
}

export async function* walk(root: string, options: WalkOptions): AsyncGenerator<TarSource> {
  const platform = options.platform ?? process.platform;
  const folders: string[] = [''];
  for (let at = folders.pop(); at !== undefined; at = folders.pop()) {
    options.signal?.throwIfAborted();
    let names: string[];
    try {
      names = [];
      for await (const entry of await opendir(join(root, at))) names.push(entry.name);
    } catch (error) {
      // The folder itself is somebody's question; one below it that can't be read is told of.
      if (at === '') throw error;
      options.onSkipped?.(at, (error as Error).message);
      continue;
    }
    const below: string[] = [];
    for (const name of names.sort()) {
      const path = at === '' ? name : `${at}/${name}`;
      if (options.exclude.has(name)) {
        options.onExcluded?.(path);
        continue;
      }
      const entry = await entryOf(root, path, platform).catch((error) => String((error as Error).message));
      if (typeof entry === 'string') options.onSkipped?.(path, entry);
      else {
        yield entry;
        if (entry.type === 'folder') below.push(path);
      }
    }
    folders.push(...below.reverse());
  }
}

/** Or the reason why there is none. */
async function entryOf(root: string, path: string, platform: NodeJS.Platform): Promise<TarSource | string> {
  const file = join(root, path);
  const stat = await lstat(file);
  const common = { path, mtimeMs: stat.mtimeMs, size: 0 };
  if (stat.isSymbolicLink()) {
    const target = await readlink(file);
    return { ...common, type: 'symlink', mode: 0o777, target: linkTarget(target, platform) };
  }
  if (stat.isDirectory()) return { ...common, type: 'folder', mode: platform === 'win32' ? 0o755 : stat.mode & 0o777 };
  if (!stat.isFile()) return 'neither a file, a folder nor a symlink';
  const mode = platform !== 'win32' ? stat.mode & 0o777 : (await isProgram(file)) ? 0o755 : 0o644;
  return { ...common, type: 'file', mode, size: stat.size, file };
}

/** Windows has no permission to execute: what begins as a script or a Linux program is one. */
async function isProgram(file: string): Promise<boolean> {
  const handle = await open(file, 'r');
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(4), 0, 4, 0);
    return (
      bytesRead >= 2 && (buffer.toString('latin1', 0, 2) === '#!' || buffer.toString('latin1', 0, 4) === '\x7fELF')
    );
  } finally {
    await handle.close();
  }
}

/** A relative link of Windows, as Linux writes it. An absolute one leads nowhere there, on any host, and stays as it is. */
export function linkTarget(target: string, platform: NodeJS.Platform): string {
  return platform === 'win32' && !/^[A-Za-z]:|^\\\\/.test(target) ? target.replaceAll('\\', '/') : target;
}

import { lstat, opendir } from 'node:fs/promises';
import { join } from 'node:path';
import type { BridgeParsed, BridgeResult } from '../protocol/bridge.ts';
import { TeleportError } from '../protocol/errors.ts';

type Measured = BridgeResult<'workspace/measure'>;

const PATIENCE_MS = 2000;
/** What copying in is expected to take: per file, and per byte at 400 MB a second. */
const MS_PER_FILE = 0.2;
const MS_PER_BYTE = 1000 / 400e6;

/** Counts what copying a folder in would take; symlinks are not followed. */
export async function measureWorkspace(
  { workspace, exclude }: BridgeParsed<'workspace/measure'>,
  signal?: AbortSignal,
): Promise<Measured> {
  const deadline = Date.now() + PATIENCE_MS;
  const result: Measured = { files: 0, bytes: 0, complete: true, entries: [], estimatedMs: 0 };
  for (const name of await namesIn(workspace)) {
    if (exclude.includes(name)) continue;
    const entry = { name, ...(await measure(join(workspace, name), deadline, signal)) };
    if (!entry.complete) result.complete = false;
    result.files += entry.files;
    result.bytes += entry.bytes;
    result.entries.push({ name, type: entry.type, files: entry.files, bytes: entry.bytes });
  }
  result.entries.sort((a, b) => b.bytes - a.bytes || b.files - a.files);
  result.estimatedMs = Math.round(result.files * MS_PER_FILE + result.bytes * MS_PER_BYTE);
  return result;
}

async function measure(path: string, deadline: number, signal?: AbortSignal) {
  const total = { type: 'file' as Measured['entries'][number]['type'], files: 0, bytes: 0, complete: true };
  const open = [path];
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    if (signal?.aborted) throw new TeleportError('cancelled', 'cancelled');
    const stat = await lstat(at).catch(() => null);
    if (!stat) continue;
    if (at === path) total.type = typeOf(stat);
    total.files++;
    // Blocks and not size: a hole takes no time.
    if (stat.isFile()) total.bytes += Math.min(stat.size, stat.blocks * 512);
    if (!stat.isDirectory()) continue;
    if (Date.now() > deadline) return { ...total, complete: false };
    const folder = await opendir(at).catch(() => null);
    for await (const entry of folder ?? []) open.push(join(at, entry.name));
  }
  return total;
}

function typeOf(stat: { isFile(): boolean; isDirectory(): boolean; isSymbolicLink(): boolean }) {
  if (stat.isDirectory()) return 'folder' as const;
  if (stat.isSymbolicLink()) return 'symlink' as const;
  return stat.isFile() ? ('file' as const) : ('other' as const);
}

async function namesIn(workspace: string): Promise<string[]> {
  try {
    const names: string[] = [];
    for await (const entry of await opendir(workspace)) names.push(entry.name);
    return names;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT') throw new TeleportError('workspaceMissing', `there is no folder ${workspace}`);
    if (code === 'ENOTDIR') throw new TeleportError('workspaceNotFolder', `${workspace} is not a folder`);
    throw new TeleportError('workspaceUnreadable', `cannot read ${workspace}`, { cause: error });
  }
}

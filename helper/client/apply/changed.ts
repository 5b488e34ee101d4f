import { posix } from 'node:path';
import type { Change, FileStat } from '../../protocol/model.ts';
import { neverApplied } from './facts.ts';
import type { Place } from './place.ts';

/** A path below the workspace that differs between two places. */
export interface Changed {
  before: FileStat | null;
  after: FileStat | null;
  /** Where it was renamed from, also below the workspace. */
  from?: string;
}

export interface ChangedPaths {
  paths: Map<string, Changed>;
  left: Map<string, string>;
}

export const ODD_LINK = 'it leads to a name that is not UTF-8';

/** Requests under way at a time: enough to hide the socket's latency. */
export const PARALLEL = 16;

/**
 * From a diff to single paths below the workspace: a folder that came or went stands for all that it holds, and a rename
 * for a deletion and an addition.
 */
export async function changedPaths(
  changes: Change[],
  workspace: string,
  before: Place,
  after: Place,
  more: Iterable<string> = [],
): Promise<ChangedPaths> {
  const result: ChangedPaths = { paths: new Map(), left: new Map() };
  let next = new Map<string, string | undefined>();
  for (const path of more) next.set(path, undefined);
  for (const change of changes) {
    const path = below(workspace, change.path);
    const from = change.from === undefined ? undefined : below(workspace, change.from);
    if (from !== undefined && !next.has(from)) next.set(from, undefined);
    if (path !== undefined) next.set(path, from);
  }
  while (next.size > 0) {
    const found = new Map<string, undefined>();
    await each([...next], async ([path, from]) => {
      const reason = neverApplied(path);
      if (reason !== null) {
        result.left.set(shorten(path), reason);
        return;
      }
      const inside = posix.join(workspace, path);
      const [was, is] = await Promise.all([before.stat(inside), after.stat(inside)]);
      if (is?.targetBase64 !== undefined) {
        result.left.set(path, ODD_LINK);
        return;
      }
      result.paths.set(path, { before: was, after: is, from: from && neverApplied(from) === null ? from : undefined });
      const places = [was?.type === 'folder' && is?.type !== 'folder' ? before : null];
      places.push(is?.type === 'folder' && was?.type !== 'folder' ? after : null);
      for (const place of places)
        for (const { name } of (await place?.list(inside)) ?? []) found.set(`${path}/${name}`, undefined);
    });
    next = new Map([...found].filter(([path]) => !result.paths.has(path)));
  }
  return result;
}

/** What was not copied in is not the sandbox's to give back: it may be another version of thousands of files. */
export function withoutExcluded(changed: ChangedPaths, { exclude = [] }: { exclude?: string[] }): ChangedPaths {
  for (const path of changed.paths.keys()) {
    const top = path.split('/')[0] as string;
    if (!exclude.includes(top)) continue;
    changed.paths.delete(path);
    changed.left.set(top, 'left out when the sandbox was made');
  }
  return changed;
}

/** The path below the workspace; undefined where it is elsewhere, or the workspace itself. */
export function below(workspace: string, path: string): string | undefined {
  const start = workspace === '/' ? '/' : `${workspace}/`;
  return path.startsWith(start) && path.length > start.length ? path.slice(start.length) : undefined;
}

/** `.git` for all that is in it, so that hundreds of objects are one line. */
function shorten(path: string): string {
  const parts = path.split('/');
  const git = parts.findIndex((part) => part.toLowerCase() === '.git');
  return git < 0 ? path : parts.slice(0, git + 1).join('/');
}

/** Runs `act` for every item, some at a time; the first failure ends it. */
export async function each<T>(items: T[], act: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values();
  const worker = async () => {
    for (const item of queue) await act(item);
  };
  await Promise.all(Array.from({ length: Math.min(PARALLEL, items.length) }, worker));
}

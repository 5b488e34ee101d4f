import { dirname } from 'node:path';
import type { Place } from '../../helper/client/apply/place.ts';
import type { Change, FileStat } from '../../helper/protocol/model.ts';

/** What stands at a path: a file's text or bytes, a link, or something else. `mode` where it is not the usual one. */
export type Node = string | Buffer | { link: string } | { text: string; mode: number } | 'folder' | { other: true };
export const FOLDER = { folder: true } as unknown as Node;

/** A place whose files stand in an object; folders on the way are made up. */
export function memoryPlace(files: Record<string, Node>): Place & { files: Map<string, Node> } {
  const all = new Map(Object.entries(files));
  for (const path of [...all.keys()])
    for (let at = dirname(path); at !== '/' && at !== '.'; at = dirname(at)) if (!all.has(at)) all.set(at, FOLDER);
  const stat = (path: string): FileStat | null => {
    const node = all.get(path);
    if (node === undefined) return null;
    const rest = { mtimeMs: 0, size: 0 };
    if (node === FOLDER) return { ...rest, type: 'folder', mode: 0o755 };
    if (typeof node === 'string' || Buffer.isBuffer(node))
      return { ...rest, type: 'file', mode: 0o644, size: Buffer.from(node).length };
    if ('link' in node) return { ...rest, type: 'symlink', mode: 0o777, target: node.link };
    if ('text' in node) return { ...rest, type: 'file', mode: node.mode, size: Buffer.from(node.text).length };
    return { ...rest, type: 'other', mode: 0o644 };
  };
  return {
    files: all,
    stat: async (path) => stat(path),
    list: async (path) =>
      [...all.keys()]
        .filter((key) => dirname(key) === path)
        .map((key) => ({ name: key.slice(path.length + 1), stat: stat(key)! })),
    async *read(path) {
      const node = all.get(path);
      const content = typeof node === 'object' && 'text' in node ? node.text : (node as string | Buffer);
      const bytes = Buffer.from(content);
      // In parts, as the real one comes.
      for (let at = 0; at < bytes.length; at += 1000) yield bytes.subarray(at, at + 1000);
    },
  };
}

/** What a helper would say changed between the two: every path. */
export function changesBetween(
  before: ReturnType<typeof memoryPlace>,
  after: ReturnType<typeof memoryPlace>,
): Change[] {
  const changes: Change[] = [];
  for (const path of new Set([...before.files.keys(), ...after.files.keys()])) {
    const [was, is] = [before.files.get(path), after.files.get(path)];
    if (JSON.stringify(was) === JSON.stringify(is)) continue;
    const type = (is ?? was) === FOLDER ? 'folder' : 'file';
    changes.push({ path, type, kind: was === undefined ? 'added' : is === undefined ? 'deleted' : 'changed' });
  }
  return changes;
}

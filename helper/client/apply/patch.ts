import { isUtf8 } from 'node:buffer';
import { posix } from 'node:path';
import { structuredPatch } from 'diff';
import type { BridgeResult } from '../../protocol/bridge.ts';
import type { FileStat } from '../../protocol/model.ts';
import { type ChangedPaths, ODD_LINK } from './changed.ts';
import { binaryHunks, blobId } from './git-binary.ts';
import { type Place, readWhole } from './place.ts';
import { compare } from './plan.ts';

/** Files larger than that go as they are: comparing lines would take longer than anybody reads. */
const LARGEST_TEXT = 4 * 1024 * 1024;
/** Milliseconds after which two texts count as too different to compare. */
const PATIENCE = 1000;

/** One side of a file in a patch; null: there is none. */
export interface Side {
  path: string;
  /** 100644, 100755 or 120000. */
  mode: string;
  content: Buffer;
}

export async function makePatch(
  { paths, left }: ChangedPaths,
  workspace: string,
  before: Place,
  after: Place,
): Promise<BridgeResult<'apply/patch'>> {
  for (const [path, changed] of paths) {
    if (changed.before?.targetBase64 === undefined) continue;
    paths.delete(path);
    left.set(path, ODD_LINK);
  }
  const renamed = new Set<string>();
  for (const { from, after: is } of paths.values()) if (from && is && is.type !== 'folder') renamed.add(from);
  let patch = '';
  let files = 0;
  for (const [path, changed] of [...paths].sort(([a], [b]) => compare(a, b))) {
    const from = renamed.has(changed.from ?? '') ? changed.from! : path;
    const was = from === path ? changed.before : (paths.get(from)?.before ?? null);
    const old = renamed.has(path) ? null : await side(before, workspace, from, was);
    const now = await side(after, workspace, path, changed.after);
    // A change of type is a deletion and an addition to git.
    const parts =
      old && now && isLink(old) !== isLink(now) ? [filePatch(old, null), filePatch(null, now)] : [filePatch(old, now)];
    patch += parts.join('');
    if (parts.some((part) => part !== '')) files++;
  }
  return { patch, files, left: [...left].map(([path, reason]) => ({ path, reason })) };
}

async function side(place: Place, workspace: string, path: string, stat: FileStat | null): Promise<Side | null> {
  if (stat?.type === 'symlink') return { path, mode: '120000', content: Buffer.from(stat.target ?? '') };
  if (stat?.type !== 'file') return null;
  const content = await readWhole(place, posix.join(workspace, path));
  return { path, mode: (stat.mode & 0o100) === 0 ? '100644' : '100755', content };
}

function isLink({ mode }: Side): boolean {
  return mode === '120000';
}

/** One file's part of a git patch; empty where both sides are the same. */
export function filePatch(before: Side | null, after: Side | null): string {
  if (!before && !after) return '';
  const from = (before ?? after)!.path;
  const to = (after ?? before)!.path;
  const sameContent = before !== null && after !== null && before.content.equals(after.content);
  if (sameContent && from === to && before.mode === after.mode) return '';
  let text = `diff --git ${quote(`a/${from}`)} ${quote(`b/${to}`)}\n`;
  if (!before) text += `new file mode ${after!.mode}\n`;
  else if (!after) text += `deleted file mode ${before.mode}\n`;
  else if (before.mode !== after.mode) text += `old mode ${before.mode}\nnew mode ${after.mode}\n`;
  if (from !== to) text += `rename from ${quote(from)}\nrename to ${quote(to)}\n`;
  if (sameContent) return text;
  const old = before?.content ?? Buffer.alloc(0);
  const now = after?.content ?? Buffer.alloc(0);
  const none = '0'.repeat(40);
  const mode = before && after && before.mode === after.mode ? ` ${after.mode}` : '';
  text += `index ${before ? blobId(old) : none}..${after ? blobId(now) : none}${mode}\n`;
  if (old.length === 0 && now.length === 0) return text;
  const hunks = textHunks(old, now);
  if (hunks === null) return text + binaryHunks(old, now);
  const minus = before ? label(`a/${from}`) : '/dev/null';
  const plus = after ? label(`b/${to}`) : '/dev/null';
  return `${text}--- ${minus}\n+++ ${plus}\n${hunks}`;
}

/** Null where they are not text, or not worth comparing. */
function textHunks(before: Buffer, after: Buffer): string | null {
  if (!isText(before) || !isText(after)) return null;
  const patch = structuredPatch('', '', before.toString(), after.toString(), undefined, undefined, {
    context: 3,
    timeout: PATIENCE,
  });
  if (!patch) return null;
  let text = '';
  for (const { oldStart, oldLines, newStart, newLines, lines } of patch.hunks)
    text += `@@ -${range(oldStart, oldLines)} +${range(newStart, newLines)} @@\n${lines.join('\n')}\n`;
  return text;
}

function range(start: number, count: number): string {
  // Of an empty range git names the line before it.
  if (count === 0) return `${Math.max(start - 1, 0)},0`;
  return count === 1 ? String(start) : `${start},${count}`;
}

function isText(content: Buffer): boolean {
  return content.length <= LARGEST_TEXT && isUtf8(content) && !content.includes(0);
}

/** As git does: names with special bytes in quotes, as C writes them. */
function quote(path: string): string {
  if (!/[\x00-\x1f"\\\x7f-\uffff]/.test(path)) return path;
  const escapes: Record<string, string> = { '\n': '\\n', '\t': '\\t', '"': '\\"', '\\': '\\\\' };
  let text = '';
  for (const byte of Buffer.from(path)) {
    const char = String.fromCharCode(byte);
    if (escapes[char]) text += escapes[char];
    else if (byte < 0x20 || byte >= 0x7f) text += `\\${byte.toString(8).padStart(3, '0')}`;
    else text += char;
  }
  return `"${text}"`;
}

/** In `---` and `+++` lines a name with a space ends with a tab, so that tools find its end. */
function label(path: string): string {
  const quoted = quote(path);
  return quoted === path && path.includes(' ') ? `${path}\t` : quoted;
}

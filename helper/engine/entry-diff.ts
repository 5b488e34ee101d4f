import type { Entry } from './layer.ts';
import { type Steps, sameContent } from './same-content.ts';

/** Permissions or owner differ. */
export function modeChanged(a: Entry, b: Entry): boolean {
  return (a.stat.mode & 0o7777) !== (b.stat.mode & 0o7777) || a.stat.uid !== b.stat.uid || a.stat.gid !== b.stat.gid;
}

/** How two things that are no folders differ; null where they don't. */
export function* leafChange(a: Entry, b: Entry): Steps<'changed' | 'mode' | 'link' | null> {
  if (a.top.layer.path === b.top.layer.path && a.top.path === b.top.path) return null;
  if (a.stat.format !== b.stat.format) return 'changed';
  if (a.type === 'file' && !(yield* sameContent(a, b))) return 'changed';
  if (a.type === 'symlink' && a.target() !== b.target()) return 'link';
  if (a.type === 'other' && (a.stat.rdevMajor !== b.stat.rdevMajor || a.stat.rdevMinor !== b.stat.rdevMinor))
    return 'changed';
  return modeChanged(a, b) ? 'mode' : null;
}

import { contentHash, type Steps } from './same-content.ts';
import type { Difference } from './tree-diff.ts';

/** What is read at most to find renamed files; beyond, a rename stays one deleted and one added file. */
const BYTES_LIMIT = 256 * 1024 * 1024;
const FILES_LIMIT = 20_000;

/**
 * Joins a deleted and an added file to a renamed one where their contents are the same and no other deleted or added
 * file has it. Empty files are never joined: they say nothing.
 */
export function* joinRenamed(differences: Difference[]): Steps<Difference[]> {
  const deleted = bySize(differences, 'deleted');
  const added = bySize(differences, 'added');
  const replaced = new Map<Difference, Difference | null>();
  let bytes = 0;
  let files = 0;
  for (const [size, candidates] of deleted) {
    const others = added.get(size);
    if (others === undefined) continue;
    files += candidates.length + others.length;
    bytes += size * (candidates.length + others.length);
    if (files > FILES_LIMIT || bytes > BYTES_LIMIT) break;
    const before = yield* byContent(candidates);
    const after = yield* byContent(others);
    for (const [hash, from] of before) {
      const to = after.get(hash);
      if (from === null || to === undefined || to === null) continue;
      replaced.set(from, null);
      replaced.set(to, { path: to.path, kind: 'renamed', from: from.path, entry: to.entry });
    }
  }
  if (replaced.size === 0) return differences;
  return differences.flatMap((each) => {
    const instead = replaced.get(each);
    if (instead === undefined) return [each];
    return instead === null ? [] : [instead];
  });
}

function bySize(differences: Difference[], kind: 'deleted' | 'added'): Map<number, Difference[]> {
  const sizes = new Map<number, Difference[]>();
  for (const each of differences) {
    const { stat, type } = each.entry;
    if (each.kind !== kind || type !== 'file' || stat.size === 0) continue;
    const same = sizes.get(stat.size);
    if (same === undefined) sizes.set(stat.size, [each]);
    else same.push(each);
  }
  return sizes;
}

/** Null for a content that several have. */
function* byContent(files: Difference[]): Steps<Map<string, Difference | null>> {
  const found = new Map<string, Difference | null>();
  for (const each of files) {
    const hash = yield* contentHash(each.entry);
    if (hash !== null) found.set(hash, found.has(hash) ? null : each);
    yield;
  }
  return found;
}

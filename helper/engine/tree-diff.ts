import type { ChangeKind } from '../protocol/index.ts';
import { DT_FIFO, DT_LNK, DT_REG, DT_SOCK } from './at.ts';
import { leafChange, modeChanged } from './entry-diff.ts';
import type { Entry, Source } from './layer.ts';
import type { Steps } from './same-content.ts';
import type { LayerStack } from './stack.ts';

/** Of the root folder: ours, not the payload's. */
export const INTERNAL = '.teleport-env';

/**
 * Entries listed of one deleted folder at most, so that `rm -rf /usr` stays an answer and not a flood. The folder
 * itself is always listed.
 */
export const DELETED_LIMIT = 10_000;

/** Of a layer that an overlay wrote, these are what they say; a device may be a whiteout, and 0 is a file system that does not say. */
const KNOWN_LEAVES: ReadonlySet<number> = new Set([DT_REG, DT_LNK, DT_FIFO, DT_SOCK]);

/** A change with the entry that it is about: what is there now, or was before for `deleted`. Byte-string paths. */
export interface Difference {
  readonly path: string;
  readonly kind: ReturnType<typeof ChangeKind.parse>;
  readonly from?: string;
  readonly entry: Entry;
}

/** A folder that one side has at that path. */
interface Folder {
  readonly path: string;
  readonly entry: Entry;
  /** Where the other side has something in its place, so that this being gone or new is no change by itself; or null. */
  readonly counterpart: string | null;
}

/**
 * Compares two stacks that share their lower layers, by walking only what stands in the layers they do not share. A
 * folder that overlayfs moved (`trusted.overlay.redirect`) is recognised by the lower directory it still is, its key,
 * and compared with what it was under its old path.
 */
export class TreeDiff {
  private readonly a: LayerStack;
  private readonly b: LayerStack;
  /** How many layers, from the bottom, are the same in both. */
  private readonly common: number;
  private readonly found: Difference[] = [];
  private readonly gone = new Map<string, Folder>();
  private readonly goneByKey = new Map<string, Folder>();
  private readonly fresh: Folder[] = [];
  /** Fresh ones in place of gone ones: compared with those, unless either turns out to be moved. */
  private readonly postponed: Folder[] = [];
  /** Paths in `a` of folders that are somewhere else in `b`. */
  private readonly moved = new Set<string>();

  /** Paths in `a` of folders that were compared with what has their place in `b`. */
  private readonly settled = new Set<string>();
  /** Folders of `a` with what is no folder in their place. */
  private readonly replaced: { path: string; by: Difference }[] = [];
  private readonly counting: boolean;
  /** Differences that were counted, but are not in the list. */
  beside = 0;

  /** @param counting what is in a new folder need not be in the list, only its number in `beside`: it is not even looked at then */
  constructor(a: LayerStack, b: LayerStack, counting = false) {
    this.a = a;
    this.b = b;
    this.counting = counting;
    let common = 0;
    while (common < a.paths.length && common < b.paths.length && a.paths.at(-1 - common) === b.paths.at(-1 - common))
      common++;
    this.common = common;
  }

  /** Compares what both have at `path` ('' for the root). Both stacks have to be retained. */
  *run(path: string): Steps<Difference[]> {
    yield* this.compare(path, this.a.lookupBytes(path), path, this.b.lookupBytes(path));
    for (;;) {
      const next = this.fresh.pop();
      if (next !== undefined) {
        yield* this.placeFresh(next);
        continue;
      }
      const last = this.postponed.pop();
      if (last === undefined) break;
      yield* this.compareInPlace(last);
    }
    for (const folder of this.gone.values()) yield* this.listGone(folder);
    // Where the folder only moved away, what has its place is new.
    for (const { path: before, by } of this.replaced)
      this.found.push(this.moved.has(before) ? { ...by, kind: 'added' } : by);
    return this.found;
  }

  private *compare(pathA: string, a: Entry | null, pathB: string, b: Entry | null): Steps<void> {
    if (a === null && b === null) return;
    if (a === null) this.addFresh({ path: pathB, entry: b!, counterpart: null });
    else if (b === null) this.addGone({ path: pathA, entry: a, counterpart: null });
    else if (a.type === 'folder' && b.type === 'folder') {
      if (this.key(a, this.a) === this.key(b, this.b)) yield* this.compareFolders(pathA, a, pathB, b);
      else {
        this.addGone({ path: pathA, entry: a, counterpart: pathB });
        this.addFresh({ path: pathB, entry: b, counterpart: pathA });
      }
    } else if (a.type === 'folder' || b.type === 'folder') {
      if (a.type === 'folder') this.replaced.push({ path: pathA, by: { path: pathB, kind: 'changed', entry: b } });
      else this.found.push({ path: pathB, kind: 'changed', entry: b });
      if (a.type === 'folder') this.addGone({ path: pathA, entry: a, counterpart: pathB });
      else this.addFresh({ path: pathB, entry: b, counterpart: pathA });
    } else {
      const kind = yield* leafChange(a, b);
      if (kind !== null) this.found.push({ path: pathB, kind, entry: b });
    }
  }

  private addGone(folder: Folder): void {
    if (folder.entry.type !== 'folder') {
      this.found.push({ path: folder.path, kind: 'deleted', entry: folder.entry });
      return;
    }
    if (this.moved.has(folder.path)) return;
    this.gone.set(folder.path, folder);
    const key = this.key(folder.entry, this.a);
    if (key !== null) this.goneByKey.set(key, folder);
  }

  private addFresh(folder: Folder): void {
    if (folder.entry.type === 'folder') this.fresh.push(folder);
    else this.found.push({ path: folder.path, kind: 'added', entry: folder.entry });
  }

  /** Which lower directory, in the layers that both share, a folder shows; null where it shows none. */
  private key(folder: Entry, stack: LayerStack): string | null {
    const source = folder.sources.find((each) => this.isCommon(each, stack));
    return source === undefined ? null : `${source.layer.path}\0${source.path}`;
  }

  private isCommon(source: Source, stack: LayerStack): boolean {
    return source.layer.index >= stack.layers.length - this.common;
  }

  /** @param renamed the folder of which that is said already */
  private *compareFolders(pathA: string, a: Entry, pathB: string, b: Entry, renamed?: Entry): Steps<void> {
    const pairs: [string, Entry, string, Entry][] = [[pathA, a, pathB, b]];
    for (let pair = pairs.pop(); pair !== undefined; pair = pairs.pop()) {
      const [oldPath, old, newPath, now] = pair;
      if (now !== renamed && modeChanged(old, now)) this.found.push({ path: newPath, kind: 'mode', entry: now });
      for (const [name, oldChild, newChild] of this.candidates(oldPath, old, newPath, now)) {
        const childA = `${oldPath}/${name}`;
        const childB = `${newPath}/${name}`;
        const bothFolders = oldChild?.type === 'folder' && newChild?.type === 'folder';
        // Not by recursion, which a deep tree would exhaust.
        if (bothFolders && this.key(oldChild, this.a) === this.key(newChild, this.b))
          pairs.push([childA, oldChild, childB, newChild]);
        else yield* this.compare(childA, oldChild, childB, newChild);
        yield;
      }
    }
  }

  /** The names that the directories which only one side has speak of, and what they mean on either side. */
  private *candidates(
    pathA: string,
    a: Entry,
    pathB: string,
    b: Entry,
  ): Generator<[string, Entry | null, Entry | null]> {
    const shared = this.sharedSources(a, b);
    const onlyA = a.sources.length - shared;
    const onlyB = b.sources.length - shared;
    if (onlyA === 0 && onlyB === 0) return;
    const dirA = this.a.directory(a);
    const dirB = this.b.directory(b);
    try {
      const namesA = dirA.names(onlyA);
      const namesB = dirB.names(onlyB);
      for (const name of new Set([...namesA.keys(), ...namesB.keys()])) {
        if (name === INTERNAL && (pathA === '' || pathB === '')) continue;
        yield [name, dirA.child(name, namesA.get(name) ?? onlyA), dirB.child(name, namesB.get(name) ?? onlyB)];
      }
    } finally {
      dirA.close();
      dirB.close();
    }
  }

  private sharedSources(a: Entry, b: Entry): number {
    let shared = 0;
    for (;;) {
      const sourceA = a.sources.at(-1 - shared);
      const sourceB = b.sources.at(-1 - shared);
      if (sourceA === undefined || sourceB === undefined || !this.isCommon(sourceA, this.a)) return shared;
      if (sourceA.layer.path !== sourceB.layer.path || sourceA.path !== sourceB.path) return shared;
      shared++;
    }
  }

  private *placeFresh(folder: Folder): Steps<void> {
    const origin = this.originOf(folder);
    if (origin !== null) {
      this.moved.add(origin.path);
      this.gone.delete(origin.path);
      this.found.push({ path: folder.path, kind: 'renamed', from: origin.path, entry: folder.entry });
      yield* this.compareFolders(origin.path, origin.entry, folder.path, folder.entry, folder.entry);
    } else if (folder.counterpart !== null && this.gone.has(folder.counterpart)) this.postponed.push(folder);
    else yield* this.listFresh(folder);
  }

  /** Where a folder of `b` was in `a`: among what is gone there, or at the path that its lower directory has. */
  private originOf(folder: Folder): { path: string; entry: Entry } | null {
    const key = this.key(folder.entry, this.b);
    if (key === null) return null;
    const gone = this.goneByKey.get(key);
    if (gone !== undefined && this.gone.has(gone.path)) return gone;
    const path = `/${key.slice(key.indexOf('\0') + 1)}`;
    if (path === folder.path || this.moved.has(path) || this.settled.has(path)) return null;
    const entry = this.a.lookupBytes(path);
    return entry?.type === 'folder' && this.key(entry, this.a) === key ? { path, entry } : null;
  }

  private *compareInPlace(folder: Folder): Steps<void> {
    const before = this.gone.get(folder.counterpart!);
    if (before === undefined) {
      yield* this.listFresh(folder);
      return;
    }
    this.gone.delete(before.path);
    this.settled.add(before.path);
    yield* this.compareFolders(before.path, before.entry, folder.path, folder.entry);
  }

  private *listFresh(folder: Folder): Steps<void> {
    // Where another kind of thing was in its place, that is reported already; where a folder was that moved, this is new.
    if (folder.counterpart === null || this.moved.has(folder.counterpart))
      this.found.push({ path: folder.path, kind: 'added', entry: folder.entry });
    if (this.counting && folder.entry.sources.length === 1) yield* this.countFresh(folder);
    else
      for (const [name, entry] of children(this.b, folder.entry)) {
        this.addFresh({ path: `${folder.path}/${name}`, entry, counterpart: null });
        yield;
      }
  }

  /** The same of a folder that one layer has, by what the directory says of the kinds: only folders can be more than they seem. */
  private *countFresh({ path, entry }: Folder): Steps<void> {
    const directory = this.b.directory(entry);
    try {
      for (const { name, type } of directory.listing()) {
        if (KNOWN_LEAVES.has(type)) this.beside++;
        else {
          const child = directory.child(name);
          if (child !== null) this.addFresh({ path: `${path}/${name}`, entry: child, counterpart: null });
        }
        yield;
      }
    } finally {
      directory.close();
    }
  }

  private *listGone(folder: Folder): Steps<void> {
    if (folder.counterpart === null) this.found.push({ path: folder.path, kind: 'deleted', entry: folder.entry });
    const folders = [folder];
    let count = 0;
    for (let next = folders.pop(); next !== undefined; next = folders.pop()) {
      for (const [name, entry] of children(this.a, next.entry)) {
        const path = `${next.path}/${name}`;
        if (this.moved.has(path)) continue;
        if (++count > DELETED_LIMIT) return;
        this.found.push({ path, kind: 'deleted', entry });
        if (entry.type === 'folder') folders.push({ path, entry, counterpart: null });
        yield;
      }
    }
  }
}

function* children(stack: LayerStack, folder: Entry): Generator<[string, Entry]> {
  const directory = stack.directory(folder);
  try {
    for (const [name, first] of directory.names()) {
      const entry = directory.child(name, first);
      if (entry !== null) yield [name, entry];
    }
  } finally {
    directory.close();
  }
}

/** The tree of a sandbox's checkpoints: who lies below whom, who is in need of whom. Plain functions over manifests. */
import type { CheckpointId } from '../protocol/ids.ts';

/** What of a manifest the tree is made of. */
export interface Node {
  id: CheckpointId;
  parent: CheckpointId | null;
  base: CheckpointId | null;
  /** Its layer and all below it but the root's are there as one, too. */
  flat?: boolean;
}
export type Tree = ReadonlyMap<CheckpointId, Node>;

/**
 * The checkpoints whose layers make up this one's files, newest first: itself, its base, that one's base, …
 * @throws Error where the chain is broken or runs in a circle
 */
export function chainOf(tree: Tree, id: CheckpointId): CheckpointId[] {
  const chain: CheckpointId[] = [];
  for (let at: CheckpointId | null = id; at !== null; ) {
    const node = tree.get(at);
    if (!node) throw new Error(brokenText(id, { missing: at }));
    if (chain.length > tree.size) throw new Error(brokenText(id, { circle: true }));
    chain.push(at);
    at = node.base;
  }
  return chain;
}

/** What is wrong with a chain. */
type Broken = { missing: CheckpointId } | { circle: true };

function brokenText(id: CheckpointId, broken: Broken): string {
  return 'missing' in broken
    ? `checkpoint ${broken.missing}, in need by ${id}, is missing`
    : `checkpoint ${id} lies below itself`;
}

export interface LayerOf {
  id: CheckpointId;
  kind: 'layer' | 'flat';
}

/** The layers that are mounted for it, newest first: those of its chain, down to one that stands for all below it but the root. */
export function layersOf(tree: Tree, id: CheckpointId): LayerOf[] {
  const chain = chainOf(tree, id);
  const root = chain.pop()!;
  const flat = chain.findIndex((at) => tree.get(at)!.flat);
  const own = flat < 0 ? chain : chain.slice(0, flat);
  return [
    ...own.map((at) => ({ id: at, kind: 'layer' as const })),
    ...(flat < 0 ? [] : [{ id: chain[flat]!, kind: 'flat' as const }]),
    { id: root, kind: 'layer' },
  ];
}

/**
 * Those that can't be used, and why: one that lies below is missing, or a layer that would be mounted. Each is looked at once, however
 * many lie on it: of thousands in one line, to go down to the root from each took most of a helper's start.
 * @param there whether that layer is on the disk
 */
export function unsound(tree: Tree, there: (layer: LayerOf) => boolean): Map<CheckpointId, string> {
  /** The newest layer that is missing of those mounted for it; the root's, if that is; or what is wrong with its chain. */
  const known = new Map<CheckpointId, { gap: CheckpointId | null; root: CheckpointId | null; chain?: Broken }>();
  for (const id of tree.keys()) {
    const above = new Set<CheckpointId>();
    let at: CheckpointId | null = id;
    for (; at !== null && !known.has(at) && !above.has(at) && tree.has(at); at = tree.get(at)!.base) above.add(at);
    let below = known.get(at ?? '') ?? { gap: null, root: null };
    if (at !== null && !known.has(at)) below = { ...below, chain: tree.has(at) ? { circle: true } : { missing: at } };
    for (const next of [...above].reverse()) {
      const { base, flat } = tree.get(next)!;
      const kind = base !== null && flat ? 'flat' : 'layer';
      const own = there({ id: next, kind }) ? null : next;
      const root: CheckpointId | null = base === null ? own : below.root;
      below = { chain: below.chain, root, gap: own ?? (kind === 'flat' ? root : below.gap) };
      known.set(next, below);
    }
  }
  const wrong = new Map<CheckpointId, string>();
  for (const [id, { gap, chain }] of known)
    if (chain) wrong.set(id, brokenText(id, chain));
    else if (gap !== null) wrong.set(id, `the layer of ${gap} is missing`);
  return wrong;
}

/** The line of moments that led to this one, oldest first, itself last. */
export function lineOf(tree: Tree, id: CheckpointId): CheckpointId[] {
  const line: CheckpointId[] = [];
  for (let at: CheckpointId | null = id; at !== null && line.length <= tree.size; at = tree.get(at)?.parent ?? null)
    line.push(at);
  return line.reverse();
}

/** Those whose layers lie on this one's. Not one that has all below it as one. */
export function builtOn(tree: Tree, id: CheckpointId): CheckpointId[] {
  return [...tree.values()].filter((node) => node.base === id && !node.flat).map((node) => node.id);
}

/** Those that can do without what lies below them, this one for the first: then their base is the root. */
export function leftAlone(tree: Tree, id: CheckpointId): { id: CheckpointId; base: CheckpointId }[] {
  return [...tree.values()]
    .filter((node) => node.base === id && node.flat)
    .map((node) => ({ id: node.id, base: chainOf(tree, id).at(-1)! }));
}

/**
 * Who takes the place of a deleted checkpoint in the line: its children become its parent's. Where nobody knows that one, each becomes
 * a child of the checkpoint that it was made from.
 */
export function reparented(tree: Tree, id: CheckpointId): { id: CheckpointId; parent: CheckpointId | null }[] {
  const parent = tree.get(id)?.parent ?? null;
  return [...tree.values()]
    .filter((node) => node.parent === id)
    .map((node) => ({ id: node.id, parent: parent ?? node.base }));
}

/** Number of an id such as k12, for ordering: ids are given in order of time. */
export function numberOf(id: string): number {
  return Number(id.slice(1));
}

export function newestOf(tree: Tree): CheckpointId | undefined {
  return [...tree.keys()].sort((a, b) => numberOf(b) - numberOf(a))[0];
}

export interface Collectable extends Node {
  createdAt: string;
  bytes: number;
  label: string | null;
  /** Bytes of memory that it has from another: they go to it when that one does. */
  took?: { from: CheckpointId; bytes: number };
}

/**
 * What others took over from the memory of one that is gone is now the oldest one's of them, from which the rest have it.
 * @returns bytes that so were not freed, at most: what the heir wrote anew of them is not known
 */
export function bequeath(
  left: Iterable<Pick<Collectable, 'id' | 'bytes' | 'took'>>,
  gone: Pick<Collectable, 'id' | 'bytes' | 'took'>,
): number {
  const heirs = [...left].filter((other) => other.took?.from === gone.id);
  heirs.sort((a, b) => numberOf(a.id) - numberOf(b.id));
  const [first, ...rest] = heirs;
  if (!first?.took) return 0;
  const kept = Math.min(first.took.bytes, gone.bytes);
  first.bytes += kept;
  first.took = gone.took && { from: gone.took.from, bytes: first.took.bytes - kept };
  for (const other of rest) other.took = { from: first.id, bytes: other.took!.bytes };
  return kept;
}

/**
 * Which checkpoints to delete so that the limits hold, oldest first. Never one that another's layers lie on, that a live branch
 * needs, that bears a label, the root or the current one.
 */
export function collect(
  nodes: Collectable[],
  needed: ReadonlySet<CheckpointId>,
  limits: { keep?: number; maxBytes?: number; maxAgeMs?: number },
  now: number,
): CheckpointId[] {
  const left = new Map(nodes.map((node) => [node.id, { ...node }]));
  let bytes = nodes.reduce((sum, node) => sum + node.bytes, 0);
  const doomed: CheckpointId[] = [];
  const over = (node: Collectable): boolean =>
    (limits.keep !== undefined && left.size > limits.keep) ||
    (limits.maxBytes !== undefined && bytes > limits.maxBytes) ||
    (limits.maxAgeMs !== undefined && now - Date.parse(node.createdAt) > limits.maxAgeMs);
  for (let again = true; again; ) {
    again = false;
    for (const node of [...left.values()].sort((a, b) => numberOf(a.id) - numberOf(b.id))) {
      if (!over(node)) continue;
      if (node.parent === null || node.label !== null || needed.has(node.id) || builtOn(left, node.id).length) continue;
      left.delete(node.id);
      bytes -= node.bytes - bequeath(left.values(), node);
      doomed.push(node.id);
      again = true;
    }
  }
  return doomed;
}

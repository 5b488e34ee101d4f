/** Names of branches and tags, as a sandbox has them and as they arrive here. Plain functions: what they read is not to be trusted. */

export const OID = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/;
/** Longer ones fit no file system once they are below `refs/teleport-env/SANDBOX/`. */
const LONGEST = 900;

/** As git-check-ref-format(1) has it, and no byte that is not UTF-8. */
export function isRefName(name: string): boolean {
  const parts = name.split('/');
  return (
    parts.length > 1 &&
    Buffer.byteLength(name) <= LONGEST &&
    !/[\x00-\x20\x7f~^:?*[\\\ufffd]|\.\.|@\{/.test(name) &&
    !name.endsWith('.') &&
    parts.every((part) => part !== '' && part !== '@' && !part.startsWith('.') && !part.endsWith('.lock'))
  );
}

export function isBranchName(name: string): boolean {
  return isRefName(`refs/heads/${name}`) && !name.startsWith('-') && name !== 'HEAD' && !OID.test(name);
}

/** A sandbox's name as a part of a ref's. Where it can't be kept the id makes sure that no two are alike. */
export function refComponent(name: string, id: string): string {
  if (!name.includes('/') && isRefName(`refs/${name}`) && name.length <= 100 && !name.startsWith('-')) return name;
  const kept = name.replace(/[^A-Za-z0-9_-]+/g, '-').replace(/^-+|-+$/g, '');
  return [kept.slice(0, 60), id].filter(Boolean).join('-');
}

export interface Refs {
  /** Below `refs/`: `heads/main`, `tags/v1`, `stash`. Values are object names. */
  named: Map<string, string>;
  /** The branch that is checked out, below `refs/`; null where HEAD is on none. */
  branch: string | null;
  /** Where HEAD is; null before the first commit. */
  head: string | null;
  /** Names that git would not take. */
  odd: string[];
}

/** The lines of a `packed-refs` file: object and name; what a tag stands for begins with ^. */
export function packedRefs(text: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const line of text.split('\n')) {
    const [, object, name] = /^([0-9a-f]{40,64}) (\S+)$/.exec(line) ?? [];
    if (object && name && OID.test(object)) found.set(name, object);
  }
  return found;
}

/**
 * @param loose the text of each file below `refs/`, by name with `refs/`
 * @param head HEAD's text
 */
export function readRefs(loose: ReadonlyMap<string, string>, packed: string, head: string): Refs {
  const values = new Map<string, string>([...packedRefs(packed), ...loose]);
  const resolve = (value: string | undefined, depth = 0): string | null => {
    if (value === undefined || depth > 5) return null;
    const text = value.trim();
    if (OID.test(text)) return text;
    const target = /^ref: (\S+)$/.exec(text)?.[1];
    return target === undefined ? null : resolve(values.get(target), depth + 1);
  };
  const refs: Refs = { named: new Map(), branch: null, head: resolve(head), odd: [] };
  for (const [name, value] of values) {
    if (!/^refs\/(heads\/|tags\/|stash$)/.test(name)) continue;
    const object = resolve(value);
    if (!isRefName(name) || object === null) refs.odd.push(name);
    else refs.named.set(name.slice('refs/'.length), object);
  }
  const branch = /^ref: refs\/(heads\/\S+)\s*$/.exec(head)?.[1];
  if (branch !== undefined && isRefName(`refs/${branch}`)) refs.branch = branch;
  return refs;
}

/**
 * What is to arrive, below `refs/teleport-env/SANDBOX/`: what moved or is new since the sandbox was made, and what arrived
 * before. HEAD only where it is on no branch, as in the middle of a rebase.
 */
export function arriving(now: Refs, root: Refs | null, before: Iterable<string>): Map<string, string> {
  const known = new Set(before);
  const wanted = new Map<string, string>();
  for (const [name, object] of now.named)
    if (known.has(name) || root?.named.get(name) !== object) wanted.set(name, object);
  if (now.branch === null && now.head !== null && (known.has('HEAD') || root?.head !== now.head))
    wanted.set('HEAD', now.head);
  return wanted;
}

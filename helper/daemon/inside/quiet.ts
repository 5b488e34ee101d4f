/**
 * Steps of an agent that tells of none: when files of the workspace changed and then rested. Polled, because overlayfs
 * writes to its upper layer without events that anybody could listen to, and cheap, because that layer holds only what
 * changed and is not looked at while nothing in the branch ran.
 */
import { close, DT_DIR, namesIn, OPEN_DIRECTORY, openAt, openBeneath, openRoot, statAt } from '../../engine/at.ts';
import { showBytes } from '../../engine/libc.ts';

/** Milliseconds without a write after which files rest. */
export const REST_MS = 500;
/** Between looks; more where looking takes long, so that it never takes more than a tenth of the time. */
export const EVERY_MS = 125;
const SHARE = 10;
const MOST_ENTRIES = 20_000;
const NAMED = 3;

export interface Look {
  /** When the newest change was made, in ms since the epoch; 0: there is none. */
  newest: number;
  /** Paths below the workspace that changed since the time asked about. Folders count as what is in them. */
  changed: string[];
}

/** A checkpoint is due: something changed since the last one, and has rested. All in ms since the epoch. */
export function isDue(newest: number, since: number, now: number): boolean {
  return newest > since && now - newest >= REST_MS;
}

export function nextLook(tookMs: number): number {
  return Math.max(EVERY_MS, tookMs * SHARE);
}

/** `aider: a.py, b.py and 3 more` */
export function quietLabel(agent: string, changed: readonly string[]): string {
  const names = changed.slice(0, NAMED).join(', ');
  const more = changed.length - NAMED;
  return names === '' ? agent : `${agent}: ${names}${more > 0 ? ` and ${more} more` : ''}`;
}

/** Looks through what a branch's upper directory has of the workspace. Walks by descriptors: whoever is inside can move folders about meanwhile. */
export function lookAt(upper: string, workspace: string, since: number): Look {
  const found: Look = { newest: 0, changed: [] };
  let left = MOST_ENTRIES;
  const walk = (dir: number, path: string): void => {
    for (const { name, type } of namesIn(dir)) {
      if (left-- <= 0) return;
      const stat = statAt(dir, name);
      if (!stat) continue;
      const at = stat.ctimeSec * 1000 + stat.ctimeNsec / 1e6;
      const below = path === '' ? name : `${path}/${name}`;
      found.newest = Math.max(found.newest, at);
      if (at > since && type !== DT_DIR) found.changed.push(showBytes(below));
      if (type === DT_DIR) enter(dir, name, below);
    }
  };
  const enter = (dir: number, name: string, path: string): void => {
    let fd: number;
    try {
      fd = openAt(dir, name, OPEN_DIRECTORY);
    } catch {
      return; // it is gone, or something else by now
    }
    try {
      walk(fd, path);
    } finally {
      close(fd);
    }
  };
  const root = openRoot(upper);
  try {
    const start = openBeneath(root, workspace.replace(/^\/+/, '') || '.', OPEN_DIRECTORY);
    if (start === null) return found; // nothing changed there yet
    try {
      const own = statAt(start, '.');
      if (own) found.newest = own.ctimeSec * 1000 + own.ctimeNsec / 1e6;
      walk(start, '');
    } finally {
      close(start);
    }
  } finally {
    close(root);
  }
  return found;
}

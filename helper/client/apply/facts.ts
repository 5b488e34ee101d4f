import type { FileStat } from '../../protocol/model.ts';

/**
 * What stands at a path in one of the three places (what the sandbox started from, the sandbox, the workspace); null:
 * nothing. Equal keys mean equal content.
 */
export interface Snapshot {
  type: FileStat['type'];
  /** `file:SHA256`, `symlink:TARGET`, `folder`; `file:~SIZE` where only the size was needed to tell it from the others. */
  key: string;
  /** Permission bits, without set-user-id and its kind: they never leave a sandbox. */
  mode: number;
  size: number;
  /** For the workspace's: tells cheaply whether it was written since. */
  stamp?: string;
}

/** All that is known of one path below the workspace. */
export interface Fact {
  path: string;
  /** What the workspace last had in common with the sandbox. */
  base: Snapshot | null;
  /** In the sandbox now. */
  theirs: Snapshot | null;
  /** In the workspace now. `beyond`: a part of the path is a symlink or a file there. */
  ours: Snapshot | null | 'beyond';
  /** Where the sandbox renamed it from. */
  from?: string;
  /** May the user write there? */
  writable: boolean;
  /** Names in a folder of the workspace that the sandbox knows nothing of, where it has to give way to something else. */
  unknownInside?: boolean;
}

export const PERMISSIONS = 0o777;

/** Some paths are never applied: why, or null. Case is ignored because file systems may ignore it. */
export function neverApplied(path: string): string | null {
  const parts = path.split('/');
  if (parts.some((part) => part.toLowerCase() === '.git'))
    return 'in .git, which is yours alone: commits come with git fetch';
  if (path.includes('\ufffd')) return 'its name is not UTF-8';
  return null;
}

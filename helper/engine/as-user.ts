/**
 * File access with a user's rights: the kernel decides, by that user's ids and groups, what the helper may open for them.
 * Linux keeps these per thread, so a synchronous piece of work on this thread can be done as somebody else.
 * Source: setfsuid(2); the raw setgroups(2) concerns the calling thread only, unlike the C library's.
 */
import { libc } from './libc.ts';

/** asm/unistd.h: x64 has its own table, arm64 the generic one. */
const [SYS_setgroups, SYS_getgroups, SYS_setfsuid, SYS_setfsgid] =
  process.arch === 'arm64' ? [159, 158, 151, 152] : [116, 115, 122, 123];
const NOBODY_CHANGED = 0xffffffff;

export interface UserIds {
  uid: number;
  gid: number;
  groups: number[];
}

function setGroups(groups: number[]): void {
  const list = Buffer.alloc(Math.max(4, groups.length * 4));
  for (const [i, gid] of groups.entries()) list.writeUInt32LE(gid, i * 4);
  if (libc().syscall(SYS_setgroups, groups.length, list, 0n, 0, 0) !== 0) throw new Error('setgroups failed');
}

function groupsNow(): number[] {
  const list = Buffer.alloc(65536 * 4);
  const n = libc().syscall(SYS_getgroups, 65536, list, 0n, 0, 0);
  return Array.from({ length: n }, (_, i) => list.readUInt32LE(i * 4));
}

function setId(call: number, id: number): void {
  libc().syscall(call, id, 0n, 0n, 0, 0);
  // The call answers the former id and says nothing of failure: ask what is in force now.
  if (libc().syscall(call, NOBODY_CHANGED, 0n, 0n, 0, 0) !== id) throw new Error(`the ids of ${id} could not be taken`);
}

/**
 * Runs `work`, which must be synchronous, with the file access of that user and none of root's. As root it just runs.
 * What it opens stays open for us.
 */
export function asUser<T>(user: UserIds, work: () => T): T {
  if (user.uid === 0) return work();
  const groups = groupsNow();
  try {
    setGroups(user.groups);
    setId(SYS_setfsgid, user.gid);
    setId(SYS_setfsuid, user.uid);
    return work();
  } finally {
    setId(SYS_setfsuid, 0);
    setId(SYS_setfsgid, 0);
    setGroups(groups);
  }
}

/** Who a client is, from the kernel: the peer of its connection, never its own word. */
import { readFileSync } from 'node:fs';

/** One uid a line. Whoever is in there can read in a sandbox what only root can read of the base. */
export const ROOT_INSIDE = '/etc/teleport-env/root-inside';

export interface Owner {
  uid: number;
  gid: number;
  groups: number[];
  home: string;
}

function numbers(status: string, field: string): number[] {
  const line = new RegExp(`^${field}:[ \\t]*(.*)$`, 'm').exec(status)?.[1] ?? '';
  return line.split(/\s+/).filter(Boolean).map(Number);
}

/** From /etc/passwd; `/` for a uid that is not in there. */
export function homeOf(uid: number, passwd = readFileSync('/etc/passwd', 'utf8')): string {
  return nameAndHome(uid, passwd).home;
}

export function nameAndHome(
  uid: number,
  passwd = readFileSync('/etc/passwd', 'utf8'),
): { name: string; home: string; shell: string } {
  for (const line of passwd.split('\n')) {
    const fields = line.split(':');
    if (fields.length >= 7 && Number(fields[2]) === uid)
      return { name: fields[0]!, home: fields[5] || '/', shell: fields[6] || '/bin/sh' };
  }
  return { name: String(uid), home: '/', shell: '/bin/sh' };
}

/** @param peer as SO_PEERCRED says. Groups come from /proc while that process is the peer's. */
export function ownerOf(peer: { pid: number; uid: number; gid: number }): Owner {
  const owner = { uid: peer.uid, gid: peer.gid, groups: [] as number[], home: homeOf(peer.uid) };
  try {
    const status = readFileSync(`/proc/${peer.pid}/status`, 'utf8');
    if (numbers(status, 'Uid')[1] === peer.uid) owner.groups = numbers(status, 'Groups');
  } catch {
    // gone already: no more than its own group
  }
  return owner;
}

/** Who programs inside are: the owner, or root. */
export function payloadOf({ owner, root }: { owner: Owner; root?: boolean }): Owner {
  return root ? { uid: 0, gid: 0, groups: [], home: owner.home } : owner;
}

/** Users that set-up admitted, one uid a line; root always. */
export function admitted(uid: number, list: string): boolean {
  return uid === 0 || list.split('\n').some((line) => line.trim() !== '' && Number(line) === uid);
}

/** The folder inside the target where new content waits until all of it is there. */
import { createHash } from 'node:crypto';
import { readlinkSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { TeleportError } from '../../protocol/errors.ts';

/** Whose it is, is in its name: what a process leaves that was killed can be told from what one is filling just now. */
const NAME = /^\.teleport-env-([0-9a-f]{8})-(\d+)-/;

/** @throws TeleportError `workspaceUnwritable` */
export async function makeStaging(dir: string): Promise<string> {
  await removeAbandoned(dir);
  try {
    return await mkdtemp(join(dir, `.teleport-env-${where()}-${process.pid}-`));
  } catch (error) {
    throw new TeleportError('workspaceUnwritable', `cannot write in ${dir}: ${(error as Error).message}`, {
      hint: 'apply to another folder with --to, or make a patch with --patch',
      cause: error,
    });
  }
}

async function removeAbandoned(dir: string): Promise<void> {
  for (const name of await readdir(dir).catch(() => [])) {
    const [, place, pid] = NAME.exec(name) ?? [];
    if (place !== where() || isAlive(Number(pid))) continue;
    // Another user's is theirs to remove.
    await rm(join(dir, name), { recursive: true, force: true }).catch(() => undefined);
  }
}

/** A process's number means something on its own machine only, and in its own PID namespace. */
function where(): string {
  let namespace = '';
  try {
    namespace = readlinkSync('/proc/self/ns/pid');
  } catch {
    // not Linux: there is but one
  }
  return createHash('sha256').update(`${hostname()} ${namespace}`).digest('hex').slice(0, 8);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

/** The folder inside the target where new content waits until all of it is there. */
import { createHash } from 'node:crypto';
import { readlinkSync } from 'node:fs';
import { appendFile, mkdtemp, readdir, readFile, realpath, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, join } from 'node:path';
import { TeleportError } from '../../protocol/errors.ts';

/** Whose it is, is in its name: what a process leaves that was killed can be told from what one is filling just now. */
const NAME = /^\.teleport-env-([0-9a-f]{8})-(\d+)-/;

/** In the staging folder: folders below the target, each ended by a NUL. What waits there goes by numbers. */
const BESIDE = 'beside';

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

/**
 * On a file system that is mounted in the target a file is written beside the one whose place it takes, under the staging folder's
 * name; that there is one stands in this folder, for who comes after a process that was killed.
 * @param folder below `dir`
 */
export async function besideIn(folder: string, dir: string, staging: string): Promise<string> {
  await appendFile(join(staging, BESIDE), `${folder}\0`);
  return join(dir, folder, basename(staging));
}

async function removeBeside(dir: string, name: string): Promise<void> {
  const noted = await readFile(join(dir, name, BESIDE), 'utf8').catch(() => '');
  const top = await realpath(dir);
  for (const folder of noted.split('\0').slice(0, -1)) {
    const at = join(dir, folder);
    const straight = join(top, folder);
    const isBelow = `${straight}/`.startsWith(`${top}/`) && (await realpath(at).catch(() => null)) === straight;
    if (isBelow) await rm(join(at, name), { force: true });
  }
}

async function removeAbandoned(dir: string): Promise<void> {
  for (const name of await readdir(dir).catch(() => [])) {
    const [, place, pid] = NAME.exec(name) ?? [];
    if (place !== where() || isAlive(Number(pid))) continue;
    await removeBeside(dir, name).catch(() => undefined);
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

/** The folder with all that a daemon keeps. One daemon at a time has it: two would adopt, end and sweep each other's branches. */
import { ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeFolder } from '../engine/make-folder.ts';
import { tryLock } from '../engine/syscalls.ts';
import { TeleportError } from '../protocol/errors.ts';
import { answersAt } from './server.ts';

/** One that was told to end puts away first what is under way; one that has just begun will listen soon. */
const PATIENCE_MS = 20_000;
const POLL_MS = 25;
/** Layers are named in mount options, which give these a meaning of their own; the kernel's list of mounts escapes blanks. */
const UNFIT = /[:,\\\s]/;

/**
 * Makes it where there is none, and takes it until this process ends.
 * @param socket where this daemon will listen
 * @throws TeleportError `sandboxBusy` where another daemon has it, `volumeUnusable`, `invalidRequest`
 */
export async function takeStateFolder(state: string, socket: string): Promise<void> {
  if (UNFIT.test(state))
    throw new TeleportError('invalidRequest', `the state cannot stand at ${JSON.stringify(state)}`, {
      hint: 'choose a path without blanks, colons, commas and backslashes',
    });
  const path = join(state, 'lock');
  const lock = open(path);
  for (const deadline = Date.now() + PATIENCE_MS; !tryLock(lock); await sleep(POLL_MS)) {
    const other = readFileSync(path, 'utf8');
    if ((other !== '' && (await answersAt(other))) || Date.now() > deadline)
      throw new TeleportError('sandboxBusy', `another helper, at ${other}, has ${state}`, {
        hint: 'use that one, or name another --state',
      });
  }
  ftruncateSync(lock, 0);
  writeSync(lock, socket);
}

/** Kept open: closing it would give the lock up. */
function open(path: string): number {
  try {
    makeFolder(dirname(path), 0o700);
    return openSync(path, 'a', 0o600);
  } catch (cause) {
    throw new TeleportError('volumeUnusable', `the helper's state cannot be kept there: ${(cause as Error).message}`, {
      hint: 'name another --state',
      cause,
    });
  }
}

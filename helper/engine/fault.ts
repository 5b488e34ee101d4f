/**
 * Places where tests make something die or fail. TELEPORT_ENV_FAULT names one as `POINT`, `POINT=WAY` or, counted from 1,
 * `POINT#N`; or it is the absolute path of a file that holds such a word, read anew each time, so that a test can arm a
 * running helper. Without the variable a point costs a comparison. Ways:
 *
 *   (none)     SIGKILL to the helper itself
 *   criu, criu+MS   to the CRIU that is at work, that many milliseconds later
 *   ahead      to every CRIU that was begun ahead and waits
 *   init       to the PID 1 that the work is about
 *   full       the volume has no space left
 *   throw      any other failure
 */
import { readFileSync, rmSync } from 'node:fs';

export const FAULT_POINTS = [
  // a checkpoint
  'capture:begun',
  'capture:stopped',
  'capture:copied',
  'capture:dumped',
  'capture:moving',
  'capture:moved',
  'take:quiesced',
  'take:captured',
  'take:pinned',
  'take:written',
  'take:replaced',
  'take:done',
  // a branch made of one
  'branch:prepared',
  'branch:restoring',
  'branch:live',
  'branch:recorded',
  'branch:answers',
  // the head goes elsewhere
  'head:saved',
  'head:thawed',
  'head:obtained',
  'head:recorded',
  'branch:retired',
  // a sandbox comes and goes
  'create:layers',
  'create:copied',
  'create:begun',
  'remove:ended',
  'remove:renamed',
  'delete:alone',
  'delete:manifest',
  'delete:reparented',
  // many layers become one; `part`: one name of many
  'flatten:part',
  'flatten:made',
  'flatten:done',
  // a record
  'record:part',
  // a file is read, for an apply as for anybody
  'fs:read',
  // CRIU tells how far it is
  'criu:pre-dump',
  'criu:query-ext-files',
  'criu:post-dump',
  'criu:pre-restore',
  'criu:setup-namespaces',
  'criu:post-setup-namespaces',
  'criu:post-restore',
  'criu:pre-resume',
  'criu:post-resume',
] as const;
export type FaultPoint = (typeof FAULT_POINTS)[number];

const armed = process.env.TELEPORT_ENV_FAULT;
export const areFaultsArmed = armed !== undefined;
const seen = new Map<string, number>();

export function isFaultPoint(name: string): name is FaultPoint {
  return (FAULT_POINTS as readonly string[]).includes(name);
}

/** @param init host pid of the PID 1 that the work is about, where there is one */
export function faultPoint(point: FaultPoint, init?: number): void {
  if (armed !== undefined) meet(point, armed, init);
}

function meet(point: FaultPoint, from: string, init: number | undefined): void {
  const [words = '', way] = wordsOf(from).split('=');
  const [name, nth] = words.split('#');
  if (name !== point) return;
  const times = (seen.get(words) ?? 0) + 1;
  seen.set(words, times);
  if (times < Number(nth ?? 1)) return;
  seen.delete(words);
  if (from.startsWith('/')) rmSync(from, { force: true });
  const [what, ms] = way?.split('+') ?? [];
  if (what === 'full') throw Object.assign(new Error(`ENOSPC: no space left on device, ${point}`), { code: 'ENOSPC' });
  if (what === 'throw') throw new Error(`fault at ${point}`);
  if (what === 'init') end(init);
  else if (what === 'ahead') endChildren('teleport-init');
  else if (what === 'criu') {
    if (ms === undefined) endChildren('criu');
    else setTimeout(() => endChildren('criu'), Number(ms));
  } else {
    end(process.pid);
    for (;;); // the signal may take a moment; nothing more must happen
  }
}

function endChildren(name: string): void {
  const children = readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').split(' ').filter(Boolean);
  for (const pid of children) if (wordsOf(`/proc/${pid}/comm`) === name) end(Number(pid));
}

function end(pid: number | undefined): void {
  try {
    if (pid) process.kill(pid, 'SIGKILL');
  } catch {
    // it ended by itself
  }
}

function wordsOf(from: string): string {
  if (!from.startsWith('/')) return from;
  try {
    return readFileSync(from, 'utf8').trim();
  } catch {
    return '';
  }
}

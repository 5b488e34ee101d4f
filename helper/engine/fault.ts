/**
 * Places where tests make the helper die or fail. TELEPORT_ENV_FAULT names one as `POINT`, `POINT=throw` or, counted from
 * 1, `POINT#N`; or it is the absolute path of a file that holds such a word, read anew each time, so that a test can arm a
 * running helper. Without the variable a point costs a comparison.
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
  'delete:manifest',
  'delete:reparented',
  // a record
  'record:part',
] as const;
export type FaultPoint = (typeof FAULT_POINTS)[number];

const armed = process.env.TELEPORT_ENV_FAULT;
const seen = new Map<string, number>();

export function faultPoint(point: FaultPoint): void {
  if (armed !== undefined) meet(point, armed);
}

function meet(point: FaultPoint, from: string): void {
  const [words = '', way] = wordsOf(from).split('=');
  const [name, nth] = words.split('#');
  if (name !== point) return;
  const times = (seen.get(words) ?? 0) + 1;
  seen.set(words, times);
  if (times < Number(nth ?? 1)) return;
  seen.delete(words);
  if (from.startsWith('/')) rmSync(from, { force: true });
  if (way === 'full') throw Object.assign(new Error(`ENOSPC: no space left on device, ${point}`), { code: 'ENOSPC' });
  if (way === 'throw') throw new Error(`fault at ${point}`);
  process.kill(process.pid, 'SIGKILL');
  for (;;); // the signal may take a moment; nothing more must happen
}

function wordsOf(from: string): string {
  if (!from.startsWith('/')) return from;
  try {
    return readFileSync(from, 'utf8').trim();
  } catch {
    return '';
  }
}

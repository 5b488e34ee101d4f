/**
 * While a branch's upperdir is a checkpoint's layer, and nobody has taken the branch's place yet, a note in the checkpoint's folder says so:
 * should the helper end then, the next one gives the branch its files back (see sandbox/recovery.ts).
 */
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { BranchLayout, CheckpointLayout } from './layout.ts';

function note(to: CheckpointLayout): string {
  return join(to.dir, 'rotating');
}

/** Before the first file is moved. */
export function noteRotation(from: BranchLayout, to: CheckpointLayout): void {
  writeFileSync(note(to), basename(from.dir), { mode: 0o600 });
}

/** Whose files the checkpoint took, or null. */
export function rotationOf(to: CheckpointLayout): string | null {
  return existsSync(note(to)) ? readFileSync(note(to), 'utf8').trim() : null;
}

/** Somebody has taken the branch's place. */
export function rotationDone(to: CheckpointLayout): void {
  rmSync(note(to), { force: true });
}

/** Gives the branch its files back, however many of them had been moved. */
export function rejoin(to: CheckpointLayout, from: BranchLayout): void {
  if (!existsSync(to.layer)) return;
  for (const name of readdirSync(to.layer, { encoding: 'buffer' }))
    renameSync(inside(to.layer, name), inside(from.upper, name));
}

function inside(dir: string, name: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${dir}/`), name]);
}

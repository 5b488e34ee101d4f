/** Records on disk: read by schema, written whole or not at all. */
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { uptime } from 'node:os';
import { dirname } from 'node:path';
import type * as z from 'zod';
import { faultPoint } from '../engine/fault.ts';
import { withReserve } from '../engine/reserve.ts';
import { writeOut } from '../engine/syscalls.ts';
import { TeleportError } from '../protocol/errors.ts';

/** @throws TeleportError `checkpointDamaged` where the file is missing, cut short or not of the schema */
export function readRecord<S extends z.ZodType>(schema: S, file: string): z.infer<S> {
  let raw: unknown;
  try {
    raw = JSON.parse(readFileSync(file, 'utf8'));
  } catch (cause) {
    throw new TeleportError('checkpointDamaged', `${file} cannot be read: ${(cause as Error).message}`, { cause });
  }
  const parsed = schema.safeParse(raw);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new TeleportError(
    'checkpointDamaged',
    `${file} is not what it should be: ${issue?.path.join('.')}: ${issue?.message}`,
  );
}

/**
 * Takes the place of what was there. That is not always on disk yet, but whatever is there after a power failure is whole: a file
 * system may note the new name long before the data.
 * @param options `sync`: it is on disk when this returns. `transient`: of what need not outlive a power failure; waits for no disk,
 *   and may be there without data then (`neverWritten`)
 */
export function writeRecord(
  file: string,
  record: unknown,
  options: { sync?: boolean; transient?: boolean } = {},
): void {
  const part = `${file}.part`;
  const text = JSON.stringify(record, null, 1);
  withReserve(() => {
    writeFileSync(part, text, { mode: 0o600 });
    if (!options.transient) during(part, writeOut);
  });
  faultPoint('record:part');
  renameSync(part, file);
  // The name, too: it was written with the directory or not at all.
  if (options.sync) for (const path of [file, dirname(file)]) during(path, fsyncSync);
}

/** Named before the machine last started, and of no data: a power failure left that of what was not said to be on disk. */
export function neverWritten(file: string): boolean {
  const { size, mtimeMs } = statSync(file);
  return size === 0 && mtimeMs < Date.now() - uptime() * 1000;
}

function during(path: string, work: (fd: number) => void): void {
  const fd = openSync(path, 'r');
  try {
    work(fd);
  } finally {
    closeSync(fd);
  }
}

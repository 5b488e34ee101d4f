/** Records on disk: read by schema, written whole or not at all. */
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import type * as z from 'zod';
import { faultPoint } from '../engine/fault.ts';
import { withReserve } from '../engine/reserve.ts';
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

/** `sync`: it is on disk when this returns. */
export function writeRecord(file: string, record: unknown, options: { sync?: boolean } = {}): void {
  const part = `${file}.part`;
  const text = JSON.stringify(record, null, 1);
  withReserve(() => writeFileSync(part, text, { mode: 0o600 }));
  if (options.sync) {
    const fd = openSync(part, 'r');
    fsyncSync(fd);
    closeSync(fd);
  }
  faultPoint('record:part');
  renameSync(part, file);
}

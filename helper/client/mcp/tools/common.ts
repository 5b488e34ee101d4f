import * as z from 'zod';
import type { Change } from '../../../protocol/model.ts';

/** Every tool takes it. */
export const Sandbox = z
  .string()
  .min(1)
  .max(255)
  .optional()
  .describe('Its name or id. Left out: the one in use, or the current folder’s.');

export function changeLine({ kind, path, from }: Change): string {
  return from === undefined ? `${kind} ${path}` : `${kind} ${from} → ${path}`;
}

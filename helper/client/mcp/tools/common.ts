import * as z from 'zod';
import { CheckpointId } from '../../../protocol/ids.ts';
import type { Change } from '../../../protocol/model.ts';

/** Every tool takes it. */
export const Sandbox = z
  .string()
  .min(1)
  .max(255)
  .optional()
  .describe('Its name or id. Left out: the one in use, or the current folder’s.');

/** Of each tool that a search goes on from. */
export const Expect = z
  .array(CheckpointId)
  .max(16)
  .optional()
  .describe(
    'Checkpoints that you will probably go back to or fork next, the likeliest first: up to three are prepared, so going there takes about 2 ms. Holds until given again; [] ends it.',
  );

export function changeLine({ kind, path, from }: Change): string {
  return from === undefined ? `${kind} ${path}` : `${kind} ${from} → ${path}`;
}

/** How much is tried: a twentieth of a soak in `npm test`, all of it in `npm run soak`, which also wants to know what came of it. */
import { appendFileSync } from 'node:fs';

export const SOAK = process.env.TELEPORT_SOAK;
const full = SOAK !== undefined;

export const FAULTS = Number(process.env.TELEPORT_FAULTS ?? (full ? 1000 : 50));
export const ROLLBACKS = Number(process.env.TELEPORT_ROLLBACKS ?? (full ? 10_000 : 500));
export const DEPTH = Number(process.env.TELEPORT_DEPTH ?? (full ? 3000 : 70));
export const SEED = Number(process.env.TELEPORT_SEED ?? Date.now() % 100_000);

/** A line of the soak's result; `TELEPORT_SOAK` is the file. */
export function note(what: string, figures: Record<string, number | string>): void {
  if (SOAK) appendFileSync(SOAK, `${JSON.stringify({ what, ...figures })}\n`);
}

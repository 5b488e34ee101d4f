/** Milliseconds of many runs of one thing. */
import type { StepTime } from '../protocol/model.ts';

export interface Summary {
  n: number;
  min: number;
  p50: number;
  p95: number;
  p99: number;
  max: number;
}

/** Nearest rank. @throws RangeError for no samples */
export function summarize(samples: readonly number[]): Summary {
  if (!samples.length) throw new RangeError('nothing was measured');
  const sorted = [...samples].sort((a, b) => a - b);
  const rank = (p: number): number => round(sorted[Math.max(0, Math.ceil(p * sorted.length) - 1)]!);
  return { n: sorted.length, min: rank(0), p50: rank(0.5), p95: rank(0.95), p99: rank(0.99), max: rank(1) };
}

export function round(ms: number): number {
  return Math.round(ms * 100) / 100;
}

/** Of each step the median, in their order. */
export function medianSteps(runs: readonly (readonly StepTime[])[]): StepTime[] {
  const times = new Map<string, number[]>();
  for (const run of runs) for (const { step, ms } of run) times.set(step, [...(times.get(step) ?? []), ms]);
  return [...times].map(([step, all]) => ({ step, ms: summarize(all).p50 }));
}

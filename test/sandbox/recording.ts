/** What scripts/record-accesses.ts wrote down: what the policy of standbys saw, and what came of it. Times in ms. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Made {
  at: number;
  /** A checkpoint, of the head. */
  made: string;
  parent: string | null;
  base: string | null;
  /** What a standby of it takes. */
  bytes: number;
  /** That long after, its first standby stood. */
  proven?: number;
}

/** Gone to, or forked: asked for at that time, answered `ms` later. */
export type Accessed = { at: number; path: 'warm' | 'cold'; ms: number } & ({ moved: string } | { forked: string });

export type Happened = Made | Accessed | { at: number; hints: string[] };

export interface Recording {
  what: string;
  how: string;
  date: string;
  happened: Happened[];
}

export function recorded(name: string): Recording {
  return JSON.parse(readFileSync(join(__dirname, 'patterns', `${name}.json`), 'utf8'));
}

/** Share of the rollbacks and forks that were from a standby. */
export function warmShare({ happened }: Recording): number {
  const paths = happened.flatMap((one) => ('path' in one ? [one.path] : []));
  return paths.filter((path) => path === 'warm').length / paths.length;
}

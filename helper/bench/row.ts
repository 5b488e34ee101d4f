import type { StepTime } from '../protocol/model.ts';
import type { Summary } from './stats.ts';

/** One figure of one subject on one workload. */
export interface Row {
  workload: string;
  /** `rollback`, `checkpoint`, `payload stopped`, … */
  figure: string;
  /** `ours, warm`, `original`, … */
  subject: string;
  unit: 'ms' | '/s' | '%' | 'MB';
  /** One number where there is no distribution. */
  value: Summary | number;
  /** Processes, resident MB, files changed, depth, exactly what was run: as far as they matter. */
  context: string;
  goal?: { text: string; met: boolean } & Partial<Explanation>;
  /** Why its goal would be missed, where the workload itself knows best. */
  because?: Explanation;
  /** Why its median is of fewer than `ENOUGH`. */
  few?: string;
  /** Of which run: where rows of several are in one report, they tell. */
  at?: Run;
  /** Where the time goes: what the helper says, or what the workload measured. Medians. */
  steps?: StepTime[];
}

/** Of a goal that was missed, by this run's own figures. */
export interface Explanation {
  cause: string;
  /** What it would take. */
  needs: string;
}

export interface Run {
  date: string;
  /** The commit (`-dirty`: and more), or the version. */
  code: string;
}

/** What was not measured, and why: by the error that it ended with. */
export interface LeftOut {
  workload: string;
  figure: string;
  subject: string;
  why: string;
}

export interface Report {
  machine: {
    cpu: string;
    cores: number;
    memoryGb: number;
    kernel: string;
    criu: string;
    node: string;
    loadAverage: number;
  };
  date: string;
  code?: string;
  /** What else the machine did: its load average as each workload began. */
  loads?: Record<string, number>;
  rows: Row[];
  leftOut: LeftOut[];
}

/** So often each figure is measured, or its row says why not. */
export const ENOUGH = 30;

/** Of so few that a reason is due: n; else null. */
export function tooFew({ value }: Row): number | null {
  return typeof value === 'number' || value.n >= ENOUGH ? null : value.n;
}

export function middle(row: Row): number {
  return typeof row.value === 'number' ? row.value : row.value.p50;
}

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
  goal?: { text: string; met: boolean };
}

/** A peer or workload that was not measured, and why. */
export interface LeftOut {
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
  rows: Row[];
  leftOut: LeftOut[];
}

export function middle(row: Row): number {
  return typeof row.value === 'number' ? row.value : row.value.p50;
}

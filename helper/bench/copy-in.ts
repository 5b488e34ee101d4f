/** How long a person waits for a sandbox of a folder: 20,000 files, and a small project. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Bench } from './bench.ts';
import { summarize } from './stats.ts';

const SIZES = [
  { figure: '20,000 files to ready', folders: 200, files: 100, rounds: 5, mostMs: 5000, goal: 'p50 ≤ 5 s' },
  { figure: 'small workspace to ready', folders: 5, files: 10, rounds: 20, mostMs: 500, goal: 'p50 ≤ 500 ms' },
];
const BYTES = 3000;

/** From the request to a sandbox whose programs can be run. */
export async function copyInWorkload(bench: Bench): Promise<void> {
  const { connection } = bench.helper;
  for (const { figure, folders, files, rounds, mostMs, goal } of SIZES) {
    const workspace = mkdtempSync(join(tmpdir(), 'teleport-bench-ws-'));
    try {
      fill(workspace, folders, files);
      const samples: number[] = [];
      for (let round = 0; round < Math.min(rounds, bench.rounds); round++) {
        const begun = performance.now();
        const { sandbox } = await connection.request('sandbox/create', { workspace });
        samples.push(performance.now() - begun);
        await connection.request('sandbox/remove', { sandbox: sandbox.id });
      }
      const value = summarize(samples);
      const context = `${folders * files} files of ${BYTES} bytes in ${folders} folders`;
      const met = value.p50 <= mostMs;
      bench.rows.push({
        ...{ workload: 'copy-in', figure, subject: 'ours', unit: 'ms', value, context },
        goal: { text: goal, met },
      });
      bench.say(`copy-in: ${figure}: p50 ${value.p50} ms (n ${value.n})`);
    } finally {
      rmSync(workspace, { recursive: true, force: true });
    }
  }
}

function fill(workspace: string, folders: number, files: number): void {
  for (let d = 0; d < folders; d++) {
    mkdirSync(join(workspace, `d${d}`));
    for (let f = 0; f < files; f++) writeFileSync(join(workspace, `d${d}/f${f}`), Buffer.alloc(BYTES, `${d}-${f} `));
  }
}

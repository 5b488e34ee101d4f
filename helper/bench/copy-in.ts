/** How long a person waits for a sandbox of a folder: 20,000 files, and a small project. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { StepTime } from '../protocol/model.ts';
import { add, type Bench } from './bench.ts';
import { COPYING, OF_NOTHING } from './causes.ts';
import { medianSteps } from './stats.ts';

const SIZES = [
  { figure: '20,000 files to ready', folders: 200, files: 100, mostMs: 5000, goal: 'p50 ≤ 5 s' },
  { figure: 'small workspace to ready', folders: 5, files: 10, mostMs: 500, goal: 'p50 ≤ 500 ms' },
];
const BYTES = 3000;
/** No further round is begun then: to remove what was copied takes longer than to copy it. */
const MOST_MS = 180_000;

/** From the request to a sandbox whose programs can be run. In turn with what it cannot do without: a copy, a sandbox of nothing. */
export async function copyInWorkload(bench: Bench): Promise<void> {
  const { connection, dir } = bench.helper;
  const made = async (workspace: string): Promise<number> => {
    const begun = performance.now();
    const { sandbox } = await connection.request('sandbox/create', { workspace });
    const ms = performance.now() - begun;
    await connection.request('sandbox/remove', { sandbox: sandbox.id });
    return ms;
  };
  for (const { figure, folders, files, mostMs, goal } of SIZES) {
    const workspace = mkdtempSync(join(tmpdir(), 'teleport-bench-ws-'));
    const nothing = mkdtempSync(join(tmpdir(), 'teleport-bench-ws-'));
    const copy = join(dir, 'copy');
    try {
      fill(workspace, folders, files);
      const samples: number[] = [];
      const parts: StepTime[][] = [];
      const begunAll = performance.now();
      for (let i = 0; i < bench.rounds && performance.now() - begunAll < MOST_MS; i++) {
        samples.push(await made(workspace));
        const begun = performance.now();
        execFileSync('cp', ['-a', workspace, copy]);
        const copied = performance.now() - begun;
        rmSync(copy, { recursive: true });
        parts.push([
          { step: COPYING, ms: copied },
          { step: OF_NOTHING, ms: await made(nothing) },
        ]);
      }
      const context = `${folders * files} files of ${BYTES} bytes in ${folders} folders`;
      const few = `these took more than ${MOST_MS / 1000} s`;
      const row = { workload: 'copy-in', figure, subject: 'ours', context, few, steps: medianSteps(parts) };
      add(bench, row, samples, { text: goal, holds: (s) => s.p50 <= mostMs });
    } finally {
      for (const folder of [workspace, nothing, copy]) rmSync(folder, { recursive: true, force: true });
    }
  }
}

function fill(workspace: string, folders: number, files: number): void {
  for (let d = 0; d < folders; d++) {
    mkdirSync(join(workspace, `d${d}`));
    for (let f = 0; f < files; f++) writeFileSync(join(workspace, `d${d}/f${f}`), Buffer.alloc(BYTES, `${d}-${f} `));
  }
}

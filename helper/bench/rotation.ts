/** What stops programs for less, by the number of files that changed: to copy them beside the dump, or to rotate (ARCHITECTURE.md). */
import { setTimeout as sleep } from 'node:timers/promises';
import type { StepTime } from '../protocol/model.ts';
import { add, type Bench } from './bench.ts';
import { COUNTER_PY } from './inside.ts';
import { withHelpers } from './private-helper.ts';
import { medianSteps } from './stats.ts';
import { Subject } from './subject.ts';

const FILES = [100, 300, 600, 1000, 3000];
/** The helper's switch (helper/engine/capture.ts), so that it always does the one or the other. */
const WAYS = [
  { name: 'copied', above: 1e9 },
  { name: 'rotated', above: 1 },
];
const SETTLE_MS = 250;

export async function rotation(bench: Bench): Promise<void> {
  const envs = WAYS.map(({ above }) => ({ TELEPORT_ENV_ROTATE_ABOVE: String(above) }));
  await withHelpers(bench, envs, async (helpers) => {
    for (const files of FILES) {
      const ways = await Promise.all(
        WAYS.map(async ({ name }, i) => ({
          subject: `${name}, ${files} files`,
          sandbox: await Subject.create(helpers[i]!.connection, { 'counter.py': COUNTER_PY }),
          stopped: [] as number[],
          done: [] as number[],
          steps: [] as StepTime[][],
        })),
      );
      try {
        for (const { sandbox } of ways) await sandbox.run('python3 counter.py & sleep 0.3');
        for (let i = 0; i < bench.rounds; i++)
          for (const { sandbox, stopped, done, steps } of ways) {
            await sandbox.run(writing(files));
            await sleep(SETTLE_MS);
            const made = await sandbox.checkpoint();
            stopped.push(made.checkpoint.stoppedMs);
            done.push(made.ms);
            steps.push(made.steps);
          }
        const context = `a shell and a counter; ${files} files of 1 kB written anew before each checkpoint, so that both find them changed`;
        for (const { subject, stopped, done, steps } of ways) {
          const row = { workload: 'rotation', subject, context, steps: medianSteps(steps) };
          add(bench, { ...row, figure: 'checkpoint, payload stopped' }, stopped);
          add(bench, { ...row, figure: 'checkpoint, to done' }, done);
        }
      } finally {
        await Promise.allSettled(ways.map(({ sandbox }) => sandbox.remove())); // broken off, neither can be: their folders go all the same
      }
    }
  });
}

/** By the shell alone, which is as soon done as begun; of random text, in folders of a hundred. */
function writing(files: number): string {
  return `t=$(head -c 740 /dev/urandom | base64 -w0); for i in $(seq ${files}); do d=many/$((i / 100)); [ -d $d ] || mkdir -p $d; echo "$i $t" > $d/f$i; done`;
}

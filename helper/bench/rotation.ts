/** What stops programs for less, by the number of files that changed: to copy them beside the dump, or to rotate (ARCHITECTURE.md). */
import { setTimeout as sleep } from 'node:timers/promises';
import type { StepTime } from '../protocol/model.ts';
import { add, type Bench } from './bench.ts';
import { COUNTER_PY, holding } from './inside.ts';
import { withHelpers } from './private-helper.ts';
import { medianSteps, round } from './stats.ts';
import { Subject } from './subject.ts';

const SMALL = {
  files: { 'counter.py': COUNTER_PY },
  start: 'python3 counter.py & sleep 0.3',
  text: 'a shell and a counter',
  mb: 0,
};
/** Memory counts against rotating: the successor's is restored while all stand. */
const LARGE = { ...holding(100), text: 'a shell and a program of 100 MB', mb: 100 };
const SIZES = [
  ...[100, 300, 600, 1000, 3000].map((count) => ({ count, programs: SMALL })),
  ...[1000, 3000].map((count) => ({ count, programs: LARGE })),
];
/** The helper's switch (helper/engine/capture.ts), so that it always does the one or the other; and left to itself, once for each size. */
const WAYS = [
  { name: 'copied', env: { TELEPORT_ENV_ROTATE_ABOVE: String(1e9) } },
  { name: 'rotated', env: { TELEPORT_ENV_ROTATE_ABOVE: '1' } },
];
/** The step that only one of the two ways has. */
const ROTATED = 'upperdir became a layer';
const SETTLE_MS = 250;
/** What it may be longer that programs stand still by the way that is chosen, of what the other stops them for. */
const WORSE = 1.25;

export async function rotation(bench: Bench): Promise<void> {
  await withHelpers(bench, [...WAYS.map(({ env }) => env), {}], async (helpers) => {
    for (const { count, programs } of SIZES) {
      const size = `${count} files${programs.mb ? `, ${programs.mb} MB` : ''}`;
      const sandboxes: Subject[] = [];
      try {
        for (const { connection } of helpers) {
          const sandbox = await Subject.create(connection, programs.files);
          sandboxes.push(sandbox);
          await sandbox.run(programs.start);
        }
        const ways = WAYS.map(({ name }, i) => ({
          name,
          sandbox: sandboxes[i]!,
          stopped: [] as number[],
          done: [] as number[],
          steps: [] as StepTime[][],
        }));
        const taken = async (sandbox: Subject): ReturnType<Subject['checkpoint']> => {
          await sandbox.run(writing(count));
          await sleep(SETTLE_MS);
          return await sandbox.checkpoint();
        };
        for (let i = 0; i < bench.rounds; i++)
          for (const { sandbox, stopped, done, steps } of ways) {
            const made = await taken(sandbox);
            stopped.push(made.checkpoint.stoppedMs);
            done.push(made.ms);
            steps.push(made.steps);
          }
        const context = `${programs.text}; ${count} files of 1 kB written anew before each checkpoint, so that both find them changed`;
        const figures = ways.map(({ name, stopped, done, steps }) => {
          const row = { workload: 'rotation', subject: `${name}, ${size}`, context, steps: medianSteps(steps) };
          const { p50 } = add(bench, { ...row, figure: 'checkpoint, payload stopped' }, stopped);
          add(bench, { ...row, figure: 'checkpoint, to done' }, done);
          return { name, p50, steps: row.steps };
        });
        const { steps } = await taken(sandboxes.at(-1)!);
        addChoice(bench, size, figures, steps.some(({ step }) => step === ROTATED) ? 'rotated' : 'copied');
      } finally {
        await Promise.allSettled(sandboxes.map((sandbox) => sandbox.remove())); // broken off, none can be: their folders go all the same
      }
    }
  });
}

/** Whether the helper, left to itself, does what stops them for less: the one thing that its switch weighs. */
function addChoice(
  { rows, say }: Bench,
  size: string,
  figures: { name: string; p50: number; steps: StepTime[] }[],
  chosen: string,
): void {
  const mine = figures.find(({ name }) => name === chosen)!;
  const other = figures.find(({ name }) => name !== chosen)!;
  const value = round(mine.p50 / other.p50);
  const parts = ({ steps }: typeof mine): string => steps.map(({ step, ms }) => `${step} ${ms}`).join(', ');
  const because = {
    cause: `${mine.name}: ${parts(mine)}; ${other.name}: ${parts(other)}`,
    needs: 'a switch for what these steps take on this machine',
  };
  rows.push({
    workload: 'rotation',
    figure: 'times longer stopped, the way chosen than the other',
    subject: `ours, ${size}`,
    unit: '/s',
    value,
    context: `${chosen} by choice: medians of ${mine.p50} ms ${mine.name}, ${other.p50} ms ${other.name}`,
    goal: { text: `≤ ${WORSE} times`, met: value <= WORSE },
    ...(value <= WORSE ? {} : { because }),
  });
  say(`rotation: ${size}: ${chosen} by choice, ${value} times as long as ${other.name}`);
}

/** By the shell alone, which is as soon done as begun; of random text, in folders of a hundred. */
function writing(files: number): string {
  return `t=$(head -c 740 /dev/urandom | base64 -w0); for i in $(seq ${files}); do d=many/$((i / 100)); [ -d $d ] || mkdir -p $d; echo "$i $t" > $d/f$i; done`;
}

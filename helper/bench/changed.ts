/** What a checkpoint costs by how much of the memory was written since the one before. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { StepTime } from '../protocol/model.ts';
import { add, type Bench } from './bench.ts';
import { used, volumeOf } from './costs.ts';
import { touch } from './inside.ts';
import { middle } from './row.ts';
import { medianSteps, round } from './stats.ts';
import type { Subject } from './subject.ts';

const PERCENTS = [0.1, 1, 10];
/** At so little the fixed part is most of it: what is small is written whole, and what CRIU tells of each process. */
const FIXED_MB = 3;
/** For each MB: by then what the next takes over is taken. One that begins sooner waits for that. */
const SETTLE_MS = 1.5;

/**
 * All of them in turn, in one program: the image before has the pieces of all.
 * @param mb that it holds
 */
export async function changed(bench: Bench, subject: Subject, workload: string, mb: number): Promise<void> {
  const ways = PERCENTS.map((percent) => ({
    percent,
    subject: subjectOf(percent),
    changedMb: (mb * percent) / 100,
    stopped: [] as number[],
    done: [] as number[],
    told: [] as number[],
    took: [] as number[],
    steps: [] as StepTime[][],
  }));
  const volume = volumeOf(bench.helper);
  for (let i = 0; i < bench.rounds; i++)
    for (const way of ways) {
      await subject.run(touch(way.percent));
      const before = used(volume);
      await sleep(SETTLE_MS * mb);
      const { checkpoint, steps, ms } = await subject.checkpoint();
      way.stopped.push(checkpoint.stoppedMs);
      way.done.push(ms);
      way.told.push(checkpoint.bytes);
      way.steps.push(steps);
      // What is still to be done of it is no part of the next.
      await subject.verified(checkpoint.id);
      way.took.push(used(volume) - before);
    }
  for (const { percent, subject, changedMb, stopped, done, told, took, steps } of ways) {
    const context = `${changedMb} of ${mb} MB written since the one before, one page in ${Math.round(100 / percent)}; ${SETTLE_MS * mb} ms after that was durable and its standby there`;
    const row = { workload, subject, context, steps: medianSteps(steps) };
    add(bench, { ...row, figure: 'checkpoint, payload stopped' }, stopped);
    add(bench, { ...row, figure: 'checkpoint, to done' }, done);
    const written = meanMb(took);
    const value = round(written / changedMb);
    bench.rows.push({
      workload,
      figure: 'checkpoint, written for each MB changed',
      subject,
      unit: 'MB',
      value,
      context: `${changedMb} of ${mb} MB changed, ${written} MB taken of the volume (told: ${meanMb(told)}); mean of ${took.length}`,
      goal:
        percent < 1
          ? { text: `≤ 2 MB, and ${FIXED_MB} MB for each checkpoint`, met: written <= 2 * changedMb + FIXED_MB }
          : { text: '≤ 2 MB', met: value <= 2 },
    });
    bench.say(`${workload}: ${value} MB written for each MB changed, ${percent} % changed`);
  }
  addRatio(bench, workload);
}

function meanMb(bytes: number[]): number {
  return round(bytes.reduce((sum, each) => sum + each, 0) / bytes.length / 2 ** 20);
}

/** What is the same for any: that is, how far from a hundred times as long one takes that has a hundred times as much to do. */
function addRatio({ rows, say }: Bench, workload: string): void {
  const of = (figure: string, percent: number): number =>
    middle(rows.findLast((r) => r.workload === workload && r.figure === figure && r.subject === subjectOf(percent))!);
  const [least, most] = [PERCENTS[0]!, PERCENTS.at(-1)!];
  for (const figure of ['checkpoint, to done', 'checkpoint, payload stopped']) {
    const [little, much] = [of(figure, least), of(figure, most)];
    const value = round(much / little);
    rows.push({
      workload,
      figure: `times longer, ${figure}`,
      subject: `ours, ${most} % changed than ${least} %`,
      unit: '/s',
      value,
      context: `${much} ms and ${little} ms, for ${most / least} times as much; some ${fixedPart(little, much, most / least)} ms are the same for any`,
    });
    say(`${workload}: ${figure}, ${value} times as long for ${most / least} times as much`);
  }
}

function subjectOf(percent: number): string {
  return `ours, ${percent} % changed`;
}

/** Where the rest is in proportion. */
function fixedPart(little: number, much: number, times: number): number {
  return round(Math.max(0, little - (much - little) / (times - 1)));
}

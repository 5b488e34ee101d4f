import type { Stage } from '../demo.ts';
import { duration } from '../text.ts';
import { findProcess, headOf, runLine, textOf, until } from './inside.ts';

/** Rollbacks, so that the table has more than one number. */
const ROUNDS = 5;
const LOG = 'counter.log';

/** A process that counts in memory and in a file; both are destroyed; both come back, and the count goes on. */
export async function counterStory(stage: Stage): Promise<void> {
  const { helper, sandbox, report } = stage;
  const python = (await runLine(stage, 'command -v python3')).exitCode === 0;
  const program = python ? 'python3 counter.py' : 'sh counter.sh';
  await runLine(stage, `${program} > /dev/null 2>&1 &`);
  const counting = await until(async () => numbers(await textOf(stage, await headOf(stage), LOG)).length >= 5);
  await report.check(`${program} counts`, counting);
  if (!counting) return;

  const { checkpoint } = await helper.request('checkpoint/create', { sandbox, label: 'counting' });
  report.took('checkpoint, stopped', checkpoint.stoppedMs);
  report.took('checkpoint, whole', checkpoint.totalMs);
  const kept = numbers(await textOf(stage, checkpoint.id, LOG));
  const last = kept.at(-1) ?? 0;
  await report.tell(`checkpoint ${checkpoint.id} at count ${last}: stopped ${duration(checkpoint.stoppedMs)}`);

  for (let round = 1; round <= ROUNDS; round++) {
    const counter = await findProcess(stage, 'counter.');
    await runLine(stage, `kill -9 ${counter?.pid ?? 0}; rm ${LOG}`);
    const gone = await until(async () => (await findProcess(stage, 'counter.')) === undefined);
    const deleted = (await textOf(stage, await headOf(stage), LOG)) === null;
    if (round === 1) await report.check('SIGKILL and rm: process and file are gone', gone && deleted);

    const moved = await helper.request('checkpoint/rollback', { sandbox, checkpoint: checkpoint.id, discard: true });
    report.took(`rollback, ${moved.path}`, moved.rollbackMs);
    await report.tell(`round ${round}: destroyed, and back in ${duration(moved.rollbackMs)} (${moved.path})`);
    let now: number[] = [];
    const goesOn = await until(async () => {
      now = numbers(await textOf(stage, moved.head, LOG));
      return now.length > kept.length;
    });
    const seamless = now.every((number, i) => number === i + 1);
    await report.check(
      `the count goes on: ${last}, ${last + 1}, …`,
      goesOn && seamless,
      `the file holds ${now.slice(0, 3).join(', ')} … ${now.slice(-3).join(', ')}`,
    );
  }
}

function numbers(text: string | null): number[] {
  // The last line may be half written.
  return text === null ? [] : text.split('\n').slice(0, -1).map(Number);
}

/** Why a goal was missed, as far as this run's own figures tell it, and what it would take. */
import { middle, type Row } from './row.ts';
import { round } from './stats.ts';

/** Null where the run says nothing of it. */
export function causeOf(row: Row, rows: readonly Row[]): string | null {
  if (!row.goal || row.goal.met) return null;
  const other = (figure: string, subject: string): number | undefined => {
    const found = rows.find((r) => r.workload === row.workload && r.figure === figure && r.subject === subject);
    return found && middle(found);
  };
  const warm = 'ours, standby ready';
  if (row.figure === 'rollback' && row.subject === warm) {
    const helper = other('rollback, in the helper', warm);
    const reply = other('rollback, reply only', warm);
    if (helper === undefined || reply === undefined) return null;
    return (
      `${helper} ms until PID 1 answers, ${round(reply - helper)} ms to be woken, read and answered, ${round(middle(row) - reply)} ms for the ` +
      'shell. Eight times in a row a sleeping process is woken; fewer would take a client that speaks with PID 1 itself'
    );
  }
  if (row.figure === 'rollback' && row.subject === 'ours, cold')
    return `CRIU makes the processes anew (${row.context}), one fork, memory and descriptors each: fewer processes, or a standby`;
  if (row.figure === 'times faster than the original') {
    const theirs = other('rollback', 'original');
    return theirs === undefined
      ? null
      : `the original takes ${theirs} ms here, 466 by its own account: a fixed sleep of 100 ms and the rest`;
  }
  if (row.figure === 'checkpoint, payload stopped')
    return `CRIU's dump of ${row.context}; the copy of the files runs beside it. Less would take dumps of what changed only`;
  if (row.figure === 'rollouts')
    return `a fork each from the image (${row.context}): the two cores are busy with CRIU and taking branches down`;
  return null;
}

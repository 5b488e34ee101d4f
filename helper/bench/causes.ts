/** Why a goal was missed, by this run's own figures, and what it would take. */
import { type Explanation, middle, type Row } from './row.ts';
import { round } from './stats.ts';

const WARM = 'ours, standby ready';
const COLD = 'ours, cold';
/** The row of `bareMessage`, and its subjects. */
export const BARE_MESSAGE = 'a byte to another Node process and back';
export const AFTER_A_REST = 'nothing of ours, after a rest of 250 ms';
export const AT_ONCE = 'nothing of ours, at once';

/** Steps of `copy-in`. */
export const COPYING = '`cp -a` of the same outside';
export const OF_NOTHING = 'a sandbox of an empty folder';

/** Rows of `burden`, and their subjects. */
export const BURDEN = {
  command: { workload: 'burden', figure: 'a command beside busy programs' },
  work: { workload: 'burden', figure: 'work done by busy programs' },
  wait: { workload: 'burden', figure: 'times as long, a command beside them, p50' },
  worst: { workload: 'burden', figure: 'times as long, a command beside them, p95' },
} as const;
export const WITHOUT = 'no standbys';
export const WITHOUT_AGAIN = 'no standbys, once more';
export const WITH = 'ours, standbys of each checkpoint';

/** Puts cause and need into each row whose goal was missed. Where no figure of the run tells one, that is said. */
export function explainMisses(rows: readonly Row[]): void {
  for (const row of rows) if (row.goal && !row.goal.met) Object.assign(row.goal, explanationOf(row, rows));
}

function explanationOf(row: Row, rows: readonly Row[]): Explanation {
  const special = row.because ?? specialCause(row, rows);
  if (special) return special;
  return {
    cause: row.steps?.length ? where(row) : 'this run has no figure that tells',
    needs: `less of ${row.steps?.length ? largest(row).step : 'what it does'}`,
  };
}

/** `of 23 ms: a 12, b 8; 3 for all else`. */
export function where(row: Row): string {
  const total = middle(row);
  const steps = row.steps ?? [];
  const rest = round(total - steps.reduce((sum, { ms }) => sum + ms, 0));
  return `of ${total} ms: ${[...parts(row), ...(rest > 0 ? [`all else ${rest}`] : [])].join(', ')}`;
}

function parts({ steps = [] }: Row): string[] {
  return steps.filter(({ ms }) => ms > 0.01).map(({ step, ms }) => `${step} ${ms}`);
}

function largest(row: Row): { step: string; ms: number } {
  return [...row.steps!].sort((a, b) => b.ms - a.ms)[0]!;
}

/** What this run says of code that runs after a rest. */
function rested(rows: readonly Row[]): string {
  const [rest, once] = [AFTER_A_REST, AT_ONCE].map((subject) =>
    rows.findLast((row) => row.figure === BARE_MESSAGE && row.subject === subject),
  );
  if (!rest || !once) return '';
  return (
    '. All of it runs after a rest, when the caches hold nothing of it any more: between two bare Node processes, a byte there and ' +
    `back takes ${middle(rest)} ms then, ${middle(once)} at once, and a rollback is client, helper, PID 1, shell, and back`
  );
}

function specialCause(row: Row, rows: readonly Row[]): Explanation | null {
  const other = (figure: string, subject: string): number | undefined => {
    const found = rows.findLast((r) => r.workload === row.workload && r.figure === figure && r.subject === subject);
    return found && middle(found);
  };
  if (row.figure === 'rollback' && row.subject === WARM) {
    const helper = other('rollback, in the helper', WARM);
    const reply = other('rollback, reply only', WARM);
    if (helper === undefined || reply === undefined) return null;
    return {
      cause:
        `of ${middle(row)} ms: ${helper} until PID 1 answers, ${round(reply - helper)} for the helper to be woken, to read and to answer, ` +
        `${round(middle(row) - reply)} more for the shell, which finds its line when it wakes${rested(rows)}`,
      needs:
        'processors that keep their caches through a rest, where those are shared with other machines; or less code on the way',
    };
  }
  if (row.figure === 'rollback' && row.subject === COLD)
    return {
      cause: `${where(row)} (${row.context})`,
      needs: 'a standby; or less to make: CRIU makes each process, its memory and its descriptors anew',
    };
  if (row.figure.startsWith('times faster')) {
    const theirs = other('rollback', 'original');
    const ours = other('rollback', row.subject);
    const times = Number(/\d+/.exec(row.goal!.text)?.[0]);
    if (theirs === undefined || ours === undefined) return null;
    return {
      cause: `the original takes ${theirs} ms here (466 by its own account), a fixed sleep of 100 ms in it; ours ${ours} ms`,
      needs: `${round(theirs / times)} ms of ours`,
    };
  }
  if (row.figure === 'checkpoint, payload stopped')
    return {
      cause: `CRIU's dump of ${row.context}${row.steps?.length ? `; ${where(row)}, of which the first and the last are in part beside the payload` : ''}`,
      needs: 'less for CRIU to ask of each process: its mappings, descriptors and threads are read anew by each dump',
    };
  if (row.figure === 'checkpoint, written for each MB changed')
    return {
      cause: `mappings below 256 KiB, and what CRIU tells of each process, are written whole: ${row.context}`,
      needs: 'those taken over from the image before, too',
    };
  if (row.workload === 'mcts')
    return {
      cause: `medians: ${parts(row).join(', ')} ms; ${row.context}`,
      needs: 'shorter actions: checkpoints and rollbacks are done while the model answers',
    };
  if (row.workload === 'burden') return burdenCause(row, rows);
  if (row.workload === 'upkeep') return upkeepCause(row, rows);
  if (row.workload === 'copy-in' && row.steps?.length)
    return {
      cause: `${where(row)} (${row.context})`,
      needs: `less of ${largest(row).step === COPYING ? 'the file system for each file' : largest(row).step}, or of what is done beside`,
    };
  if (row.figure === 'rollouts')
    return {
      cause: `medians: ${parts(row).join(', ')} ms; ${row.context}`,
      needs: 'less CPU for each fork (of the helper, CRIU and the kernel), or more cores',
    };
  return null;
}

function upkeepCause(row: Row, rows: readonly Row[]): Explanation | null {
  if (row.figure === 'helper at rest, resident')
    return {
      cause: `${middle(row)} MB: ${row.context}`,
      needs: 'less that Node holds of it: its text, what was made of that, and what lives; or nothing that wakes it',
    };
  const [ours, outside] = ['ours', 'a shell outside'].map((subject) =>
    rows.findLast((other) => other.workload === 'upkeep' && other.figure === 'exec' && other.subject === subject),
  );
  if (!ours || !outside) return null;
  return {
    cause: `${where(ours)}; by a shell outside it takes ${middle(outside)} ms${rested(rows)}`,
    needs: `less of what is ${largest(ours).step}: client, helper and PID 1 are each woken for it`,
  };
}

function burdenCause(row: Row, rows: readonly Row[]): Explanation | null {
  const of = (figure: string, subject: string): Row | undefined =>
    rows.findLast((other) => other.workload === 'burden' && other.figure === figure && other.subject === subject);
  const [less, more] = [WITHOUT, WITH].map((subject) => of(BURDEN.command.figure, subject));
  const noise = of(row.figure, WITHOUT_AGAIN);
  if (!less || !more || !noise) return null;
  return {
    cause:
      `${parts(more).join(', ')} ms; with no standbys ${parts(less)
        .map((part) => part.split(' ').at(-1))
        .join(', ')}. ` + `No standbys against no standbys came to ${middle(noise)} (${noise.context})`,
    needs: 'less of the helper, CRIU and the kernel for each standby, or a processor that the programs leave free',
  };
}

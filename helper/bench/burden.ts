/** What it costs programs that need all processors, and who waits for a command beside them, that standbys are made of each checkpoint. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { StepTime } from '../protocol/model.ts';
import { add, type Bench, type Goal } from './bench.ts';
import { BURDEN, WITH, WITHOUT, WITHOUT_AGAIN } from './causes.ts';
import { BUSY_PY } from './inside.ts';
import { type PrivateHelper, withHelpers } from './private-helper.ts';
import { medianSteps, round, summarize } from './stats.ts';
import { Subject } from './subject.ts';

const PROGRAMS = ['one', 'two'];
/** The same twice: what differs between them is what else the machine does. */
const WAYS = [
  { name: WITHOUT, standbys: 0 },
  { name: WITHOUT_AGAIN, standbys: 0 },
  { name: WITH, standbys: 3 },
];
const EVERY_MS = 200;
const TURN_MS = 2000;
/** Python has begun by then, and the helper is done with what a new sandbox brings. */
const SETTLE_MS = 700;
const COMMAND = 'true';
/** Between two commands. */
const REST_MS = 10;
/** What standbys may cost; as much as two measurements of the same may differ. */
const MARGIN = 0.1;

interface Turn {
  /** Counted in a second. */
  rate: number;
  /** Of each command. */
  waited: number[];
  checkpoints: number;
  /** Of which a standby was made. */
  proven: number;
  steps: StepTime[];
}

export async function burden(bench: Bench): Promise<void> {
  const turns = new Map<string, Turn[]>(WAYS.map(({ name }) => [name, []]));
  const envs = WAYS.map(({ standbys }) => ({ TELEPORT_ENV_STANDBYS: String(standbys) }));
  await withHelpers(bench, envs, async (helpers) => {
    const each = WAYS.map(({ name }, i) => ({ name, helper: helpers[i]! }));
    for (let turn = 0; turn < bench.rounds; turn++)
      // Each comes first, second and third as often as the others, so that what else the machine does favours none.
      for (let i = 0; i < each.length; i++) {
        const { name, helper } = each[(i + turn) % each.length]!;
        turns.get(name)!.push(await turnOf(helper));
      }
  });
  const load = `${PROGRAMS.length} programs that count, a checkpoint every ${EVERY_MS} ms for ${TURN_MS / 1000} s`;
  for (const { name } of WAYS) {
    const all = turns.get(name)!;
    const sum = (of: (turn: Turn) => number): number => all.reduce((total, turn) => total + of(turn), 0);
    const context =
      `${COMMAND} in the shell, beside ${load}; of ${sum((turn) => turn.checkpoints)} checkpoints ` +
      `${sum((turn) => turn.proven)} had a standby made`;
    const steps = medianSteps(all.map((turn) => turn.steps));
    const row = { ...BURDEN.command, subject: name, context, steps };
    add(
      bench,
      row,
      all.flatMap(({ waited }) => waited),
    );
  }
  const compare = (figure: Compared, of: (turn: Turn) => number): void => {
    const against = (name: string): number[] =>
      turns.get(name)!.map((turn, i) => of(turn) / of(turns.get(WITHOUT)![i]!));
    addComparison(bench, figure, { again: against(WITHOUT_AGAIN), having: against(WITH) }, load);
  };
  compare('work', ({ rate }) => rate);
  compare('wait', ({ waited }) => summarize(waited).p50);
  compare('worst', ({ waited }) => summarize(waited).p95);
}

type Compared = 'work' | 'wait' | 'worst';

/**
 * Times as much, or as long, as with no standbys, one ratio for each turn. Where two helpers without any differ by more than the goal
 * allows, the machine did too much else to say.
 */
export function addComparison(
  bench: Bench,
  which: Compared,
  { again, having }: { again: number[]; having: number[] },
  load: string,
): void {
  const percent = which === 'work';
  const [unit, scale] = percent ? (['%', 100] as const) : (['/s', 1] as const);
  const goal: Goal = percent
    ? { text: 'p50 ≥ 90 %', holds: ({ p50 }) => p50 >= 90 }
    : { text: 'p50 ≤ 1.1 times', holds: ({ p50 }) => p50 <= 1.1 };
  const scaled = (ratios: number[]): number[] => ratios.map((ratio) => round(ratio * scale));
  const told = (ratios: number[]): string => `half of them lie from ${quarters(scaled(ratios)).join(' to ')}`;
  const row = { ...BURDEN[which], unit };
  const context = (ratios: number[]): string => `against none, turn by turn; ${told(ratios)}; ${load}`;
  const { p50 } = add(bench, { ...row, subject: WITHOUT_AGAIN, context: context(again) }, scaled(again));
  if (Math.abs(p50 / scale - 1) <= MARGIN) {
    add(bench, { ...row, subject: WITH, context: context(having) }, scaled(having), goal);
    return;
  }
  const why =
    `${summarize(scaled(having)).p50}${percent ? ' %' : ' times'}, ${told(having)}; but no standbys against no standbys came to ` +
    `${p50}, ${told(again)}: the machine did too much else`;
  bench.leftOut.push({ ...BURDEN[which], subject: WITH, why });
  bench.say(`burden: ${BURDEN[which].figure}, ${WITH}: ${why}`);
}

function quarters(samples: number[]): number[] {
  const sorted = [...samples].sort((a, b) => a - b);
  return [1, 3].map((of) => round(sorted[Math.floor((of * (sorted.length - 1)) / 4)]!));
}

/** In a sandbox of its own: nothing that an earlier turn left is still to be done. */
async function turnOf(helper: PrivateHelper): Promise<Turn> {
  const { connection } = helper;
  const zero = Object.fromEntries(PROGRAMS.map((name) => [name, '0\n']));
  const sandbox = await Subject.create(connection, { 'busy.py': BUSY_PY, ...zero });
  try {
    for (const name of PROGRAMS) await sandbox.run(`python3 busy.py ${name} & true`);
    await sleep(SETTLE_MS);
    const counted = async (): Promise<number> =>
      (await sandbox.run(`grep -h . ${PROGRAMS.join(' ')}`))
        .trim()
        .split('\n')
        .reduce((sum, line) => sum + Number(line), 0);
    const before = await counted();
    const usedBefore = helper.usage();
    const waited: number[] = [];
    const made: string[] = [];
    const took: number[] = [];
    const begun = performance.now();
    for (let next = begun + EVERY_MS; next <= begun + TURN_MS; next += EVERY_MS) {
      while (performance.now() + REST_MS < next) {
        const asked = performance.now();
        await sandbox.run(COMMAND);
        waited.push(performance.now() - asked);
        await sleep(REST_MS);
      }
      await sleep(Math.max(0, next - performance.now()));
      const { checkpoint, ms } = await sandbox.checkpoint();
      made.push(checkpoint.id);
      took.push(ms);
    }
    const done = (await counted()) - before;
    const rate = (done * 1000) / (performance.now() - begun);
    const used = helper.usage();
    const each = (seconds: number): number => round((1000 * seconds) / made.length);
    const steps = [
      { step: "the helper's processor time for each checkpoint", ms: each(used.cpuS - usedBefore.cpuS) },
      { step: "CRIU's", ms: each(used.childrenS - usedBefore.childrenS) },
      { step: 'the checkpoint, to done', ms: summarize(took).p50 },
    ];
    const { checkpoints } = await connection.request('checkpoint/list', { sandbox: sandbox.id });
    const proven = checkpoints.filter(({ id, state }) => made.includes(id) && state.verified).length;
    return { rate, waited, checkpoints: made.length, proven, steps };
  } finally {
    await sandbox.remove();
  }
}

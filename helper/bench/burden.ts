/** What it costs programs that need all processors, and who waits for a command beside them, that standbys are made of each checkpoint. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { StepTime } from '../protocol/model.ts';
import { add, type Bench } from './bench.ts';
import { BURDEN, WITH, WITHOUT, WITHOUT_AGAIN } from './causes.ts';
import { BUSY_PY } from './inside.ts';
import { type PrivateHelper, withHelpers } from './private-helper.ts';
import { medianSteps, round, type Summary, summarize } from './stats.ts';
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
  const waits = new Map<string, Summary>();
  for (const { name } of WAYS) {
    const all = turns.get(name)!;
    const sum = (of: (turn: Turn) => number): number => all.reduce((total, turn) => total + of(turn), 0);
    const context =
      `${COMMAND} in the shell, beside ${load}; of ${sum((turn) => turn.checkpoints)} checkpoints ` +
      `${sum((turn) => turn.proven)} had a standby made`;
    const steps = medianSteps(all.map((turn) => turn.steps));
    const row = { ...BURDEN.command, subject: name, context, steps };
    const waited = all.flatMap((turn) => turn.waited);
    waits.set(name, add(bench, row, waited));
  }
  const ofTurns = (name: string): number[] =>
    turns.get(name)!.map(({ rate }, i) => rate / turns.get(WITHOUT)![i]!.rate);
  addComparison(bench, 'work', { again: ofTurns(WITHOUT_AGAIN), having: ofTurns(WITH) }, load);
  // A turn has too few commands for a figure of its own.
  for (const [which, of] of [
    ['wait', 'p50'],
    ['worst', 'p95'],
  ] as const) {
    const [none, again, having] = WAYS.map(({ name }) => waits.get(name)![of]);
    addComparison(bench, which, { again: again! / none!, having: having! / none! }, load);
  }
}

/**
 * Times as much, or as long, as with no standbys: of each turn, or of all together. Where two helpers without any differ by more than
 * the goal allows, the machine did too much else to say.
 */
export function addComparison(
  bench: Bench,
  which: 'work' | 'wait' | 'worst',
  { again, having }: { again: number | number[]; having: number | number[] },
  load: string,
): void {
  const percent = which === 'work';
  const scale = percent ? 100 : 1;
  const goal = percent
    ? { text: '≥ 90 %', holds: (middle: number) => middle >= 90 }
    : { text: '≤ 1.1 times', holds: (middle: number) => middle <= 1.1 };
  const told = (ratios: number | number[]): string =>
    typeof ratios === 'number'
      ? 'of all commands together'
      : `turn by turn, half of which lie from ${quarters(ratios.map((ratio) => round(ratio * scale))).join(' to ')}`;
  const put = (subject: string, ratios: number | number[], judged: boolean): void => {
    const row = {
      ...BURDEN[which],
      subject,
      unit: percent ? '%' : '/s',
      context: `against none, ${told(ratios)}; ${load}`,
    } as const;
    if (typeof ratios !== 'number') {
      const scaled = ratios.map((ratio) => round(ratio * scale));
      add(bench, row, scaled, judged ? { text: `p50 ${goal.text}`, holds: ({ p50 }) => goal.holds(p50) } : undefined);
      return;
    }
    const value = round(ratios * scale);
    bench.rows.push({ ...row, value, ...(judged ? { goal: { text: goal.text, met: goal.holds(value) } } : {}) });
    bench.say(`burden: ${row.figure}, ${subject}: ${value}`);
  };
  const middleOf = (ratios: number | number[]): number =>
    round(scale * (typeof ratios === 'number' ? ratios : summarize(ratios).p50));
  put(WITHOUT_AGAIN, again, false);
  if (Math.abs(middleOf(again) / scale - 1) <= MARGIN + 1e-9) {
    put(WITH, having, true);
    return;
  }
  const why =
    `${middleOf(having)}${percent ? ' %' : ' times'}, ${told(having)}; but no standbys against no standbys came to ` +
    `${middleOf(again)}, ${told(again)}: the machine did too much else`;
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

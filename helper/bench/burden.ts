/** What it costs programs that need all processors that standbys are made beside them. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Bench } from './bench.ts';
import { BUSY_PY } from './inside.ts';
import { type PrivateHelper, withHelpers } from './private-helper.ts';
import { round, summarize } from './stats.ts';
import { Subject } from './subject.ts';

const PROGRAMS = ['one', 'two'];
const WITHOUT = { TELEPORT_ENV_STANDBYS: '0' };
const WITH = { TELEPORT_ENV_STANDBYS: '3' };
const EVERY_MS = 200;
const TURN_MS = 3000;
/** Python has begun by then, and the helper is done with what a new sandbox brings. */
const SETTLE_MS = 700;

export async function burden(bench: Bench): Promise<void> {
  const turns = Math.max(1, Math.ceil(bench.rounds / 2));
  const shares: number[] = [];
  const cpu = new Map<PrivateHelper, number[]>();
  let own = '';
  await withHelpers(bench, [WITHOUT, WITH], async ([without, having]) => {
    for (let turn = 0; turn < turns; turn++) {
      // Each begins as often as the other, so that what else the machine does favours none.
      const order = turn % 2 ? [having!, without!] : [without!, having!];
      const rates = new Map<PrivateHelper, number>();
      for (const helper of order) {
        const { rate, cpuMs } = await rateOf(helper);
        rates.set(helper, rate);
        cpu.set(helper, [...(cpu.get(helper) ?? []), cpuMs]);
      }
      shares.push((100 * rates.get(having!)!) / rates.get(without!)!);
    }
    const [less, more] = [without!, having!].map((helper) => summarize(cpu.get(helper)!).p50);
    own = `processor time of the helper and of CRIU for each checkpoint: ${more} ms, ${less} ms without`;
  });
  const { n, min, p50, max } = summarize(shares);
  const sorted = [...shares].sort((a, b) => a - b);
  const quarter = (of: number): number => round(sorted[Math.floor((of * (n - 1)) / 4)]!);
  bench.rows.push({
    workload: 'burden',
    figure: 'work done by busy programs with standbys',
    subject: 'ours',
    unit: '%',
    value: p50,
    context:
      `of what they do without; ${PROGRAMS.length} programs that count, a checkpoint every ${EVERY_MS} ms for ${TURN_MS / 1000} s; ` +
      `median of ${n} turns of both, half of which lie from ${quarter(1)} to ${quarter(3)} %, all from ${min} to ${max} %; ${own}`,
  });
  bench.say(`burden: ${p50} % of the work is done with standbys; ${quarter(1)} to ${quarter(3)} %, n ${n}; ${own}`);
}

/**
 * Counted in a second; and processor time of the helper and of its children, for each checkpoint. In a sandbox of its own: nothing that
 * an earlier turn left is still to be done.
 */
async function rateOf(helper: PrivateHelper): Promise<{ rate: number; cpuMs: number }> {
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
    const used = (): number => {
      const { cpuS, childrenS } = helper.usage();
      return (cpuS + childrenS) * 1000;
    };
    const before = await counted();
    const usedBefore = used();
    let checkpoints = 0;
    const begun = performance.now();
    for (let next = begun + EVERY_MS; next <= begun + TURN_MS; next += EVERY_MS) {
      await sleep(Math.max(0, next - performance.now()));
      await sandbox.checkpoint();
      checkpoints++;
    }
    const done = (await counted()) - before;
    const rate = (done * 1000) / (performance.now() - begun);
    return { rate, cpuMs: (used() - usedBefore) / checkpoints };
  } finally {
    await sandbox.remove();
  }
}

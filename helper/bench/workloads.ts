/** The workloads of the goals, each a function that measures its rows. Peers and ours alternate within one run. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Checkpoint, StepTime } from '../protocol/model.ts';
import { bareMessage } from './bare-message.ts';
import { add, type Bench, type Goal, weight } from './bench.ts';
import { AFTER_A_REST, AT_ONCE, BARE_MESSAGE } from './causes.ts';
import { copyInWorkload } from './copy-in.ts';
import { costs } from './costs.ts';
import { COUNTER_PY, MEMORY_PY, SQLITE_PY } from './inside.ts';
import { original } from './peers/original.ts';
import { plainCriu } from './peers/plain-criu.ts';
import type { PythonPeer } from './peers/python-peer.ts';
import { runc } from './peers/runc.ts';
import { restarts } from './restarts.ts';
import { middle } from './row.ts';
import { deep, mcts, wide } from './searches.ts';
import { medianSteps, round, type Summary } from './stats.ts';
import { Subject } from './subject.ts';

/** In which the standby that was used is replaced, and then nothing happens. */
const SETTLE_MS = 250;

/** Rollbacks to the current checkpoint, whose standby is there, and to ones so far back that they have none. */
async function rollbacks(
  bench: Bench,
  subject: Subject,
  workload: string,
  goals: { warm: Goal; cold: Goal },
  { between, settleMs = SETTLE_MS }: { between?: () => Promise<void>; settleMs?: number } = {},
): Promise<void> {
  await subject.run('MARK=base');
  const old: string[] = [];
  for (let i = 0; i < 12; i++) old.push((await subject.checkpoint()).checkpoint.id);
  const context = await weight(subject);
  const { checkpoint } = await subject.checkpoint();
  await subject.verified(checkpoint.id);
  const warm: number[] = [];
  const warmReply: number[] = [];
  const warmThen: number[] = [];
  const cold: number[] = [];
  const helperMs: number[] = [];
  const steps: Record<'warm' | 'cold', StepTime[][]> = { warm: [], cold: [] };
  for (let i = 0; warm.length < bench.rounds && i < bench.rounds * 3; i++) {
    await sleep(settleMs); // the standby of the last round is being made
    const rolled = await subject.rollback(checkpoint.id, 'base');
    if (rolled.moved.path !== 'warm') continue;
    warm.push(rolled.ms);
    warmReply.push(rolled.replyMs);
    helperMs.push(rolled.moved.rollbackMs);
    steps.warm.push(rolled.moved.steps);
    await between?.();
    await sleep(settleMs);
    const asked = await subject.rollback(checkpoint.id, 'base', 'then');
    if (asked.moved.path === 'warm') warmThen.push(asked.ms);
  }
  for (let i = 0; cold.length < bench.rounds && i < bench.rounds * 3; i++) {
    await sleep(settleMs / 2);
    const rolled = await subject.rollback(old[i % old.length]!, 'base');
    if (rolled.moved.path !== 'cold') continue;
    cold.push(rolled.ms);
    steps.cold.push(rolled.moved.steps);
  }
  const stepsOf = (path: 'warm' | 'cold') => medianSteps(steps[path]);
  add(
    bench,
    { workload, figure: 'rollback', subject: 'ours, standby ready', context, steps: stepsOf('warm') },
    warm,
    goals.warm,
  );
  add(bench, { workload, figure: 'rollback, reply only', subject: 'ours, standby ready', context }, warmReply);
  if (warmThen.length)
    add(
      bench,
      { workload, figure: 'rollback, the probe asked after the reply', subject: 'ours, standby ready', context },
      warmThen,
    );
  add(bench, { workload, figure: 'rollback, in the helper', subject: 'ours, standby ready', context }, helperMs);
  if (cold.length)
    add(
      bench,
      { workload, figure: 'rollback', subject: 'ours, cold', context, steps: stepsOf('cold') },
      cold,
      goals.cold,
    );
}

/** Steps of a checkpoint in which the payload does not run, or not for all of the time. */
const WHILE_STOPPED = ['CRIU began, processes stopped', 'processes dumped', 'changed files copied', 'processes go on'];

async function checkpoints(
  bench: Bench,
  subject: Subject,
  workload: string,
  goals: { stopped?: Goal; done?: Goal } = {},
  change?: () => Promise<unknown>,
): Promise<Checkpoint[]> {
  const made: Checkpoint[] = [];
  const done: number[] = [];
  const all: StepTime[][] = [];
  const context = await weight(subject);
  for (let i = 0; i < bench.rounds; i++) {
    await change?.();
    await sleep(150);
    const { checkpoint, steps, ms } = await subject.checkpoint();
    made.push(checkpoint);
    done.push(ms);
    all.push(steps);
  }
  const steps = medianSteps(all);
  const stopped = made.map(({ stoppedMs }) => stoppedMs);
  const stoppedRow = { workload, figure: 'checkpoint, payload stopped', subject: 'ours', context };
  add(
    bench,
    { ...stoppedRow, steps: steps.filter(({ step }) => WHILE_STOPPED.includes(step)) },
    stopped,
    goals.stopped,
  );
  add(bench, { workload, figure: 'checkpoint, to done', subject: 'ours', context, steps }, done, goals.done);
  return made;
}

/** Peers' figures are worth something beside ours of the same run only. */
function oursOf({ rows }: Bench): string {
  const of = (subject: string): string => {
    const row = rows.findLast((r) => r.workload === 'counter' && r.figure === 'rollback' && r.subject === subject);
    return row ? `${middle(row)} ms (${subject})` : '';
  };
  return `rollback in the same run: ${[of('ours, standby ready'), of('ours, cold')].filter(Boolean).join(', ')}`;
}

const RUNC = 'runc checkpoint / restore + cp -a';

export async function counter(bench: Bench): Promise<void> {
  const subject = await Subject.create(bench.helper.connection, { 'counter.py': COUNTER_PY });
  const plain = plainCriu(bench.criuDir);
  const seed = bench.seedCheckout ? original(bench.seedCheckout, bench.criuDir) : null;
  const ociMs: number[] = [];
  const ociCheckpoint: number[] = [];
  let oci: PythonPeer | null = runc(bench.criuDir);
  const plainMs: number[] = [];
  const plainCheckpoint: number[] = [];
  const originalMs: number[] = [];
  try {
    await subject.run('python3 counter.py & sleep 0.3');
    await plain.begin();
    for (let i = 0; i < 5; i++) plainCheckpoint.push(await plain.ask('checkpoint'));
    await seed?.begin();
    try {
      await oci.begin();
      for (let i = 0; i < 5; i++) ociCheckpoint.push(await oci.ask('checkpoint'));
    } catch (error) {
      const why = (error as Error).message;
      bench.leftOut.push({ workload: 'counter', figure: 'rollback', subject: RUNC, why });
      bench.say(`counter: ${RUNC}: ${why}`);
      await oci.end();
      oci = null;
    }
    await rollbacks(
      bench,
      subject,
      'counter',
      {
        warm: { text: 'p50 ≤ 1.8 ms', holds: (s) => s.p50 <= 1.8 },
        cold: { text: 'p50 ≤ 25 ms', holds: (s) => s.p50 <= 25 },
      },
      {
        async between() {
          plainMs.push(await plain.ask('rollback'));
          if (oci) ociMs.push(await oci.ask('rollback'));
          if (seed) originalMs.push(await seed.ask('rollback'));
        },
      },
    );
    for (const [subject, restMs] of [
      [AFTER_A_REST, SETTLE_MS],
      [AT_ONCE, 0],
    ] as const)
      add(
        bench,
        { workload: 'counter', figure: BARE_MESSAGE, subject, context: 'nothing of ours: what any message costs here' },
        await bareMessage(restMs, bench.rounds),
      );
    await checkpoints(bench, subject, 'counter', {
      stopped: { text: 'p50 ≤ 10.8 ms', holds: (s) => s.p50 <= 10.8 },
      done: { text: 'p50 ≤ 45 ms', holds: (s) => s.p50 <= 45 },
    });
    add(
      bench,
      { workload: 'counter', figure: 'rollback', subject: 'plain CRIU + cp -a', context: 'until the restore returns' },
      plainMs,
    );
    add(
      bench,
      { workload: 'counter', figure: 'checkpoint, to done', subject: 'plain CRIU + cp -a', context: '' },
      plainCheckpoint,
    );
    if (oci) {
      const how = {
        workload: 'counter',
        subject: RUNC,
        context: `no tmpfs in it, the files by cp -a; ${oursOf(bench)}`,
      };
      add(bench, { ...how, figure: 'rollback' }, ociMs);
      add(bench, { ...how, figure: 'checkpoint, to done' }, ociCheckpoint);
    }
    if (originalMs.length) {
      const theirs = add(
        bench,
        { workload: 'counter', figure: 'rollback', subject: 'original', context: 'its own call, until it returns' },
        originalMs,
      );
      for (const [which, times] of [
        ['ours, standby ready', 80],
        ['ours, cold', 6],
      ] as const) {
        const mine = bench.rows.findLast(
          (r) => r.workload === 'counter' && r.figure === 'rollback' && r.subject === which,
        );
        if (!mine) continue;
        const ratio = round(theirs.p50 / (mine.value as Summary).p50);
        const goal = { text: `≥ ${times} times`, met: ratio >= times };
        bench.rows.push({
          workload: 'counter',
          figure: 'times faster than the original',
          subject: which,
          unit: '/s',
          value: ratio,
          context: 'ratio of the medians',
          goal,
        });
      }
    }
    if (!bench.seedCheckout)
      bench.leftOut.push({
        workload: 'counter',
        figure: 'rollback',
        subject: 'original',
        why: 'no --seed-checkout was given',
      });
  } finally {
    await plain.end();
    await oci?.end();
    await seed?.end();
    await subject.remove();
  }
}

export async function agent(bench: Bench): Promise<void> {
  const subject = await Subject.create(bench.helper.connection, { 'sqlite.py': SQLITE_PY });
  try {
    const { session } = await subject.connection.request('session/open', { sandbox: subject.id, kind: 'terminal' });
    const type = Buffer.from('sleep 1000 &\nsleep 1001 &\n').toString('base64');
    await subject.connection.request('session/write', { sandbox: subject.id, session, data: type });
    await subject.run(
      'python3 -m http.server 8123 >/dev/null 2>&1 & python3 sqlite.py & node -e "setInterval(() => {}, 20)" & sleep 1',
    );
    await rollbacks(bench, subject, 'agent', {
      warm: { text: 'p50 ≤ 1.8 ms', holds: (s) => s.p50 <= 1.8 },
      cold: { text: 'p50 ≤ 60 ms', holds: (s) => s.p50 <= 60 },
    });
    await checkpoints(bench, subject, 'agent');
  } finally {
    await subject.remove();
  }
}

export function memory(mb: number): (bench: Bench) => Promise<void> {
  return async (bench) => {
    const workload = `mem-${mb}`;
    const subject = await Subject.create(bench.helper.connection, { 'memory.py': MEMORY_PY });
    const few = { ...bench, rounds: Math.min(bench.rounds, mb >= 1000 ? 6 : 15) };
    try {
      await subject.run(`python3 memory.py ${mb} & while [ ! -e ready ]; do sleep 0.05; done`);
      const goals = {
        warm: { text: 'p50 ≤ 5 ms', holds: (s: Summary) => s.p50 <= 5 },
        cold: { text: 'p50 < 500 ms', holds: (s: Summary) => s.p50 < 500 },
      };
      await rollbacks(few, subject, workload, goals, { settleMs: 250 + 4 * mb });
      // Rollbacks left the program as it was in the image: `ready`.
      const made = await checkpoints(few, subject, workload, {}, () =>
        subject.run('touch touch; while [ -e touch ]; do sleep 0.01; done'),
      );
      const changedMb = mb / 100;
      const written = round(made.reduce((sum, { bytes }) => sum + bytes, 0) / made.length / 2 ** 20);
      const value = round(written / changedMb);
      bench.rows.push({
        workload,
        figure: 'checkpoint, written for each MB changed',
        subject: 'ours',
        unit: 'MB',
        value,
        context: `1 % changed between two of them, ${changedMb} of ${mb} MB; ${written} MB written`,
        goal: { text: '≤ 2 MB', met: value <= 2 },
      });
      bench.say(`${workload}: ${value} MB written for each MB changed`);
    } finally {
      await subject.remove();
    }
  };
}

export async function files(bench: Bench): Promise<void> {
  const subject = await Subject.create(bench.helper.connection, { 'counter.py': COUNTER_PY });
  try {
    await subject.run('python3 counter.py & sleep 0.3; MARK=few');
    const few = (await subject.checkpoint()).checkpoint.id;
    await subject.run("mkdir many; python3 -c \"for i in range(100000): open(f'many/{i}', 'w').close()\"; MARK=many");
    const many = (await subject.checkpoint()).checkpoint;
    const filler: string[] = [];
    for (let i = 0; i < 8; i++) filler.push((await subject.checkpoint()).checkpoint.id);
    const back: number[] = [];
    for (let i = 0; i < bench.rounds; i++) {
      await sleep(200);
      back.push((await subject.rollback(i % 2 ? few : many.id, i % 2 ? 'few' : 'many')).ms);
    }
    const context = `${many.filesChanged} files changed, between both moments in turn`;
    const base = bench.rows.findLast(
      (r) => r.workload === 'counter' && r.figure === 'rollback' && r.subject === 'ours, cold',
    );
    const limit = base ? (base.value as Summary).p50 * 1.5 : Number.POSITIVE_INFINITY;
    add(bench, { workload: 'files-100k', figure: 'rollback', subject: 'ours', context }, back, {
      text: `p50 ≤ 1.5 × counter, cold${base ? ` (${round(limit)} ms)` : ''}`,
      holds: (s) => s.p50 <= limit,
    });
  } finally {
    await subject.remove();
  }
}

/** What exec costs over running the same outside, and what the helper takes at rest. */
export async function upkeep(bench: Bench): Promise<void> {
  const { execFileSync } = await import('node:child_process');
  const subject = await Subject.create(bench.helper.connection, { a: '' });
  const { connection, id: sandbox } = subject;
  try {
    const over: number[] = [];
    for (let i = 0; i < bench.rounds; i++) {
      const begun = performance.now();
      const exited = new Promise<void>((resolve) => {
        const off = connection.on('session/exit', () => {
          off();
          resolve();
        });
      });
      await connection.request('session/open', { sandbox, kind: 'process', argv: ['/bin/true'] });
      await exited;
      const inside = performance.now() - begun;
      const outsideBegun = performance.now();
      execFileSync('/bin/true');
      over.push(inside - (performance.now() - outsideBegun));
    }
    add(
      bench,
      { workload: 'upkeep', figure: 'exec over the same outside', subject: 'ours', context: '/bin/true' },
      over,
      {
        text: 'p50 ≤ 3 ms',
        holds: (s) => s.p50 <= 3,
      },
    );
    await sleep(2000);
    const before = bench.helper.usage();
    await sleep(5000);
    const after = bench.helper.usage();
    const cpu = round(((after.cpuS - before.cpuS) / 5) * 100);
    bench.rows.push({
      workload: 'upkeep',
      figure: 'helper at rest, resident',
      subject: 'ours',
      unit: 'MB',
      value: round(after.rssMb),
      context: `CPU ${cpu} % over 5 s`,
      goal: { text: '≤ 100 MB, no CPU', met: after.rssMb <= 100 && cpu <= 0.5 },
    });
  } finally {
    await subject.remove();
  }
}

export const WORKLOADS: Record<string, (bench: Bench) => Promise<void>> = {
  counter,
  restart: restarts,
  agent,
  'mem-100': memory(100),
  'mem-1000': memory(1000),
  'files-100k': files,
  'deep-1000': deep,
  'wide-1000': wide,
  mcts,
  upkeep,
  'copy-in': copyInWorkload,
  costs,
};

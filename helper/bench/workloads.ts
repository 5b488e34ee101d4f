/** The workloads of the goals, each a function that measures its rows. Peers and ours alternate within one run. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { StepTime } from '../protocol/model.ts';
import { bareMessage } from './bare-message.ts';
import { add, type Bench, type Goal, weight } from './bench.ts';
import { burden } from './burden.ts';
import { AFTER_A_REST, AT_ONCE, BARE_MESSAGE } from './causes.ts';
import { changed } from './changed.ts';
import { copyInWorkload } from './copy-in.ts';
import { costs } from './costs.ts';
import { AGENT, COUNTER, holding, type Payload, PERIOD_MS, touch } from './inside.ts';
import { original } from './peers/original.ts';
import { plainCriu } from './peers/plain-criu.ts';
import { runc } from './peers/runc.ts';
import { Peers, type Way } from './peers/turn.ts';
import { restarts } from './restarts.ts';
import { rotation } from './rotation.ts';
import { middle, type Row } from './row.ts';
import { deep, mcts, wide } from './searches.ts';
import { medianSteps, round, type Summary } from './stats.ts';
import { type Rolled, Subject } from './subject.ts';
import { upkeep } from './upkeep.ts';

/** In which the standby that was used is replaced, and then nothing happens. */
const SETTLE_MS = 250;
const WARM = 'ours, standby ready';
const COLD = 'ours, cold';

/** A round is tried again where the standby was not there in time, or there was one after all. */
const TRIES = 3;

interface Goals {
  warm: Goal;
  cold: Goal;
}

/** Rollbacks to the current checkpoint, whose standby is there, and to ones so far back that they have none; the peers' in turn. */
async function rollbacks(
  bench: Bench,
  subject: Subject,
  workload: string,
  goals: Goals,
  peers: Peers,
  { settleMs = SETTLE_MS, askedThen = true } = {},
): Promise<void> {
  const old: string[] = [];
  for (let i = 0; i < 12; i++) old.push(await subject.witnessed('base'));
  const context = await weight(subject);
  const checkpoint = await subject.witnessed('base');
  await subject.verified(checkpoint);
  const warm: Rolled[] = [];
  const warmThen: Rolled[] = [];
  const cold: Rolled[] = [];
  const tried = { warm: 0, cold: 0 };
  for (; warm.length < bench.rounds && tried.warm < bench.rounds * TRIES; tried.warm++) {
    await sleep(settleMs); // the standby of the last round is being made
    const rolled = await subject.rollback(checkpoint);
    if (rolled.moved.path !== 'warm') continue;
    warm.push(rolled);
    await peers.rollback();
    if (!askedThen) continue;
    await sleep(settleMs);
    const asked = await subject.rollback(checkpoint, 'then');
    if (asked.moved.path === 'warm') warmThen.push(asked);
  }
  for (; cold.length < bench.rounds && tried.cold < bench.rounds * TRIES; tried.cold++) {
    await sleep(settleMs / 2);
    const rolled = await subject.rollback(old[tried.cold % old.length]!);
    if (rolled.moved.path !== 'cold') continue;
    cold.push(rolled);
    await peers.rollback();
  }
  const row = { workload, figure: 'rollback', context };
  const warmRow = { ...row, subject: WARM, few: soMany(tried.warm, 'a standby') };
  add(bench, { ...warmRow, steps: medianSteps(warm.map(({ moved }) => moved.steps)) }, timesOf(warm), goals.warm);
  add(
    bench,
    { ...warmRow, figure: 'rollback, reply only' },
    warm.map(({ replyMs }) => replyMs),
  );
  if (warmThen.length)
    add(bench, { ...warmRow, figure: 'rollback, the probe asked after the reply' }, timesOf(warmThen));
  add(
    bench,
    { ...warmRow, figure: 'rollback, in the helper' },
    warm.map(({ moved }) => moved.rollbackMs),
  );
  add(
    bench,
    {
      ...row,
      subject: COLD,
      few: soMany(tried.cold, 'no standby'),
      steps: medianSteps(cold.map(({ moved }) => moved.steps)),
    },
    timesOf(cold),
    goals.cold,
  );
}

const soMany = (tries: number, found: string): string => `so many of ${tries} tries found ${found}`;

const timesOf = (rolled: Rolled[]): number[] => rolled.map(({ ms }) => ms);

/** Steps of a checkpoint in which the payload does not run, or not for all of the time. */
const WHILE_STOPPED = ['CRIU began, processes stopped', 'processes dumped', 'changed files copied', 'processes go on'];

/** @param change a line that changes something before each */
async function checkpoints(
  bench: Bench,
  subject: Subject,
  workload: string,
  peers: Peers,
  goals: { stopped?: Goal; done?: Goal } = {},
  change?: string,
): Promise<void> {
  const stopped: number[] = [];
  const done: number[] = [];
  const all: StepTime[][] = [];
  const context = await weight(subject);
  for (let i = 0; i < bench.rounds; i++) {
    if (change) await subject.run(change);
    await sleep(150);
    const { checkpoint, steps, ms } = await subject.checkpoint();
    stopped.push(checkpoint.stoppedMs);
    done.push(ms);
    all.push(steps);
    await peers.checkpoint(change);
  }
  const steps = medianSteps(all);
  const stoppedRow = { workload, figure: 'checkpoint, payload stopped', subject: 'ours', context };
  add(
    bench,
    { ...stoppedRow, steps: steps.filter(({ step }) => WHILE_STOPPED.includes(step)) },
    stopped,
    goals.stopped,
  );
  add(bench, { workload, figure: 'checkpoint, to done', subject: 'ours', context, steps }, done, goals.done);
}

const RUNC = 'runc checkpoint / restore + cp -a';
const ORIGINAL = 'original';

function plain(bench: Bench, payload: Payload): Way {
  return {
    subject: 'plain CRIU + cp -a',
    peer: plainCriu(bench.criuDir, payload, PERIOD_MS),
    context: 'our own build of CRIU by command line, until the restore returns',
    checkpoints: true,
  };
}

/** Peers that were made for one program without a terminal, or begin a whole container each time. */
function onlyCounter(peers: Peers): void {
  peers.leaveOut(RUNC, 'on counter only: it ends a container and begins another each time, whatever runs in it');
  peers.leaveOut(ORIGINAL, 'on counter only: it carries one program that it starts itself');
}

/** Peers' figures are worth something beside ours of the same run only. */
function addRatios({ rows }: Bench): void {
  const of = (subject: string): Row | undefined =>
    rows.findLast((r) => r.workload === 'counter' && r.figure === 'rollback' && r.subject === subject);
  const theirs = of(ORIGINAL);
  if (!theirs) return;
  for (const [which, times] of [
    [WARM, 80],
    [COLD, 6],
  ] as const) {
    const mine = of(which);
    if (!mine) continue;
    const value = round(middle(theirs) / middle(mine));
    rows.push({
      workload: 'counter',
      figure: 'times faster than the original',
      subject: which,
      unit: '/s',
      value,
      context: 'ratio of the medians',
      goal: { text: `≥ ${times} times`, met: value >= times },
    });
  }
}

export async function counter(bench: Bench): Promise<void> {
  const subject = await Subject.create(bench.helper.connection, COUNTER);
  const peers = new Peers(bench, 'counter');
  try {
    await subject.run(COUNTER.start);
    const theirs: Way[] = [plain(bench, COUNTER)];
    const containers = 'no tmpfs in it, the files by cp -a, until the restore returns';
    theirs.push({ subject: RUNC, peer: runc(bench.criuDir), context: containers, checkpoints: true });
    if (bench.seedCheckout) {
      const peer = original(bench.seedCheckout, bench.criuDir);
      theirs.push({ subject: ORIGINAL, peer, context: 'its own call, until it returns', checkpoints: false });
    } else peers.leaveOut(ORIGINAL, 'no --seed-checkout was given');
    await peers.begin(theirs, 'checkpoint base');
    await rollbacks(
      bench,
      subject,
      'counter',
      {
        warm: { text: 'p50 ≤ 1.8 ms', holds: (s) => s.p50 <= 1.8 },
        cold: { text: 'p50 ≤ 25 ms', holds: (s) => s.p50 <= 25 },
      },
      peers,
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
    await checkpoints(bench, subject, 'counter', peers, {
      stopped: { text: 'p50 ≤ 10.8 ms', holds: (s) => s.p50 <= 10.8 },
      done: { text: 'p50 ≤ 45 ms', holds: (s) => s.p50 <= 45 },
    });
    peers.addRows();
    addRatios(bench);
  } finally {
    await peers.end();
    await subject.remove();
  }
}

export async function agent(bench: Bench): Promise<void> {
  const subject = await Subject.create(bench.helper.connection, AGENT);
  const peers = new Peers(bench, 'agent');
  try {
    const { session } = await subject.connection.request('session/open', { sandbox: subject.id, kind: 'terminal' });
    const type = Buffer.from('sleep 1000 &\nsleep 1001 &\n').toString('base64');
    await subject.connection.request('session/write', { sandbox: subject.id, session, data: type });
    await subject.run(AGENT.start);
    onlyCounter(peers);
    const way = plain(bench, AGENT);
    await peers.begin([{ ...way, context: `the same programs, but no terminal; ${way.context}` }], 'checkpoint base');
    await rollbacks(
      bench,
      subject,
      'agent',
      {
        warm: { text: 'p50 ≤ 1.8 ms', holds: (s) => s.p50 <= 1.8 },
        cold: { text: 'p50 ≤ 60 ms', holds: (s) => s.p50 <= 60 },
      },
      peers,
    );
    await checkpoints(bench, subject, 'agent', peers);
    peers.addRows();
  } finally {
    await peers.end();
    await subject.remove();
  }
}

export function memory(mb: number): (bench: Bench) => Promise<void> {
  return async (bench) => {
    const workload = `mem-${mb}`;
    const payload = holding(mb);
    const subject = await Subject.create(bench.helper.connection, payload);
    const peers = new Peers(bench, workload);
    try {
      await subject.run(payload.start);
      onlyCounter(peers);
      await peers.begin([plain(bench, payload)], 'checkpoint base');
      const goals = {
        warm: { text: 'p50 ≤ 5 ms', holds: (s: Summary) => s.p50 <= 5 },
        cold: { text: 'p50 < 500 ms', holds: (s: Summary) => s.p50 < 500 },
      };
      const pace = { settleMs: SETTLE_MS + 3 * mb, askedThen: mb < 1000 };
      await rollbacks(bench, subject, workload, goals, peers, pace);
      await checkpoints(bench, subject, workload, peers, {}, touch(1));
      peers.addRows();
      await changed(bench, subject, workload, mb);
    } finally {
      await peers.end();
      await subject.remove();
    }
  };
}

/** Between two moments that 100,000 files lie between, there and back, with standbys of both and with none. */
export async function files(bench: Bench): Promise<void> {
  const workload = 'files-100k';
  const subject = await Subject.create(bench.helper.connection, COUNTER);
  const peers = new Peers(bench, workload);
  const make = "mkdir many; python3 -c \"for i in range(100000): open(f'many/{i}', 'w').close()\"";
  try {
    await subject.run(COUNTER.start);
    onlyCounter(peers);
    await peers.begin([plain(bench, COUNTER)], 'checkpoint few', `do ${make}`, 'checkpoint many');
    const few: string[] = [];
    const many: string[] = [];
    for (let i = 0; i < 8; i++) few.push(await subject.witnessed('few'));
    await subject.run(make);
    for (let i = 0; i < 8; i++) many.push(await subject.witnessed('many'));
    const warm: Rolled[] = [];
    const cold: Rolled[] = [];
    await subject.expect([few[7]!, many[7]!]);
    const tried = { warm: 0, cold: 0 };
    for (; warm.length < bench.rounds && tried.warm < bench.rounds * TRIES; tried.warm++) {
      const i = tried.warm;
      await sleep(SETTLE_MS);
      const rolled = await subject.rollback(i % 2 ? many[7]! : few[7]!);
      if (rolled.moved.path !== 'warm') continue;
      warm.push(rolled);
      await peers.rollback(i % 2 ? 'many' : 'few');
    }
    await subject.expect([]);
    for (; cold.length < bench.rounds && tried.cold < bench.rounds * TRIES; tried.cold++) {
      const i = tried.cold;
      await sleep(SETTLE_MS);
      // Of the line that is gone back along, standbys are kept: each is one too far.
      const at = (i * 2 + (i >> 2)) % 7;
      const rolled = await subject.rollback(i % 2 ? many[at]! : few[at]!);
      if (rolled.moved.path === 'cold') cold.push(rolled);
    }
    const context = '100000 files made or gone by it, in turn';
    for (const [subject, rolled, few] of [
      [WARM, warm, soMany(tried.warm, 'a standby')],
      [COLD, cold, soMany(tried.cold, 'no standby')],
    ] as const) {
      const base = bench.rows.findLast(
        (r) => r.workload === 'counter' && r.figure === 'rollback' && r.subject === subject,
      );
      const limit = base ? middle(base) * 1.5 : null;
      const steps = medianSteps(rolled.map(({ moved }) => moved.steps));
      const goal =
        limit === null
          ? undefined
          : { text: `p50 ≤ 1.5 × counter (${round(limit)} ms)`, holds: (s: Summary) => s.p50 <= limit };
      add(bench, { workload, figure: 'rollback', subject, context, few, steps }, timesOf(rolled), goal);
    }
    peers.addRows();
  } finally {
    await peers.end();
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
  rotation,
  burden,
  costs,
};

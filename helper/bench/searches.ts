/** Workloads of searches: deep lines, wide fans, a tree. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { StepTime } from '../protocol/model.ts';
import { add, type Bench } from './bench.ts';
import { groupsOf } from './costs.ts';
import { COUNTER, COUNTER_PY } from './inside.ts';
import { medianSteps, round, type Summary, summarize } from './stats.ts';
import { type Rolled, Subject } from './subject.ts';

/** So often a standby that was not there in time is waited for. */
const TRIES = 3;

/** No peer keeps many moments, or several branches of one alive. */
function onlyOurs({ leftOut }: Bench, workload: string, figure: string): void {
  const why =
    'they keep one moment of one program: many, or several alive at once, would be what each does on counter, times as many';
  leftOut.push({ workload, figure, subject: 'all peers', why });
}

/** The places of a long line that are gone back to, warm and cold; the last ones are behind all layers. */
export async function deep(bench: Bench): Promise<void> {
  const workload = 'deep-1000';
  onlyOurs(bench, workload, 'rollback to the first');
  const subject = await Subject.create(bench.helper.connection, COUNTER);
  const depth = 1000;
  try {
    await subject.run(COUNTER.start);
    // So far apart, of each place, that no standby of one is there because another was gone to.
    const apart = 3;
    const of = Math.min(bench.rounds, 30);
    const from: Record<string, number> = { first: 0, middle: depth / 2, last: depth - of * apart };
    const places: Record<string, string[]> = { first: [], middle: [], last: [] };
    const place = (i: number): string | undefined =>
      Object.keys(from).find((name) => i >= from[name]! && i < from[name]! + of * apart);
    for (let i = 0; i < depth; i++) {
      await subject.run(`echo ${i} > f${i}`);
      const name = place(i);
      const id = name ? await subject.witnessed(`m${i}`) : (await subject.checkpoint()).checkpoint.id;
      if (name) places[name]!.push(id);
      // Every other one is gone back to at once: what follows lies on it, so the layers are as deep as the line.
      if (i % 2)
        await subject.connection.request('checkpoint/rollback', { sandbox: subject.id, checkpoint: id, discard: true });
      if (i % 200 === 199) bench.say(`${workload}: ${i + 1} checkpoints`);
    }
    const warm: Record<string, Rolled[]> = { first: [], middle: [], last: [] };
    const cold: Record<string, Rolled[]> = { first: [], middle: [], last: [] };
    const mounted: Record<string, number> = {};
    for (let i = 0; i < of; i++)
      for (const [name, ids] of Object.entries(places)) {
        const to = ids[i * apart]!;
        await sleep(150);
        const first = await subject.rollback(to);
        if (first.moved.path === 'cold') cold[name]!.push(first);
        mounted[name] = Math.max(mounted[name] ?? 0, await layersOfHead(bench, subject));
        for (let tries = 0; warm[name]!.length <= i && tries < TRIES; tries++) {
          await sleep(250); // now its own standby is made
          const again = await subject.rollback(to);
          if (again.moved.path === 'warm') warm[name]!.push(again);
        }
      }
    const behind = await checkpointsBehind(subject);
    const context = (name: string): string => {
      const ids = places[name]!;
      const images = ids.map((id) => behind.get(id)!);
      return `a chain of ${depth}; of it ${images[0]} to ${images.at(-1)} lie before, each with an image of its own; ${mounted[name]} layers mounted, those of the base among them`;
    };
    for (const [which, rolled] of [
      ['ours, standby ready', warm],
      ['ours, cold', cold],
    ] as const) {
      const p50: Record<string, number> = {};
      for (const name of Object.keys(from)) {
        const goal =
          name === 'first' ? undefined : { text: '≤ 2 × the first', holds: (s: Summary) => s.p50 <= 2 * p50.first! };
        const row = { workload, figure: `rollback to the ${name}`, subject: which, context: context(name) };
        const steps = medianSteps(rolled[name]!.map(({ moved }) => moved.steps));
        p50[name] = add(
          bench,
          { ...row, steps },
          rolled[name]!.map(({ ms }) => ms),
          goal,
        ).p50;
      }
    }
  } finally {
    await subject.remove();
  }
}

/** Of the overlay that its head sees as its root, by the kernel's account: overlayfs.rst, proc_pid_mountinfo(5). Those of the base count, too. */
async function layersOfHead({ helper }: Bench, subject: Subject): Promise<number> {
  const { sandbox } = await subject.connection.request('sandbox/get', { sandbox: subject.id });
  const [pid] = groupsOf(helper).get(`${subject.id}-${sandbox.head}`) ?? [];
  const root = readFileSync(`/proc/${pid}/mountinfo`, 'utf8')
    .split('\n')
    .find((line) => line.split(' ')[4] === '/');
  const options = root?.split(' ').at(-1) ?? '';
  const lowers = [...options.matchAll(/(?:^|,)lowerdir\+?=([^,]*)/g)].flatMap(([, paths]) => paths!.split(':'));
  if (!lowers.length) throw new Error(`the root of ${sandbox.head} is no overlay: ${root}`);
  return lowers.length;
}

/** Of each checkpoint: how many it descends from. */
async function checkpointsBehind({ connection, id: sandbox }: Subject): Promise<Map<string, number>> {
  const { checkpoints } = await connection.request('checkpoint/list', { sandbox });
  const behind = new Map<string | null, number>([[null, -1]]);
  for (const { id, parent } of checkpoints.reverse()) behind.set(id, behind.get(parent)! + 1);
  return behind as Map<string, number>;
}

/** Processor time of all cores that was not idle, since boot. Source: proc_stat(5). */
function busySeconds(): number {
  const [user, nice, system, , , irq, softirq] = readFileSync('/proc/stat', 'utf8')
    .split('\n')[0]!
    .split(/\s+/)
    .slice(1)
    .map(Number);
  return (user! + nice! + system! + irq! + softirq!) / 100;
}

export async function wide(bench: Bench): Promise<void> {
  onlyOurs(bench, 'wide-1000', 'rollouts');
  const subject = await Subject.create(bench.helper.connection, { 'counter.py': COUNTER_PY, reward: '1\n' });
  const { connection, id: sandbox } = subject;
  try {
    await subject.run('python3 counter.py & sleep 0.2; MARK=base');
    const { checkpoint } = await subject.checkpoint();
    const rollout = async (): Promise<StepTime[]> => {
      const begun = performance.now();
      const { branch, path } = await connection.request('branch/fork', { sandbox, checkpoint: checkpoint.id });
      const forked = performance.now();
      // What it begins with is the checkpoint's: another rollout's file would say 2.
      const text = await subject.run('echo $MARK; cat reward; echo 2 > reward; cat reward', branch);
      if (text !== 'base\n1\n2\n') throw new Error(`a rollout had ${JSON.stringify(text)}`);
      const ran = performance.now();
      await connection.request('branch/discard', { sandbox, branch });
      return [
        { step: `fork, ${path}`, ms: forked - begun },
        { step: 'run', ms: ran - forked },
        { step: 'discard', ms: performance.now() - ran },
      ];
    };
    for (const width of [1, 8]) {
      const total = Math.min(1000, Math.ceil((1000 * bench.rounds) / 30));
      const times: number[] = [];
      const all: StepTime[][] = [];
      const before = bench.helper.usage();
      const busyBefore = busySeconds();
      const begun = performance.now();
      let left = total;
      await Promise.all(
        Array.from({ length: width }, async () => {
          while (left-- > 0) {
            const t = performance.now();
            all.push(await rollout());
            times.push(performance.now() - t);
          }
        }),
      );
      const rate = round((total * 1000) / (performance.now() - begun));
      const fifth = Math.floor(times.length / 5);
      const early = summarize(times.slice(0, fifth)).p50;
      const late = summarize(times.slice(-fifth)).p50;
      const after = bench.helper.usage();
      const each = (seconds: number): number => round((seconds * 1000) / total);
      const cpu = `CPU ms for each: helper ${each(after.cpuS - before.cpuS)}, CRIU ${each(after.childrenS - before.childrenS)}, all ${each(busySeconds() - busyBefore)}`;
      const warm = all.filter(([fork]) => fork!.step === 'fork, warm').length;
      const context = `${total} rollouts, ${width} at a time, ${warm} of them from a standby; first fifth p50 ${early} ms, last fifth ${late} ms; ${cpu}`;
      const steps = medianSteps(all);
      const goal = { text: '≥ 60/s', met: rate >= 60 };
      bench.rows.push({
        workload: 'wide-1000',
        figure: 'rollouts',
        subject: `ours, ${width} at a time`,
        unit: '/s',
        value: rate,
        context,
        steps,
        goal,
      });
      bench.say(`wide-1000: ${rate}/s, ${width} at a time; ${context}`);
      const growth = round(late / early);
      bench.rows.push({
        workload: 'wide-1000',
        figure: 'times longer, the last fifth than the first',
        subject: `ours, ${width} at a time`,
        unit: '/s',
        value: growth,
        context: `medians of a rollout: ${early} ms, then ${late} ms`,
        goal: { text: '≤ 1.2 times', met: growth <= 1.2 },
      });
    }
  } finally {
    await subject.remove();
  }
}

/** The sed trap as a tree search: a model takes 1 s an answer; what share of the rest of the time does the search cost? */
export async function mcts(bench: Bench): Promise<void> {
  onlyOurs(bench, 'mcts', 'time not spent waiting for the model');
  const text = '{"api_version": "v1"}\n';
  const subject = await Subject.create(bench.helper.connection, {
    'config1.json': text,
    'config2.json': text,
    'ignore_me.txt': text,
    'counter.py': COUNTER_PY,
  });
  const { connection, id: sandbox } = subject;
  const actions = [
    "sed -i 's/v1/v2/g' *",
    "sed -i 's/v1/v2/g' config1.json",
    "sed -i 's/v1/v2/g' config2.json",
    'rm -f config1.json',
    'true',
  ];
  try {
    await subject.run('python3 counter.py & sleep 0.2');
    interface Node {
      id: Promise<string>;
      /** What its files hold. */
      files: string;
      tried: number;
      visits: number;
      value: number;
      children: Node[];
    }
    const keep = (): Promise<string> => {
      const id = subject.checkpoint().then(({ checkpoint }) => checkpoint.id);
      id.catch(() => {}); // told by whoever goes there
      return id;
    };
    const look = (): Promise<string> => subject.run('grep -s . *.json ignore_me.txt || true');
    const first = await look();
    const root: Node = { id: keep(), files: first, tried: 0, visits: 0, value: 0, children: [] };
    await root.id;
    let waited = 0;
    /** To see that all is right is no part of a search. */
    let lookedMs = 0;
    const steps: StepTime[][] = [];
    const line = (action: string): string => `${action}; grep -l v2 *.json | wc -l; grep -c v1 ignore_me.txt || true`;
    const outside = actions.map((action) => outsideMs(line(action), subject.workspace));
    const begun = performance.now();
    const expansions = Math.min(100, Math.ceil((100 * bench.rounds) / 30));
    for (let i = 0; i < expansions; i++) {
      const path = [root];
      while (path.at(-1)!.tried === actions.length && path.at(-1)!.children.length) {
        const at = path.at(-1)!;
        path.push([...at.children].sort((a, b) => uct(b, at.visits) - uct(a, at.visits))[0]!);
      }
      const node = path.at(-1)!;
      // While the model thinks about that node, its state is gone back to. What the last step led to is being kept meanwhile.
      const asked = performance.now();
      const there = node.id.then((checkpoint) =>
        connection.request('checkpoint/rollback', { sandbox, checkpoint, discard: true }),
      );
      await sleep(1000); // the model
      const answered = performance.now();
      waited += answered - asked;
      await there;
      const back = performance.now();
      const found = await look();
      if (found !== node.files) throw new Error(`after a rollback there was ${found}, not ${node.files}`);
      const looked = performance.now();
      lookedMs += looked - back;
      const action = actions[node.tried++ % actions.length]!;
      const text = await subject.run(line(action));
      steps.push([
        { step: 'the rollback, where it took longer than the model', ms: back - answered },
        { step: "the action, in the sandbox's shell", ms: performance.now() - looked },
      ]);
      const [good, kept] = text.trim().split('\n').slice(-2).map(Number);
      const reward = (good! + 2 * kept!) / 4;
      const looking = performance.now();
      const files = await look();
      lookedMs += performance.now() - looking;
      const child: Node = { id: keep(), files, tried: 0, visits: 0, value: 0, children: [] };
      node.children.push(child);
      for (const n of [...path, child]) {
        n.visits++;
        n.value += reward;
      }
    }
    const wall = performance.now() - begun - lookedMs;
    const share = round((100 * (wall - waited)) / wall);
    const goal = { text: '≤ 2 %', met: share <= 2 };
    const context =
      `${expansions} expansions, 1 s a model's answer, checkpoint and rollback while it answers; ` +
      `${round((wall - waited) / expansions)} ms of each are not the model's, the same action by a shell outside takes ${summarize(outside).p50} ms`;
    bench.rows.push({
      workload: 'mcts',
      figure: 'time not spent waiting for the model',
      subject: 'ours',
      unit: '%',
      value: share,
      context,
      steps: medianSteps(steps),
      goal,
    });
    bench.say(`mcts: ${share} % of the time not spent waiting for the model`);
  } finally {
    await subject.remove();
  }
}

/** What an action takes in a shell outside, the shell's own start not counted. */
function outsideMs(line: string, cwd: string): number {
  const timed = `t=\${EPOCHREALTIME/./}; { ${line}; } >/dev/null; echo $(( \${EPOCHREALTIME/./} - t ))`;
  return (
    Number(execFileSync('bash', ['-c', timed], { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })) / 1000
  );
}

function uct(n: { visits: number; value: number }, parent: number): number {
  return n.value / n.visits + 1.4 * Math.sqrt(Math.log(parent) / n.visits);
}

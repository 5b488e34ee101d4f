/** What exec costs over running the same outside, and what the helper takes at rest. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { StepTime } from '../protocol/model.ts';
import { add, type Bench } from './bench.ts';
import { outsideShell } from './outside-shell.ts';
import { medianSteps, round } from './stats.ts';
import { Subject } from './subject.ts';

const COMMAND = '/bin/true';
const REST_S = 5;
/** Of what came before nothing is under way any more. */
const SETTLE_MS = 2000;

export async function upkeep(bench: Bench): Promise<void> {
  const subject = await Subject.create(bench.helper.connection, { a: '' });
  try {
    await exec(bench, subject);
    await rest(bench);
  } finally {
    await subject.remove();
  }
}

async function exec(bench: Bench, { connection, id: sandbox }: Subject): Promise<void> {
  const inside: number[] = [];
  const outside: number[] = [];
  const steps: StepTime[][] = [];
  const shell = outsideShell();
  try {
    for (let i = 0; i < bench.rounds; i++) {
      const begun = performance.now();
      const exited = new Promise<void>((resolve) => {
        const off = connection.on('session/exit', () => {
          off();
          resolve();
        });
      });
      await connection.request('session/open', { sandbox, kind: 'process', argv: [COMMAND] });
      const open = performance.now();
      await exited;
      const over = performance.now();
      inside.push(over - begun);
      steps.push([
        { step: 'until the reply that it was begun', ms: open - begun },
        { step: 'from there until its end is told', ms: over - open },
      ]);
      outside.push(await shell.ms(COMMAND));
    }
  } finally {
    await shell.end();
  }
  const row = { workload: 'upkeep', figure: 'exec' };
  const by = 'a shell (bash) that runs already';
  add(
    bench,
    { ...row, subject: 'ours', context: `${COMMAND}, until its end is told`, steps: medianSteps(steps) },
    inside,
  );
  add(bench, { ...row, subject: 'a shell outside', context: `${COMMAND} by ${by}, by its own clock` }, outside);
  const over = inside.map((ms, i) => ms - outside[i]!);
  const context = `${COMMAND}, outside by ${by}, in turn`;
  add(bench, { ...row, figure: 'exec over the same outside', subject: 'ours', context }, over, {
    text: 'p50 ≤ 3 ms',
    holds: (s) => s.p50 <= 3,
  });
}

async function rest({ helper, rows }: Bench): Promise<void> {
  await sleep(SETTLE_MS);
  const before = helper.usage();
  await sleep(REST_S * 1000);
  const { rssMb, anonMb, cpuS } = helper.usage();
  const cpu = round(((cpuS - before.cpuS) / REST_S) * 100);
  const bare = await bareNodeMb();
  rows.push({
    workload: 'upkeep',
    figure: 'helper at rest, resident',
    subject: 'ours',
    unit: 'MB',
    value: round(rssMb),
    context:
      `CPU ${cpu} % over ${REST_S} s; ${round(anonMb)} MB are its own, ${round(rssMb - anonMb)} files that it maps; ` +
      `${round(helper.startMb)} MB when it had begun; a Node process that does nothing: ${round(bare)} MB`,
    goal: { text: '≤ 100 MB, no CPU', met: rssMb <= 100 && cpu <= 0.5 },
  });
}

async function bareNodeMb(): Promise<number> {
  const program = "setInterval(() => {}, 1e6); console.log('ready')";
  const node = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(node, 'exit');
  try {
    await Promise.race([once(node.stdout, 'data'), ended.then(() => Promise.reject(new Error('node ended')))]);
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${node.pid}/status`, 'utf8'))?.[1]) / 1024;
  } finally {
    node.kill();
    await ended;
  }
}

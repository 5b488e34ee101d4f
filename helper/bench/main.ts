/** The benchmark: our figures beside the peers', on this machine, in one run. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { TeleportError } from '../protocol/errors.ts';
import type { Bench } from './bench.ts';
import { explainMisses } from './causes.ts';
import { writeCosts } from './costs.ts';
import { isOriginal } from './peers/original.ts';
import { PrivateHelper } from './private-helper.ts';
import { toMarkdown, toSvg, toText } from './report.ts';
import type { Report } from './row.ts';
import { round } from './stats.ts';
import { WORKLOADS } from './workloads.ts';

export interface BenchOptions {
  /** How this command line is run: node's arguments before its words. */
  program: string[];
  workloads: string[];
  rounds: number;
  seedCheckout?: string;
  /** Folder for bench.json, bench.md and bench.svg. */
  out?: string;
  say(text: string): void;
}

/** @throws TeleportError for an unknown workload, a folder that is no checkout, a machine that can't */
export async function bench(options: BenchOptions): Promise<{ report: Report; text: string }> {
  const unknown = options.workloads.find((name) => !WORKLOADS[name]);
  if (unknown)
    throw new TeleportError('invalidRequest', `there is no workload ${unknown}`, {
      hint: `there are ${Object.keys(WORKLOADS).join(', ')}`,
    });
  if (options.seedCheckout && !isOriginal(options.seedCheckout))
    throw new TeleportError('invalidRequest', `${options.seedCheckout} is not a checkout of the original`, {
      hint: 'it holds teleport_env/core.py',
    });
  const criu = findCriu();
  const report: Report = {
    machine: {
      cpu: cpus()[0]?.model.trim() ?? 'unknown',
      cores: cpus().length,
      memoryGb: Math.round(totalmem() / 2 ** 30),
      kernel: release(),
      criu: /Version: (.*)/.exec(execFileSync(criu, ['--version'], { encoding: 'utf8' }))?.[1] ?? 'unknown',
      node: process.versions.node,
      loadAverage: round(loadavg()[0]!),
    },
    date: new Date().toISOString(),
    rows: [],
    leftOut: [],
  };
  const helper = await PrivateHelper.start(options.program);
  try {
    const { rounds, seedCheckout, say } = options;
    const run: Bench = {
      helper,
      criuDir: dirname(criu),
      rounds,
      seedCheckout,
      rows: report.rows,
      leftOut: report.leftOut,
      say,
    };
    for (const name of options.workloads.length ? options.workloads : Object.keys(WORKLOADS)) {
      try {
        await WORKLOADS[name]!(run);
      } catch (error) {
        report.leftOut.push({ workload: name, figure: 'all', subject: 'ours', why: (error as Error).message });
        say(`${name}: ${(error as Error).message}`);
      }
    }
  } finally {
    await helper.stop();
  }
  explainMisses(report.rows);
  if (options.out) {
    mkdirSync(options.out, { recursive: true });
    const { cpu, kernel, criu } = report.machine;
    const machine = `Counted on ${report.date.slice(0, 10)}: ${cpu}, Linux ${kernel}, CRIU ${criu}, state volume on XFS.`;
    if (report.rows.some((r) => r.workload === 'costs')) writeCosts(options.out, report, machine);
    writeFileSync(join(options.out, 'bench.json'), `${JSON.stringify(report, null, 2)}\n`);
    writeFileSync(join(options.out, 'bench.md'), toMarkdown(report));
    if (report.rows.some((r) => r.workload === 'counter')) writeFileSync(join(options.out, 'bench.svg'), toSvg(report));
  }
  return { report, text: toText(report) };
}

function findCriu(): string {
  const places = [__dirname, join(__dirname, '../build/criu'), join(__dirname, '../../build/criu')];
  const found = [process.env.TELEPORT_ENV_CRIU, ...places.map((place) => join(place, 'criu'))].find(
    (p) => p && existsSync(p) && !existsSync(join(p, 'criu')),
  );
  if (!found) throw new TeleportError('noCriu', 'CRIU is not installed', { hint: 'npm run setup' });
  return found;
}

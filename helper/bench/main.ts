/** The benchmark: our figures beside the peers', on this machine, in one run. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { version } from '../client/version.ts';
import { TeleportError } from '../protocol/errors.ts';
import type { Bench } from './bench.ts';
import { explainMisses } from './causes.ts';
import { writeCosts } from './costs.ts';
import { isOriginal } from './peers/original.ts';
import { PythonPeer } from './peers/python-peer.ts';
import { PrivateHelper } from './private-helper.ts';
import { toMarkdown, toSvg, toText } from './report.ts';
import type { LeftOut, Report, Row } from './row.ts';
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
  /** Figures of the report that is in `out` stay, but for those measured anew: the whole takes too long for one go. */
  add?: boolean;
  say(text: string): void;
  /** Broken off by it: then nothing of the benchmark is left, and no report is written. */
  signal: AbortSignal;
}

/** @throws TeleportError for an unknown workload, a folder that is no checkout, a machine that can't; `cancelled` */
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
  const earlier = options.add ? readReport(options.out) : null;
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
    code: codeOf(),
    loads: { ...earlier?.loads },
    rows: (earlier?.rows ?? []).map((row) => ({
      ...row,
      at: row.at ?? { date: earlier!.date, code: earlier!.code ?? 'that it does not tell' },
    })),
    leftOut: [...(earlier?.leftOut ?? [])],
  };
  const { program, rounds, seedCheckout, say, signal } = options;
  const brokenOff = new Promise<never>((_, reject) => {
    const tell = (): void => reject(new TeleportError('cancelled', 'the benchmark was broken off'));
    if (signal.aborted) tell();
    else signal.addEventListener('abort', tell);
  });
  brokenOff.catch(() => {}); // it may come between two workloads
  const helper = await PrivateHelper.start(program, signal);
  let work: Promise<void> = Promise.resolve();
  const measured = new Set<string>();
  try {
    const run: Bench = {
      helper,
      program,
      signal,
      criuDir: dirname(criu),
      rounds,
      seedCheckout,
      rows: report.rows,
      leftOut: report.leftOut,
      say,
    };
    for (const name of options.workloads.length ? options.workloads : Object.keys(WORKLOADS)) {
      // What an earlier go could not measure, that is: this one tells its own.
      for (let i = run.leftOut.length - 1; i >= 0; i--) if (run.leftOut[i]!.workload === name) run.leftOut.splice(i, 1);
      report.loads![name] = round(loadavg()[0]!);
      try {
        work = WORKLOADS[name]!(run);
        await Promise.race([work, brokenOff]);
        measured.add(name);
      } catch (error) {
        if (signal.aborted) throw error;
        report.leftOut.push({ workload: name, figure: 'all', subject: 'ours', why: (error as Error).message });
        say(`${name}: ${(error as Error).message}`);
      }
    }
  } finally {
    if (signal.aborted) {
      say('broken off: removing what was made');
      // The workload finds that nobody answers any more, and undoes what it made outside.
      PythonPeer.breakOff();
      await Promise.allSettled([work]);
    }
    await helper.stop();
  }
  // All rows of a workload are of one run.
  report.rows = report.rows.filter(({ workload, at }) => !(at && measured.has(workload)));
  for (const row of report.rows) row.at ??= { date: report.date, code: report.code! };
  report.rows = newest(report.rows);
  report.leftOut = newest(report.leftOut).filter((left) => !report.rows.some((row) => keyOf(row) === keyOf(left)));
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

/** The commit, where this runs in a checkout of ours, else the version. */
function codeOf(): string {
  const root = join(__dirname, '..');
  try {
    const git = (...words: string[]): string =>
      execFileSync('git', ['-C', root, ...words], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
    if (git('rev-parse', '--show-toplevel') === root) return git('describe', '--always', '--dirty');
  } catch {
    // no git, or no checkout
  }
  return version();
}

const keyOf = ({ workload, figure, subject }: LeftOut | Row): string => [workload, figure, subject].join('\n');

/** Of those that tell of the same the last, where the first was. */
function newest<R extends LeftOut | Row>(rows: readonly R[]): R[] {
  return [...new Map(rows.map((row) => [keyOf(row), row])).values()];
}

/** @throws TeleportError where there is none, or it is of another machine */
function readReport(dir: string | undefined): Report {
  const file = join(dir ?? '', 'bench.json');
  if (!dir || !existsSync(file))
    throw new TeleportError('invalidRequest', `there is no report to add to${dir ? ` in ${dir}` : ''}`, {
      hint: 'name its folder with --out, or leave --add out',
    });
  const report: Report = JSON.parse(readFileSync(file, 'utf8'));
  if (report.machine.kernel !== release() || report.machine.cpu !== cpus()[0]?.model.trim())
    throw new TeleportError('invalidRequest', `${file} is of another machine or kernel`, { hint: 'leave --add out' });
  return report;
}

function findCriu(): string {
  const places = [__dirname, join(__dirname, '../build/criu'), join(__dirname, '../../build/criu')];
  const found = [process.env.TELEPORT_ENV_CRIU, ...places.map((place) => join(place, 'criu'))].find(
    (p) => p && existsSync(p) && !existsSync(join(p, 'criu')),
  );
  if (!found) throw new TeleportError('noCriu', 'CRIU is not installed', { hint: 'npm run setup' });
  return found;
}

/**
 * What the README says of speed, docs/bench.md and docs/bench.svg, made from docs/bench.json.
 *
 *   tsx scripts/readme-bench.ts           writes it
 *   tsx scripts/readme-bench.ts --check   fails where it is not up to date
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { toMarkdown, toSvg } from '../helper/bench/report.ts';
import { middle, type Report, type Row } from '../helper/bench/row.ts';

const root = resolve(__dirname, '..');
const file = join(root, 'README.md');
const BEGIN = '<!-- Made by scripts/readme-bench.ts of docs/bench.json, never by hand. -->\n\n';
const END = '\n<!-- end of what was made -->\n';

/** What it is called, and the row: workload, figure, subject. */
type Line = [string, string, string, string];
const READY = 'ours, standby ready';
const BACK: Line[] = [
  ['a counting process, **standby ready**', 'counter', 'rollback', READY],
  ['the same, of it in the helper', 'counter', 'rollback, in the helper', READY],
  ['the same, **cold**', 'counter', 'rollback', 'ours, cold'],
  ['plain CRIU and `cp -a`', 'counter', 'rollback', 'plain CRIU + cp -a'],
  ['the original, in Python', 'counter', 'rollback', 'original'],
  ['`runc checkpoint` / `restore` and `cp -a`', 'counter', 'rollback', 'runc checkpoint / restore + cp -a'],
  ['a container started anew, runc', 'restart', 'container restart', 'runc'],
  ['a container started anew, podman', 'restart', 'container restart', 'podman, -t 0'],
  ["an agent's seven processes, standby ready", 'agent', 'rollback', READY],
  ['the same, cold', 'agent', 'rollback', 'ours, cold'],
  ['the same by plain CRIU and `cp -a`', 'agent', 'rollback', 'plain CRIU + cp -a'],
  ['100,000 changed files, standby ready', 'files-100k', 'rollback', READY],
  ['the same, cold', 'files-100k', 'rollback', 'ours, cold'],
  ['the same by plain CRIU and `cp -a`', 'files-100k', 'rollback', 'plain CRIU + cp -a'],
  ['1 GB of memory, standby ready', 'mem-1000', 'rollback', READY],
  ['the same, cold', 'mem-1000', 'rollback', 'ours, cold'],
  ['the same by plain CRIU and `cp -a`', 'mem-1000', 'rollback', 'plain CRIU + cp -a'],
];
const CHECKPOINT: Line[] = [
  ['stops a counting process for', 'counter', 'checkpoint, payload stopped', 'ours'],
  ['until it is done', 'counter', 'checkpoint, to done', 'ours'],
  ['plain CRIU and `cp -a` stop it for', 'counter', 'checkpoint, payload stopped', 'plain CRIU + cp -a'],
  ['until that is done', 'counter', 'checkpoint, to done', 'plain CRIU + cp -a'],
  ['stops a program of 1 GB, of which 1 % was written, for', 'mem-1000', 'checkpoint, payload stopped', 'ours'],
  ['plain CRIU and `cp -a` stop that for', 'mem-1000', 'checkpoint, payload stopped', 'plain CRIU + cp -a'],
  ['one of 100 MB, likewise', 'mem-100', 'checkpoint, payload stopped', 'ours'],
];

function find({ rows }: Report, [, workload, figure, subject]: Line): Row {
  const row = rows.find((one) => one.workload === workload && one.figure === figure && one.subject === subject);
  if (!row) throw new Error(`docs/bench.json has no row ${workload}, ${figure}, ${subject}`);
  return row;
}

/** Three digits tell all that a run can. */
function digits(value: number): string {
  return value >= 100 ? String(Math.round(value)) : value < 1 ? value.toFixed(2) : value.toPrecision(3);
}

function table(report: Report, head: string, lines: Line[]): string {
  const rows = lines.map((line) => {
    const row = find(report, line);
    if (typeof row.value === 'number') throw new Error(`${line[0]}: one value, no median`);
    const median = `${digits(row.value.p50)} ms`;
    return `| ${line[0]} | ${/\*\*/.test(line[0]) ? `**${median}**` : median} | ${digits(row.value.p95)} ms |`;
  });
  return [`| ${head} | median | p95 |`, '| --- | --- | --- |', ...rows, ''].join('\n');
}

function missed({ rows }: Report): string {
  const goals = rows.filter(({ goal }) => goal);
  const not = goals.filter(({ goal }) => !goal!.met);
  const told = not.map(
    ({ workload, figure, subject, goal, ...row }) =>
      `- ${workload}, ${figure}, ${subject.replace('ours, ', '')}: ${digits(middle(row as Row))} (goal: ${goal!.text})`,
  );
  if (!told.length) return `All ${goals.length} goals of ours are met.`;
  return `Of ${goals.length} goals of ours ${told.length} are missed:\n\n${told.join('\n')}`;
}

function words(report: Report): string {
  const { machine, date } = report;
  const message = (when: string): string =>
    digits(
      middle(find(report, ['', 'counter', 'a byte to another Node process and back', `nothing of ours, ${when}`])),
    );
  return `${table(report, 'going back', BACK)}
${table(report, 'a checkpoint', CHECKPOINT)}
Measured on ${date.slice(0, 10)}: ${machine.cpu}, ${machine.cores} cores, ${machine.memoryGb} GB, Linux ${machine.kernel}, CRIU ${machine.criu}.
DeltaBox's published figures, on other hardware and with a modified kernel: rollback 1.86 ms, checkpoint 10.83 ms.
[docs/bench.md](docs/bench.md) has every row with its spread, which run it is of, and what a goal that is missed is due to.
${missed(report)}

"Standby ready" is told from sending the request until a shell inside has answered a line that was sent along. Most of it is code that
runs after a rest, with caches that others used meanwhile: on this machine one byte to another Node process and back takes
${message('after a rest of 250 ms')} ms then, ${message('at once')} ms at once.
`;
}

const report: Report = JSON.parse(readFileSync(join(root, 'docs/bench.json'), 'utf8'));
const before = readFileSync(file, 'utf8');
const from = before.indexOf(BEGIN) + BEGIN.length;
const to = before.indexOf(END);
if (from < BEGIN.length || to < from) throw new Error('README.md has no place for it');
const after = `${before.slice(0, from)}${words(report)}${before.slice(to)}`;
const made: [path: string, text: string][] = [
  [file, after],
  [join(root, 'docs/bench.md'), toMarkdown(report)],
  [join(root, 'docs/bench.svg'), toSvg(report)],
];
for (const [path, text] of made) {
  if (!process.argv.includes('--check')) writeFileSync(path, text);
  else if (readFileSync(path, 'utf8') !== text) {
    process.stderr.write(`${path} says other figures than docs/bench.json: npx tsx scripts/readme-bench.ts\n`);
    process.exitCode = 1;
  }
}

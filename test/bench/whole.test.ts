/** A benchmark that runs to its end: what it promises of a workload is in its report, all of it judged, explained or said to be missing. Needs root. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Report, Row } from '../../helper/bench/row.ts';
import { build, program } from '../cli/program.ts';
import type { Ran } from '../cli/run-cli.ts';
import { needsMachine } from '../daemon/helper-process.ts';

const READY = 'ours, standby ready';
const COLD = 'ours, cold';
const PLAIN = 'plain CRIU + cp -a';
const RUNC = 'runc checkpoint / restore + cp -a';
const ORIGINAL = 'original';
const MESSAGE = 'a byte to another Node process and back';

/** What `counter` measures of ours, of nothing of ours, and of each peer that is there. */
const OURS = [
  ['rollback', READY],
  ['rollback, reply only', READY],
  ['rollback, the probe asked after the reply', READY],
  ['rollback, in the helper', READY],
  ['rollback', COLD],
  [MESSAGE, 'nothing of ours, after a rest of 250 ms'],
  [MESSAGE, 'nothing of ours, at once'],
  ['checkpoint, payload stopped', 'ours'],
  ['checkpoint, to done', 'ours'],
];
const PLAINS = [
  ['rollback', PLAIN],
  ['checkpoint, to done', PLAIN],
  ['checkpoint, payload stopped', PLAIN],
];
const RUNCS = [
  ['rollback', RUNC],
  ['checkpoint, to done', RUNC],
];
const GOALS = {
  [`rollback, ${READY}`]: ['p50 ≤ 1.8 ms', 1.8],
  [`rollback, ${COLD}`]: ['p50 ≤ 25 ms', 25],
  'checkpoint, payload stopped, ours': ['p50 ≤ 10.8 ms', 10.8],
  'checkpoint, to done, ours': ['p50 ≤ 45 ms', 45],
} as const;
const ROUNDS = 2;
const nameOf = (row: { figure: string; subject: string }): string => `${row.figure}, ${row.subject}`;

describe('a benchmark that runs to its end', function () {
  this.timeout(120_000);
  let dir: string;
  let out: string;
  let ran: Ran;
  let report: Report;
  let table: string[];
  const hasRunc = spawnSync('runc', ['--version']).status === 0;

  before(async function () {
    needsMachine(this);
    build();
    dir = mkdtempSync(join(tmpdir(), 'bench-whole-'));
    out = join(dir, 'out');
    ran = await program(['bench', 'counter', '--rounds', String(ROUNDS), '--out', out], { env: { TMPDIR: dir } });
    assert.equal(ran.code, 0, ran.stderr);
    report = JSON.parse(readFileSync(join(out, 'bench.json'), 'utf8'));
    table = readFileSync(join(out, 'bench.md'), 'utf8').split('\n');
  });
  after(() => {
    if (dir) rmSync(dir, { recursive: true, force: true });
  });

  it('has a row for each figure that it promises, and none that it does not', () => {
    const promised = [...OURS, ...PLAINS, ...(hasRunc ? RUNCS : [])].map(
      ([figure, subject]) => `${figure}, ${subject}`,
    );
    assert.deepEqual(report.rows.map(nameOf).sort(), promised.sort(), ran.stderr);
    assert.deepEqual([...new Set(report.rows.map(({ workload }) => workload))], ['counter']);
  });

  it('names the peers that were not there, with the reason', () => {
    const missing = report.leftOut.map(({ subject }) => subject).sort();
    assert.deepEqual(missing, hasRunc ? [ORIGINAL] : [ORIGINAL, RUNC], ran.stderr);
    const original = report.leftOut.find(({ subject }) => subject === ORIGINAL);
    assert.deepEqual(original, {
      workload: 'counter',
      figure: 'rollback',
      subject: ORIGINAL,
      why: 'no --seed-checkout was given',
    });
    for (const { why } of report.leftOut) assert.ok(why.length > 10, why);
  });

  it('has numbers that can be, of as many as were asked for, and says of which run and code they are', () => {
    assert.ok(Math.abs(Date.parse(report.date) - Date.now()) < 600_000, report.date);
    assert.match(report.code ?? '', /\S/);
    for (const row of report.rows) {
      assert.ok(typeof row.value === 'object', nameOf(row));
      const { n, min, p50, p95, p99, max } = row.value;
      assert.ok(min > 0 && Number.isFinite(max), `${nameOf(row)}: ${JSON.stringify(row.value)}`);
      assert.deepEqual(
        [min, p50, p95, p99, max],
        [min, p50, p95, p99, max].toSorted((a, b) => a - b),
        nameOf(row),
      );
      // A peer goes back in turn with both, warm and cold.
      const asked = row.figure === 'rollback' && [PLAIN, RUNC].includes(row.subject) ? 2 * ROUNDS : ROUNDS;
      const most = row.figure === 'rollback, the probe asked after the reply' ? [1, ROUNDS] : [asked];
      assert.ok(most.includes(n), `${nameOf(row)}: n ${n}`);
      assert.equal(row.few, `--rounds ${ROUNDS}`, nameOf(row));
      assert.deepEqual(row.at, { date: report.date, code: report.code }, nameOf(row));
      assert.equal(row.unit, 'ms');
    }
    const of = (figure: string, subject: string): number => {
      const { value } = report.rows.find((row) => row.figure === figure && row.subject === subject)!;
      return (value as Exclude<Row['value'], number>).p50;
    };
    assert.ok(of('checkpoint, payload stopped', 'ours') < of('checkpoint, to done', 'ours'));
    assert.ok(of('rollback, in the helper', READY) < of('rollback', READY));
  });

  it('judges each goal by its own figure, and explains what was missed', () => {
    assert.deepEqual(
      report.rows.filter(({ goal }) => goal).map(nameOf),
      report.rows.map(nameOf).filter((name) => name in GOALS),
    );
    for (const [name, [text, most]] of Object.entries(GOALS)) {
      const row = report.rows.find((one) => nameOf(one) === name);
      const { goal, value } = row!;
      assert.equal(goal!.text, text);
      assert.equal(goal!.met, (value as Exclude<Row['value'], number>).p50 <= most, `${name}: ${JSON.stringify(row)}`);
      if (goal!.met) assert.equal(goal!.cause, undefined);
      else assert.match(`${goal!.cause}\n${goal!.needs}`, /^of [\d.]+ ms.*\n.+|^CRIU's dump of .*\n.+/, name);
    }
  });

  it('tells the same in the table, the picture and the terminal', () => {
    const lines = table.filter((line) => line.startsWith('| counter |'));
    assert.equal(lines.length, report.rows.length + report.leftOut.length);
    for (const row of report.rows) {
      const value = row.value as Exclude<Row['value'], number>;
      const line = lines.find((one) => one.startsWith(`| counter | ${row.figure} | ${row.subject} |`)) ?? '';
      assert.ok(line.includes(`| ${value.p50} ms | p95 ${value.p95}, `), `${nameOf(row)}: ${line}`);
      assert.ok(line.includes(`n ${value.n}, fewer than 30: --rounds ${ROUNDS} |`), line);
      if (row.goal) assert.ok(line.includes(`| ${row.goal.met ? '✓' : '✗'} ${row.goal.text}`), line);
      assert.ok(
        ran.stdout.split('\n').some((one) => one.includes(row.subject) && one.includes(` ${value.p50} ms `)),
        `${nameOf(row)}: ${ran.stdout}`,
      );
    }
    assert.ok(lines.includes(`| counter | rollback | ${ORIGINAL} | | not measured | | no --seed-checkout was given |`));
    const svg = readFileSync(join(out, 'bench.svg'), 'utf8');
    const bars = [...svg.matchAll(/text-anchor="end">(.*)</g)].map((found) => found[1]!.replaceAll('&lt;', '<'));
    const rolled = report.rows.filter(({ figure }) => figure === 'rollback').map(({ subject }) => subject);
    assert.deepEqual(bars.sort(), [...rolled, 'DeltaBox (published)', 'original (published)'].sort());
    assert.match(svg, /^<svg [^>]*>[\s\S]*<\/svg>\n$/);
    assert.doesNotMatch(svg, /NaN|Infinity|undefined/);
  });

  it('leaves nothing but its report', () => {
    assert.deepEqual(readdirSync(dir), ['out']);
    assert.deepEqual(readdirSync(out).sort(), ['bench.json', 'bench.md', 'bench.svg']);
    assert.ok(!readFileSync('/proc/self/mountinfo', 'utf8').includes(dir), 'a mount is left');
  });

  it('measures and writes nothing where a workload does not exist, and says which there are', async () => {
    const other = join(dir, 'other');
    const told = await program(['bench', 'counter', 'cuonter', '--rounds', '2', '--out', other], {
      env: { TMPDIR: dir },
    });
    assert.equal(told.code, 1, told.stderr);
    assert.equal(told.stdout, '');
    assert.match(told.stderr, /there is no workload cuonter/);
    assert.match(told.stderr, /there are counter, restart, agent, .*burden/);
    assert.ok(!existsSync(other));
    assert.deepEqual(readdirSync(dir), ['out']);
  });
});

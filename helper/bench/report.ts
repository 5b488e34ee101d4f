/** A report as text, as the README's table and as a picture. */
import { ENOUGH, middle, type Report, type Row, tooFew } from './row.ts';

const mark = (row: Row): string => (row.goal ? (row.goal.met ? `✓ ${row.goal.text}` : `✗ ${row.goal.text}`) : '');
const explained = ({ goal }: Row): string => (goal?.cause ? ` Cause: ${goal.cause}. Needs: ${goal.needs}` : '');

function value(row: Row): string {
  const unit = row.figure.startsWith('times') ? ' ×' : row.unit === '/s' ? '/s' : ` ${row.unit}`;
  if (typeof row.value === 'number') return `${row.value}${unit}`;
  return `${row.value.p50}${unit}`;
}

function spread(row: Row): string {
  if (typeof row.value === 'number') return '';
  const { p95, p99, max, n } = row.value;
  const few = tooFew(row) === null ? '' : `, fewer than ${ENOUGH}: ${row.few ?? 'no reason told'}`;
  return `p95 ${p95}  p99 ${p99}  max ${max}  n ${n}${few}`;
}

/** Figures of too few, for no reason that anybody told: they are to be measured anew, or to say why not. */
function unexplained({ rows }: Report): string[] {
  return rows
    .filter((row) => tooFew(row) !== null && !row.few)
    .map((row) => `too few, and no reason told: ${row.workload}, ${row.figure}, ${row.subject}: n ${tooFew(row)}`);
}

/** Aligned columns for a terminal. */
export function toText(report: Report): string {
  const cells = report.rows.map((r) => [r.workload, r.figure, r.subject, value(r), spread(r), mark(r), r.context]);
  const widths = cells.reduce((w, row) => row.map((c, i) => Math.max(w[i] ?? 0, c.length)), [] as number[]);
  const lines = cells.map((row) =>
    row
      .map((c, i) => (i === row.length - 1 ? c : c.padEnd(widths[i]!)))
      .join('  ')
      .trimEnd(),
  );
  const missed = report.rows
    .filter((r) => r.goal?.cause)
    .map((r) => `missed: ${r.workload}, ${r.figure}, ${r.subject}: ${r.goal!.text}.${explained(r)}`);
  const left = report.leftOut.map((l) => `not measured: ${l.workload}, ${l.figure}, ${l.subject}: ${l.why}`);
  const { cpu, cores, memoryGb, kernel, criu, node, loadAverage } = report.machine;
  const head = `${report.date.slice(0, 10)}  ${cpu}, ${cores} cores, ${memoryGb} GB, Linux ${kernel}, CRIU ${criu}, Node ${node}; load at the start ${loadAverage}`;
  return `${[head, '', ...lines, ...missed, ...unexplained(report), ...left].join('\n')}\n`;
}

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll(/\s*\n\s*/g, ' ');

/** The table for the README: medians, spread, goals. */
export function toMarkdown(report: Report): string {
  const { cpu, cores, memoryGb, kernel, criu } = report.machine;
  const rows = report.rows.map((r) => {
    const goal = `${mark(r)}${r.goal?.cause ? `.${explained(r)}` : ''}`;
    return `| ${r.workload} | ${r.figure} | ${r.subject} | ${cell(r.context)} | ${value(r)} | ${spread(r).replaceAll('  ', ', ')} | ${goal} |`;
  });
  const loads = Object.entries(report.loads ?? {}).map(([name, load]) => `${name} ${load}`);
  const left = report.leftOut.map(
    (l) => `| ${l.workload} | ${l.figure} | ${l.subject} | | not measured | | ${cell(l.why)} |`,
  );
  return [
    '| workload | figure | subject | of what | median | spread | goal |',
    '| --- | --- | --- | --- | --- | --- | --- |',
    ...rows,
    ...left,
    '',
    `Measured on ${report.date.slice(0, 10)}: ${cpu}, ${cores} cores, ${memoryGb} GB, Linux ${kernel}, CRIU ${criu}. DeltaBox's published figures, other hardware, modified kernel: rollback 1.86 ms, blocking checkpoint 10.83 ms.`,
    ...runsOf(report).flatMap((line) => ['', line]),
    ...unexplained(report).flatMap((line, i) => [...(i ? [] : ['']), `- ✗ ${line}.`]),
    ...(loads.length ? ['', `Load average as each began: ${loads.join(', ')}.`] : []),
    '',
  ].join('\n');
}

/** Which rows are of which run: only those of one compare. */
function runsOf({ rows, date, code }: Report): string[] {
  const runs = new Map<string, Set<string>>();
  for (const { workload, at } of rows) {
    const run = at ? `${at.date.slice(0, 16)}Z at ${at.code}` : code ? `${date.slice(0, 16)}Z at ${code}` : null;
    if (run) runs.set(run, (runs.get(run) ?? new Set()).add(workload));
  }
  if (runs.size < 2) return [...runs.keys()].map((run) => `One run: ${run}.`);
  return [...runs].map(([run, workloads]) => `Run of ${run}: ${[...workloads].join(', ')}.`);
}

const WIDTH = 760;
const BAR = 22;
const GAP = 10;
const LABEL = 240;
const NOTE = 220;
const TITLE = 'Rollback of a counting process, median (logarithmic)';
const escaped = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');

/** Only figures of one load compare: what was measured under another says so. */
function otherLoad({ loads = {} }: Report, subject: string): string {
  const own = Object.entries(loads).find(([what]) => subject.startsWith(what))?.[1];
  return own === undefined || own === loads.counter ? '' : `, at a load of ${own} (the others: ${loads.counter})`;
}

/** Rollback times of the counter workload, a logarithmic bar each; DeltaBox and the seed's claim as published. */
export function toSvg(report: Report): string {
  const bars = report.rows
    .filter((r) => r.workload === 'counter' && r.figure === 'rollback')
    .map((r) => ({ label: r.subject, ms: middle(r), published: false, note: otherLoad(report, r.subject) }));
  bars.push(
    { label: 'DeltaBox (published)', ms: 1.86, published: true, note: '' },
    { label: 'original (published)', ms: 466.33, published: true, note: '' },
  );
  bars.sort((a, b) => a.ms - b.ms);
  const most = Math.log10(Math.max(...bars.map((b) => b.ms), 1000));
  const least = Math.log10(0.3);
  const x = (ms: number): number =>
    ((Math.log10(Math.max(ms, 0.31)) - least) / (most - least)) *
    (WIDTH - LABEL - 100 - (bars.some((b) => b.note) ? NOTE : 0));
  const height = 60 + bars.length * (BAR + GAP);
  const body = bars.map(({ label, ms, published, note }, i) => {
    const y = 44 + i * (BAR + GAP);
    const fill = label.startsWith('ours') ? '#2f81f7' : published ? '#c9d1d9' : '#8b949e';
    return [
      `<text x="${LABEL - 10}" y="${y + 16}" text-anchor="end">${escaped(label)}</text>`,
      `<rect x="${LABEL}" y="${y}" width="${x(ms).toFixed(1)}" height="${BAR}" rx="3" fill="${fill}"/>`,
      `<text x="${(LABEL + x(ms) + 8).toFixed(1)}" y="${y + 16}">${ms} ms${escaped(note)}</text>`,
    ].join('\n');
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" font-family="system-ui, sans-serif" font-size="14" fill="#24292f">
<title>${TITLE}</title>
<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>
<text x="16" y="26" font-size="16" font-weight="600">${TITLE}</text>
${body.join('\n')}
</svg>
`;
}

/**
 * media/terminal.svg, the picture at the top of the README: a real session, run on a terminal with a helper of its own, as
 * it was printed. Needs root.
 *
 *   tsx scripts/record-terminal.ts
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { HelperProcess } from '../test/daemon/helper-process.ts';

const root = resolve(__dirname, '..');
const COLUMNS = 84;
/** Seconds that a command stands there before it answers, and that its answer is left to be read. */
const [TYPED, READ, END] = [0.9, 1.5, 5];

const COUNTER = `import time
n = 0
while True:
    n += 1
    with open("count", "w") as f:
        f.write(str(n))
    time.sleep(0.1)
`;
const CONFIG = '{ "api_version": "v1" }\n';

const STORY = [
  'teleport-env up',
  "teleport-env run 'python3 counter.py & sleep 1; cat count'",
  "teleport-env checkpoint --label 'before the rewrite'",
  "teleport-env run 'sed -i s/v1/v2/g *; kill %1; rm counter.py'",
  'teleport-env log',
  'teleport-env rollback k2',
  "teleport-env run 'head -qn1 *.json *.txt; jobs; cat count'",
];

interface Shot {
  command: string;
  output: string;
}

async function record(): Promise<Shot[]> {
  const helper = await HelperProcess.start();
  const dir = mkdtempSync(join(tmpdir(), 'record-'));
  const workspace = '/tmp/work/api';
  try {
    rmSync(workspace, { recursive: true, force: true });
    mkdirSync(workspace, { recursive: true });
    writeFileSync(join(workspace, 'counter.py'), COUNTER);
    for (const name of ['config1.json', 'config2.json']) writeFileSync(join(workspace, name), CONFIG);
    writeFileSync(join(workspace, 'ignore_me.txt'), 'api_version must stay v1 here\n');
    symlinkSync(join(root, 'dist/teleport-env.js'), join(dir, 'teleport-env'));
    const shots: Shot[] = [];
    for (const command of STORY) {
      const line = `stty cols ${COLUMNS}; ${command}`;
      const output = execFileSync('script', ['-qec', line, '/dev/null'], {
        cwd: workspace,
        env: {
          PATH: `${dir}:${process.env.PATH}`,
          HOME: '/root',
          TERM: 'xterm-256color',
          TELEPORT_ENV_SOCKET: helper.socket,
        },
        encoding: 'utf8',
      });
      shots.push({ command, output });
      await sleep(1500); // somebody reads that
    }
    return shots;
  } finally {
    await helper.stop();
    rmSync(dir, { recursive: true });
    rmSync(workspace, { recursive: true });
  }
}

const [WIDTH, HEIGHT, LEFT, TOP] = [8.4, 20, 18, 58];
/** SGR of the command line (helper/cli/style.ts). */
const STYLES: Record<string, string> = { 1: 'b', 2: 'd', 31: 'r', 32: 'g', 33: 'y' };

function escapeXml(text: string): string {
  return text.replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`);
}

/** What a terminal would show of each line: what was written over is gone. */
function linesOf(output: string): string[] {
  const shown = output.replace(/\r\n/g, '\n').replace(/[^\n]*\r\x1b\[K/g, '');
  return shown.replace(/\n$/, '').split('\n');
}

/** One line with its colours, as SVG. */
function line(text: string, y: number): string {
  let style = '';
  const spans = text.split(/\x1b\[([0-9;]*)m/).map((part, i) => {
    if (i % 2 === 0) return part && `<tspan${style && ` class="${style}"`}>${escapeXml(part)}</tspan>`;
    style = STYLES[part] ?? '';
    return '';
  });
  const columns = [...text.replace(/\x1b\[[0-9;]*m/g, '')].length;
  return columns === 0
    ? ''
    : `<text x="${LEFT}" y="${y}" textLength="${(columns * WIDTH).toFixed(1)}">${spans.join('')}</text>`;
}

function draw(shots: Shot[]): string {
  const groups: { at: number; lines: string[] }[] = [];
  let at = 0;
  for (const { command, output } of shots) {
    groups.push({ at, lines: [`\x1b[32m$\x1b[39m \x1b[1m${command}\x1b[22m`] });
    at += TYPED;
    groups.push({ at, lines: [...linesOf(output), ''] });
    at += READ;
  }
  const whole = at + END;
  let y = TOP;
  const drawn = groups.map(({ lines }, i) => {
    const texts = lines.map((text) => {
      const one = line(text, y);
      y += text === '' ? HEIGHT / 2 : HEIGHT;
      return one;
    });
    return `<g class="s s${i}">${texts.join('')}</g>`;
  });
  const frames = groups.map(
    ({ at: when }, i) =>
      `.s${i}{animation-name:k${i}}@keyframes k${i}{0%,${((when / whole) * 100).toFixed(2)}%{opacity:0}${((when / whole) * 100 + 0.3).toFixed(2)}%,100%{opacity:1}}`,
  );
  const [width, height] = [COLUMNS * WIDTH + LEFT * 2, y + 4];
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="A terminal: a sed that broke too much and a killed process, both taken back">
<style>
text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:#d7dae0;white-space:pre}
.b{font-weight:600;fill:#fff}.d{fill:#8b93a1}.g{fill:#7ec16e}.r{fill:#ef6b73}.y{fill:#e0b860}
.s{animation:${whole.toFixed(1)}s linear infinite both}
@media (prefers-reduced-motion:reduce){.s{animation:none}}
${frames.join('\n')}
</style>
<rect width="${width}" height="${height}" rx="9" fill="#1c1f26"/>
<circle cx="20" cy="20" r="6" fill="#ef6b73"/><circle cx="40" cy="20" r="6" fill="#e0b860"/><circle cx="60" cy="20" r="6" fill="#7ec16e"/>
${drawn.join('\n')}
</svg>
`;
}

async function main(): Promise<void> {
  execFileSync(process.execPath, ['--import', 'tsx', join(root, 'scripts/build.ts')], { cwd: root, stdio: 'inherit' });
  const shots = await record();
  for (const { command, output } of shots) console.log(`$ ${command}\n${output}`);
  writeFileSync(join(root, 'media/terminal.svg'), draw(shots));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});

/**
 * Runs the faults' tests with their full counts and writes what came of it to docs/soak.md.
 *
 *   npm run soak        TELEPORT_FAULTS (1,000) faults, TELEPORT_ROLLBACKS (10,000) rollbacks; half an hour on two cores
 *
 * Three lanes side by side, each with helpers of its own: most of a fault's time is waiting for a helper to start.
 */
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, release, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const root = resolve(__dirname, '..');
const faults = Number(process.env.TELEPORT_FAULTS ?? 1000);
const rollbacks = Number(process.env.TELEPORT_ROLLBACKS ?? 10_000);
const seed = Number(process.env.TELEPORT_SEED ?? Date.now() % 100_000);

interface Run {
  file: string;
  faults: number;
  seed: number;
}
const half = Math.ceil(faults / 2);
const LANES: Run[][] = [
  [{ file: 'helper-killed', faults: half, seed }],
  [{ file: 'helper-killed', faults: faults - half, seed: seed + 1 }],
  ['rollbacks', 'criu-killed', 'damaged', 'full-volume'].map((file) => ({ file, faults, seed })),
];

interface Done {
  file: string;
  failed: boolean;
  seconds: number;
  /** Mocha's last lines: how many passed, or what did not. */
  said: string;
}

function runOne({ file, faults, seed }: Run, results: string): Promise<Done> {
  const mocha = join(root, 'node_modules/mocha/bin/mocha.js');
  const begun = Date.now();
  const child = spawn(process.execPath, [mocha, '--no-color', join(root, `test/daemon/faults/${file}.test.ts`)], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      ...process.env,
      TELEPORT_SOAK: results,
      TELEPORT_FAULTS: String(faults),
      TELEPORT_ROLLBACKS: String(rollbacks),
      TELEPORT_SEED: String(seed),
      TELEPORT_REQUIRE_CRIU: '1',
    },
  });
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    process.stdout.write(text);
    said += text;
  });
  return new Promise((done) =>
    child.once('close', (code) =>
      done({ file, failed: code !== 0, seconds: Math.round((Date.now() - begun) / 1000), said: said.trim() }),
    ),
  );
}

function report(done: Done[], results: string, seconds: number): string {
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: root, encoding: 'utf8' }).trim();
  const lines = readFileSync(results, 'utf8').split('\n').filter(Boolean);
  const rows = lines.map((line) => {
    const { what, ...figures } = JSON.parse(line);
    const told = Object.entries(figures).map(([name, value]) => `${name} ${value}`);
    return `| ${what} | ${told.join(', ')} |`;
  });
  const files = done.map(
    ({ file, failed, seconds, said }) =>
      `| ${file} | ${failed ? 'FAILED' : /\d+ passing/.exec(said)?.[0]} | ${seconds} s |`,
  );
  return `# The last soak

Made by \`npm run soak\`, never by hand. Commit ${commit}, ${new Date().toISOString().slice(0, 16)}Z, ${seconds} s on ${cpus().length} cores,
kernel ${release()}, Node ${process.versions.node}. What each does: test/daemon/faults.

| tests | came to | took |
|---|---|---|
${files.join('\n')}

The counts at the end of a row are what the helper held when all sandboxes had been removed (or, for the rollbacks, after the last
one): the very same as before the first, or the test fails.

| what | figures |
|---|---|
${rows.join('\n')}
${done
  .filter(({ failed }) => failed)
  .map(({ file, said }) => `\n## ${file} failed\n\n\`\`\`\n${said.slice(-3000)}\n\`\`\`\n`)
  .join('')}`;
}

async function main(): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'te-'));
  const results = join(dir, 'results');
  writeFileSync(results, '');
  const begun = Date.now();
  const lanes = LANES.map(async (runs) => {
    const done: Done[] = [];
    for (const run of runs) done.push(await runOne(run, results));
    return done;
  });
  const done = (await Promise.all(lanes)).flat();
  writeFileSync(join(root, 'docs/soak.md'), report(done, results, Math.round((Date.now() - begun) / 1000)));
  rmSync(dir, { recursive: true });
  process.exitCode = done.some(({ failed }) => failed) ? 1 : 0;
}

void main();

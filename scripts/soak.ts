/**
 * Runs the faults' tests with their full counts and writes what came of it to docs/soak.md.
 *
 *   npm run soak        TELEPORT_FAULTS (1,000) faults, TELEPORT_ROLLBACKS (10,000) rollbacks; an hour on two cores
 *
 * Four lanes side by side, each with helpers of its own: most of a fault's time is waiting for a helper to start. What passed is
 * kept in build/soak until all has: broken off, or after a failure that was mended, a soak goes on with the rest. The result says
 * at which commit each part passed.
 */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { join, resolve } from 'node:path';

const root = resolve(__dirname, '..');
const faults = Number(process.env.TELEPORT_FAULTS ?? 1000);
const rollbacks = Number(process.env.TELEPORT_ROLLBACKS ?? 10_000);
/** The same of each soak, so that one that was broken off can be gone on with. */
const seed = Number(process.env.TELEPORT_SEED ?? 1000);
/** So many faults are one run. */
const PART = 100;

interface Run {
  file: string;
  faults: number;
  seed: number;
}
const parts: Run[] = [];
for (let done = 0; done < faults; done += PART)
  parts.push({ file: 'helper-killed', faults: Math.min(PART, faults - done), seed: seed + done });
const LANES: Run[][] = [
  parts.filter((_, i) => i % 2 === 0),
  parts.filter((_, i) => i % 2 === 1),
  [{ file: 'rollbacks', faults, seed }],
  ['criu-killed', 'damaged', 'full-volume'].map((file) => ({ file, faults, seed })),
];

interface Done {
  run: Run;
  commit: string;
  failed: boolean;
  seconds: number;
  /** Mocha's last lines: how many passed, or what did not. */
  said: string;
  /** What the tests noted, a line each. */
  notes: string;
}

/** The run's result, of now or of an earlier soak that was broken off. */
async function once(run: Run, kept: string, commit: string): Promise<Done> {
  const file = join(kept, `${run.file}-${run.faults}-${run.seed}-${rollbacks}`);
  if (existsSync(`${file}.json`)) return JSON.parse(readFileSync(`${file}.json`, 'utf8'));
  writeFileSync(`${file}.notes`, '');
  const ran = await runOne(run, `${file}.notes`);
  const done = { ...ran, commit, notes: readFileSync(`${file}.notes`, 'utf8') };
  rmSync(`${file}.notes`);
  if (!done.failed) writeFileSync(`${file}.json`, JSON.stringify(done));
  return done;
}

function runOne(run: Run, notes: string): Promise<Omit<Done, 'notes' | 'commit'>> {
  const { file, faults, seed } = run;
  const mocha = join(root, 'node_modules/mocha/bin/mocha.js');
  const begun = Date.now();
  const words = [mocha, '--no-color', join(root, `test/daemon/faults/${file}.test.ts`)];
  // What is no part of the counted faults is done once.
  if (file === 'helper-killed' && run !== parts[0]) words.push('--grep', 'random points');
  const child = spawn(process.execPath, words, {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      ...process.env,
      TELEPORT_SOAK: notes,
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
      done({ run, failed: code !== 0, seconds: Math.round((Date.now() - begun) / 1000), said: said.trim() }),
    ),
  );
}

function report(done: Done[]): string {
  const lines = done.flatMap(({ notes }) => notes.split('\n').filter(Boolean));
  const rows = lines.map((line) => {
    const { what, ...figures } = JSON.parse(line);
    const told = Object.entries(figures).map(([name, value]) => `${name} ${value}`);
    return `| ${what} | ${told.join(', ')} |`;
  });
  const files = done.map(
    ({ run, commit, failed, seconds, said }) =>
      `| ${run.file}${run.file === 'helper-killed' ? `, ${run.faults} faults, seed ${run.seed}` : ''} | ${failed ? 'FAILED' : /\d+ passing/.exec(said)?.[0]} | ${seconds} s | ${commit} |`,
  );
  return `# The last soak

Made by \`npm run soak\`, never by hand. Finished ${new Date().toISOString().slice(0, 16)}Z, ${cpus().length} cores,
kernel ${release()}, Node ${process.versions.node}. What each does: test/daemon/faults.

| tests | came to | took | at commit |
|---|---|---|---|
${files.join('\n')}

The counts at the end of a row are what the helper held when all sandboxes had been removed (or, for the rollbacks, after the last
one): the very same as before the first, or the test fails.

| what | figures |
|---|---|
${rows.join('\n')}
${done
  .filter(({ failed }) => failed)
  .map(({ run, said }) => `\n## ${run.file} (seed ${run.seed}) failed\n\n\`\`\`\n${said.slice(-3000)}\n\`\`\`\n`)
  .join('')}`;
}

async function main(): Promise<void> {
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: root, encoding: 'utf8' }).trim();
  const kept = join(root, 'build/soak');
  mkdirSync(kept, { recursive: true });
  const lanes = LANES.map(async (runs) => {
    const done: Done[] = [];
    for (const run of runs) done.push(await once(run, kept, commit));
    return done;
  });
  const done = (await Promise.all(lanes)).flat();
  writeFileSync(join(root, 'docs/soak.md'), report(done));
  const passed = !done.some(({ failed }) => failed);
  if (passed) rmSync(kept, { recursive: true });
  process.exitCode = passed ? 0 : 1;
}

void main();

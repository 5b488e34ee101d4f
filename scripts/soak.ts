/**
 * Runs the faults' tests with their full counts and writes what came of it to docs/soak.md.
 *
 *   npm run soak        TELEPORT_FAULTS (1,000) faults, TELEPORT_ROLLBACKS (10,000) rollbacks, TELEPORT_DEPTH (3,000) checkpoints
 *                       in one line; an hour on two cores
 *
 * Five lanes side by side, each with helpers of its own: most of a fault's time is waiting for a helper to start. What passed is
 * kept in build/soak until all has: a soak that was broken off, or had a failure, goes on with the rest. That is so of the same
 * code only, to the last change of the work tree: a soak tells of one code, or of nothing.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { cpus, release, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { holdLock } from './soak/lock.ts';
import { codeName, DEFAULTS, lanesOf, type Plan, partName, type Run } from './soak/plan.ts';
import { type Part, report, wrongWith } from './soak/report.ts';
import { MARK, Watch } from './test/leftovers.ts';

const root = resolve(__dirname, '..');
const kept = join(root, 'build/soak');
const RESULT = 'docs/soak.md';
const LOCK = 'lock';
const plan: Plan = {
  faults: Number(process.env.TELEPORT_FAULTS ?? DEFAULTS.faults),
  rollbacks: Number(process.env.TELEPORT_ROLLBACKS ?? DEFAULTS.rollbacks),
  depth: Number(process.env.TELEPORT_DEPTH ?? DEFAULTS.depth),
  seed: Number(process.env.TELEPORT_SEED ?? DEFAULTS.seed),
};

const children = new Set<ChildProcess>();
/** Why nothing more is begun: somebody ended us, or something is wrong with all of it. */
let over: string | undefined;

/** They clear away what they made of files; the rest, and who does not listen, is found by its marks. */
function endChildren(): void {
  for (const child of children) child.kill('SIGTERM');
}

/** What is tested: the commit, and what the work tree has otherwise. What we write ourselves is no code. */
function codeNow(): string {
  const git = (...words: string[]): string =>
    execFileSync('git', words, { cwd: root, encoding: 'latin1', maxBuffer: 2 ** 30 });
  const all = ['--', '.', `:(exclude)${RESULT}`];
  const changes = git('diff', '--binary', 'HEAD', ...all);
  const added = git('ls-files', '--others', '--exclude-standard', '-z', ...all)
    .split('\0')
    .filter(Boolean);
  const texts = added.map(
    (name) => `${name}\0${readFileSync(join(root, Buffer.from(name, 'latin1').toString()), 'latin1')}`,
  );
  return codeName(git('rev-parse', '--short', 'HEAD').trim(), [changes, ...texts].filter(Boolean).join('\0'));
}

/** The run's result, of now or of an earlier soak of the same code that was broken off. */
async function once(run: Run, code: string, folder: string): Promise<Part> {
  const name = partName(run, plan, code);
  const file = join(kept, `${name}.json`);
  if (existsSync(file)) return JSON.parse(readFileSync(file, 'utf8'));
  // Of this attempt alone: what one that was broken off has noted is no part of this one.
  const notes = join(folder, `${name}.notes`);
  writeFileSync(notes, '');
  const ran = await runOne(run, notes, folder);
  const part: Part = { ...ran, code, notes: readFileSync(notes, 'utf8') };
  if (over || part.failed) return part;
  const now = codeNow();
  if (now !== code) throw new Error(`the code was changed while it ran: it was ${code}, and is ${now}`);
  if (wrongWith(part, plan).length === 0) {
    writeFileSync(`${file}.new`, JSON.stringify(part));
    renameSync(`${file}.new`, file);
  }
  return part;
}

function runOne(run: Run, notes: string, folder: string): Promise<Omit<Part, 'notes' | 'code'>> {
  const words = [
    join(root, 'node_modules/mocha/bin/mocha.js'),
    '--no-color',
    join(root, `test/daemon/${run.file}.test.ts`),
    ...(run.grep ? ['--grep', run.grep] : []),
  ];
  const begun = performance.now();
  const child = spawn(process.execPath, words, {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      ...process.env,
      TMPDIR: folder,
      [MARK]: folder,
      TELEPORT_SOAK: notes,
      TELEPORT_FAULTS: String(run.faults),
      TELEPORT_ROLLBACKS: String(plan.rollbacks),
      TELEPORT_DEPTH: String(plan.depth),
      TELEPORT_SEED: String(run.seed),
      TELEPORT_REQUIRE_CRIU: '1',
    },
  });
  children.add(child);
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    process.stdout.write(text);
    said += text;
  });
  return new Promise((done) =>
    child.once('close', (status) => {
      children.delete(child);
      done({ run, failed: status !== 0, seconds: (performance.now() - begun) / 1000, said: said.trim() });
    }),
  );
}

async function main(): Promise<void> {
  mkdirSync(kept, { recursive: true });
  holdLock(join(kept, LOCK));
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => {
      over ??= `ended by ${signal}`;
      endChildren();
    });
  process.on('exit', endChildren);
  // Short: paths of unix sockets go in here. Open to all, as the tests' own runner has it.
  const folder = mkdtempSync(join(tmpdir(), 'te-'));
  chmodSync(folder, 0o1777);
  const watch = new Watch(folder);
  const code = codeNow();
  let left: string[] = [];
  let parts: Part[] = [];
  try {
    const lanes = lanesOf(plan).map(async (runs) => {
      const done: Part[] = [];
      for (const run of runs) if (!over) done.push(await once(run, code, folder));
      return done;
    });
    parts = (await Promise.all(lanes)).flat();
  } catch (error) {
    over ??= (error as Error).message;
  } finally {
    endChildren();
    left = await watch.clear();
    rmSync(folder, { recursive: true, force: true });
  }
  if (over) throw new Error(`${over}; what passed until then is kept`);
  const around = {
    finished: new Date().toISOString().slice(0, 16),
    cores: cpus().length,
    kernel: release(),
    node: process.versions.node,
  };
  writeFileSync(join(root, RESULT), report(parts, plan, around));
  if (left.length > 0) throw new Error(`left behind:\n  ${left.join('\n  ')}`);
  if (parts.some(({ failed }) => failed)) throw new Error(`not all passed, see ${RESULT}`);
  for (const name of readdirSync(kept)) if (name !== LOCK) rmSync(join(kept, name));
}

main().catch((error: Error) => {
  console.error(`soak: ${error.message}`);
  process.exit(1);
});

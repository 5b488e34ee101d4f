/**
 * Runs all tests, or the files named, and ends with the line `N passed, N failed, N skipped`.
 *
 *   npm test [-- [--check] FILE…]
 *
 *   --check   run `npm run check` as well, and count it as one
 *
 * Each file runs in a process of its own, one after the other (they share a kernel, and the machine is small): one that
 * crashes or hangs is one failure and takes no other file with it. What a file leaves on the machine is a failure, too.
 * The machine is shared and noisy: a file that fails is run again, at most RUNS times in all. A test that passed in none of them has
 * failed; what failed in one and not in another is told at the end, with its reason.
 * With CI=true nothing may be skipped but what SKIPPED_IN_CI names.
 */
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { MARK, Watch } from './test/leftovers.ts';

const root = resolve(__dirname, '..');
const strict = process.env.CI === 'true';
const words = process.argv.slice(2);
const FILE_TIMEOUT_MS = 20 * 60_000;
const RUNS = 3;
const HOOK = /"(before|after) (all|each)" hook/;

/** Tests that cannot run where CI does, each with its reason. */
const SKIPPED_IN_CI: Record<string, string> = {
  'says where it may not write': 'root, which CI is, may write anywhere',
};

type Outcome = 'passed' | 'failed' | 'skipped';
interface Failure {
  what: string;
  /** Of one test, and not of the file as a whole (a hook, a crash, what it left behind). */
  test?: boolean;
  /** As mocha tells it. */
  error?: string;
}
const total: Record<Outcome, number> = { passed: 0, failed: 0, skipped: 0 };
const failures: Failure[] = [];
/** What failed and then passed. */
const unsteady: Failure[] = [];

function fail(failure: Failure): void {
  total.failed++;
  failures.push(failure);
}

const ERROR_LINES = 12;

function list(title: string, list: Failure[]): void {
  if (list.length === 0) return;
  console.log(`\n${title}:`);
  for (const { what, error = '' } of list) {
    console.log(`  ${what}`);
    for (const line of error.split('\n').filter(Boolean).slice(0, ERROR_LINES)) console.log(`      ${line}`);
  }
}

function setUp(): void {
  // The machine's own needs first; the others are test rigs (programs, an editor, an agent, a virtual machine).
  for (const script of [
    'setup-linux.sh',
    'setup-test-programs.sh',
    'setup-vscode.sh',
    'setup-agent.sh',
    'setup-roots.sh',
    'setup-vm.sh',
  ]) {
    const path = join(root, 'scripts', script);
    if (!existsSync(path)) continue;
    const { status } = spawnSync(path, [], { stdio: ['ignore', 'inherit', 'inherit'] });
    if (status === 0) continue;
    console.error(`test: scripts/${script} failed${strict ? '' : '; what needs it will be skipped'}`);
    if (strict) fail({ what: `scripts/${script} failed` });
  }
}

function check(): void {
  const { status } = spawnSync(join(root, 'scripts/check.sh'), [], { stdio: ['ignore', 'inherit', 'inherit'] });
  if (status === 0) total.passed++;
  else fail({ what: 'npm run check' });
}

/** Quick ones first, those with a real editor after them, those with a virtual machine last. */
function weight(file: string): number {
  if (file.includes('/test/vm/')) return 3;
  if (/from '\S*\/harness\.ts'/.test(readFileSync(file, 'utf8'))) return 2;
  return /\/test\/(engine|daemon)\//.test(file) ? 1 : 0;
}

function findFiles(): string[] {
  const named = words.filter((word) => word !== '--check').map((name) => resolve(name));
  const all = readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => join(root, 'test', name));
  return (named.length > 0 ? named : all).sort((a, b) => weight(a) - weight(b) || (a < b ? -1 : 1));
}

/** Somebody ended us: what runs is cleared away, nothing more is begun. */
let stopped = false;

/** How the process ended, where that says more than its results do. */
function runFile(file: string, results: string, folder: string): Promise<string | undefined> {
  const env: NodeJS.ProcessEnv = {
    ...process.env,
    TMPDIR: folder,
    [MARK]: folder,
    TELEPORT_ENV_TEST_RESULTS: results,
    ...(strict && { TELEPORT_REQUIRE_CRIU: '1' }),
  };
  const mocha = join(root, 'node_modules/mocha/bin/mocha.js');
  const args = [mocha, '--reporter', join(root, 'scripts/test/reporter.cjs'), file];
  const child = spawn(process.execPath, process.stdout.isTTY ? args : [...args, '--no-color'], {
    cwd: root,
    env,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const stop = () => child.kill('SIGKILL');
  const stopAll = () => {
    stop();
    stopped = true;
  };
  process.once('SIGTERM', stopAll);
  return new Promise((done) => {
    let hung = false;
    const timer = setTimeout(() => {
      hung = true;
      stop();
    }, FILE_TIMEOUT_MS);
    child.once('close', (_code, signal) => {
      clearTimeout(timer);
      process.off('SIGTERM', stopAll);
      if (hung) done(`did not end within ${FILE_TIMEOUT_MS / 60_000} minutes`);
      else done(signal ? `died of ${signal}` : undefined);
    });
  });
}

interface Tally {
  passed: Set<string>;
  skipped: Set<string>;
  failures: Failure[];
}

function count(name: string, results: string, end: string | undefined): Tally {
  const times = new Map<string, number>();
  const tally: Tally = { passed: new Set(), skipped: new Set(), failures: [] };
  const lines: { outcome: Outcome | 'end'; title?: string; error?: string }[] = readFileSync(results, 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));
  if (lines.at(-1)?.outcome !== 'end') tally.failures.push({ what: `${name} ${end ?? 'ended before its tests did'}` });
  else if (lines.length === 1) tally.failures.push({ what: `${name} holds no test` });
  for (const { outcome, title = '', error } of lines) {
    if (outcome === 'end') continue;
    const same = times.get(title) ?? 0;
    times.set(title, same + 1);
    const what = `${name}: ${title}${same > 0 ? ` (${same + 1})` : ''}`;
    const mayNot = strict && outcome === 'skipped' && !SKIPPED_IN_CI[title.split(' › ').at(-1)!];
    if (mayNot) tally.failures.push({ what, test: true, error: 'skipped, which CI does not accept' });
    else if (outcome === 'failed') tally.failures.push({ what, test: !HOOK.test(title), error });
    else tally[outcome].add(what);
  }
  return tally;
}

/** Of two runs of one file: failed has the test that passed in neither, and what befell both as a whole. */
function both(one: Tally, other: Tally): Tally {
  const passed = new Set([...one.passed, ...other.passed]);
  const skipped = new Set([...one.skipped, ...other.skipped].filter((what) => !passed.has(what)));
  const tests = new Map<string, Failure>();
  for (const failure of [...one.failures, ...other.failures])
    if (failure.test && !passed.has(failure.what) && !skipped.has(failure.what)) tests.set(failure.what, failure);
  const whole = (tally: Tally) => tally.failures.filter(({ test }) => !test);
  return { passed, skipped, failures: [...tests.values(), ...(whole(one).length > 0 ? whole(other) : [])] };
}

async function main(): Promise<void> {
  if (words.includes('--check')) check();
  setUp();
  // Short: paths of unix sockets go in here. Open to all: some tests run programs as another user, whose temporary files go in here, too.
  const folder = mkdtempSync(join(tmpdir(), 'te-'));
  chmodSync(folder, 0o1777);
  const watch = new Watch(folder);
  for (const file of findFiles()) {
    if (stopped) break;
    const name = relative(root, file);
    const results = join(folder, 'results');
    console.log(`\n# ${name}`);
    const started = Date.now();
    const run = async (): Promise<Tally> => {
      writeFileSync(results, '');
      const end = await runFile(file, results, folder);
      const tally = count(name, results, end);
      const left = await watch.clear();
      for (const one of left) console.log(`left behind: ${one}`);
      // Under one name: what two runs leave behind differs by its numbers.
      if (left.length > 0) tally.failures.push({ what: `${name} left something behind`, error: left.join('\n') });
      return tally;
    };
    let tally = await run();
    const seen = [...tally.failures];
    for (let runs = 1; runs < RUNS && tally.failures.length > 0 && !stopped; runs++) {
      console.log(`\n# ${name}: failed, and is run again`);
      const next = await run();
      seen.push(...next.failures);
      tally = both(tally, next);
    }
    const failed = new Set(tally.failures.map(({ what }) => what));
    unsteady.push(...seen.filter(({ what }) => !failed.has(what)));
    total.passed += tally.passed.size;
    total.skipped += tally.skipped.size;
    for (const failure of tally.failures) fail(failure);
    console.log(`# ${name}: ${((Date.now() - started) / 1000).toFixed(1)} s`);
  }
  rmSync(folder, { recursive: true, force: true });
  list('Failed in one run, and not in another', unsteady);
  list('Failed', failures);
  if (total.skipped > 0 && process.geteuid?.() !== 0) console.log('\nSome tests need root: sudo npm test runs them.');
  console.log(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
  process.exitCode = total.failed > 0 || total.passed === 0 ? 1 : 0;
}

main().catch((error) => {
  console.error(error);
  console.log(`\n${total.passed} passed, ${total.failed + 1} failed, ${total.skipped} skipped`);
  process.exit(1);
});

/** What a sandbox, a checkpoint and a standby cost in memory and on disk. Counted, not timed: a busy machine changes nothing. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Bench } from './bench.ts';
import { COUNTER, holding } from './inside.ts';
import { groupFolder, type PrivateHelper, withHelpers } from './private-helper.ts';
import { round } from './stats.ts';
import { Subject } from './subject.ts';

const MB = 1e6;
const FILES = 1000;
const FILE_BYTES = 10_000;
const TIMES = 10;
const FURTHER = 8;
/** By then nothing is being made any more. */
const REST_MS = 1500;

type Put = (figure: string, subject: 'disk' | 'memory', bytes: number, context: string) => void;

/** Of a helper that has done nothing else: one that ran all other workloads is larger. */
export async function costs(bench: Bench): Promise<void> {
  await withHelpers(bench, [{}], ([helper]) => costsOf({ ...bench, helper: helper! }));
}

async function costsOf(bench: Bench): Promise<void> {
  const { helper } = bench;
  const volume = volumeOf(helper);
  const put: Put = (figure, subject, bytes, context) => {
    const value = round(bytes / MB);
    bench.rows.push({ workload: 'costs', figure, subject, unit: 'MB', value, context });
    bench.say(`costs: ${figure}, ${subject}: ${value} MB (${context})`);
  };
  put('the helper, at first', 'memory', helper.usage().rssMb * 2 ** 20, 'resident, before there is a sandbox');

  const before = used(volume);
  const subject = await Subject.create(helper.connection, { ...COUNTER.files, ...holding(100).files });
  try {
    put('a sandbox of two files', 'disk', used(volume) - before, 'skeleton, pins of the base, its first branch');
    const full = used(volume);
    const many = await Subject.create(helper.connection, filesOf(FILES, FILE_BYTES));
    put(`a sandbox of ${FILES} files`, 'disk', used(volume) - full, `a copy of ${(FILES * FILE_BYTES) / MB} MB`);
    await many.remove();

    await subject.run('MARK=1; python3 counter.py & sleep 0.5');
    put(
      'what runs in it',
      'memory',
      await headMemory(bench, subject),
      'proportional: PID 1, a shell, a Python counter',
    );
    await settled(subject);
    const each = async (figure: string, context: string, change: (n: number) => string) => {
      await subject.run(change(0));
      await settled(subject);
      const start = used(volume);
      let told = 0;
      for (let n = 1; n <= TIMES; n++) {
        await subject.run(change(n));
        told += await settled(subject);
      }
      const took = used(volume) - start;
      const shared = told > took ? `; ${round((told - took) / TIMES / MB)} MB more are shared with others` : '';
      put(figure, 'disk', took / TIMES, `${context}; mean of ${TIMES}${shared}`);
    };
    await each('a checkpoint, nothing changed', 'memory of those three processes', () => ':');
    const small = `for i in $(seq 100); do head -c ${FILE_BYTES} /dev/urandom > f$i; done`;
    await each('a checkpoint, 100 files changed', `${(100 * FILE_BYTES) / MB} MB of them`, () => small);
    await subject.run('head -c 50000000 /dev/urandom > large');
    await each('a checkpoint beside a file of 50 MB', 'the file changed once, long before', (n) => `echo ${n} > n`);

    await addStandby(bench, subject, 'a standby', 'proportional: of those three processes', put);
    await subject.run(
      'mkdir held; (cd held && exec python3 ../memory.py 100) & while [ ! -e held/count.txt ]; do sleep 0.05; done',
    );
    await each('a checkpoint, 100 MB resident', 'what it wrote of its memory', () => ':');
    await addStandby(bench, subject, 'a standby, 100 MB resident', 'a copy of its own', put);
    put(
      'the helper',
      'memory',
      helper.usage().rssMb * 2 ** 20,
      `resident, with one sandbox of ${5 + 4 * TIMES} checkpoints`,
    );
    await addFurther(bench, put);
  } finally {
    await subject.remove();
  }
}

/** What the helper has for each of some more: what it needs anyway, it has by then. */
async function addFurther({ helper }: Bench, put: Put): Promise<void> {
  const further: Subject[] = [];
  try {
    const before = helper.usage().rssMb;
    for (let n = 0; n < FURTHER; n++) {
      const one = await Subject.create(helper.connection, COUNTER);
      further.push(one);
      await one.run(COUNTER.start);
      await settled(one);
    }
    await sleep(REST_MS);
    put(
      'the helper, for a further sandbox',
      'memory',
      ((helper.usage().rssMb - before) * 2 ** 20) / FURTHER,
      `resident; mean of ${FURTHER}, each with three processes, a checkpoint and a standby`,
    );
  } finally {
    for (const one of further) await one.remove();
  }
}

async function addStandby(bench: Bench, subject: Subject, figure: string, context: string, put: Put): Promise<void> {
  const bytes = await standbyMemory(bench.helper, subject);
  if (bytes === null) bench.leftOut.push({ workload: 'costs', figure, subject: 'memory', why: 'none was there' });
  else put(figure, 'memory', bytes, context);
}

function filesOf(count: number, bytes: number): Record<string, string> {
  return Object.fromEntries(Array.from({ length: count }, (_, n) => [`f${n}`, `${n} `.padEnd(bytes, 'x')]));
}

/** A checkpoint, durable and with its standby. @returns the bytes that it says it takes */
async function settled(subject: Subject): Promise<number> {
  const { checkpoint } = await subject.checkpoint();
  await subject.verified(checkpoint.id);
  return checkpoint.bytes;
}

export function volumeOf(helper: PrivateHelper): string {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '');
  return mounts.find((path) => path.startsWith(helper.state)) ?? helper.state;
}

/** Bytes taken of the volume, when all is written. */
export function used(volume: string): number {
  execFileSync('sync', ['-f', volume]);
  const { bsize, blocks, bfree } = statfsSync(volume);
  return bsize * (blocks - bfree);
}

/** By branch of the private helper: process ids. */
export function groupsOf(helper: PrivateHelper): Map<string, number[]> {
  const folder = groupFolder(helper.state);
  const groups = new Map<string, number[]>();
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const name = new RegExp(`${folder}/(s\\d+-b\\d+)`).exec(readFileSync(`/proc/${pid}/cgroup`, 'utf8'))?.[1];
      if (name) groups.set(name, [...(groups.get(name) ?? []), Number(pid)]);
    } catch {
      // it ended meanwhile
    }
  }
  return groups;
}

/** Each page shared by n processes counts for an nth: proc_pid_smaps(5). */
function proportional(pids: number[]): number {
  return pids.reduce((sum, pid) => {
    try {
      const kb = /^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1];
      return sum + Number(kb ?? 0) * 1024;
    } catch {
      return sum; // a zombie has no memory
    }
  }, 0);
}

/** A branch that is being retired is not. */
function isFrozen(pid: number): boolean {
  const path = /^0::(.*)$/m.exec(readFileSync(`/proc/${pid}/cgroup`, 'utf8'))?.[1] ?? '';
  return ['/sys/fs/cgroup', '/sys/fs/cgroup/unified']
    .map((mount) => join(mount, path, 'cgroup.events'))
    .some((file) => existsSync(file) && /^frozen 1$/m.test(readFileSync(file, 'utf8')));
}

async function headMemory({ helper }: Bench, subject: Subject): Promise<number> {
  const { sandbox } = await helper.connection.request('sandbox/get', { sandbox: subject.id });
  const pids = groupsOf(helper).get(`${subject.id}-${sandbox.head}`);
  if (!pids) throw new Error(`no process is in the control group of ${sandbox.head}`);
  return proportional(pids);
}

async function standbyMemory(helper: PrivateHelper, subject: Subject): Promise<number | null> {
  const { sandbox } = await helper.connection.request('sandbox/get', { sandbox: subject.id });
  const shown = new Set(sandbox.branches.map(({ id }) => `${subject.id}-${id}`));
  const others = [...groupsOf(helper)].filter(([name]) => name.startsWith(`${subject.id}-`) && !shown.has(name));
  const standby = others.find(([, pids]) => isFrozen(pids[0]!));
  return standby ? proportional(standby[1]) : null;
}

/** The table of `docs/costs.md`, whole. */
function costsDocument(bench: Pick<Bench, 'rows'>, machine: string): string {
  const rows = bench.rows.filter((row) => row.workload === 'costs');
  return [
    '# What it costs',
    '',
    '<!-- Made by `npm run bench -- costs --out build/bench`: copy its costs.md here rather than change this. -->',
    '',
    'Megabytes (10⁶ bytes) of the state volume, or of memory. Disk is what the file system says is taken, so data that layers share',
    '(reflinks) counts once; the `bytes` of a checkpoint in the protocol count it in each. Memory of processes is proportional: a',
    'page that two of them share counts for half in each.',
    '',
    '| what | of | MB | |',
    '| --- | --- | ---: | --- |',
    ...rows.map(({ figure, subject, value, context }) => `| ${figure} | ${subject} | ${value} | ${context} |`),
    '',
    'What is shared: the base and everything in earlier layers (an overlay); the unchanged data of files in a layer that is copied,',
    'on XFS and btrfs, and, there, memory that was not written since the checkpoint before; program text, in memory. What is not: the',
    'memory of small programs, which each checkpoint has anew, and a standby has its memory to itself. `teleport-env gc --keep,',
    '--max-bytes, --max-age` deletes the oldest that nothing needs.',
    '',
    machine,
    '',
  ].join('\n');
}

export function writeCosts(dir: string, bench: Pick<Bench, 'rows'>, machine: string): void {
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, 'costs.md'), costsDocument(bench, machine));
}

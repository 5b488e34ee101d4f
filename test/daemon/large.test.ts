/** Memory that two threads read when it is restored: the bytes, the threads that were there, and no other. */
import assert from 'node:assert/strict';
import { closeSync, openSync, readdirSync, readFileSync, rmSync, statSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Connection } from '../../helper/client/connection.ts';
import { check, libc } from '../../helper/engine/libc.ts';
import { HelperProcess, needsMachine, workspace } from './helper-process.ts';

/** Two processes of 80 and 72 MB in areas of many sizes, with gaps, and three threads in each, which count. */
const LARGE_PY = `import mmap, os, sys, threading, time, zlib
child = os.fork() == 0
areas = []
left = (72 if child else 80) << 20
n = 0
while left > 0:
    n += 1
    size = min(left, (1 << 20) * (n % 7) + 4096 * (n % 5 + 1) if n != 3 else 30 << 20)
    area = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    area.write(os.urandom(4096) * (size // 4096))
    areas.append(area)
    left -= size
counts = [0, 0]
def count(i):
    while True:
        counts[i] += 1
        time.sleep(0.005)
for i in (0, 1):
    threading.Thread(target=count, args=(i,), daemon=True).start()
name = 'child' if child else 'parent'
os.mkfifo(name + '.in'); os.mkfifo(name + '.out')
with open(os.open(name + '.in', os.O_RDWR)) as lines, open(os.open(name + '.out', os.O_RDWR), 'r+b', buffering=0) as out:
    for line in lines:
        total = 0
        for area in areas:
            total = zlib.crc32(area, total)
        before = list(counts)
        time.sleep(0.05)
        alive = all(a < b for a, b in zip(before, counts))
        tasks = ','.join(sorted(os.listdir('/proc/self/task'), key=int))
        out.write(f'{total} {tasks} {alive}\\n'.encode())
`;

/** Of asm-generic/unistd.h, the same on x64; Linux 6.5. */
const SYS_cachestat = 451;

/** Bytes of a file that the page cache has. */
function cachedOf(path: string): number {
  const file = openSync(path, 'r');
  try {
    const pages = Buffer.alloc(40);
    check(libc().syscall(SYS_cachestat, file, Buffer.alloc(16), pages, 0, 0), 'cachestat', path);
    return Number(pages.readBigUInt64LE(0)) * libc().getpagesize();
  } finally {
    closeSync(file);
  }
}

/** 120 MB that nobody shares or writes to. */
const ALONE_PY = `import os, time
block = bytearray(os.urandom(1 << 20)) * 120
open('alone', 'w').close()
time.sleep(1000)
`;

describe('a large memory with threads', () => {
  let helper: HelperProcess;
  let connection: Connection;
  let sandbox: string;
  let ws: string;

  before(async function () {
    needsMachine(this);
    helper = await HelperProcess.start(undefined, { standbys: 0 });
    connection = await helper.connect();
    ws = workspace({ 'large.py': LARGE_PY, 'alone.py': ALONE_PY });
    sandbox = (await connection.request('sandbox/create', { workspace: ws })).sandbox.id;
  });
  after(async () => {
    await helper?.stop();
    if (ws) rmSync(ws, { recursive: true, force: true });
  });
  afterEach(function () {
    if (this.currentTest?.state === 'failed') console.error(helper.logText());
  });

  async function run(text: string): Promise<string> {
    const ran = await connection.request('run', { sandbox, line: text, checkpoint: false });
    const said = Buffer.from(ran.output, 'base64').toString();
    assert.equal(ran.exitCode, 0, said);
    return said.trim();
  }
  const ask = () => run('for w in parent child; do echo > $w.in; read -r L < $w.out; echo $L; done');

  it('comes back whole, time and again, itself restored', async function () {
    this.timeout(60_000);
    await run('python3 large.py & while [ ! -p parent.out ] || [ ! -p child.out ]; do sleep 0.02; done; sleep 0.2');
    let { id } = (await connection.request('checkpoint/create', { sandbox })).checkpoint;
    const told = await ask();
    assert.match(told, /^\d+ \d+,\d+,\d+ True\n\d+ \d+,\d+,\d+ True$/);
    for (let i = 0; i < 12; i++) {
      await connection.request('checkpoint/rollback', { sandbox, checkpoint: id, discard: true });
      assert.equal(await ask(), told, `rollback ${i}`);
      if (i % 4 !== 3) continue;
      await connection.request('checkpoint/rollback', { sandbox, checkpoint: id, discard: true });
      id = (await connection.request('checkpoint/create', { sandbox })).checkpoint.id;
    }
  });

  it('is read past the page cache, and compared only where nobody knows of it', async function () {
    this.timeout(60_000);
    const told = await ask();
    await run('python3 alone.py & while [ ! -e alone ]; do sleep 0.02; done');
    await connection.request('checkpoint/create', { sandbox });
    const { id } = (await connection.request('checkpoint/create', { sandbox })).checkpoint;
    const dir = join(helper.state, 'volume/sandboxes', sandbox, 'checkpoints', id);
    const manifest = () => JSON.parse(readFileSync(join(dir, 'manifest.json'), 'utf8'));
    while (!manifest().durable) await sleep(20);
    if (!manifest().took) this.skip(); // before Linux 6.7 all of it was written just now
    const sizes = readdirSync(join(dir, 'image')).map((name) => ({ name, ...statSync(join(dir, 'image', name)) }));
    const pages = sizes.sort((a, b) => b.size - a.size)[0]!;
    const goBack = async (): Promise<string[]> => {
      const moved = await connection.request('checkpoint/rollback', { sandbox, checkpoint: id, discard: true });
      assert.equal(await ask(), told);
      return moved.steps.map(({ step }) => step);
    };
    const compared = 'image compared with its sums';
    const largest = join(dir, 'image', pages.name);
    const before = cachedOf(largest);
    assert.ok(pages.size > 120 << 20 && before < 0.9 * pages.size, `${before} of ${pages.size} bytes were written`);
    const read = () => cachedOf(largest) - before;
    assert.ok(!(await goBack()).includes(compared), 'this helper summed it up');
    assert.ok(read() < 1 << 20, `${read()} bytes`);
    utimesSync(largest, new Date(), new Date());
    assert.ok((await goBack()).includes(compared), 'it was touched');
    assert.ok(read() < 1 << 20, `${read()} bytes, compared`);
  });
});

describe('many files beside much memory', function () {
  this.timeout(120_000);
  let helper: HelperProcess;
  let ws: string;
  before(async function () {
    needsMachine(this);
    helper = await HelperProcess.start(undefined, { ownWay: true });
    ws = workspace({ a: '' });
  });
  after(async () => {
    await helper?.stop();
    if (ws) rmSync(ws, { recursive: true, force: true });
  });

  it('are copied where to restore the memory would stop it for longer, and moved where not', async () => {
    const connection = await helper.connect();
    const { sandbox } = await connection.request('sandbox/create', { workspace: ws });
    const head = async () => (await connection.request('sandbox/get', { sandbox: sandbox.id })).sandbox.head;
    /** Whether the branch was replaced. */
    const rotates = async (line: string) => {
      const before = await head();
      await connection.request('run', { sandbox: sandbox.id, line, checkpoint: false });
      await connection.request('checkpoint/create', { sandbox: sandbox.id });
      return (await head()) !== before;
    };
    const hold = `python3 -c "import time; x = b'x' * (200 << 20); open('held', 'w'); time.sleep(1000)" & while [ ! -e held ]; do sleep 0.1; done`;
    assert.equal(await rotates('mkdir one; touch one/{1..600}'), false);
    assert.equal(await rotates('mkdir two; touch two/{1..600}'), true, 'of 1,200, a shell alone');
    assert.equal(await rotates(`${hold}; mkdir three; touch three/{1..1200}`), false, 'of 1,200, with 200 MB');
    assert.equal(await rotates('mkdir four; touch four/{1..3000}'), true, 'of 4,200, with 200 MB');
    assert.equal(await rotates('true'), false);
  });
});

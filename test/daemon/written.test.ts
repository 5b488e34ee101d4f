/**
 * Images that hold only what was written anew, the rest taken over from the image before: whatever a program does with its
 * memory, each moment comes back with the very bytes that it had.
 */
import assert from 'node:assert/strict';
import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Connection } from '../../helper/client/connection.ts';
import { type ImageSums, sumImage } from '../../helper/engine/image-sums.ts';
import { HelperProcess, needsMachine, workspace } from './helper-process.ts';

const SEED = 20_261_127;
const STEPS = 14;
const MB = 2 ** 20;

/**
 * Does to its memory, on each line of input, one round of what programs do, chosen by that line's number; answers what all of its
 * memory, and that of its children, sums up to.
 */
const WILD_PY = `import ctypes, mmap, os, random, sys, zlib
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = libc.mremap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int]
libc.munmap.argtypes = libc.madvise.argtypes = libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
PAGE = 4096
areas = []

def new(pages):
    at = libc.mmap(None, pages * PAGE, 3, 0x22, -1, 0)
    assert at not in (None, 2**64 - 1)
    areas.append([at, pages])
    return at

def fill(at, pages, every, n):
    for i in range(0, pages, every):
        ctypes.memset(at + i * PAGE + (n * 7 + i) % 4000, (n + i) % 255 + 1, 90)

def pick(r):
    return r.choice(areas)

def stores(r, n):
    at, pages = pick(r)
    fill(at, pages, r.choice([1, 50, 100, 333]), n)

def by_the_kernel(r, n):
    at, pages = pick(r)
    first = r.randrange(pages)
    size = min(pages - first, r.randrange(1, 400)) * PAGE
    with open('noise', 'rb') as noise:
        noise.readinto((ctypes.c_char * size).from_address(at + first * PAGE))

def grow(r, n):
    fill(new(r.randrange(100, 2000)), 100, 1, n)

# As the data of a large library: a file's until they are written to.
def library(r, n):
    with open('library', 'rb') as file:
        at = libc.mmap(None, 512 * PAGE, 3, 2, file.fileno(), 0)
    assert at not in (None, 2**64 - 1)
    areas.append([at, 512])
    fill(at, r.randrange(512), 3, n)

def shrink(r, n):
    if len(areas) > 4:
        at, pages = areas.pop(r.randrange(1, len(areas)))
        assert libc.munmap(at, pages * PAGE, 0) == 0

def middle_goes(r, n):
    area = pick(r)
    at, pages = area
    if pages > 600:
        assert libc.munmap(at + 300 * PAGE, 100 * PAGE, 0) == 0
        area[1] = 300
        areas.append([at + 400 * PAGE, pages - 400])

def move(r, n):
    area = pick(r)
    more = area[1] + r.randrange(0, 700)
    at = libc.mremap(area[0], area[1] * PAGE, more * PAGE, 1)
    assert at not in (None, 2**64 - 1)
    area[0], area[1] = at, more

def forget(r, n):
    at, pages = pick(r)
    first = r.randrange(pages)
    assert libc.madvise(at + first * PAGE, (pages - first) // 2 * PAGE, 4) == 0
    if r.random() < .5:
        fill(at, pages, 97, n)

def protect(r, n):
    at, pages = pick(r)
    assert libc.mprotect(at, pages * PAGE, r.choice([0, 1])) == 0
    assert libc.mprotect(at, pages * PAGE, 3) == 0
    fill(at, pages, 211, n)

def huge(r, n):
    at, pages = pick(r)
    libc.madvise(at, pages * PAGE, r.choice([14, 15]))
    fill(at, pages, 1, n)

children = []

def child(r, n):
    if len(children) > 1:
        return leave(r, n)
    down, up = os.pipe(), os.pipe()
    if os.fork() == 0:
        for pair in [*children, (down[1], up[0])]:
            os.close(pair[0]); os.close(pair[1])
        children.clear()
        serve(down[0], up[1])
    os.close(down[0]); os.close(up[1])
    children.append((down[1], up[0]))

def leave(r, n):
    if children:
        down, up = children.pop(0)
        os.close(down); os.close(up); os.wait()

def heap(r, n):
    global held
    held = bytearray(r.randrange(1, 9) << 20)
    held[::5000] = bytes([n % 255]) * len(held[::5000])

held = bytearray(1)
ROUNDS = [stores, stores, by_the_kernel, grow, library, shrink, middle_goes, move, forget, protect, huge, child, leave, heap]

def summed():
    total = zlib.crc32(held)
    for at, pages in areas:
        total = zlib.crc32((ctypes.c_char * (pages * PAGE)).from_address(at), total)
    return total

def serve(source, sink):
    with os.fdopen(source) as lines:
        for line in iter(lines.readline, ''):
            word, seed = line.split()
            told = []
            for down, up in children:
                os.write(down, line.encode())
                told.append(os.read(up, 100).decode().strip())
            if word == 'do':
                r = random.Random(int(seed) + len(told))
                for _ in range(3):
                    r.choice(ROUNDS)(r, r.randrange(1000))
            os.write(sink, (' '.join([str(summed()), *told]) + '\\n').encode())
    os._exit(0)

open('noise', 'wb').write(os.urandom(1 << 21))
open('library', 'wb').write(os.urandom(1 << 21))
os.truncate('library', 1 << 28) # whatever a mapping of it grows to
new(12 << 8)
new(12 << 8)
for at, pages in areas:
    fill(at, pages, 1, 1)
library(random.Random(1), 1)
os.mkfifo('in'); os.mkfifo('out')
serve(os.open('in', os.O_RDWR), os.open('out', os.O_RDWR))
`;

/** 40 MB, and a filter by which the kernel ends whoever calls userfaultfd, munmap or close. Machine: x64 and arm64 numbers. */
const STRICT_PY = `import ctypes, os, platform, struct, time
held = bytearray(os.urandom(1 << 20) * 40)
numbers = [323, 11, 3] if platform.machine() == 'x86_64' else [282, 215, 57]
code = b''.join(
    [struct.pack('HBBI', 0x20, 0, 0, 0)]
    + [struct.pack('HBBI', 0x15, len(numbers) - i, 0, n) for i, n in enumerate(numbers)]
    + [struct.pack('HBBI', 0x06, 0, 0, 0x7FFF0000), struct.pack('HBBI', 0x06, 0, 0, 0x80000000)]
)
kept = ctypes.create_string_buffer(code)
program = struct.pack('HxxxxxxP', len(code) // 8, ctypes.addressof(kept))
libc = ctypes.CDLL(None, use_errno=True)
open('strict', 'w').close()
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, program, 0, 0) == 0, ctypes.get_errno()
while True:
    time.sleep(0.01)
`;

describe('memory that was not written', () => {
  let helper: HelperProcess;
  let connection: Connection;
  let sandbox: string;
  let ws: string;

  before(async function () {
    this.timeout(60_000);
    needsMachine(this);
    helper = await HelperProcess.start(undefined, { faults: true, standbys: 0 });
    connection = await helper.connect();
    ws = workspace({ 'wild.py': WILD_PY, 'strict.py': STRICT_PY });
    sandbox = (await connection.request('sandbox/create', { workspace: ws })).sandbox.id;
    await run('python3 wild.py & while [ ! -p out ]; do sleep 0.02; done');
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
  const ask = (word: string, seed = 0) => run(`echo ${word} ${seed} > in; read -r SUM < out; echo $SUM`);
  const save = async () => (await connection.request('checkpoint/create', { sandbox })).checkpoint;
  const goTo = (checkpoint: string) =>
    connection.request('checkpoint/rollback', { sandbox, checkpoint, discard: true });
  const image = (checkpoint: string) =>
    join(helper.state, 'volume/sandboxes', sandbox, 'checkpoints', checkpoint, 'image');

  it('comes back from every moment of a program that does everything to its memory', async function () {
    this.timeout(100_000);
    const moments: { id: string; sum: string; bytes: number }[] = [];
    const step = async (seed: number) => {
      await ask('do', seed);
      const sum = await ask('tell'); // with the children that it has now
      const { id, bytes } = await save();
      assert.equal(existsSync(join(image(id), 'parent')), false, 'the image needs no other');
      moments.push({ id, sum, bytes });
    };
    for (let i = 0; i < STEPS; i++) await step(SEED + i);
    for (const { id, sum } of [...moments].reverse()) {
      await goTo(id);
      assert.equal(await ask('tell'), sum, `${id} (seed ${SEED})`);
    }
    // From the oldest on again, another way; some of them lie on what a rollback left.
    for (let i = 0; i < STEPS; i++) {
      await step(SEED + 1000 + i);
      if (i % 3 === 2) await goTo(moments[(i * 5) % moments.length]!.id);
    }
    for (const { id, sum } of moments) {
      await goTo(id);
      assert.equal(await ask('tell'), sum, `${id} (seed ${SEED})`);
    }
  });

  it('is written once, after a rollback too, and all of it after the helper was lost', async () => {
    const whole = 16 * MB;
    const { id } = await save();
    const { bytes } = await save();
    assert.ok(bytes < 8 * MB, `${bytes} bytes where next to none was written`);
    await goTo(id);
    await ask('tell');
    const after = await save();
    assert.ok(after.bytes < 8 * MB, `${after.bytes} bytes after a rollback`);
    await helper.restart();
    connection = await helper.connect();
    const first = await save();
    assert.ok(first.bytes > whole, `${first.bytes} bytes, and nobody knew what was written`);
    assert.ok((await save()).bytes < 8 * MB, 'and then they do again');
  });

  it('is taken over while nobody waits, by whatever is the head, and not kept by a helper that knows nothing of it', async () => {
    const inodes = (dir: string, named: RegExp): number[] =>
      existsSync(dir)
        ? readdirSync(dir).flatMap((name) => (named.test(name) ? [statSync(join(dir, name)).ino] : []))
        : [];
    const ahead = async (): Promise<string> => {
      const { head } = (await connection.request('sandbox/get', { sandbox })).sandbox;
      return join(helper.state, 'volume/sandboxes', sandbox, 'branches', head!, 'taken');
    };
    const taken = async (): Promise<number[]> => {
      const dir = await ahead();
      for (let tries = 0; !inodes(dir, /^taken-/).length; tries++) {
        assert.ok(tries < 500, `nothing is in ${dir}`);
        await sleep(20);
      }
      return inodes(dir, /^taken-/);
    };
    const { id } = await save();
    const first = await taken();
    await ask('do', SEED + 4);
    const sum = await ask('tell');
    const second = await save();
    const own = inodes(image(second.id), /^pages-/);
    assert.ok(
      first.some((one) => own.includes(one)),
      `what was taken over became its own: ${first}, ${own}`,
    );
    await goTo(id);
    const other = await taken();
    await goTo(second.id);
    assert.equal(await ask('tell'), sum);
    assert.ok(!(await taken()).some((one) => other.includes(one)), 'of another image');
    await helper.restart();
    connection = await helper.connect();
    assert.deepEqual(inodes(await ahead(), /./), []);
  });

  it('outlives the checkpoint that it was taken over from, whose bytes are then its own', async () => {
    const sum = await ask('tell');
    const first = await save();
    await ask('do', SEED);
    const second = await save();
    const now = await ask('tell');
    const third = await save();
    await goTo(third.id);
    await connection.request('checkpoint/delete', { sandbox, checkpoint: second.id });
    const listed = (await connection.request('checkpoint/list', { sandbox })).checkpoints;
    const heir = listed.find((c) => c.id === third.id)!;
    assert.ok(heir.bytes > third.bytes, `${heir.bytes}, ${third.bytes} before`);
    await connection.request('checkpoint/delete', { sandbox, checkpoint: first.id });
    await goTo(third.id);
    assert.equal(await ask('tell'), now);
    assert.notEqual(now, sum);
  });

  it('has the sums of what is there, though most of it was not read again', async () => {
    await ask('do', SEED + 1);
    const { id } = await save();
    await ask('do', SEED + 2);
    const next = await save();
    const manifest = (of: string) => JSON.parse(readFileSync(join(image(of), '../manifest.json'), 'utf8'));
    for (const of of [id, next.id]) while (!manifest(of).durable) await sleep(20);
    assert.equal(manifest(next.id).took.from, id);
    const { sums } = manifest(next.id);
    assert.deepEqual(await sumImage(image(next.id)), sums);
    const [name] = Object.entries(sums as ImageSums).find(([, [size]]) => size > 20 * MB)!;
    // The first byte of a page in the middle, on the disk.
    const file = openSync(join(image(next.id), name), 'r+');
    const byte = Buffer.alloc(1);
    readSync(file, byte, 0, 1, 12 * MB);
    writeSync(file, Buffer.from([byte[0]! ^ 1]), 0, 1, 12 * MB);
    closeSync(file);
    await assert.rejects(goTo(next.id), { message: new RegExp(`${name} is not what was written`) });
    await goTo(id); // whose blocks those were
  });

  it('is tracked for a program that may not ask for that itself', async () => {
    await run('python3 strict.py & while [ ! -e strict ]; do sleep 0.02; done');
    const { id } = await save();
    const again = await save();
    await goTo(id);
    const after = await save();
    // It is its parent's job still, and both its memories are taken over.
    assert.equal(await run('kill -0 %?strict && echo there'), 'there');
    for (const { bytes } of [again, after]) assert.ok(bytes < 12 * MB, `${bytes} bytes`);
    await run('kill %?strict; wait %?strict || true');
  });

  it('is dumped whole where the image before has lost some of it', async () => {
    const { id } = await save();
    for (const name of readdirSync(image(id))) if (name.startsWith('pagemap-')) truncateSync(join(image(id), name), 60);
    await ask('do', SEED + 3);
    const sum = await ask('tell');
    const next = await save();
    await goTo(next.id);
    assert.equal(await ask('tell'), sum);
  });
});

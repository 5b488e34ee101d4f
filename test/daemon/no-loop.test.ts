/** Machines without loop devices, as many containers are: the state lies in a file system of its own, or in memory, and doctor says which. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Connection } from '../../helper/client/connection.ts';
import { HelperProcess, needsMachine, workspace } from './helper-process.ts';

/** A /dev like the one there is, but for loop-control and what a container lacks as well. */
const WITHOUT_LOOPS = `
dev=$(mktemp -d) && mount -t tmpfs none $dev && cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /dev/fd $dev
for dir in pts shm; do mkdir $dev/$dir; mount --rbind /dev/$dir $dev/$dir; done
ln -s pts/ptmx $dev/ptmx; mount --move $dev /dev; rmdir $dev`;

/** Adds to each hundredth page of its 40 MB when told, and tells the sum of them all. */
const ADDS_PY = `import os, time, zlib
held = bytearray(os.urandom(1 << 20) * 40)
open('ready', 'w').close()
while True:
    if os.path.exists('add'):
        for at in range(0, len(held), 409600):
            held[at] = (held[at] + 1) & 255
        with open('sum', 'w') as file:
            print(zlib.crc32(held), file=file)
        os.unlink('add')
    time.sleep(0.01)
`;

/** A mount namespace of its own, arranged by that shell script. */
function arranged(script: string): string[] {
  return ['unshare', '--mount', '--propagation', 'private', 'sh', '-ec', `${script}\nexec "$@"`, 'sh'];
}

describe('without loop devices', function () {
  this.timeout(60_000);
  let helper: HelperProcess;
  let connection: Connection;
  let ws: string;
  before(function () {
    needsMachine(this);
  });
  afterEach(async () => {
    await helper?.stop();
    rmSync(ws, { recursive: true, force: true });
  });

  async function begin(script: (state: string) => string): Promise<void> {
    helper = await HelperProcess.start(undefined, { within: ({ state }) => arranged(script(state)) });
    connection = await helper.connect();
    ws = workspace({ 'a.txt': 'one\n' });
  }

  /** Files, memory and a live process come back. */
  async function goesBack(): Promise<void> {
    const sandbox = (await connection.request('sandbox/create', { workspace: ws })).sandbox.id;
    const run = async (line: string): Promise<string> => {
      const { output } = await connection.request('run', { sandbox, line, checkpoint: false });
      return Buffer.from(output, 'base64').toString();
    };
    await run('X=5; sleep 1000 & true');
    const { checkpoint } = await connection.request('checkpoint/create', { sandbox });
    await run('X=6; kill %1; rm -rf *');
    await connection.request('checkpoint/rollback', { sandbox, checkpoint: checkpoint.id });
    assert.equal(await run('echo $X $(jobs -r | wc -l); cat a.txt'), '5 1\none\n');
  }

  async function need(id: string) {
    return (await connection.request('doctor', {})).needs.find((one) => one.id === id)!;
  }

  it('keeps the state in memory, which doctor warns of, and goes back', async () => {
    await begin(() => WITHOUT_LOOPS);
    await goesBack();
    const volume = await need('volume');
    assert.equal(volume.status, 'warning');
    assert.match(volume.detail, /^tmpfs at .*; lost with the machine$/);
    const loop = await need('loop');
    assert.notEqual(loop.status, 'ok');
    assert.match(loop.remedy ?? '', /modprobe loop/);
  });

  it('takes memory over by copies there, where blocks cannot be shared', async () => {
    await begin(() => WITHOUT_LOOPS);
    writeFileSync(join(ws, 'adds.py'), ADDS_PY);
    const sandbox = (await connection.request('sandbox/create', { workspace: ws })).sandbox.id;
    const run = async (line: string): Promise<string> => {
      const { output } = await connection.request('run', { sandbox, line, checkpoint: false });
      return Buffer.from(output, 'base64').toString();
    };
    const add = () => run('touch add; while [ -e add ]; do sleep 0.01; done; cat sum');
    const save = async () => (await connection.request('checkpoint/create', { sandbox })).checkpoint;
    await run('python3 adds.py & while [ ! -e ready ]; do sleep 0.02; done');
    await add();
    const whole = await save();
    await add();
    const { id, bytes } = await save();
    const then = await add();
    for (let i = 0; i < 2; i++) {
      await connection.request('checkpoint/rollback', { sandbox, checkpoint: id, discard: true });
      assert.equal(await add(), then);
    }
    assert.ok(bytes > whole.bytes / 2, `${bytes} bytes are there once more`);
  });

  it('does not copy much data there, but rotates', async () => {
    await begin(() => WITHOUT_LOOPS);
    const sandbox = (await connection.request('sandbox/create', { workspace: ws })).sandbox.id;
    const head = async () => (await connection.request('sandbox/get', { sandbox })).sandbox.head;
    const run = async (line: string): Promise<string> => {
      const { output } = await connection.request('run', { sandbox, line, checkpoint: false });
      return Buffer.from(output, 'base64').toString();
    };
    const first = await head();
    await run('X=5; head -c 1M /dev/urandom > file');
    await connection.request('checkpoint/create', { sandbox });
    assert.equal(await head(), first);
    await run('head -c 120M /dev/zero > file');
    const { checkpoint } = await connection.request('checkpoint/create', { sandbox });
    assert.notEqual(await head(), first);
    await run('echo > file');
    await connection.request('checkpoint/rollback', { sandbox, checkpoint: checkpoint.id, discard: true });
    assert.equal(await run('echo $X $(stat -c %s file)'), '5 125829120\n');
  });

  it('takes the file system that somebody mounted there', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'teleport-own-'));
    const image = join(folder, 'image');
    try {
      execFileSync('truncate', ['-s', '400M', image]);
      execFileSync('mkfs.xfs', ['-q', '-m', 'reflink=1', image]);
      await begin((state) => `mkdir -p ${state}/volume; mount -o loop ${image} ${state}/volume\n${WITHOUT_LOOPS}`);
      await goesBack();
      const volume = await need('volume');
      assert.equal(volume.status, 'ok');
      assert.match(volume.detail, /^xfs at .*, shares data between copies$/);
      assert.ok(!existsSync(join(helper.state, 'volume.img')), 'no image of its own');
      await helper.stop();
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

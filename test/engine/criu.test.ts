import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Cgroup, findCgroup2 } from '../../helper/engine/cgroup.ts';
import { CriuError, type CriuLaunch, check, dump, explain, type Hooks, restore } from '../../helper/engine/criu.ts';
import { CriuProcess } from '../../helper/engine/criu-process.ts';
import { asCriu, decodeResponse, encodeRequest, RequestType } from '../../helper/engine/criu-rpc.ts';

const repository = join(__dirname, '..', '..');
const binary = process.env.TELEPORT_CRIU ?? join(repository, 'build', 'criu', 'criu');

describe('CRIU messages', () => {
  it('come out as they went in', () => {
    const request = {
      type: RequestType.dump,
      opts: {
        imagesDirFd: 7,
        pid: 42,
        tcpEstablished: true,
        external: ['mnt[/a]:b'],
        ghostLimit: 5_000_000,
        networkLock: 3,
      },
    };
    assert.deepEqual(asCriu.decodeRequest(encodeRequest(request)), request);
    const answer = { type: RequestType.restore, success: true, restore: { pid: 9 }, message: 'x' };
    assert.deepEqual(decodeResponse(asCriu.encodeResponse(answer)), answer);
  });

  it('have the bytes that CRIU reads: type = 1, opts = 2 with images_dir_fd = 1 and pid = 2', () => {
    const bytes = encodeRequest({ type: RequestType.dump, opts: { imagesDirFd: 3, pid: 300 } });
    assert.equal(Buffer.from(bytes).toString('hex'), '08011205080310ac02');
  });

  it('are refused when a field has the wrong type', () => {
    assert.throws(
      () => encodeRequest({ type: RequestType.dump, opts: { imagesDirFd: 'a' as unknown as number } }),
      /malformed/,
    );
  });
});

// Lines as CRIU 4.2.1 wrote them, level 2 (no times) and level 4.
const noise = `Warn  (criu/kerndat.c:1642): CRIU was built without libnftables support
Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted
Warn  (compel/arch/x86/src/lib/infect.c:419): Will restore 22415 with interrupted system call
`;
const end = 'Error (criu/cr-dump.c:1975): Dumping FAILED.\n';

describe('what a CRIU log says', () => {
  const cases: [string, string, ReturnType<typeof pick>][] = [
    [
      'a traced process',
      '(00.007463) Error (compel/src/lib/infect.c:262): Unseizable non-zombie 22398 found, state S, err -1/10\n'.repeat(
        5,
      ),
      { reason: 'traced', pid: 22398, resource: 'being traced by a debugger' },
    ],
    [
      'an io_uring ring',
      `pie: 1: Error (criu/pie/parasite.c:588): send_fds failed (-22)
Error (criu/parasite-syscall.c:280): Can't retrieve FDs from socket
Error (compel/src/lib/infect-rpc.c:44): Message reply from daemon is trimmed (12/0)
Error (criu/cr-dump.c:1545): Dump files (pid: 22415) failed with -1\n`,
      {
        reason: 'descriptor',
        pid: 22415,
        resource: 'a descriptor that no other process may be given, such as an io_uring ring',
      },
    ],
    [
      'a nested user namespace',
      `Error (criu/namespaces.c:461): Can't dump nested user namespace for 22435
Error (criu/namespaces.c:755): Can't make userns id\n`,
      { reason: 'nestedNamespace', pid: 22435, resource: 'a nested user namespace' },
    ],
    [
      'a file from outside',
      `(00.011616) Error (criu/files-reg.c:1790): Can't lookup mount=27 for fd=7 path=/etc/hostname
(00.011627) Error (criu/cr-dump.c:1545): Dump files (pid: 22735) failed with -1\n`,
      { reason: 'outsideFile', pid: 22735, resource: '/etc/hostname (descriptor 7)' },
    ],
    [
      'a mapping from outside',
      `Error (criu/files-reg.c:1790): Can't lookup mount=27 for fd=-3 path=/opt/tool
Error (criu/cr-dump.c:1440): Collect mappings (pid: 17149) failed with -1\n`,
      { reason: 'outsideFile', pid: 17149, resource: 'a mapping of /opt/tool' },
    ],
    [
      'a socket to the outside',
      'Error (criu/sk-unix.c:874): unix: External socket is used. Consider using --ext-unix-sk option.\n',
      { reason: 'outsideSocket', pid: undefined, resource: 'a unix socket whose other end is outside' },
    ],
    [
      'a deleted file',
      `Error (criu/files-reg.c:1031): Can't dump ghost file /big of 2097152 size, increase limit
Error (criu/cr-dump.c:1545): Dump files (pid: 22561) failed with -1\n`,
      { reason: 'deletedFile', pid: 22561, resource: '/big, deleted but still open' },
    ],
    [
      'a file lock',
      'Error (criu/file-lock.c:110): Some file locks are hold by dumping tasks! You can try --file-locks to dump them.\n',
      { reason: 'fileLock', pid: undefined, resource: 'a file lock' },
    ],
    [
      'a limit of processes',
      "Error (criu/cr-restore.c:1234): Can't fork for 9: Resource temporarily unavailable\n",
      { reason: 'limit', pid: undefined, resource: undefined },
    ],
    [
      'a connection in the queue',
      `Error (criu/sk-inet.c:185): inet: In-flight connection (l) for b1dc
Error (criu/sk-inet.c:186): inet: In-flight connections can be ignored with the --skip-in-flight option.
Error (criu/cr-dump.c:1545): Dump files (pid: 22597) failed with -1\n`,
      { reason: 'pendingConnection', pid: 22597, resource: 'a connection that nobody has accepted yet' },
    ],
  ];
  for (const [name, lines, expected] of cases) {
    it(`names ${name}`, () => {
      const found = explain(noise + lines + end);
      assert.deepEqual(pick(found), expected);
      assert.doesNotMatch(found.summary, /RLIMIT|FAILED|Consider|option/);
    });
  }

  it('quotes each error once, the harmless ones never', () => {
    assert.deepEqual(explain(noise + cases[0]![1] + end).quoted, [
      'Unseizable non-zombie 22398 found, state S, err -1/10',
    ]);
  });

  it('gives the words of a log that it does not know', () => {
    const found = explain(
      `${noise}     1: Error (soccr/soccr.c:847): Can't restore not-sent queue: Broken pipe\n${end}`,
    );
    assert.equal(found.reason, 'unknown');
    assert.equal(found.summary, "It said: Can't restore not-sent queue: Broken pipe.");
  });

  it('has an answer to an empty log', () => assert.equal(explain('').summary, 'Its log holds no reason.'));

  function pick({ reason, pid, resource }: ReturnType<typeof explain>) {
    return { reason: reason as string, pid, resource };
  }
});

describe('the real CRIU', function () {
  this.timeout(30_000);
  let work: string;
  let payload: string;
  const started: number[] = [];

  before(function () {
    const lacking =
      process.getuid?.() !== 0 ? 'root' : !existsSync(binary) ? `${binary} (scripts/build-criu.sh)` : undefined;
    if (lacking) {
      if (process.env.TELEPORT_REQUIRE_CRIU)
        throw new Error(`These tests are required here, and ${lacking} is missing.`);
      this.test!.title += ` (needs ${lacking})`;
      return this.skip();
    }
    work = mkdtempSync('/var/tmp/criu-test-'); // never a tmpfs, which CRIU would pack into the images
    payload = join(work, 'payload');
    execFileSync('cc', ['-static', '-O1', '-o', payload, join(__dirname, 'criu-payload.c')]);
  });
  afterEach(() => {
    for (const pid of started.splice(0)) killQuietly(pid);
  });
  after(() => {
    if (work) rmSync(work, { recursive: true, force: true });
  });

  /** A payload in namespaces like a branch's, its root, and a place for its images. */
  async function start(mode: string) {
    const dir = mkdtempSync(join(work, `${mode}-`));
    const [root, images] = [join(dir, 'root'), join(dir, 'images')];
    mkdirSync(root);
    mkdirSync(images);
    copyFileSync(payload, join(root, 'payload'));
    const launcher = spawn(payload, ['launch', root, mode], { stdio: ['ignore', 'pipe', 'inherit'] });
    started.push(launcher.pid!);
    const pid = await new Promise<number>((resolve, reject) => {
      launcher.stdout.once('data', (line: Buffer) => resolve(Number(line)));
      launcher.once('exit', (code) => reject(new Error(`The payload ended with ${code}.`)));
    });
    started.push(pid);
    const beside: CriuLaunch = { binary, prefix: [payload, 'join', String(pid), '--'] };
    const anew: CriuLaunch = { binary, prefix: [payload, 'fresh', root, '--'] };
    return { root, images, pid, beside, anew };
  }

  async function restored(...args: Parameters<typeof restore>) {
    const result = await restore(...args);
    started.push(result.pid);
    return result;
  }

  async function refused(operation: Promise<unknown>): Promise<CriuError> {
    const error = await operation.then(
      () => assert.fail('should have failed'),
      (e: unknown) => e,
    );
    assert.ok(error instanceof CriuError, String(error));
    return error;
  }

  it('tells what it can do', async () => {
    const can = await check({ binary });
    assert.ok(can.ok, JSON.stringify(can));
    assert.ok(can.version[0] >= 4);
    if (!process.env.TELEPORT_CRIU)
      assert.deepEqual(can.patches, [
        'static',
        'tcp-repair',
        'locks-timers',
        'populate',
        'write-tracking',
        'two-readers',
        'direct-pages',
        'fewer-questions',
        'late-images',
        'map-ahead',
        'root-cgroup',
        'notify-only',
        'anonymous-scan',
        'own-folder',
      ]);
  });

  it('is missed with a reason', async () => {
    const can = await check({ binary: join(work, 'nothing') });
    assert.ok(!can.ok);
    assert.match(can.reason, /ENOENT/);
    const error = await refused(dump({ binary: join(work, 'nothing') }, { imagesDir: work, pid: process.pid }));
    assert.equal(error.code, 'notStarted');
  });

  it('brings memory back, twice from the same images, while the original went on', async () => {
    const { pid, root, images, beside, anew } = await start('plain');
    const before = await ask(root);
    const done = await dump(beside, { imagesDir: images, pid, leaveRunning: true });
    assert.ok(done.stats!.pagesWritten > 0 && done.stats!.frozenMicros > 0);
    await waitFor(async () => (await ask(root)).counter > before.counter + 200);
    killQuietly(pid);
    for (let i = 0; i < 2; i++) {
      const { pid: again } = await restored(anew, { imagesDir: images, root });
      const after = await ask(root);
      assert.equal(after.nonce, before.nonce, 'the memory is the same');
      assert.ok(after.counter >= before.counter && after.counter < before.counter + 200, 'and as old as the dump');
      await waitFor(async () => (await ask(root)).counter > after.counter);
      await endOf(again);
    }
  });

  it('lets processes that are to go on wait for no image to be written; others end when all are', async () => {
    const all = ['core-1.img', 'inventory.img', 'pages-1.img'];
    for (const leaveRunning of [true, false]) {
      const { pid, root, images, beside, anew } = await start('plain');
      const { nonce } = await ask(root);
      const written = () => all.filter((name) => existsSync(join(images, name)));
      const meanwhile: string[] = [];
      const look = { 'post-dump': () => void meanwhile.push(...written()) };
      await dump(beside, { imagesDir: images, pid, leaveRunning }, look);
      assert.deepEqual(written(), all);
      if (!process.env.TELEPORT_CRIU) assert.deepEqual(meanwhile, leaveRunning ? [] : all, 'while they stand still');
      killQuietly(pid);
      await restored(anew, { imagesDir: images, root });
      assert.equal((await ask(root)).nonce, nonce);
    }
  });

  it('brings back large memory as it was, with no page more resident than there was', async () => {
    const { pid, root, images, beside, anew } = await start('memory');
    const { state } = await ask(root);
    const [whole, gaps, ok] = state.split(',');
    assert.equal(ok, 'ok');
    const mappings = (of: number) => [whole!, gaps!].map((address) => mappingAt(of, address));
    const before = mappings(pid);
    await dump(beside, { imagesDir: images, pid });
    const { pid: again } = await restored(anew, { imagesDir: images, root });
    assert.deepEqual(mappings(again), before);
    assert.equal((await ask(root)).state, state);
  });

  it('calls hooks in order and waits for them', async () => {
    const { pid, root, images, beside, anew } = await start('plain');
    const seen: string[] = [];
    const note = (...moments: string[]): Hooks<string> =>
      Object.fromEntries(
        moments.map((moment) => [
          moment,
          async (root?: number) => {
            await new Promise((resolve) => setTimeout(resolve, 5));
            seen.push(root === undefined ? moment : `${moment} with pid`);
          },
        ]),
      );
    await dump(beside, { imagesDir: images, pid }, note('pre-dump', 'query-ext-files', 'post-dump'));
    assert.deepEqual(seen.splice(0), ['pre-dump', 'query-ext-files', 'post-dump']);
    await restored(
      anew,
      { imagesDir: images, root },
      note('pre-restore', 'setup-namespaces', 'post-restore', 'pre-resume', 'post-resume'),
    );
    assert.deepEqual(seen, [
      'pre-restore',
      'setup-namespaces with pid',
      'post-restore with pid',
      'pre-resume',
      'post-resume',
    ]);
  });

  it('is asked nothing at moments without a hook', async function () {
    if (process.env.TELEPORT_CRIU) this.skip();
    const { pid, root, images, beside, anew } = await start('plain');
    const asked = (logPath: string): string[] =>
      [...readFileSync(logPath, 'utf8').matchAll(/Running (\S+) scripts\n[^\n]*RPC$/gm)].map(([, moment]) => moment!);
    const dumped = await dump(beside, { imagesDir: images, pid, logLevel: 4 }, { 'post-dump': () => {} });
    assert.deepEqual(asked(dumped.logPath), ['post-dump']);
    const made = await restored(anew, { imagesDir: images, root, logLevel: 4 }, { 'pre-resume': () => {} });
    assert.deepEqual(asked(made.logPath), ['pre-resume']);
    await endOf(made.pid);
    const { pid: all, logPath } = await restored(anew, { imagesDir: images, root, logLevel: 4 });
    assert.ok(asked(logPath).length > 4, 'without a hook nothing is left out');
    await endOf(all);
  });

  it('has processes born in the control group that is named, and is not in it itself', async function () {
    if (process.env.TELEPORT_CRIU) this.skip();
    const { pid, root, images, beside, anew } = await start('plain');
    await dump(beside, { imagesDir: images, pid });
    const group = Cgroup.make(join(findCgroup2()!, `teleport-env-test-${process.pid}`));
    try {
      let then: number[] = [];
      const { pid: made } = await restored(
        anew,
        { imagesDir: images, root, rootCgroup: group.path },
        {
          'pre-resume': () => {
            then = group.pids();
          },
        },
      );
      assert.ok(then.includes(made));
      assert.deepEqual(group.pids(), then);
    } finally {
      await group.end();
    }
    const gone = await refused(restore(anew, { imagesDir: images, root, rootCgroup: group.path }));
    assert.equal(gone.code, 'refused');
    assert.ok(!existsSync(group.path));
  });

  it('leaves everything as it was when a hook of a dump throws, or the dump is cancelled', async () => {
    const { pid, root, images, beside } = await start('plain');
    const before = await ask(root);
    const thrown = new Error('the disk is on fire');
    const error = await refused(
      dump(beside, { imagesDir: images, pid }, { 'post-dump': () => Promise.reject(thrown) }),
    );
    assert.equal(error.code, 'hook');
    assert.equal(error.cause, thrown);
    assert.match(error.message, /"post-dump": the disk is on fire/);
    const stop = new AbortController();
    const cancelled = await refused(
      dump(beside, { imagesDir: images, pid, signal: stop.signal }, { 'query-ext-files': () => stop.abort() }),
    );
    assert.deepEqual([cancelled.code, cancelled.killed], ['aborted', false]);
    const late = await refused(
      dump(
        beside,
        { imagesDir: images, pid, timeoutMs: 20 },
        { 'query-ext-files': () => new Promise((r) => setTimeout(r, 100)) },
      ),
    );
    assert.deepEqual([late.code, late.killed], ['timeout', false]);
    assert.equal((await ask(root)).nonce, before.nonce);
  });

  it('ends one that was begun before, where the conversation cannot begin', async () => {
    const begun = new CriuProcess({ binary });
    await assert.rejects(restore(begun, { imagesDir: join(work, 'nowhere') }), { code: 'notStarted' });
    assert.equal(await begun.ended, 'was ended by SIGKILL');
  });

  it('kills a CRIU that does not react', async () => {
    const deaf: CriuLaunch = { binary, prefix: ['/bin/sh', '-c', 'exec sleep 60'] };
    const error = await refused(dump(deaf, { imagesDir: work, pid: 1, timeoutMs: 20, killAfterMs: 20 }));
    assert.deepEqual([error.code, error.killed], ['timeout', true]);
    assert.match(error.message, /may be damaged/);
  });

  it('has refused what it said no to, though it was given up while it cleared away; not where somebody ended that', async () => {
    const log = join(work, 'restore.log');
    const found = "Error (soccr/soccr.c:94): Can't turn TCP repair mode ON: Operation not permitted";
    const end = 'Error (criu/cr-restore.c:2331): Restoring FAILED.';
    const killed = 'Error (criu/cr-restore.c:1273): 1 killed by signal 9: Killed';
    // As protocol buffers: type = restore, success = false.
    const answers = `sleep 0.1; printf '\\010\\002\\020\\000' >&3`; // as protocol buffers: type = restore, success = false
    const stays = 'exec sleep 60';
    for (const [lines, then, givesUp, code] of [
      [[found, end], answers, false, 'refused'],
      [[found, end], answers, true, 'refused'],
      [[found, end], stays, true, 'refused'],
      [[killed, end], answers, false, 'crashed'],
      [[killed, end], answers, true, 'aborted'],
      [[killed, end], stays, true, 'aborted'],
    ] as const) {
      const script = `dd count=1 bs=64k <&3 >&2 2>&-; printf '%s\\n' "$@" > ${log}.new; mv ${log}.new ${log}; ${then}`;
      const stop = new AbortController();
      const slow: CriuLaunch = { binary, prefix: ['/bin/sh', '-c', script, 'sh', ...lines] };
      const restored = refused(restore(slow, { imagesDir: work, signal: stop.signal, killAfterMs: 500 }));
      while (!existsSync(log)) await sleep(5);
      if (givesUp) stop.abort();
      assert.equal((await restored).code, code, `${lines}, then ${then}, given up: ${givesUp}`);
    }
  });

  it('leaves nothing behind when a restore is cancelled', async () => {
    const { pid, root, images, beside, anew } = await start('plain');
    await dump(beside, { imagesDir: images, pid });
    const stop = new AbortController();
    let made: number | undefined;
    const error = await refused(
      restore(
        anew,
        { imagesDir: images, root, signal: stop.signal },
        {
          'post-restore': (pid) => {
            made = pid;
            stop.abort();
          },
        },
      ),
    );
    assert.equal(error.code, 'aborted');
    assert.ok(!alive(made!));
  });

  for (const moment of ['pre-resume', 'post-resume'] as const)
    it(`leaves nothing behind when it is too late for CRIU to turn back (${moment})`, async () => {
      const { pid, root, images, beside, anew } = await start('plain');
      await dump(beside, { imagesDir: images, pid });
      const stop = new AbortController();
      const failing = () => Promise.reject(new Error('the disk is on fire'));
      for (const [code, end] of [
        ['hook', failing],
        ['aborted', () => stop.abort()],
      ] as const) {
        let made: number | undefined;
        const error = await refused(
          restore(
            anew,
            { imagesDir: images, root, signal: stop.signal },
            {
              'post-restore': (pid) => {
                made = pid;
              },
              [moment]: end,
            },
          ),
        );
        assert.equal(error.code, code);
        await waitFor(async () => !alive(made!));
      }
    });

  describe('connections over loopback, with data under way and half-closed', () => {
    for (const [name, asked] of [
      ['untouched since they began', false],
      ['in use', true],
    ] as const) {
      it(`go on: ${name}`, async function () {
        const can = await check({ binary });
        if (!can.ok || !can.patches.includes('tcp-repair')) this.skip();
        const { pid, root, images, beside, anew } = await start('tcp');
        if (asked) assert.equal((await ask(root)).state, 'ok');
        await dump(beside, { imagesDir: images, pid, leaveRunning: true, tcpEstablished: true });
        assert.equal((await ask(root)).state, 'ok', 'in the original');
        await endOf(pid);
        for (let i = 0; i < 2; i++) {
          const { pid: again } = await restored(anew, { imagesDir: images, root, tcpEstablished: true });
          for (let j = 0; j < 3; j++) assert.equal((await ask(root)).state, 'ok', `in copy ${i}, question ${j}`);
          await endOf(again);
        }
      });
    }
  });

  describe('says what stands in the way and leaves it unharmed', () => {
    for (const [mode, reason, message] of [
      ['traced', 'traced', /Process \d+ cannot be stopped, because a debugger/],
      ['io_uring', 'descriptor', /Process \d+ holds an io_uring ring \(descriptor \d+\)/],
      ['userns', 'nestedNamespace', /made a user namespace of its own/],
      ['foreign', 'outsideFile', /holds open \/etc\/hostname, which was opened outside/],
      ['peer', 'outsideSocket', /unix socket to one outside/],
      ['ghost', 'deletedFile', /\/big open, which was deleted, and its 2 MiB/],
      ['lock', 'fileLock', /file lock/],
      ['pending', 'pendingConnection', /has not accepted yet/],
    ] as const) {
      it(mode, async () => {
        const { pid, root, images, beside } = await start(mode);
        const before = await ask(root);
        const error = await refused(dump(beside, { imagesDir: images, pid }));
        assert.deepEqual([error.code, error.reason], ['refused', reason]);
        assert.match(error.message, message);
        assert.equal(readFileSync(error.logPath!, 'utf8').includes(error.quoted[0]!), true);
        if (error.process) assert.equal(error.process.command, 'payload');
        assert.equal((await ask(root)).nonce, before.nonce);
      });
    }
  });

  interface Answer {
    nonce: string;
    counter: number;
    state: string;
  }

  /** One question to the payload at `root`. */
  function ask(root: string): Promise<Answer> {
    return new Promise((resolve, reject) => {
      let text = '';
      connect(join(root, 'sock'))
        .on('data', (part) => {
          text += part;
        })
        .on('end', () => {
          const [nonce = '', counter, state = ''] = text.trim().split(' ');
          resolve({ nonce, counter: Number(counter), state });
        })
        .on('error', reject);
    });
  }

  /** KB resident, and the kernel's flags, of the mapping at that address. */
  function mappingAt(pid: number, address: string): { rss: string; flags: string } {
    const all = readFileSync(`/proc/${pid}/smaps`, 'utf8');
    const one = all.slice(all.search(new RegExp(`^${address}-`, 'm')));
    const line = (name: string) => new RegExp(`^${name}:\\s+(.*)$`, 'm').exec(one)![1]!;
    return { rss: line('Rss'), flags: line('VmFlags') };
  }

  async function waitFor(holds: () => Promise<boolean>): Promise<void> {
    for (let i = 0; !(await holds()); i++) {
      if (i > 1000) assert.fail('waited in vain');
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  async function endOf(pid: number): Promise<void> {
    killQuietly(pid);
    await waitFor(async () => !alive(pid));
  }

  /** A zombie whose parent does not reap is dead enough. */
  function alive(pid: number): boolean {
    try {
      return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
    } catch {
      return false;
    }
  }

  function killQuietly(pid: number): void {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {}
  }
});

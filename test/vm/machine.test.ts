/**
 * A real virtual machine: its own kernel, systemd, cloud-init, ssh, our provisioning, the real helper and CRIU, worked with
 * from the extension in a real VS Code. Only the `multipass` command is a stand-in over QEMU (see multipass.ts for what that
 * doesn't prove). Without KVM a boot takes half a minute and more, the whole about six. TELEPORT_ENV_VM_KEEP=DIR keeps the
 * machine there for the next time, while one works on what comes after its launch.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { shellWord } from '../../helper/protocol/shell-word.ts';
import type { Machine } from '../../src/connection/multipass/machine.ts';
import { multipassPlace } from '../../src/connection/multipass/place.ts';
import type { Place } from '../../src/connection/place.ts';
import { type Dialler, Forward } from '../../src/ports/forward.ts';
import { isSetUp } from '../vscode/paths.ts';
import { connect } from './client.ts';
import { Journey, storageOf, userData } from './editor.ts';
import { IMAGE } from './qemu.ts';
import { buildStandIn, machineOf, stageExtension, stageNewer, worldOf } from './world.ts';

const MINUTE = 60_000;
const UPGRADED = '99.0.0';

/** Too many processes, then too much memory, then a rollback to before both. */
const LIMITS = `mkdir -p ~/limited && cd ~/limited && rm -rf ./*
echo "controllers $(cat /sys/fs/cgroup/teleport-env/cgroup.controllers)"
teleport-env up --workspace ~/limited --name limited --processes 30 --memory 64M >/dev/null || exit 1
id=$(teleport-env list --json | python3 -c 'import json,sys; print([s["id"] for s in json.load(sys.stdin)["sandboxes"] if s["name"] == "limited"][0])')
for group in /sys/fs/cgroup/teleport-env/$id-b*; do
  if grep -q 'populated 1' $group/cgroup.events; then echo "group $(cat $group/pids.max) $(cat $group/memory.max)"; fi
done
echo "processes: $(teleport-env exec limited -- sh -c 'i=0; while [ $i -lt 60 ]; do sleep 20 & i=$((i+1)); done' 2>&1 | tail -1)"
teleport-env exec limited -- python3 -c 'x = bytearray(300 << 20)' >/dev/null 2>&1
echo "memory: $?"
teleport-env rollback limited k0 >/dev/null && echo "back: $(teleport-env exec limited -- echo alive)"
teleport-env rm limited >/dev/null
`;

/** All memory but 7 % is taken, and given back when no standby is left. */
const PRESSURE = `standing() { grep -l 'frozen 1' /sys/fs/cgroup/teleport-env/SANDBOX-b*/cgroup.events 2>/dev/null | wc -l; }
until_standing() { for i in $(seq 60); do n=$(standing); if [ $n $1 0 ]; then break; fi; sleep 1; done; echo "$2: $n"; }
until_standing -gt before
python3 -c '
import time
def kb(name): return int(next(line for line in open("/proc/meminfo") if line.startswith(name)).split()[1])
held = []
while kb("MemAvailable:") > kb("MemTotal:") * 0.07: held.append(b"x" * (8 << 20))
time.sleep(90)' &
until_standing -eq scarce
grep MemAvailable /proc/meminfo
kill %1
`;

const kept = process.env.TELEPORT_ENV_VM_KEEP;

describe('a real virtual machine', function () {
  this.timeout(12 * MINUTE);
  this.bail(true);
  let home: string;
  let folder: string;
  let standIn: string;
  let machine: Machine;
  let place: Place;
  let window: Journey | undefined;
  let client: Awaited<ReturnType<typeof connect>> | undefined;
  let sandbox: string;
  const lines: string[] = [];

  const world = (extension: string) => worldOf(standIn, storageOf(home), join(home, extension));
  const placeOf = (of: Machine): Place =>
    multipassPlace({
      machine: of,
      during: (_, work) =>
        work((step) => void lines.push(`${step.stage}: ${step.message}`), new AbortController().signal),
      exclude: () => ['node_modules'],
      log: (text) => void lines.push(text),
      survivesReload: () => true,
    });
  const run = async (line: string) => {
    const { exitCode, output, checkpoint } = await client!.ask('run', { sandbox, line });
    return { exitCode, output: Buffer.from(output, 'base64').toString(), checkpoint };
  };
  const inside = async (line: string) =>
    (
      await world('extension').run(
        { command: standIn, args: ['exec', '-n', machine.settings.name, '--', 'sh', '-c', line] },
        { timeoutMs: MINUTE },
      )
    ).stdout;
  const timed = async <T>(what: string, work: () => Promise<T>): Promise<T> => {
    const started = performance.now();
    const result = await work();
    console.log(`      ${what}: ${((performance.now() - started) / 1000).toFixed(1)} s`);
    return result;
  };
  /** Where there is no VS Code, what follows is tested without one. */
  const inVsCode = (what: string, test: (window: Journey) => Promise<void>) =>
    it(what, async function () {
      if (window) return await test(window);
      console.log('      skipped: there is no VS Code here (scripts/setup-vscode.sh)');
      return this.skip();
    });

  before(async function () {
    if (!existsSync(join(IMAGE, 'complete'))) {
      if (process.env.TELEPORT_ENV_REQUIRE?.includes('vm'))
        throw new Error('no guest is built: run scripts/setup-vm.sh');
      console.log('      skipped: no guest is built (scripts/setup-vm.sh)');
      this.skip();
    }
    home = kept ?? mkdtempSync(join(tmpdir(), 'teleport-env-vm-'));
    for (const name of ['extension', 'newer', 'projects']) rmSync(join(home, name), { recursive: true, force: true });
    if (!existsSync(join(home, 'vms/machines'))) rmSync(userData(home), { recursive: true, force: true });
    process.env.TELEPORT_ENV_VM_HOME = join(home, 'vms');
    standIn = buildStandIn(join(home, 'bin'));
    stageExtension(join(home, 'extension'));
    machine = machineOf(world('extension'));
    place = placeOf(machine);
    folder = join(home, 'projects', 'my app');
    mkdirSync(join(folder, 'src'), { recursive: true });
    mkdirSync(join(folder, 'node_modules'));
    writeFileSync(join(folder, 'node_modules/made-for-another-system'), '');
    writeFileSync(join(folder, 'src/naïve.txt'), 'one\r\ntwo\r\n');
    writeFileSync(join(folder, 'keep.txt'), 'keep\n');
    writeFileSync(join(folder, 'run.sh'), '#!/bin/sh\necho ran\n', { mode: 0o755 });
    symlinkSync('keep.txt', join(folder, 'link'));
    writeFileSync(join(folder, 'large.bin'), Buffer.alloc(2_000_000, 7));
    if (isSetUp()) window = await Journey.start(home, standIn, join(home, 'extension'));
  });

  afterEach(async function () {
    if (this.currentTest?.state !== 'failed') return;
    console.error(lines.slice(-30).join('\n'));
    await window?.editor.screenshot('vm-failed');
    for (const [name, text] of (await window?.editor.logs()) ?? [])
      if (/Teleport Env/.test(name)) console.error(text.slice(-6_000));
  });

  after(async () => {
    await client?.close().catch(() => {});
    await window?.editor.close();
    if (!home || kept) return;
    await machine.remove().catch((error) => console.error(`removing the machine: ${error}`));
    rmSync(home, { recursive: true, force: true });
  });

  it('is launched and provisioned from nothing', async () => {
    const began = performance.now();
    const tell = (text: string) => console.log(`        ${((performance.now() - began) / 1000).toFixed(0)} s ${text}`);
    if (window) {
      const said = await timed('launch and provisioning', () => window!.setUp(!kept));
      for (const text of said) console.log(`        “${text}”`);
      if (kept) return;
      for (const stage of [/Waiting for its first boot|Starting the machine/, /Installing/])
        assert.ok(
          said.some((text) => stage.test(text)),
          `${stage}: ${said.join(' | ')}`,
        );
    } else {
      const ready = await timed('launch and provisioning', () => machine.launch((step) => tell(step.message)));
      assert.deepEqual([ready.transport.kind, ready.provisioned], ['exec', true]);
    }
  });

  inVsCode('a sandbox is made, wrecked, taken back and applied, from the extension in VS Code', (window) =>
    timed('in VS Code', () => window.wreckAndComeBack()),
  );

  it('a second launch finds it there', async () => {
    const again = await timed('second launch', () => machine.launch(() => {}));
    assert.deepEqual([again.transport.kind, again.provisioned], ['exec', false]);
    console.log((await machine.doctor()).replace(/^/gm, '      '));
  });

  it('a folder of this host becomes a sandbox there', async () => {
    const started = performance.now();
    client = await timed('connection', () => connect(place));
    const workspace = place.toHelperPath(folder);
    assert.equal(workspace, '/workspaces/my-app');
    const made = await timed('copy-in and sandbox', () => client!.ask('sandbox/create', { workspace, progress: 'p1' }));
    console.log(`      from “running” to a sandbox: ${((performance.now() - started) / 1000).toFixed(1)} s (emulated)`);
    sandbox = made.sandbox.id;
    assert.ok(client.told.some(({ name }) => name === 'progress'));
    assert.ok(lines.some((line) => line.startsWith('Left out: node_modules')));
    const { output } = await run(
      'pwd; uname -s; od -c src/naïve.txt | head -1; ./run.sh; readlink link; ls node_modules',
    );
    assert.match(output, /^\/workspaces\/my-app\r?\nLinux/);
    assert.match(output, /o {3}n {3}e {2}\\r {2}\\n/);
    assert.match(output, /ran\r?\nkeep\.txt\r?\n/);
    assert.match(output, /No such file/);
  });

  it('goes back, files and live processes', async () => {
    const { checkpoint } = await run(
      'count() { i=0; while :; do i=$((i+1)); echo $i >count; sleep 0.2; done; }; count & echo $! >pid; ' +
        'echo from the sandbox >src/new.txt; printf "one\\r\\nchanged\\r\\n" >src/naïve.txt; chmod 600 keep.txt',
    );
    assert.equal((await run('kill $(cat pid); rm -rf src keep.txt run.sh link; ls; kill -0 $(cat pid)')).exitCode, 1);
    const moved = await timed('rollback', () =>
      client!.ask('checkpoint/rollback', { sandbox, checkpoint: checkpoint!.id }),
    );
    console.log(`      in the helper: ${moved.rollbackMs.toFixed(1)} ms, ${moved.path}`);
    const { output } = await run(
      'a=$(cat count); sleep 2; b=$(cat count); echo $((b > a)); kill -0 $(cat pid) && ls src',
    );
    assert.match(output, /^1\r?\nna.*ve\.txt\r?\nnew\.txt/);
  });

  it('a port in it is reached from this host', async () => {
    await run('(cd src && exec python3 -m http.server --bind 127.0.0.1 8321) >/dev/null 2>&1 &');
    await run(
      'until python3 -c "import socket; socket.create_connection((\'127.0.0.1\', 8321))" 2>&-; do sleep 0.2; done',
    );
    const forward = await Forward.open(client! as unknown as Dialler, { sandbox, port: 8321 });
    const page = await timed('a page through it', () => fetch(`http://127.0.0.1:${forward.local}/new.txt`));
    assert.equal(await page.text(), 'from the sandbox\n');
    forward.dispose();
    await run('kill %%');
  });

  it('applies to the folder of this host, with the conflict check', async () => {
    writeFileSync(join(folder, 'src/new.txt'), 'mine\n');
    const plan = await timed('plan', () => client!.ask('apply/plan', { sandbox }));
    assert.equal(plan.to, folder);
    const changes = Object.fromEntries(plan.changes.map((change) => [change.path, change.conflict]));
    assert.equal(changes['src/naïve.txt'], null);
    assert.equal(changes['src/new.txt'], 'exists');
    assert.equal('node_modules/made-for-another-system' in changes, false);
    const done = await client!.ask('apply/perform', { sandbox, paths: ['src/naïve.txt', 'src/new.txt'] });
    assert.deepEqual(done.applied, ['src/naïve.txt']);
    assert.deepEqual(
      done.conflicts.map((change) => change.path),
      ['src/new.txt'],
    );
    assert.equal(readFileSync(join(folder, 'src/naïve.txt'), 'utf8'), 'one\r\nchanged\r\n');
    assert.equal(readFileSync(join(folder, 'src/new.txt'), 'utf8'), 'mine\n');
  });

  it('limits processes and memory by the controllers of cgroup v2, which a container may lack', async () => {
    const said = await timed('limits', () => inside(LIMITS));
    assert.match(said, /^controllers .*\bmemory\b.*\bpids\b/m);
    const [, pids, memory] = said.match(/^group (\d+) (\d+)$/m) ?? [];
    // The payload's allowance and the room that PID 1 and CRIU work in.
    assert.ok(Number(pids) >= 30 && Number(pids) < 60, said);
    assert.ok(Number(memory) >= 64 * 2 ** 20 && Number(memory) < 128 * 2 ** 20, said);
    assert.match(said, /^processes: .*(fork|Resource temporarily unavailable)/m);
    assert.match(said, /^memory: 137$/m);
    assert.match(said, /^back: alive$/m);
  });

  it('lets its standbys go when the machine runs out of memory, goes back all the same, and has one again afterwards', async () => {
    const under = PRESSURE.replaceAll('SANDBOX', sandbox);
    const said = await timed('memory taken', () => inside(`bash -c ${shellWord(under)}`));
    assert.match(said, /^before: [1-9]/m, said);
    assert.match(said, /^scarce: 0$/m, said);
    const { checkpoint, path } = await client!.ask('checkpoint/rollback', { sandbox, checkpoint: 'k1' });
    console.log(`      ${path}`);
    assert.equal(checkpoint, 'k1');
    const after = await inside(
      `bash -c ${shellWord(`${under.split('\n').slice(0, 2).join('\n')}\nuntil_standing -gt after`)}`,
    );
    assert.match(after, /^after: [1-9]/m, after);
    await client!.ask('checkpoint/undo', { sandbox });
  });

  const overSsh = async () => {
    const windows = world('extension');
    const before = windows.storage.read().transports;
    windows.storage.change((all) => ({ ...all, transports: {} }));
    const ready = await machineOf({ ...windows, runner: { ...windows.runner, platform: 'win32' } }).prepare(() => {});
    assert.equal(ready.transport.kind, 'ssh');
    const ended = await windows.run(ready.transport.program(['sh', '-c', 'id -un; exit 4']), { timeoutMs: MINUTE });
    assert.deepEqual([ended.stdout, ended.exitCode], ['ubuntu\n', 104]);
    windows.storage.change((all) => ({ ...all, transports: before }));
  };

  it('is reached over ssh with our own key where exec would not do', () => timed('over ssh', overSsh));

  it('suspended, it is woken, with everything that ran', async () => {
    const before = Number((await run('cat count')).output);
    await client!.close();
    client = undefined;
    await timed('suspend', () => machine.suspend());
    assert.equal((await machine.state())?.state, 'Suspended');
    client = await timed('waking and connection', () => connect(place));
    for (let tries = 0; Number((await run('cat count')).output) <= before; tries++, await sleep(500))
      assert.ok(tries < 60, 'what ran goes on');
    // The editor's window rests since then: it did not start what somebody suspended, and sees that somebody else did.
    if (window) await timed('the window sees it', () => window!.lookAgain());
  });

  it('stopped, it saves what runs, and is started at another address with it', async () => {
    const before = Number((await run('cat count; echo unsaved >stopped.txt')).output);
    const [address] = (await machine.state())!.addresses;
    await client!.close();
    client = undefined;
    await timed('stop', () => (window ? window.stop() : machine.stop()));
    assert.equal((await machine.state())?.state, 'Stopped');
    if (window) await timed('start, from the window', () => window!.start());
    client = await timed('start and connection', () => connect(place));
    assert.notEqual((await machine.state())!.addresses[0], address);
    const { sandbox: found } = await client.ask('sandbox/get', { sandbox });
    assert.equal(found.state, 'stopped');
    await timed('sandbox start', () => client!.ask('sandbox/start', { sandbox }));
    const { output } = await run('cat stopped.txt; kill -0 $(cat pid) && sleep 0.5 && cat count');
    const [unsaved, count] = output.split(/\r?\n/);
    assert.equal(unsaved, 'unsaved');
    assert.ok(Number(count) > before, `${count} after ${before}`);
    // The host key is known by the machine's name, not by its address.
    await overSsh();
  });

  it('an extension that is newer updates the helper; what runs goes on', async () => {
    const before = (await run('cat pid count')).output.split('\n');
    await client!.close();
    client = undefined;
    stageNewer(join(home, 'extension'), join(home, 'newer'), UPGRADED);
    if (window) {
      await window.editor.close();
      window = undefined;
      window = await Journey.start(home, standIn, join(home, 'newer'));
      await timed('update, by a window that is opened', () => window!.connected());
      assert.match(await inside('teleport-env --version'), new RegExp(UPGRADED));
    }
    machine = machineOf(world('newer'));
    place = placeOf(machine);
    client = await timed('update', () => connect(place));
    assert.equal(client.handshake.helperVersion, UPGRADED);
    assert.match(await inside('teleport-env --version'), new RegExp(UPGRADED));
    const after = (await run('cat pid count; kill -0 $(cat pid) && echo alive')).output.split('\n');
    assert.equal(after[0], before[0]);
    assert.ok(Number(after[1]) > Number(before[1]), `${before} → ${after}`);
    assert.match(after[2] ?? '', /alive/);
  });
});

/**
 * A real virtual machine: its own kernel, systemd, cloud-init, ssh, our provisioning, the real helper and CRIU. Only the
 * `multipass` command is a stand-in over QEMU (see multipass.ts for what that doesn't prove). Without KVM a boot takes a
 * minute or two; the whole about ten. TELEPORT_ENV_VM_KEEP=DIR keeps the machine there for the next time, while one works on
 * what comes after its launch.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Machine } from '../../src/connection/multipass/machine.ts';
import { multipassPlace } from '../../src/connection/multipass/place.ts';
import type { Place } from '../../src/connection/place.ts';
import { isSetUp } from '../vscode/paths.ts';
import { connect } from './client.ts';
import { journey } from './editor.ts';
import { IMAGE } from './qemu.ts';
import { machineOf, stageExtension, worldOf } from './world.ts';

const MINUTE = 60_000;
const UPGRADED = '99.0.0';

const kept = process.env.TELEPORT_ENV_VM_KEEP;

describe('a real virtual machine', function () {
  this.timeout(10 * MINUTE);
  this.bail(true);
  let home: string;
  let folder: string;
  let machine: Machine;
  let place: Place;
  let client: Awaited<ReturnType<typeof connect>> | undefined;
  let sandbox: string;
  const lines: string[] = [];

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
  const timed = async <T>(what: string, work: () => Promise<T>): Promise<T> => {
    const started = performance.now();
    const result = await work();
    console.log(`      ${what}: ${((performance.now() - started) / 1000).toFixed(1)} s`);
    return result;
  };

  before(function () {
    if (!existsSync(join(IMAGE, 'complete'))) {
      if (process.env.TELEPORT_ENV_REQUIRE?.includes('vm'))
        throw new Error('no guest is built: run scripts/setup-vm.sh');
      console.log('      skipped: no guest is built (scripts/setup-vm.sh)');
      this.skip();
    }
    home = kept ?? mkdtempSync(join(tmpdir(), 'teleport-env-vm-'));
    for (const name of ['extension', 'newer', 'projects']) rmSync(join(home, name), { recursive: true, force: true });
    process.env.TELEPORT_ENV_VM_HOME = join(home, 'vms');
    const world = worldOf(home, stageExtension(join(home, 'extension')));
    world.storage.change((all) => ({ ...all, transports: {}, folders: {} }));
    machine = machineOf(world);
    place = placeOf(machine);
    folder = join(home, 'projects', 'my app');
    mkdirSync(join(folder, 'src'), { recursive: true });
    mkdirSync(join(folder, 'node_modules'));
    writeFileSync(join(folder, 'node_modules/made-for-another-system'), '');
    writeFileSync(join(folder, 'src/naïve.txt'), 'one\r\ntwo\r\n');
    writeFileSync(join(folder, 'keep.txt'), 'keep\n');
    writeFileSync(join(folder, 'run.sh'), '#!/bin/sh\necho ran\n', { mode: 0o755 });
    symlinkSync('keep.txt', join(folder, 'link'));
    writeFileSync(join(folder, 'large.bin'), Buffer.alloc(8_000_000, 7));
  });

  afterEach(function () {
    if (this.currentTest?.state === 'failed') console.error(lines.slice(-30).join('\n'));
  });

  after(async () => {
    await client?.close().catch(() => {});
    if (!home || kept) return;
    await machine.remove().catch((error) => console.error(`removing the machine: ${error}`));
    rmSync(home, { recursive: true, force: true });
  });

  it('is launched and provisioned from nothing', async () => {
    const began = performance.now();
    const ready = await timed('launch and provisioning', () =>
      machine.launch((step) => {
        lines.push(`${step.stage}: ${step.message}`);
        console.log(`        ${((performance.now() - began) / 1000).toFixed(0)} s ${step.message}`);
      }),
    );
    assert.equal(ready.transport.kind, 'exec');
    if (kept) return;
    assert.equal(ready.provisioned, true);
    const stages = new Set(lines.map((line) => line.split(':')[0]));
    for (const stage of ['find', 'boot', 'initialize', 'reach', 'provision']) assert.ok(stages.has(stage), stage);
    console.log((await machine.doctor()).replace(/^/gm, '      '));
  });

  it('a second launch finds it there', async () => {
    const again = await timed('second launch', () => machine.launch(() => {}));
    assert.equal(again.provisioned, false);
  });

  it('a folder of this host becomes a sandbox there', async () => {
    const started = performance.now();
    client = await timed('connection', () => connect(place));
    const workspace = place.toHelperPath(folder);
    assert.equal(workspace, '/workspaces/my-app');
    const size = await client.ask('workspace/measure', { workspace });
    assert.equal(
      size.entries.some((entry) => entry.name === 'node_modules'),
      false,
    );
    const made = await timed('copy-in and sandbox', () => client!.ask('sandbox/create', { workspace, progress: 'p1' }));
    console.log(
      `      from “running” to the first sandbox: ${((performance.now() - started) / 1000).toFixed(1)} s (emulated)`,
    );
    sandbox = made.sandbox.id;
    assert.ok(client.told.some(({ name }) => name === 'progress'));
    console.log(`      ${lines.find((line) => line.startsWith('Copied'))}`);
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
    await run('count() { i=0; while :; do i=$((i+1)); echo $i >count; sleep 0.2; done; }; count & echo $! >pid');
    await run('echo from the sandbox >src/new.txt; printf "one\\r\\nchanged\\r\\n" >src/naïve.txt; chmod 600 keep.txt');
    const { checkpoint } = await timed('checkpoint', () =>
      client!.ask('checkpoint/create', { sandbox, label: 'good' }),
    );
    await run('kill $(cat pid); rm -rf src keep.txt run.sh link');
    assert.equal((await run('ls; kill -0 $(cat pid)')).exitCode, 1);
    const moved = await timed('rollback', () =>
      client!.ask('checkpoint/rollback', { sandbox, checkpoint: checkpoint.id }),
    );
    console.log(`      in the helper: ${moved.rollbackMs.toFixed(1)} ms, ${moved.path}`);
    const { output } = await run(
      'a=$(cat count); sleep 2; b=$(cat count); echo $((b > a)); kill -0 $(cat pid) && ls src',
    );
    assert.match(output, /^1\r?\nna.*ve\.txt\r?\nnew\.txt/);
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

  it('is reached over ssh with our own key where exec would not do', async () => {
    const windows = worldOf(home, join(home, 'extension'));
    windows.storage.change((all) => ({ ...all, transports: {} }));
    const ready = await timed('over ssh', () =>
      machineOf({ ...windows, runner: { ...windows.runner, platform: 'win32' } }).prepare(() => {}),
    );
    assert.equal(ready.transport.kind, 'ssh');
    const ended = await windows.run(ready.transport.program(['sh', '-c', 'id -un; exit 4']), { timeoutMs: MINUTE });
    assert.deepEqual([ended.stdout, ended.exitCode], ['ubuntu\n', 104]);
    windows.storage.change((all) => ({ ...all, transports: {} }));
  });

  it('an extension that is newer updates the helper; what runs goes on', async () => {
    const before = (await run('cat pid count')).output.split('\n');
    await client!.close();
    machine = machineOf(worldOf(home, stageExtension(join(home, 'newer'), UPGRADED)));
    place = placeOf(machine);
    client = await timed('update', () => connect(place));
    assert.equal(client.handshake.helperVersion, UPGRADED);
    const after = (await run('cat pid count; kill -0 $(cat pid) && echo alive')).output.split('\n');
    assert.equal(after[0], before[0]);
    assert.ok(Number(after[1]) > Number(before[1]), `${before} → ${after}`);
    assert.match(after[2] ?? '', /alive/);
  });

  it('suspended, it is woken, with everything that ran', async () => {
    const before = Number((await run('cat count')).output);
    await client!.close();
    await timed('suspend', () => machine.suspend());
    assert.equal((await machine.state())?.state, 'Suspended');
    client = await timed('waking and connection', () => connect(place));
    await sleep(1_000);
    assert.ok(Number((await run('cat count')).output) > before);
  });

  it('stopped, it is started at another address; the sandbox is there', async () => {
    await run('echo before the stop >stopped.txt');
    const { checkpoint } = await client!.ask('checkpoint/create', { sandbox, label: 'before the stop' });
    const [address] = (await machine.state())!.addresses;
    await client!.close();
    await timed('stop', () => machine.stop());
    client = await timed('start and connection', () => connect(place));
    assert.notEqual((await machine.state())!.addresses[0], address);
    const { sandbox: found } = await client.ask('sandbox/get', { sandbox });
    if (found.state !== 'running') await timed('sandbox start', () => client!.ask('sandbox/start', { sandbox }));
    await client.ask('checkpoint/rollback', { sandbox, checkpoint: checkpoint.id });
    assert.equal((await run('cat stopped.txt')).output.trim(), 'before the stop');
  });

  // Seen to pass on a kept machine, not yet in a whole cold run: asked for by name until it is.
  if (process.env.TELEPORT_ENV_VM_EDITOR)
    it('works from the extension in a real VS Code', async function () {
      if (!isSetUp()) {
        console.log('      skipped: there is no VS Code here (scripts/setup-vscode.sh)');
        return this.skip();
      }
      await client!.close();
      client = undefined;
      await timed('in VS Code', () => journey(home, join(home, 'newer')));
    });
});

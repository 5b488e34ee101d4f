import assert from 'node:assert/strict';
import { readFileSync, statSync } from 'node:fs';
import { MultipassError } from '../../src/connection/multipass/errors.ts';
import { launch, reach } from '../../src/connection/multipass/launch.ts';
import { multipassRunner } from '../../src/connection/multipass/runner.ts';
import { FakeWorld, fakePayload, OTHERS, type Scenario } from './fake-world.ts';

describe('launch, against a multipass that misbehaves', () => {
  let fake: FakeWorld;
  const with_ = (scenario: Scenario, ...more: [object?, NodeJS.Platform?]) => {
    fake = new FakeWorld(scenario, ...more);
    return fake;
  };
  const fails = (work: Promise<unknown>, code: string) =>
    assert.rejects(work, (error) => {
      assert.ok(error instanceof MultipassError, String(error));
      assert.equal(error.code, code, error.message);
      return true;
    });
  afterEach(() => {
    const { instances } = fake.scenario;
    assert.deepEqual({ 'my-own': instances['my-own'], primary: instances.primary }, OTHERS, 'others were touched');
    for (const call of fake.scenario.calls)
      assert.ok(!call.some((word) => word in OTHERS || word === '--all'), `named another: ${call.join(' ')}`);
    fake.dispose();
  });

  it('makes, reaches and provisions a machine, and tells each stage', async () => {
    const { world, report } = with_({});
    const ready = await launch(world, report);
    assert.equal(ready.transport.kind, 'exec');
    assert.equal(ready.provisioned, true);
    assert.equal(fake.inside('etc/teleport-env/provisioned'), '1 0.2.0 abc\n');
    const stages = [...new Set(fake.steps.map((step) => step.stage))];
    assert.deepEqual(stages, ['find', 'check', 'image', 'boot', 'initialize', 'reach', 'provision']);
    assert.ok(fake.steps.some((step) => step.message === 'Downloading Ubuntu 26.04: 358 of about 650 MB'));
    assert.ok(
      fake.steps.some((step) => step.message === 'Installing the helper' && step.done === 1 && step.total === 2),
    );
  });

  it('gives cloud-init with our own key, which nobody else may read', async () => {
    const { world, report } = with_({});
    await launch(world, report);
    const key = readFileSync(`${world.storage.keyFile}.pub`, 'utf8').trim();
    assert.match(key, /^ssh-ed25519 \S+ teleport-env$/);
    assert.equal(fake.scenario.cloudInit, `#cloud-config\nssh_authorized_keys:\n  - ${key}\n`);
    assert.equal(statSync(world.storage.keyFile).mode & 0o777, 0o600);
  });

  it('a second time finds everything there and changes nothing', async () => {
    const { world, report } = with_({});
    await launch(world, report);
    const { instances } = fake.scenario;
    const again = await launch(world, report);
    assert.equal(again.provisioned, false);
    assert.equal(fake.calls('launch').length, 1);
    assert.deepEqual(fake.scenario.instances, instances);
  });

  it('Multipass is not installed', async () => {
    with_({});
    await fails(
      launch({ ...fake.world, runner: multipassRunner('/no/multipass', 'win32') }, fake.report),
      'notInstalled',
    );
  });

  it('the daemon is down: version still ends with 0', async () => {
    const { world, report } = with_({ faults: { daemonDown: true } });
    await fails(launch(world, report), 'daemonDown');
  });

  it('the daemon fails (exit 3)', async () => {
    const { world, report } = with_({ faults: { daemonFails: true } });
    await fails(launch(world, report), 'daemonDown');
  });

  it('an old Multipass', async () => {
    const { world, report } = with_({ faults: { version: '1.11.1+mac' } });
    await fails(launch(world, report), 'tooOld');
    assert.equal(fake.calls('launch').length, 0);
  });

  it('exit 5, and the daemon goes on: so do we', async () => {
    const { world, report } = with_({ faults: { exit5: true } });
    assert.equal((await launch(world, report)).instance.state, 'Running');
    assert.equal(fake.calls('launch').length, 1);
  });

  it('cloud-init takes longer than multipass waits: the machine is kept and polled', async () => {
    const { world, report } = with_({ faults: { initTimeout: true } });
    assert.equal((await launch(world, report)).instance.state, 'Running');
    assert.equal(fake.calls('delete').length, 0);
    assert.ok(fake.calls('info').length >= 3);
  });

  it('keys that nobody knows yet', async () => {
    const { world, report } = with_({ faults: { unknownKeys: true } });
    assert.equal((await launch(world, report)).provisioned, true);
  });

  it('no room: said with both numbers, and nothing is remembered as ours', async () => {
    const { world, report } = with_({ faults: { noDisk: true } });
    await fails(launch(world, report), 'noDisk');
    assert.deepEqual(world.storage.read().launched, []);
  });

  it('an image that Multipass does not know: the older one, with a word, unless somebody chose it', async () => {
    const { world, report } = with_({ faults: { unknownImage: '26.04' } });
    await fails(launch(world, report), 'unknownImage');
    assert.deepEqual(world.storage.read().launched, []);
    const free = { ...world, settings: { ...world.settings, otherImage: '24.04' } };
    assert.equal((await launch(free, report)).provisioned, true);
    assert.deepEqual(
      fake.calls('launch').map(([, image]) => image),
      ['26.04', '26.04', '24.04'],
    );
    const said = fake.steps.map(({ message }) => message);
    const word = said.indexOf('Multipass does not know Ubuntu 26.04 yet: taking 24.04');
    assert.ok(word >= 0 && said.indexOf('Downloading Ubuntu 24.04: 330 of about 600 MB') > word, said.join('\n'));
    fake.dispose();
    with_({ faults: { unknownImage: true } });
    await assert.rejects(launch({ ...fake.world, settings: free.settings }, report), (error: MultipassError) => {
      assert.match(`${error.message} ${error.hint}`, /does not know the image\..*“multipass find” lists/);
      return error.code === 'unknownImage';
    });
  });

  it('a small host is told before anything is downloaded', async () => {
    const { world, report } = with_({});
    const host = { ...world.host, freeDisk: 2 ** 30 };
    await fails(launch({ ...world, host }, report), 'noDisk');
    await fails(launch({ ...world, host: { ...world.host, memory: 4 * 2 ** 30 } }, report), 'noMemory');
    assert.equal(fake.calls('launch').length, 0);
  });

  for (const state of ['Stopped', 'Suspended', 'Deleted'])
    it(`one of ours that is ${state} is brought back`, async () => {
      const { world, report } = with_({});
      await launch(world, report);
      fake.change((s) => ({ ...s, instances: { ...s.instances, 'teleport-env': { state, ipv4: ['192.168.64.9'] } } }));
      const ready = await launch(world, report);
      assert.deepEqual(ready.instance.addresses, ['192.168.64.9']);
      assert.equal(fake.calls('launch').length, 1);
    });

  it('one of that name that somebody else made is left alone, running or not', async () => {
    const { world, report } = with_({ instances: { 'teleport-env': { state: 'Stopped', ipv4: [] } } });
    await fails(launch(world, report), 'notOurs');
    assert.equal(fake.calls('start').length, 0);
    fake.change((s) => ({
      ...s,
      instances: { ...OTHERS, 'teleport-env': { state: 'Running', ipv4: ['192.168.64.5'] } },
    }));
    const { unlinkSync } = await import('node:fs');
    unlinkSync(`${fake.guest}/etc/teleport-env/machine`);
    await fails(launch(world, report), 'notOurs');
  });

  it('deleted under us', async () => {
    const { world, report } = with_({});
    await launch(world, report);
    fake.change((s) => ({ ...s, faults: { deletedUnderUs: true } }));
    await fails(reach(world, report), 'unreachable');
    fake.change((s) => ({ ...s, faults: {} }));
    await fails(reach(world, report), 'noInstance');
    assert.equal((await launch(world, report)).instance.state, 'Running');
    assert.equal(fake.calls('launch').length, 2);
  });

  it('info that hangs over four kilobytes: the list is enough', async () => {
    const { world, report } = with_({});
    await launch(world, report);
    fake.change((s) => ({ ...s, faults: { hangingInfo: true } }));
    const run: typeof world.runner.run = (operation, options) =>
      world.runner.run({ ...operation, timeoutMs: Math.min(operation.timeoutMs, 1_000) }, options);
    assert.equal((await reach({ ...world, runner: { ...world.runner, run } }, report)).instance.state, 'Running');
  });

  for (const fault of ['stdinDropped', 'hangingOutput'])
    it(`exec with ${fault}: the other way is taken, and remembered`, async () => {
      const { world, report } = with_({
        faults: { [fault]: true },
        instances: { 'teleport-env': { state: 'Running', ipv4: ['192.168.64.5'] } },
      });
      const soon: typeof world.run = (program, options) =>
        world.run(program, { ...options, timeoutMs: Math.min(options.timeoutMs, 3_000) });
      // What a launch asks of multipass itself hangs as well, where output does: it is left out of that.
      const run = { ...world, run: soon, ssh: fake.ssh() };
      const quick: typeof world.runner.run = (operation, options) =>
        world.runner.run({ ...operation, timeoutMs: Math.min(operation.timeoutMs, 1_000) }, options);
      const ready = await reach({ ...run, runner: { ...world.runner, run: quick } }, report);
      assert.deepEqual([ready.transport.kind, ready.provisioned], ['ssh', true]);
      assert.ok(fake.steps.some((step) => step.message === 'Connected over ssh'));
      assert.equal(fake.inside('etc/teleport-env/provisioned'), '1 0.2.0 abc\n', 'it went all the way over ssh');
      assert.deepEqual(world.storage.read().transports, { 'teleport-env': 'ssh' });
      // The next time nothing is lost on the way that does not work.
      const execs = fake.calls('exec').length;
      assert.equal((await reach({ ...run, runner: { ...world.runner, run: quick } }, report)).transport.kind, 'ssh');
      assert.equal(fake.calls('exec').length, execs);
    });

  it('neither way leads in', async () => {
    const { world, report } = with_({ faults: { stdinDropped: true } });
    await fails(launch(world, report), 'unreachable');
  });

  it('a guest never exits with 4, so nothing runs twice', async () => {
    const { world, report } = with_({});
    const { transport } = await launch(world, report);
    const ended = await world.run(transport.program(['sh', '-c', 'echo once; exit 4']), { timeoutMs: 5_000 });
    assert.equal(ended.exitCode, 104);
    assert.equal(ended.stdout, 'once\n');
    assert.equal(fake.scenario.again, undefined);
  });

  it('cancelled in the middle; the next launch goes on with what came of it', async () => {
    const { world, report } = with_({ faults: { slowLaunch: true } });
    const abort = new AbortController();
    setTimeout(() => abort.abort(), 800);
    await fails(launch(world, report, abort.signal), 'cancelled');
    fake.change((s) => ({ ...s, faults: {} }));
    assert.equal((await launch(world, report)).instance.state, 'Running');
    assert.equal(fake.calls('launch').length, 1);
  });

  it('an extension that is newer updates the helper, an older one leaves it', async () => {
    const { world, report } = with_({});
    await launch(world, report);
    const newer = 'echo \'1 0.3.0 abc\' >"$HOME/guest/etc/teleport-env/provisioned"\n';
    const update = { ...world, payload: () => fakePayload(newer, '0.3.0') };
    assert.equal((await reach(update, report)).provisioned, true);
    assert.equal(
      fake.steps.some((step) => step.message === 'Updating the helper'),
      true,
    );
    assert.equal((await reach(update, report)).provisioned, false);
    assert.equal((await reach(world, report)).provisioned, false);
  });

  it('provisioning that fails says its last words', async () => {
    const { world, report } = with_({});
    const payload = () => fakePayload('echo "@@ 1 2 Looking"; echo "E: no network"; exit 4\n');
    await assert.rejects(launch({ ...world, payload }, report), /could not be provisioned: E: no network/);
    assert.equal(fake.scenario.again, undefined);
  });
});

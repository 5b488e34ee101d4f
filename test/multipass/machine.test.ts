import assert from 'node:assert/strict';
import { Machine } from '../../src/connection/multipass/machine.ts';
import { multipassPlace } from '../../src/connection/multipass/place.ts';
import { FakeWorld } from './fake-world.ts';

describe('the machine of this host', () => {
  let fake: FakeWorld;
  beforeEach(() => {
    fake = new FakeWorld({});
  });
  afterEach(() => fake.dispose());

  it('is brought up once, whoever asks at the same time', async () => {
    const machine = new Machine(() => fake.world);
    await machine.launch(fake.report);
    fake.change((s) => ({ ...s, calls: [] }));
    const [a, b] = await Promise.all([machine.prepare(fake.report), machine.prepare(fake.report)]);
    assert.equal(a, b);
    assert.equal(fake.calls('info').length, 1);
    const [, launched] = await Promise.all([machine.prepare(fake.report), machine.launch(fake.report)]);
    assert.equal(launched.provisioned, false);
    assert.equal(fake.calls('launch').length, 0);
  });

  it('is not started again by a connection that was lost because somebody stopped it', async () => {
    const machine = new Machine(() => fake.world);
    await machine.launch(fake.report);
    const place = multipassPlace({
      machine,
      during: (_, work) => work(fake.report, new AbortController().signal),
      exclude: () => [],
      log: () => {},
      survivesReload: () => true,
    });
    for (const [state, words] of [
      ['Stopped', /is stopped/],
      ['Suspended', /is suspended/],
    ] as const) {
      fake.change((s) => ({ ...s, instances: { ...s.instances, 'teleport-env': { state, ipv4: ['192.168.64.8'] } } }));
      await assert.rejects(place.prepare!(false), { name: 'HelperError', code: 'atRest', message: words });
    }
    assert.equal(fake.calls('start').length, 0);
    await place.prepare!(true);
    assert.equal(fake.calls('start').length, 1);
    // One that only lost its connection is spoken to again.
    await place.prepare!(false);
  });

  it('stops, suspends and is deleted alone, and is forgotten with it', async () => {
    const machine = new Machine(() => fake.world);
    await machine.launch(fake.report);
    await machine.suspend();
    assert.equal((await machine.state())?.state, 'Suspended');
    await machine.prepare(fake.report);
    await machine.stop();
    assert.equal((await machine.state())?.state, 'Stopped');
    await machine.remove();
    assert.equal(await machine.state(), null);
    assert.deepEqual(fake.world.storage.read().launched, []);
    assert.deepEqual(Object.keys(fake.scenario.instances), ['my-own', 'primary']);
  });

  it('gives folders of this host a place, and knows them again', () => {
    const machine = new Machine(() => fake.world);
    assert.equal(machine.toMachine('/Users/ann/my app'), '/workspaces/my-app');
    assert.equal(machine.toMachine('/Users/ann/my app/src'), '/workspaces/my-app/src');
    assert.match(machine.toMachine('/elsewhere/my app'), /^\/workspaces\/my-app-[0-9a-f]{4}$/);
    assert.equal(new Machine(() => fake.world).toHost('/workspaces/my-app/a'), '/Users/ann/my app/a');
    assert.equal(machine.toHost('/etc/passwd'), null);
  });
});

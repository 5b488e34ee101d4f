/**
 * The laptop sleeps while it is connected to its machine: the connection's process no longer answers and nobody is told, and the
 * machine has another address afterwards. Real processes on both sides; the clock and the `ssh` are the test's.
 */
import assert from 'node:assert/strict';
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Machine } from '../../src/connection/multipass/machine.ts';
import { multipassPlace } from '../../src/connection/multipass/place.ts';
import { makeFakeHelper } from '../extension/fake-helper-build.ts';
import { type Client, connect } from '../vm/client.ts';
import { FakeWorld } from './fake-world.ts';

const NAME = 'teleport-env';

/** Leads in where the machine is, and nowhere else; notes which way it went. */
const ssh = (fake: FakeWorld) => `#!/bin/sh
for word; do
  case $word in ubuntu@*) address=\${word#ubuntu@} ;; esac
  line=$word
done
grep -q "\\"$address\\"" '${fake.dir}/scenario.json' || {
  echo "ssh: connect to host $address port 22: No route to host" >&2
  exit 255
}
echo "$address" >>'${fake.dir}/ways'
export HOME='${fake.dir}' PATH="${fake.dir}:$PATH"
at='s#(/etc/|/var/lib/|/workspaces|/usr/local/bin/teleport-env)#${fake.guest}\\1#g'
exec sh -c "$(printf %s "$line" | sed -E "$at")"
`;

describe('a computer that sleeps', () => {
  let fake: FakeWorld;
  const clients: Client[] = [];
  const pids = () => readFileSync(join(fake.guest, 'pids'), 'utf8').trim().split('\n').map(Number);

  beforeEach(() => {
    fake = new FakeWorld({ faults: { stdinDropped: true } });
  });
  afterEach(async () => {
    for (const client of clients.splice(0)) await client.close();
    fake.dispose();
  });

  it('finds its machine again, at another address and asleep, and nobody has to ask', async function () {
    this.timeout(60_000);
    const helper = makeFakeHelper(fake.dir, 'sample', '/workspaces/api-server');
    const program = `#!/bin/sh\necho $$ >>'${fake.guest}/pids'\nexec '${process.execPath}' '${helper.path}'\n`;
    fake.inside('usr/local/bin/teleport-env', program);
    writeFileSync(join(fake.dir, 'ssh'), ssh(fake), { mode: 0o755 });
    chmodSync(join(fake.guest, 'usr/local/bin/teleport-env'), 0o755);
    const machine = new Machine(() => ({ ...fake.world, ssh: join(fake.dir, 'ssh') }));
    assert.equal((await machine.launch(fake.report)).transport.kind, 'ssh');
    let now = 0;
    const ticks = new Set<() => void>();
    const place = multipassPlace({
      machine,
      during: (_, work) => work(fake.report, new AbortController().signal),
      exclude: () => [],
      log: () => {},
      survivesReload: () => true,
      clock: {
        now: () => now,
        every: (_, tick) => {
          ticks.add(tick);
          return () => ticks.delete(tick);
        },
      },
    });
    const pass = (ms: number) => {
      now += ms;
      for (const tick of [...ticks]) tick();
    };
    const first = await connect(place);
    const { sandboxes } = await first.ask('sandbox/list', {});
    assert.ok(sandboxes.length > 0);
    const [before] = fake.scenario.instances[NAME]!.ipv4;

    // A nap that the connection lived through changes nothing.
    pass(3_600_000);
    assert.equal((await first.ask('sandbox/list', {})).sandboxes.length, sandboxes.length);

    const [frozen] = pids().slice(-1);
    process.kill(frozen!, 'SIGSTOP');
    try {
      fake.change((s) => ({
        ...s,
        instances: { ...s.instances, [NAME]: { state: 'Suspended', ipv4: ['192.168.64.77'] } },
      }));
      const ways = readFileSync(join(fake.dir, 'ways'), 'utf8').split('\n').length;
      pass(3_600_000);
      assert.match(await first.lost, /the computer slept/);
      // As a lost connection is tried again: nobody asked, and yet the machine is woken, since nobody stopped it.
      await place.prepare!(false);
      assert.equal(fake.scenario.instances[NAME]!.state, 'Running');
      const second = await connect(place);
      clients.push(second);
      assert.deepEqual((await second.ask('sandbox/list', {})).sandboxes, sandboxes);
      const since = readFileSync(join(fake.dir, 'ways'), 'utf8')
        .trim()
        .split('\n')
        .slice(ways - 1);
      assert.deepEqual([...new Set(since)], ['192.168.64.77']);
      assert.notEqual(before, '192.168.64.77');
    } finally {
      process.kill(frozen!, 'SIGKILL');
    }
  });
});

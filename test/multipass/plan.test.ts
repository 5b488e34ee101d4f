import assert from 'node:assert/strict';
import { shellLine } from '../../helper/protocol/shell-word.ts';
import { neverFour } from '../../src/connection/multipass/guest.ts';
import { launchOutput, stepOf } from '../../src/connection/multipass/launch-output.ts';
import { defaultSize, needsProvisioning, older, parseProvisioned } from '../../src/connection/multipass/plan.ts';
import { watchForSleep } from '../../src/connection/multipass/sleep.ts';
import { order, sshTransport } from '../../src/connection/multipass/transport.ts';

const GIB = 2 ** 30;

describe('a machine’s plan', () => {
  it('sizes come from the host', () => {
    const host = { platform: 'darwin' as const, cpus: 10, memory: 16 * GIB, freeDisk: 200 * GIB };
    assert.deepEqual(defaultSize(host), { cpus: 5, memory: 4096, disk: 40 });
    assert.deepEqual(defaultSize({ ...host, cpus: 1, memory: 4 * GIB, freeDisk: 20 * GIB }), {
      cpus: 1,
      memory: 2048,
      disk: 15,
    });
    assert.deepEqual(defaultSize({ ...host, cpus: 64, memory: 256 * GIB, freeDisk: undefined }), {
      cpus: 8,
      memory: 8192,
      disk: 20,
    });
  });

  it('compares versions by their numbers', () => {
    assert.equal(older('1.9.2+mac', '1.14'), true);
    assert.equal(older('1.16.3+win', '1.14'), false);
    assert.equal(older('1.14', '1.14.0'), false);
    assert.equal(older('0.2.0-beta', '0.2.1'), true);
  });

  it('provisions what is missing, older, or built anew; never what is newer', () => {
    const ours = { provision: 2, version: '0.3.0', payload: 'abc' };
    const found = (text: string) => needsProvisioning(parseProvisioned(text), ours);
    assert.equal(found(''), true);
    assert.equal(found('nonsense'), true);
    assert.equal(found('2 0.2.9 abc'), true);
    assert.equal(found('1 0.3.0 abc'), true);
    assert.equal(found('2 0.3.0 abc\n'), false);
    assert.equal(found('2 0.3.0 def'), true);
    assert.equal(found('2 0.4.0 def'), false);
    assert.equal(found('3 0.4.0 abc'), false);
  });

  it('reads launch’s words in whatever pieces they come', () => {
    const heard: string[] = [];
    const read = launchOutput('24.04', ({ message }) => heard.push(message));
    for (const piece of [
      '\rRetr',
      'ieving image: 1',
      '0%',
      '\rRetrieving image: 10%\rVerifying',
      ' image\nnoise\n\rStarting box  ',
      '\r',
    ])
      read(piece);
    assert.deepEqual(heard, [
      'Downloading Ubuntu 24.04: 60 of about 600 MB',
      'Checking the image',
      'Starting the machine',
    ]);
    assert.equal(stepOf('  |  ', '24.04'), null);
  });
});

describe('ways in', () => {
  it('are tried in the order of the system, the remembered one first', () => {
    assert.deepEqual(order('win32', undefined), ['ssh', 'exec']);
    assert.deepEqual(order('darwin', undefined), ['exec', 'ssh']);
    assert.deepEqual(order('darwin', 'ssh'), ['ssh', 'exec']);
    assert.deepEqual(order('win32', 'ssh'), ['ssh', 'exec']);
  });

  it('ssh gets one line, quoted, and a host key by the machine’s name', () => {
    const { args } = sshTransport({
      name: 'box',
      address: '10.0.0.2',
      keyFile: 'C:\\Users\\A B\\id',
      knownHosts: 'C:\\Users\\A B\\known 100%',
    }).program(['echo', "it's", 'a b', '']);
    assert.equal(args.at(-1), shellLine(neverFour(['echo', "it's", 'a b', ''])));
    assert.match(args.at(-1)!, / echo 'it'\\''s' 'a b' ''$/);
    assert.ok(args.includes('HostKeyAlias=teleport-env-box'));
    assert.ok(args.includes('UserKnownHostsFile="C:\\Users\\A B\\known 100%%"'));
  });

  it('a sleep of the computer is noticed, and a dead connection given up', async () => {
    let now = 0;
    let tick = () => {};
    const every = (_: number, act: () => void) => {
      tick = act;
      return () => {};
    };
    const clock = { now: () => now, every };
    let asked = 0;
    let dead = false;
    let gone = 0;
    const ask = async () => {
      asked++;
      if (dead) throw new Error('no answer');
    };
    watchForSleep(ask, () => gone++, clock);
    const pass = async (ms: number) => {
      now += ms;
      tick();
      await new Promise(setImmediate);
    };
    await pass(5_000);
    await pass(6_500);
    assert.equal(asked, 0);
    await pass(3_600_000);
    assert.deepEqual([asked, gone], [1, 0]);
    dead = true;
    await pass(60_000);
    assert.deepEqual([asked, gone], [2, 1]);
  });
});

import assert from 'node:assert/strict';
import * as operations from '../../src/connection/multipass/operations.ts';

describe('multipass operations', () => {
  it('ask for JSON and name one instance', () => {
    assert.deepEqual(operations.version().args, ['version', '--format', 'json']);
    assert.deepEqual(operations.list().args, ['list', '--format', 'json']);
    assert.deepEqual(operations.info('box').args, ['info', 'box', '--format', 'json']);
    assert.deepEqual(operations.stop('box').args, ['stop', 'box']);
    assert.deepEqual(operations.suspend('box').args, ['suspend', 'box']);
    assert.deepEqual(operations.recover('box').args, ['recover', 'box']);
    assert.deepEqual(operations.start('box').args, ['start', 'box', '--timeout', '300']);
  });

  it('delete purges that instance alone', () => {
    assert.deepEqual(operations.remove('box').args, ['delete', 'box', '--purge']);
  });

  it('launch gives cloud-init on stdin', () => {
    const { args, stdin } = operations.launch({
      name: 'box',
      image: '26.04',
      cpus: 4,
      memory: 4096,
      disk: 20,
      cloudInit: '#cloud-config\n',
    });
    const words = 'launch 26.04 --name box --cpus 4 --memory 4096M --disk 20G --timeout 1800 --cloud-init -';
    assert.deepEqual(args, words.split(' '));
    assert.equal(stdin, '#cloud-config\n');
  });

  it('exec never maps the working directory', () => {
    assert.deepEqual(operations.exec('box', ['echo', 'a b']), ['exec', '-n', 'box', '--', 'echo', 'a b']);
  });

  it('a name that could be an option or a path is refused', () => {
    for (const name of ['-x', '--all', '', 'a b', '../x', 'ends-', 'ü'])
      assert.throws(() => operations.stop(name), /letters, digits and hyphens/, name);
  });
});

describe('multipass outputs', () => {
  it('version: without a daemon the key is missing and the exit code 0', () => {
    const { parse } = operations.version();
    assert.deepEqual(parse('{"multipass":"1.16.3+mac","multipassd":"1.16.3+mac"}'), {
      client: '1.16.3+mac',
      daemon: '1.16.3+mac',
    });
    assert.deepEqual(parse('{"multipass":"1.16.3"}'), { client: '1.16.3', daemon: null });
  });

  it('list, with keys that nobody knows yet', () => {
    const text = JSON.stringify({
      list: [
        { ipv4: ['192.168.64.3', '172.17.0.1'], name: 'a', release: 'Ubuntu 26.04 LTS', state: 'Running', zone: {} },
        { ipv4: [], name: 'b', release: '', state: 'Deleted' },
      ],
      more: 1,
    });
    assert.deepEqual(operations.list().parse(text), [
      { name: 'a', state: 'Running', addresses: ['192.168.64.3', '172.17.0.1'], release: 'Ubuntu 26.04 LTS' },
      { name: 'b', state: 'Deleted', addresses: [] },
    ]);
  });

  it('info of one that runs', () => {
    const text = JSON.stringify({
      errors: [],
      info: {
        box: {
          cpu_count: '2',
          disks: { sda1: { total: '20812251136', used: '2147483648' } },
          image_hash: '5f3b',
          image_release: '26.04 LTS',
          ipv4: ['192.168.64.3'],
          load: [0.1, 0, 0],
          memory: { total: 4109402112, used: 250000000 },
          mounts: {},
          release: 'Ubuntu 26.04 LTS',
          snapshot_count: '0',
          state: 'Running',
        },
      },
    });
    assert.deepEqual(operations.info('box').parse(text), {
      name: 'box',
      state: 'Running',
      addresses: ['192.168.64.3'],
      release: 'Ubuntu 26.04 LTS',
      disk: { total: 20812251136, used: 2147483648 },
      memory: 4109402112,
    });
  });

  it('info of one that stands still has empty values', () => {
    const text = JSON.stringify({
      errors: [],
      info: {
        box: { cpu_count: '', disks: { sda1: {} }, ipv4: [], memory: {}, mounts: {}, release: '', state: 'Stopped' },
      },
    });
    assert.deepEqual(operations.info('box').parse(text), { name: 'box', state: 'Stopped', addresses: [] });
  });

  it('all states, and one of a later version', () => {
    const states = 'Running,Stopped,Deleted,Starting,Restarting,Delayed Shutdown,Suspending,Suspended,Unknown'.split(
      ',',
    );
    for (const state of [...states, 'Teleporting']) {
      const [found] = operations.list().parse(JSON.stringify({ list: [{ name: 'a', ipv4: [], state }] }));
      assert.equal(found!.state, states.includes(state) ? state : 'Unknown');
    }
  });
});

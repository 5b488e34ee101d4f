import assert from 'node:assert/strict';
import type { Instance, State } from '../../src/connection/multipass/outputs.ts';
import { machineLine } from '../../src/setup/machine-model.ts';

const GIB = 2 ** 30;
const box = (state: State, more: Partial<Instance> = {}): Instance => ({ name: 'box', state, addresses: [], ...more });

describe('the machine as a line', () => {
  it('says how it stands, how full it is, and what it is', () => {
    const line = machineLine(
      box('Running', {
        release: 'Ubuntu 26.04 LTS',
        addresses: ['192.168.64.7', '172.17.0.1'],
        disk: { total: 20 * GIB, used: 3.14 * GIB },
        memory: 4 * GIB,
      }),
    );
    assert.deepEqual([line.label, line.description], ['box', 'running · 3.1 of 20.0 GB']);
    assert.equal(
      line.tooltip,
      'Ubuntu 26.04 LTS, made with Multipass\nDisk: 3.1 of 20.0 GB\nMemory: 4.0 GB\nAddress: 192.168.64.7',
    );
    assert.deepEqual([line.running, line.context], [true, 'machine running']);
  });

  it('offers what its state allows', () => {
    const contexts = (['Stopped', 'Suspended', 'Deleted', 'Starting', 'Suspending', 'Unknown'] as const).map(
      (state) => machineLine(box(state)).context,
    );
    const [resting, moving] = ['machine resting', 'machine moving'];
    assert.deepEqual(contexts, [resting, resting, resting, moving, moving, moving]);
    assert.equal(machineLine(box('Suspended')).description, 'suspended');
  });
});

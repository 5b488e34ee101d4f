/** What is reckoned for a standby is what it takes: all sandboxes' standbys together share a part of the machine's memory by that. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { Cgroup } from '../../helper/engine/cgroup.ts';
import { standbyBytes } from '../../helper/sandbox/policy.ts';
import { BranchRecord, Manifest } from '../../helper/sandbox/records.ts';
import { Rig } from '../states/rig.ts';
import { needsMachine } from './helper-process.ts';

const MB = 2 ** 20;
const HOLDER_PY = `import os, time
block = os.urandom(1 << 20) * 100
open('held', 'w').close()
time.sleep(1000)
`;

describe('the memory of a standby', function () {
  this.timeout(60_000);
  let rig: Rig;

  before(async function () {
    needsMachine(this);
    rig = await Rig.make();
  });
  after(() => rig?.end());

  const read = (...path: string[]): unknown =>
    JSON.parse(readFileSync(join(rig.helper.state, 'volume/sandboxes', rig.sandbox, ...path), 'utf8'));

  /** Bytes of what its processes have, of what several have their share (proc_pid_smaps_rollup). */
  function pssOf(checkpoint: string): number {
    const group = rig.helper.liveBranches().find((path) => {
      const record = BranchRecord.parse(read('branches', basename(path).split('-')[1]!, 'branch.json'));
      return record.role === 'standby' && record.base === checkpoint;
    });
    const pss = new Cgroup(group!)
      .pids()
      .map((pid) => Number(/^Pss: +(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))![1]) * 1024);
    return pss.reduce((sum, one) => sum + one, 0);
  }

  async function taken(): Promise<{ reckoned: number; pss: number }> {
    const checkpoint = await rig.checkpoint();
    await rig.standsBy(checkpoint);
    const manifest = Manifest.parse(read('checkpoints', checkpoint, 'manifest.json'));
    return { reckoned: standbyBytes(manifest), pss: pssOf(checkpoint) };
  }
  const told = ({ reckoned, pss }: { reckoned: number; pss: number }): string => `${reckoned / MB} for ${pss / MB} MB`;

  const isNear = ({ reckoned, pss }: { reckoned: number; pss: number }): boolean =>
    reckoned > pss / 2 && reckoned < pss * 2;

  it('is reckoned to half of it at least and twice as much at most, that of a small one to some MB', async () => {
    await rig.run('X=1');
    const small = await taken();
    // It shares its programs with whoever else runs them, or with nobody.
    assert.ok(Math.abs(small.reckoned - small.pss) < 3 * MB, told(small));

    const python = `python3 -c "import json, time; open('ready$i', 'w').close(); time.sleep(1000)"`;
    await rig.run(`for i in 1 2 3 4 5 6; do sleep 1000 & ${python} & done; while ! [ -e ready1 -a -e ready2 -a -e ready3 \\
      -a -e ready4 -a -e ready5 -a -e ready6 ]; do sleep 0.05; done`);
    const many = await taken();
    assert.ok(many.pss > 20 * MB && isNear(many), told(many));

    await rig.run(`cat > holder.py <<'END'\n${HOLDER_PY}\nEND`);
    await rig.run('python3 holder.py & while [ ! -e held ]; do sleep 0.05; done');
    const large = await taken();
    assert.ok(large.pss > 120 * MB && isNear(large), told(large));
    // The image shares its blocks with the one before, the memory does not.
    await rig.run('X=2');
    const again = await taken();
    assert.ok(Math.abs(again.reckoned / large.reckoned - 1) < 0.1, told(again));
    await rig.run('kill $(jobs -p); wait');
  });

  it('is not that of files: both stand by where each checkpoint has 600 MB of them', async () => {
    await rig.run('head -c 600M /dev/zero > large');
    const made = [await rig.checkpoint(), await rig.checkpoint()];
    for (const id of made) await rig.verified(id);
    const manifests = made.map((id) => Manifest.parse(read('checkpoints', id, 'manifest.json')));
    for (const { bytes } of manifests) assert.ok(bytes > 600 * MB);
    for (const id of made) await rig.helper.standsBy(rig.sandbox, id);
    assert.deepEqual(
      made.filter((id) => !rig.helper.standbys(rig.sandbox).includes(id)),
      [],
      'both at once',
    );
  });
});

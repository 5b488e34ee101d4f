import assert from 'node:assert/strict';
import { machineOf, machineWords, type Probes } from '../../../src/setup/machine.ts';

/** A machine where nothing is that wasn't put there. */
function machine(files: Record<string, string>, env: NodeJS.ProcessEnv = {}) {
  const probes: Probes = {
    platform: 'linux',
    env,
    exists: (path) => path in files,
    read: (path) => files[path] ?? '',
  };
  return machineOf(probes);
}

describe('the machine', () => {
  it('tells how VS Code was installed', () => {
    assert.deepEqual(machine({}), { platform: 'linux', packaging: 'none', container: 'none' });
    assert.equal(machine({ '/.flatpak-info': '' }).packaging, 'flatpak');
    assert.equal(machine({}, { SNAP: '/snap/code/1', SNAP_NAME: 'code' }).packaging, 'snap');
  });

  it('tells a container', () => {
    assert.equal(machine({ '/.dockerenv': '' }).container, 'docker');
    assert.equal(machine({ '/run/.containerenv': '' }).container, 'podman');
    assert.equal(machine({ '/proc/1/cgroup': '0::/kubepods/x' }).container, 'other');
    assert.equal(machine({ '/.flatpak-info': '', '/run/.containerenv': '' }).container, 'none');
  });

  it('has a way on for each, and is silent where nothing is special', () => {
    assert.equal(machineWords(machine({})), null);
    assert.match(machineWords(machine({ '/.flatpak-info': '' }))!, /Flatpak/);
    assert.match(machineWords(machine({}, { SNAP: '/snap/code/1', SNAP_NAME: 'code' }))!, /snap.*\.deb/);
    for (const file of ['/.dockerenv', '/run/.containerenv'])
      assert.match(machineWords(machine({ [file]: '' }))!, /container.*on the machine itself/);
  });
});

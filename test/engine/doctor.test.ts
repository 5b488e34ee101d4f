import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import type { CheckResult } from '../../helper/engine/criu-check.ts';
import { doctor } from '../../helper/engine/doctor.ts';
import { capabilities, kernelOptions, surroundings, systemRoot } from '../../helper/engine/doctor-facts.ts';
import { Need } from '../../helper/protocol/model.ts';
import { makeVolume, volumeMissing } from './volume.ts';

const WELL: CheckResult = {
  ok: true,
  version: [4, 2, 1],
  patches: ['static', 'tcp-repair'],
  memTrack: true,
  lazyPages: true,
};

const OLD: CheckResult = { ok: false, version: [3, 17, 1], reason: 'Unexpected rt vDSO' };

describe('the machine', () => {
  const linux = { release: '6.1.0-18-amd64', arch: 'x64', version: 'Linux version 6.1', container: undefined };

  it('is told by its kernel, and where it is', () => {
    assert.deepEqual(surroundings(linux), {
      id: 'machine',
      title: 'Machine',
      status: 'ok',
      detail: 'Linux 6.1.0-18-amd64 on x64',
    });
    const wsl = { ...linux, release: '5.15.90.1-microsoft-standard-WSL2', version: 'Linux 5.15 (Microsoft) WSL2' };
    assert.match(surroundings({ ...wsl, container: 'docker' }).detail, /, WSL2, in a container \(docker\)$/);
    assert.equal(surroundings(wsl).status, 'ok');
  });

  it('may not be too old, of another kind, or no Linux', () => {
    const missing = [
      { ...linux, release: '5.10.0' },
      { ...linux, release: '4.19.0' },
      { ...linux, arch: 'riscv64' },
      { ...linux, release: '4.4.0-19041-Microsoft', version: 'Linux version 4.4.0 (Microsoft@Microsoft.com)' },
    ].map(surroundings);
    for (const need of missing) assert.ok(need.status === 'missing' && need.remedy, need.detail);
    assert.equal(surroundings({ ...linux, release: '5.14.0' }).status, 'ok');
  });
});

describe('the system’s root', () => {
  const disk = '26 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n27 26 0:22 / /proc rw - proc proc rw\n';
  const image = '940 26 0:63 / / rw,relatime - overlay overlay rw,lowerdir=/l,upperdir=/u,workdir=/w\n';

  it('is warned of where it is an overlay: another base is wanted then', () => {
    const need = systemRoot(disk + image)!;
    assert.equal(need.status, 'warning');
    assert.match(need.remedy!, /--base/);
  });

  it('is nothing to talk of elsewhere, whatever else is an overlay', () => {
    for (const fine of [disk, image + disk, disk + image.replace(' / / ', ' / /var/lib/x ')])
      assert.equal(systemRoot(fine), null);
  });
});

describe('kernel options', () => {
  const all =
    'CHECKPOINT_RESTORE NAMESPACES UTS_NS IPC_NS PID_NS NET_NS USER_NS CGROUPS SECCOMP_FILTER FHANDLE EVENTFD EPOLL UNIX_DIAG INET_DIAG OVERLAY_FS SYSVIPC INET_UDP_DIAG PACKET_DIAG NETLINK_DIAG BLK_DEV_LOOP XFS_FS';
  const config = (names: string) =>
    names
      .split(' ')
      .map((name, i) => `CONFIG_${name}=${i % 2 ? 'm' : 'y'}\n`)
      .join('');

  it('may be built in or modules', () => assert.equal(kernelOptions(config(all)).status, 'ok'));

  it('are named where they are off', () => {
    const off = kernelOptions(
      `${config(all.replace('CHECKPOINT_RESTORE ', ''))}# CONFIG_CHECKPOINT_RESTORE is not set\n`,
    );
    assert.equal(off.status, 'missing');
    assert.match(off.remedy!, /CONFIG_CHECKPOINT_RESTORE/);
    const less = kernelOptions(config(all.replace(' XFS_FS', '')));
    assert.deepEqual([less.status, less.detail.includes('XFS_FS')], ['warning', true]);
  });

  it('are not held against a kernel that does not tell', () => assert.equal(kernelOptions(undefined).status, 'ok'));
});

describe('capabilities', () => {
  it('of root are enough, of root in a plain container are not', () => {
    assert.equal(capabilities('CapEff:\t000001ffffffffff\n').status, 'ok');
    const docker = capabilities('CapEff:\t00000000a80425fb\n');
    assert.equal(docker.status, 'missing');
    assert.equal(docker.detail, 'root lacks CAP_DAC_READ_SEARCH, CAP_NET_ADMIN, CAP_SYS_PTRACE, CAP_SYS_ADMIN here');
  });
});

describe('doctor', () => {
  const find = (needs: Need[], id: string) => needs.find((need) => need.id === id)!;

  it('has a remedy for everything that is not well, in the form of the protocol', async () => {
    for (const criu of [null, undefined, WELL, OLD])
      for (const need of await doctor({ state: '/nowhere/at/all', criu })) {
        assert.deepEqual(Need.parse(need), need);
        assert.ok(need.status === 'ok' || need.remedy, need.id);
      }
  });

  it('judges CRIU by what it said', async () => {
    const of = async (criu: CheckResult | null) => find(await doctor({ state: '/', criu }), 'criu');
    assert.equal((await of(WELL)).detail, '4.2.1 with static, tcp-repair');
    assert.equal((await of({ ...WELL, patches: [] })).status, 'warning');
    assert.equal((await of(null)).status, 'missing');
    const old = await of(OLD);
    assert.equal(old.detail, '3.17.1 does not work on this kernel: Unexpected rt vDSO');
    assert.equal(find(await doctor({ state: '/', criu: undefined }), 'criu'), undefined);
  });

  it('looks for space where the state will stand', async () => {
    const { detail } = find(await doctor({ state: '/nowhere/at/all', criu: null }), 'disk');
    assert.match(detail, /GiB free below \/$/);
  });

  describe('by trying, as root', () => {
    before(function () {
      if (volumeMissing()) this.skip();
    });

    it('mounts an overlay, makes a group and shares a file on the volume, and leaves nothing', async () => {
      const volume = makeVolume();
      try {
        const needs = await doctor({ state: '/', volume: { path: volume.path, kind: 'xfs' }, criu: WELL });
        for (const id of ['overlay', 'cgroup', 'user-namespaces', 'volume'])
          assert.equal(find(needs, id).status, 'ok', id);
        assert.match(find(needs, 'volume').detail, /shares data between copies/);
        assert.deepEqual(readdirSync(volume.path), []);
      } finally {
        volume.release();
      }
    });

    it('has a volume that copies data repaired, and one in memory', async () => {
      const on = async (kind: 'ext4' | 'tmpfs') =>
        find(await doctor({ state: '/', volume: { path: '/dev/shm', kind }, criu: null }), 'volume');
      assert.match((await on('ext4')).remedy!, /xfsprogs/);
      assert.match((await on('tmpfs')).detail, /lost with the machine/);
    });

    it('needs no volume', async () => {
      const left = () => readdirSync(tmpdir()).filter((name) => name.startsWith('.doctor-'));
      const needs = await doctor({ state: '/', criu: null });
      assert.equal(find(needs, 'overlay').status, 'ok');
      assert.equal(find(needs, 'volume'), undefined);
      assert.deepEqual(left(), []);
    });
  });
});

/**
 * Provisioning systems as new as Ubuntu's images, and newer, with what the extension brings: the whole script on a root of
 * Debian 13, which is between Ubuntu 24.04 and 26.04 in age (`TELEPORT_ENV_SUITES="trixie sid"` adds what is newer than both), with
 * Node from the distribution's own packages; then a sandbox on it. The kernel is this machine's; test/vm has one of its own.
 * Needs root, and scripts/setup-roots.sh.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, existsSync, mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { arch, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { payloadOf } from '../../src/connection/multipass/payload.ts';
import { endGroups, needsMachine } from '../daemon/helper-process.ts';
import { stageExtension } from '../vm/world.ts';

const SUITES = (process.env.TELEPORT_ENV_SUITES ?? 'trixie').split(' ');
const ROOTS = resolve(__dirname, '../../build/roots');

/**
 * `$1` a folder with a root, a copy that may be spoilt (it must be no overlay: CRIU can't tell where files of one on another are from), and
 * the payload as `payload.tar`; `$2` packages. What is on standard input is run there as in a machine of its own.
 */
const ENTER = `
set -eu
mount --make-rprivate /
cd "$1/root"
mount --bind . .
cd "$1/root"
mount --rbind /sys sys
mount --rbind /dev dev
mount --bind "$2" var/cache/apt/archives
for dir in run tmp; do mount -t tmpfs tmpfs $dir; done
mount -t proc proc proc
mkdir -p old root/ext
tar -xf ../payload.tar -C root/ext
cat >root/now.sh
pivot_root . old
exec chroot . /bin/bash -c 'umount -l /old; cd /root/ext; PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root bash /root/now.sh'
`;

const WORK = `
set -e
. /etc/os-release; echo "system $VERSION_CODENAME"
! command -v node
sh multipass/provision.sh
echo --- again
sh multipass/provision.sh
echo --- unit
# There is no systemd to tell of it: it is written, and that is all.
mkdir -p /run/systemd/system
bash scripts/setup-linux.sh >/dev/null 2>&1 || true
rm -r /run/systemd
systemd-analyze verify /etc/systemd/system/teleport-env.service && echo "the unit is fine"
echo --- programs
readlink -f "$(command -v node)"; node --version; python3 --version
cat /etc/teleport-env/provisioned
echo --- sandbox
mkdir /workspaces/app; cd /workspaces/app; echo one >a
teleport-env up
teleport-env doctor
teleport-env run app 'x=5; echo two >a; sleep 1000 &'
teleport-env run app 'rm -rf *; kill %1; x='
teleport-env rollback app k1
echo --- back
teleport-env run app 'echo $x; cat a; jobs -r'
teleport-env rm app
`;

describe('provisioning newer systems', function () {
  this.timeout(240_000);
  let place: string;
  let state: string;

  before(async function () {
    needsMachine(this);
    place = realpathSync(mkdtempSync(join(tmpdir(), 'te-suites-')));
    // Of its own, so that its control groups are no other helper's.
    state = join('/var/lib', place.replaceAll('/', '-'));
    const extension = stageExtension(join(place, 'extension'));
    const processor = arch() === 'arm64' ? 'aarch64' : 'x86_64';
    await pipeline(
      Readable.from(payloadOf(extension).stream(processor)),
      createWriteStream(join(place, 'payload.tar')),
    );
  });
  afterEach(async () => {
    await endGroups(state);
    rmSync(join(place, 'root'), { recursive: true, force: true });
  });
  after(() => {
    if (place) rmSync(place, { recursive: true, force: true });
  });

  async function run(command: string, args: string[], input = ''): Promise<{ out: string; code: number }> {
    const env = {
      ...process.env,
      TELEPORT_ENV_DEV: '1',
      TELEPORT_ENV_STATE: state,
      TELEPORT_ENV_SOCKET: '/run/te/d.sock',
    };
    const child = spawn(command, args, { env });
    child.stdin.end(input);
    const [out, err, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
    return { out: out + err, code };
  }

  it('the command in multipass/README.md packs all that the extension would bring', async () => {
    const readme = readFileSync(resolve(__dirname, '../../multipass/README.md'), 'utf8');
    const [, words] = /^ *tar -c (.*) \|$/m.exec(readme)!;
    const { out, code } = await run('sh', [
      '-c',
      `cd "$1" && tar -chf - ${words} | tar -t`,
      'sh',
      join(place, 'extension'),
    ]);
    assert.equal(code, 0, out);
    const { out: brought } = await run('tar', ['-tf', join(place, 'payload.tar')]);
    const packed = new Set(out.split('\n'));
    assert.deepEqual(
      brought.split('\n').filter((name) => !packed.has(name)),
      [],
    );
  });

  for (const suite of SUITES)
    it(`${suite}: all of it, twice, and a sandbox on it`, async function () {
      const built = join(ROOTS, suite);
      if (!existsSync(join(built, 'complete'))) {
        if (process.env.TELEPORT_REQUIRE_CRIU) throw new Error('this suite needs build/roots (scripts/setup-roots.sh)');
        console.log(`      skipped: there is no root of ${suite} here (scripts/setup-roots.sh)`);
        this.skip();
      }
      await run('cp', ['-a', join(realpathSync(built), 'root'), place]);
      const args = [
        '-m',
        '-p',
        '-f',
        '--kill-child',
        'sh',
        '-c',
        ENTER,
        'sh',
        place,
        join(realpathSync(built), 'archives'),
      ];
      const { out, code } = await run('unshare', args, WORK);
      assert.equal(code, 0, out);
      const part = (name: string) => out.split(`--- ${name}\n`)[1]!.split('--- ')[0]!;
      assert.match(
        out,
        /^system \w+\n@@ 1 4 .*\n@@ 1 4 Installing git build-essential xfsprogs curl\n@@ 2 4 Installing Node\n@@ 3 4 /,
      );
      assert.doesNotMatch(part('again'), /[Ii]nstalling [^t]/, 'what is there is left alone');
      assert.match(part('unit'), /^the unit is fine$/m);
      const [node, version, python, provisioned] = part('programs').split('\n');
      assert.equal(node, '/usr/bin/node', 'of the distribution');
      console.log(`      ${suite}: node ${version}, ${python}, ${/CRIU .*/.exec(part('sandbox'))?.[0]}`);
      assert.match(provisioned!, /^\d+ \d+\.\d+\.\d+ -$/);
      assert.match(part('sandbox'), /^✓ CRIU +4\.\d.* static/m);
      assert.doesNotMatch(part('sandbox'), /✗/);
      assert.match(part('back'), /^5\ntwo\n\[1\]\+? +Running +sleep 1000 &\n/);
    });
});

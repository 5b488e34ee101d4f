/**
 * Provisioning where the distribution's own Node is too old, as Ubuntu 24.04's and Debian 12's are: the script as it is, on this
 * machine's root without its Node, seen through an overlay that is thrown away. Needs root.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';

const root = resolve(__dirname, '../..');
const arch = process.arch === 'arm64' ? 'arm64' : 'x64';
const archive = `node-v22.99.0-linux-${arch}.tar.xz`;

/** `$1` the extension's files, `$2` Node; the rest is run there. What a fresh Debian or Ubuntu lacks is taken away. */
const BARE = `
set -eu
files=$1 node=$2; shift 2
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
cd /mnt/root
for dir in proc sys dev tmp run; do mount --rbind /$dir $dir; done
cp -L "$node" real-node
rm -rf usr/bin/node usr/local/bin/node etc/apt/sources.list.d/*node* workspaces etc/teleport-env
mkdir -p usr/local/lib/teleport-env-node && rmdir usr/local/lib/teleport-env-node
cat >now.sh
exec chroot . /bin/sh -c 'cd "$1" && PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin . /now.sh' sh "$files"
`;

describe('provisioning a machine whose own Node is too old', function () {
  this.timeout(180_000);
  let place: string;
  let server: Server;
  let from: string;
  const served = new Map<string, Buffer>();

  before(async function () {
    if (process.geteuid?.() !== 0) this.skip();
    place = mkdtempSync(join(tmpdir(), 'te-provision-'));
    const files = join(place, 'files');
    mkdirSync(join(files, 'scripts'), { recursive: true });
    cpSync(join(root, 'multipass'), join(files, 'multipass'), { recursive: true });
    cpSync(join(root, 'package.json'), join(files, 'package.json'));
    // What follows Node is shown by the real virtual machine.
    writeFileSync(join(files, 'scripts/setup-linux.sh'), 'echo "set-up, with Node $(node --version)"\n');
    const node = join(place, archive.replace('.tar.xz', ''), 'bin/node');
    mkdirSync(join(node, '..'), { recursive: true });
    writeFileSync(node, '#!/bin/sh\nexec /real-node "$@"\n');
    chmodSync(node, 0o755);
    execFileSync('tar', ['-cJf', join(place, archive), '-C', place, archive.replace('.tar.xz', '')]);
    const bytes = execFileSync('cat', [join(place, archive)]);
    const sum = createHash('sha256').update(bytes).digest('hex');
    served.set(`/${archive}`, bytes);
    served.set(
      '/SHASUMS256.txt',
      Buffer.from(`${'0'.repeat(64)}  node-v22.99.0-aix-ppc64.tar.xz\n${sum}  ${archive}\n`),
    );
    server = createServer((request, response) => {
      const body = served.get(request.url!);
      response.writeHead(body ? 200 : 404).end(body);
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    from = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });

  after(() => {
    server?.close();
    if (place) rmSync(place, { recursive: true, force: true });
  });

  const there = async (script: string) => {
    const args = [
      '-m',
      '--propagation',
      'private',
      'sh',
      '-c',
      BARE,
      'sh',
      join(place, 'files'),
      realpathSync(process.execPath),
    ];
    const child = spawn('unshare', args, { env: { ...process.env, TELEPORT_ENV_NODE_FROM: from, no_proxy: '*' } });
    child.stdin.end(script);
    const [out, err, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
    return { out, err, code };
  };

  it('takes it from nodejs.org’s list, once', async () => {
    const { out, err, code } = await there(`
      command -v node && exit 9
      sh multipass/provision.sh && echo --- again && sh multipass/provision.sh
      readlink -f "$(command -v node)"; cat /etc/teleport-env/provisioned; test -d /workspaces`);
    assert.equal(code, 0, err);
    const [first, again] = out.split('--- again\n');
    assert.match(
      first!,
      /^@@ 1 4 .*\n(@@ 1 4 Installing.*\n)?@@ 2 4 Installing Node\n@@ 3 4 .*\nset-up, with Node v\d+.*\n@@ 4 4 /,
    );
    assert.doesNotMatch(again!, /Installing Node/);
    assert.match(again!, /^\/usr\/local\/lib\/teleport-env-node\/bin\/node\n\d+ \d+\.\d+\.\d+ -\n$/m);
  });

  it('refuses one that is not what the list says, and leaves nothing of it', async () => {
    const good = served.get(`/${archive}`)!;
    served.set(`/${archive}`, Buffer.concat([good, Buffer.from('x')]));
    const { out, err, code } = await there(`
      sh multipass/provision.sh; echo "ended with $?"; ls -d /usr/local/lib/teleport-env-node /usr/local/bin/node`);
    served.set(`/${archive}`, good);
    assert.match(out, /ended with 2\n$/);
    assert.match(err, new RegExp(`provision: ${archive} is not what http://127.0.0.1:\\d+ says it is`));
    assert.notEqual(code, 0, 'nothing was there to list');
  });

  it('says what it cannot reach, and what is missing there', async () => {
    const list = served.get('/SHASUMS256.txt')!;
    served.set('/SHASUMS256.txt', Buffer.from(`${'0'.repeat(64)}  node-v22.99.0-aix-ppc64.tar.xz\n`));
    assert.match(
      (await there('sh multipass/provision.sh')).err,
      new RegExp(`provision: http\\S+ names no Node for ${arch}`),
    );
    served.delete('/SHASUMS256.txt');
    const { err, code } = await there('sh multipass/provision.sh');
    served.set('/SHASUMS256.txt', list);
    assert.equal(code, 2);
    assert.match(err, /provision: cannot reach http:\/\/127/);
  });
});

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { Connection } from '../../helper/client/connection.ts';
import { makedev, mknod } from '../../helper/engine/syscalls.ts';
import { TeleportError } from '../../helper/protocol/errors.ts';
import type { Params, Result } from '../../helper/protocol/methods.ts';
import { HelperProcess, needsMachine, workspace } from './helper-process.ts';
import { makeTestBase } from './test-base.ts';

/** Another file in its place, as a package manager does it: never the old one written over. */
function replaceFile(path: string): void {
  copyFileSync(path, `${path}.new`);
  appendFileSync(`${path}.new`, 'replaced by an upgrade');
  renameSync(`${path}.new`, path);
}

/** Compressed where the machine can. */
function zstd(data: Buffer): Buffer {
  try {
    return execFileSync('zstd', ['-qc'], { input: data, maxBuffer: 1 << 30, stdio: ['pipe', 'pipe', 'ignore'] });
  } catch {
    return data;
  }
}

describe('another base', function () {
  this.timeout(60_000);
  let helper: HelperProcess;
  let connection: Connection;
  let base: string;
  let ws: string;
  const made: string[] = [];

  before(async function () {
    needsMachine(this);
    base = makeTestBase({ python: true });
    made.push(base);
    helper = await HelperProcess.start();
    connection = await helper.connect();
  });
  after(async () => {
    await helper?.stop();
    for (const dir of made) rmSync(dir, { recursive: true, force: true });
  });
  beforeEach(() => {
    ws = workspace({ 'a.txt': 'one\n' });
    made.push(ws);
  });
  afterEach(async function () {
    if (this.currentTest?.state === 'failed') console.error(helper.logText());
    for (const { id } of (await connection.request('sandbox/list', {})).sandboxes)
      await connection.request('sandbox/remove', { sandbox: id });
  });

  const create = async (more: Partial<Params<'sandbox/create'>> = {}): Promise<string> =>
    (await connection.request('sandbox/create', { workspace: ws, ...more })).sandbox.id;
  async function run(sandbox: string, line: string, checkpoint = false): Promise<Result<'run'> & { text: string }> {
    const ran = await connection.request('run', { sandbox, line, checkpoint });
    return { ...ran, text: Buffer.from(ran.output, 'base64').toString() };
  }
  async function failure(work: Promise<unknown>): Promise<{ code: string; message: string }> {
    return await work.then(
      () => ({ code: 'no error', message: '' }),
      (error) => ({ code: error instanceof TeleportError ? error.code : 'other', message: String(error.message) }),
    );
  }
  async function restart(): Promise<void> {
    await helper.restart();
    connection = await helper.connect();
  }

  it('stands on a folder, and masks there what it masks on the host', async () => {
    const sandbox = await create({ base });
    const { text } = await run(sandbox, 'cat /etc/os-release; ls /; ls /root /home; echo $PWD; cat a.txt');
    assert.match(text, /^NAME="the test base"\n/);
    assert.ok(!/opt|srv/.test(text), text);
    assert.match(text, new RegExp(`${ws}\none\n$`));
  });

  it('goes back after bash, python and a library of the base were replaced, and the helper restarted', async () => {
    const own = makeTestBase({ python: true });
    made.push(own);
    const sandbox = await create({ base: own });
    await run(sandbox, "X=kept; python3 -c 'import time, ssl; time.sleep(1000)' & sleep 0.7".replace(', ssl', ''));
    const { checkpoint } = await connection.request('checkpoint/create', { sandbox });
    await run(sandbox, 'X=lost; kill %1');
    const python = realpathSync(join(own, 'usr/bin/python3'));
    const libc = realpathSync(
      execFileSync('sh', ['-c', "ldd /bin/bash | sed -n 's/.*=> \\(.*libc.so[^ ]*\\).*/\\1/p'"], {
        encoding: 'utf8',
      }).trim(),
    );
    for (const path of [join(own, 'usr/bin/bash'), python, join(own, libc)]) replaceFile(path);
    await restart();
    await connection.request('checkpoint/rollback', { sandbox, checkpoint: checkpoint.id, discard: true });
    assert.equal((await run(sandbox, 'echo $X; jobs -r | wc -l')).text, 'kept\n1\n');
    // Cold too, and once more after a further checkpoint on the new base.
    const second = (await run(sandbox, 'X=again', true)).checkpoint!;
    await helper.powerOff();
    await restart();
    await connection.request('sandbox/start', { sandbox });
    await connection.request('checkpoint/rollback', { sandbox, checkpoint: checkpoint.id, discard: true });
    assert.equal((await run(sandbox, 'echo $X')).text, 'kept\n');
    await connection.request('checkpoint/rollback', { sandbox, checkpoint: second.id, discard: true });
    assert.equal((await run(sandbox, 'echo $X')).text, 'again\n');
  });

  it('pins what runs though the base has another one of it by now', async () => {
    const own = makeTestBase();
    made.push(own);
    const sandbox = await create({ base: own });
    await run(sandbox, 'X=old; sleep 1000 &');
    for (const name of ['bash', 'sleep']) replaceFile(join(own, 'usr/bin', name));
    const { checkpoint } = await connection.request('checkpoint/create', { sandbox });
    await helper.powerOff();
    await restart();
    await connection.request('sandbox/start', { sandbox });
    await connection.request('checkpoint/rollback', { sandbox, checkpoint: checkpoint.id, discard: true });
    assert.equal((await run(sandbox, 'echo $X; jobs -r | wc -l')).text, 'old\n1\n');
  });

  it('gives new sandboxes the base as it is now, not as it was pinned', async () => {
    const own = makeTestBase();
    made.push(own);
    const first = await create({ base: own });
    await run(first, 'true', true);
    replaceFile(join(own, 'usr/bin/bash'));
    const size = String(statSync(join(own, 'usr/bin/bash')).size);
    const second = await create({ base: own });
    assert.equal((await run(second, 'stat -c %s /usr/bin/bash', true)).text.trim(), size);
    const { checkpoint } = await connection.request('checkpoint/create', { sandbox: second });
    await connection.request('checkpoint/rollback', { sandbox: second, checkpoint: checkpoint.id, discard: true });
    assert.equal((await run(second, 'stat -c %s /usr/bin/bash')).text.trim(), size);
    // One generation for each state of the base; they go with the last sandbox.
    const pins = join(helper.state, 'volume/pins');
    const generations = readdirSync(pins)
      .filter((name) => name !== 'host')
      .map((name) => readdirSync(join(pins, name)));
    assert.deepEqual(
      generations.map((g) => g.sort()),
      [['1', '2']],
    );
    for (const sandbox of [first, second]) await connection.request('sandbox/remove', { sandbox });
    assert.deepEqual(
      readdirSync(pins).filter((name) => name !== 'host'),
      [],
    );
  });

  it('refuses what is no base, and goes on without one that went away', async () => {
    const file = join(ws, 'a.txt');
    for (const [path, code] of [
      [join(ws, 'nothing'), 'baseUnreadable'],
      [file, 'baseUnreadable'],
      ['/dev/null', 'baseUnreadable'],
      ['relative', 'invalidRequest'],
      ['/proc', 'baseUnreadable'],
    ] as const)
      assert.equal((await failure(create({ base: path }))).code, code, path);
    const own = makeTestBase();
    made.push(own);
    const sandbox = await create({ base: own });
    await run(sandbox, 'X=5', true);
    renameSync(own, `${own}.gone`);
    made.push(`${own}.gone`);
    await restart();
    assert.equal((await run(sandbox, 'echo $X')).text, '5\n', 'what runs goes on');
    await helper.powerOff();
    await restart();
    const error = await failure(connection.request('sandbox/start', { sandbox }));
    assert.equal(error.code, 'baseUnreadable');
    assert.match(error.message, /is not there/);
    renameSync(`${own}.gone`, own);
    await connection.request('sandbox/start', { sandbox });
    assert.equal((await run(sandbox, 'echo $X')).text, '5\n');
  });

  describe('from an image tar', () => {
    let dir: string;
    beforeEach(() => {
      dir = mkdtempSync(join(tmpdir(), 'teleport-image-'));
      made.push(dir);
    });
    const tar = (folder: string, ...more: string[]): Buffer =>
      execFileSync('tar', ['-C', folder, '--numeric-owner', '-c', ...more, '.'], { maxBuffer: 1 << 30 });
    const sum = (data: Buffer): string => createHash('sha256').update(data).digest('hex');
    const write = (path: string, data: Buffer | string): void => {
      mkdirSync(join(dir, path, '..'), { recursive: true });
      writeFileSync(join(dir, path), data);
    };

    /** A layer over the test base: changes, removes, replaces a folder, and tries what must not work. */
    function secondLayer(): Buffer {
      const layer = mkdtempSync(join(tmpdir(), 'teleport-layer-'));
      made.push(layer);
      mkdirSync(join(layer, 'etc'));
      mkdirSync(join(layer, 'opt/new'), { recursive: true });
      mkdirSync(join(layer, 'data'));
      writeFileSync(join(layer, 'etc/os-release'), 'NAME="second layer"\n');
      writeFileSync(join(layer, 'etc/.wh.passwd'), '');
      writeFileSync(join(layer, 'data/.wh..wh..opq'), '');
      writeFileSync(join(layer, 'data/kept'), 'kept\n');
      writeFileSync(join(layer, 'opt/new/setuid'), 'x');
      chmodSync(join(layer, 'opt/new/setuid'), 0o4755);
      mknod(join(layer, 'opt/disk'), 0o060666, makedev(8, 0));
      mknod(join(layer, 'opt/mem'), 0o020666, makedev(1, 1));
      symlinkSync('/etc', join(layer, 'opt/out'));
      return tar(layer);
    }

    function firstLayer(): Buffer {
      const root = makeTestBase();
      made.push(root);
      mkdirSync(join(root, 'data'));
      writeFileSync(join(root, 'data/hidden'), 'hidden\n');
      return tar(root);
    }

    function ociLayout(layers: Buffer[]): string {
      const blobs = layers.map((data, i) => (i === 0 ? gzipSync(data, { level: 1 }) : zstd(data)));
      const put = (data: Buffer): { digest: string; size: number } => {
        write(`oci/blobs/sha256/${sum(data)}`, data);
        return { digest: `sha256:${sum(data)}`, size: data.length };
      };
      const type = 'application/vnd.oci.image';
      const config = put(Buffer.from('{"os":"linux"}'));
      const manifest = put(
        Buffer.from(
          JSON.stringify({
            schemaVersion: 2,
            config: { mediaType: `${type}.config.v1+json`, ...config },
            layers: blobs.map((data) => ({ mediaType: `${type}.layer.v1.tar`, ...put(data) })),
          }),
        ),
      );
      write('oci/oci-layout', '{"imageLayoutVersion":"1.0.0"}');
      write('oci/index.json', JSON.stringify({ manifests: [{ mediaType: `${type}.manifest.v1+json`, ...manifest }] }));
      return archive('oci');
    }

    function dockerSave(layers: Buffer[]): string {
      layers.forEach((data, i) => {
        write(`docker/layer${i}/layer.tar`, data);
      });
      write('docker/config.json', '{}');
      write(
        'docker/manifest.json',
        JSON.stringify([
          { Config: 'config.json', RepoTags: null, Layers: layers.map((_, i) => `layer${i}/layer.tar`) },
        ]),
      );
      return archive('docker');
    }

    function archive(folder: string): string {
      const path = join(dir, `${folder}.tar`);
      writeFileSync(path, tar(join(dir, folder)));
      return path;
    }

    for (const [name, make] of [
      ['an OCI layout', ociLayout],
      ['docker save', dockerSave],
    ] as const)
      it(`unpacks ${name} once, with whiteouts and without devices`, async () => {
        const image = make([firstLayer(), secondLayer()]);
        const sandbox = await create({ base: image });
        const { text } = await run(
          sandbox,
          'cat /etc/os-release; ls /etc/passwd 2>&1; ls /data /opt; stat -c %a /opt/new/setuid',
        );
        const wanted = [
          'NAME="second layer"',
          "ls: cannot access '/etc/passwd': No such file or directory",
          '/data:',
          'kept',
          '',
          '/opt:',
          'new',
          'out',
          '4755',
        ];
        assert.equal(text, `${wanted.join('\n')}\n`);
        const { checkpoint } = await run(sandbox, 'X=1', true);
        const bases = join(helper.state, 'volume/bases');
        const [digest] = readdirSync(bases);
        assert.equal(digest, sum(readFileSync(image)));
        const second = await create({ base: image });
        assert.deepEqual(readdirSync(bases), [digest]);
        unlinkSync(image);
        await restart();
        await connection.request('sandbox/remove', { sandbox: second });
        await connection.request('checkpoint/rollback', { sandbox, checkpoint: checkpoint!.id, discard: true });
        assert.equal((await run(sandbox, 'echo $X')).text, '1\n');
        await connection.request('sandbox/remove', { sandbox });
        assert.deepEqual(readdirSync(bases), [], 'nobody stands on it any more');
      });

    it('refuses images that are damaged, tricky or too many, and leaves nothing of them', async () => {
      const good = firstLayer();
      const leadingTo = (path: string): Buffer => {
        const layer = mkdtempSync(join(tmpdir(), 'teleport-layer-'));
        made.push(layer);
        writeFileSync(join(layer, 'x'), 'got out');
        return execFileSync('tar', ['-C', layer, '-P', '--transform', `s,^x$,${path},`, '-c', 'x']);
      };
      const marker = `teleport-escaped-${process.pid}`;
      const cases: [string, () => string, RegExp][] = [
        ['a path with ..', () => dockerSave([leadingTo(`../../../../../../../tmp/${marker}`)]), /leads out of it/],
        ['a cut layer', () => dockerSave([good.subarray(0, 200_000)]), /cut short/],
        ['text', () => (write('text.tar', 'no archive at all\n'.repeat(100)), join(dir, 'text.tar')), /not a tar/],
        ['a plain tar', () => (write('root.tar', good), join(dir, 'root.tar')), /no image/],
        [
          'a layer that is not what it says',
          () => {
            const path = ociLayout([good]);
            const [blob] = readdirSync(join(dir, 'oci/blobs/sha256')).filter(
              (name) => statSync(join(dir, 'oci/blobs/sha256', name)).size > 10_000,
            );
            appendFileSync(join(dir, 'oci/blobs/sha256', blob!), gzipSync(Buffer.alloc(512)));
            rmSync(path);
            return archive('oci');
          },
          /not what the image says/,
        ],
        [
          'several images',
          () => {
            dockerSave([good]);
            const one = JSON.parse(readFileSync(join(dir, 'docker/manifest.json'), 'utf8'))[0];
            write('docker/manifest.json', JSON.stringify([one, one]));
            return archive('docker');
          },
          /several images/,
        ],
      ];
      for (const [name, make, message] of cases) {
        const error = await failure(create({ base: make() }));
        assert.equal(error.code, 'baseUnreadable', `${name}: ${error.message}`);
        assert.match(error.message, message, name);
      }
      assert.equal(existsSync(`/tmp/${marker}`), false);
      assert.deepEqual(readdirSync(join(helper.state, 'volume/bases')), []);
      assert.deepEqual(readdirSync(join(helper.state, 'volume/sandboxes')), []);
    });

    it('writes through a symlink of the image only inside it', async () => {
      const layer = mkdtempSync(join(tmpdir(), 'teleport-layer-'));
      made.push(layer);
      const marker = `teleport-escaped-${process.pid}`;
      symlinkSync('/tmp', join(layer, 'way-out'));
      mkdirSync(join(layer, 'tmp'));
      const first = tar(layer);
      unlinkSync(join(layer, 'way-out'));
      mkdirSync(join(layer, 'way-out'));
      writeFileSync(join(layer, 'way-out', marker), 'inside\n');
      const second = execFileSync('tar', ['-C', layer, '-c', `way-out/${marker}`]);
      const sandbox = await create({ base: dockerSave([firstLayer(), first, second]) });
      assert.equal(existsSync(`/tmp/${marker}`), false);
      // The sandbox's own /tmp is masked; the file is in the image's.
      const [digest] = readdirSync(join(helper.state, 'volume/bases'));
      assert.equal(readFileSync(join(helper.state, 'volume/bases', digest!, 'root/tmp', marker), 'utf8'), 'inside\n');
      assert.ok(sandbox);
    });
  });
});

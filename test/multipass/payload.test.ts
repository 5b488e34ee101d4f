import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { linksIn } from '../../src/connection/multipass/links.ts';
import { payloadOf, processorOf } from '../../src/connection/multipass/payload.ts';

const root = resolve(__dirname, '../..');

/** The beginning of a Linux program for that machine number. */
function program(machine: number, more: string): Buffer {
  const start = Buffer.alloc(64);
  start.write('\x7fELF', 'latin1');
  start.writeUInt16LE(machine, 18);
  return Buffer.concat([start, Buffer.from(more)]);
}

describe('what a machine is provisioned with', () => {
  let dir: string;
  before(() => {
    dir = mkdtempSync(join(tmpdir(), 'teleport-env-payload-'));
    const put = (path: string, text: string | Buffer) => {
      mkdirSync(join(dir, path, '..'), { recursive: true });
      writeFileSync(join(dir, path), text);
    };
    put('package.json', '{"version":"1.2.3"}');
    put('dist/teleport-env.js', '//');
    put('dist/helper-part-A1.js', '//');
    put('dist/extension.js', '// not for there');
    put('dist/part-B2.js', '// nor that');
    put('build/criu/KEY', 'k');
    put('build/criu/criu', program(62, 'x64'));
    put('build/criu-aarch64/KEY', 'k-arm');
    put('build/criu-aarch64/criu', program(183, 'arm'));
    put('build/init/teleport-init', program(62, 'x64'));
    put('build/init/teleport-init-aarch64', program(183, 'arm'));
    for (const path of ['multipass/provision.sh', 'multipass/cloud-init.yaml'])
      put(path, readFileSync(join(root, path)));
  });
  after(() => rmSync(dir, { recursive: true }));

  async function stream(processor: string): Promise<Buffer> {
    const parts: Buffer[] = [];
    for await (const part of payloadOf(dir).stream(processor)) parts.push(part);
    return Buffer.concat(parts);
  }
  async function unpacked(processor: string): Promise<string[]> {
    return execFileSync('tar', ['-t'], { input: await stream(processor) })
      .toString()
      .trim()
      .split('\n')
      .sort();
  }

  it('is the extension’s Linux side, with the programs for its processor', async () => {
    const common = ['dist/helper-part-A1.js', 'dist/teleport-env.js', 'multipass/provision.sh', 'package.json'];
    const criu = ['build/criu/KEY', 'build/criu/criu'];
    assert.deepEqual(await unpacked('x86_64'), [...criu, 'build/init/teleport-init', ...common]);
    assert.deepEqual(await unpacked('aarch64'), [...criu, 'build/init/teleport-init', ...common]);
    const content = async (path: string, processor: string) =>
      execFileSync('tar', ['-xO', path], { input: await stream(processor) }).toString('latin1');
    for (const path of ['build/criu/criu', 'build/init/teleport-init']) {
      assert.match(await content(path, 'x86_64'), /x64$/);
      assert.match(await content(path, 'aarch64'), /arm$/);
    }
    assert.equal(await content('build/criu/KEY', 'aarch64'), 'k-arm');
  });

  it('leaves out a program that there is none of for its processor: set-up makes one there', async () => {
    assert.deepEqual(
      (await unpacked('riscv64')).filter((path) => path.startsWith('build/')),
      [],
    );
  });

  it('tells programs apart by their first bytes', () => {
    assert.equal(processorOf(join(dir, 'build/init/teleport-init-aarch64')), 'aarch64');
    assert.equal(processorOf(join(dir, 'package.json')), null);
    assert.equal(processorOf(join(dir, 'nothing')), null);
  });

  it('has a version, and a mark that follows its content', () => {
    const { provision, version, payload } = payloadOf(dir).provisioned;
    assert.deepEqual([typeof provision, version], ['number', '1.2.3']);
    assert.match(payload, /^[0-9a-f]{12}$/);
    writeFileSync(join(dir, 'dist/teleport-env.js'), '// changed');
    assert.notEqual(payloadOf(dir).provisioned.payload, payload);
  });

  it('puts the key into cloud-init as it is', () => {
    const text = payloadOf(dir).cloudInit('ssh-ed25519 AAAA$& teleport-env');
    assert.match(text, /^#cloud-config\n/);
    assert.ok(text.includes('\nssh_authorized_keys:\n  - ssh-ed25519 AAAA$& teleport-env\n'));
  });

  it('set-up takes the program that was brought for its processor, and compiles nothing', function () {
    const criu = join(root, 'build/criu/criu');
    const init = join(root, 'build/init/teleport-init');
    if (!existsSync(criu) || !existsSync(init)) return this.skip();
    const brought = mkdtempSync(join(tmpdir(), 'teleport-env-brought-'));
    const processor = execFileSync('uname', ['-m']).toString().trim();
    for (const part of ['build/criu', 'build/init']) mkdirSync(join(brought, part), { recursive: true });
    for (const part of ['scripts', 'helper/native']) cpSync(join(root, part), join(brought, part), { recursive: true });
    cpSync(join(root, 'build/criu'), join(brought, `build/criu-${processor}`), { recursive: true });
    writeFileSync(join(brought, 'build/criu/KEY'), 'of another processor');
    cpSync(init, join(brought, `build/init/teleport-init-${processor}`));
    for (const script of ['build-criu.sh', 'build-init.sh']) {
      const said = execFileSync(join(brought, 'scripts', script), { stdio: 'pipe' }).toString();
      assert.equal(said, '', script);
    }
    assert.ok(readFileSync(join(brought, 'build/criu/criu')).equals(readFileSync(criu)));
    assert.ok(readFileSync(join(brought, 'build/init/teleport-init')).equals(readFileSync(init)));
    rmSync(brought, { recursive: true });
  });

  it('provision.sh is plain sh', () => {
    execFileSync('sh', ['-n', join(root, 'multipass/provision.sh')]);
  });
});

describe('links to files in a terminal', () => {
  it('in the ways that compilers and test runners write them', () => {
    const found = (text: string) => linksIn(text).map(({ path, line, column }) => [path, line, column]);
    assert.deepEqual(found('at /workspaces/app/src/a.ts:3:7)'), [['/workspaces/app/src/a.ts', 3, 7]]);
    assert.deepEqual(found('/workspaces/app/a.ts(12,5): error'), [['/workspaces/app/a.ts', 12, 5]]);
    assert.deepEqual(found('File "/workspaces/app/ü.py", line 9, in f'), [['/workspaces/app/ü.py', 9, undefined]]);
    assert.deepEqual(found('see /workspaces/app/README.md.'), [['/workspaces/app/README.md', undefined, undefined]]);
    assert.deepEqual(found('/usr/include/stdio.h:3 and /work/spaces'), []);
  });

  it('cover what is to be clicked', () => {
    const [link] = linksIn('x /workspaces/a:2 y');
    assert.deepEqual([link!.start, link!.length], [2, '/workspaces/a:2'.length]);
  });
});

/** A small root file system for tests: a shell, some tools, Python, and what they need of the host's libraries. */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

const TOOLS = ['bash', 'cat', 'ls', 'echo', 'sleep', 'true', 'id', 'stat', 'mkdir', 'rm', 'wc', 'seq', 'touch', 'mv'];

function librariesOf(program: string): string[] {
  const text = execFileSync('ldd', [program], { encoding: 'utf8' });
  return [...text.matchAll(/(\/\S+) \(0x/g)].map((m) => m[1]!);
}

function put(root: string, path: string): void {
  const target = join(root, realpathSync(dirname(path)), path.split('/').at(-1)!);
  if (existsSync(target)) return;
  mkdirSync(dirname(target), { recursive: true });
  cpSync(realpathSync(path), target, { preserveTimestamps: true });
}

/** @returns a folder to remove afterwards */
export function makeTestBase(options: { python?: boolean } = {}): string {
  const root = mkdtempSync(join(tmpdir(), 'teleport-base-'));
  execFileSync('chmod', ['755', root]);
  for (const dir of ['usr/bin', 'usr/lib', 'usr/lib64', 'usr/sbin', 'etc'])
    mkdirSync(join(root, dir), { recursive: true });
  for (const dir of ['bin', 'lib', 'lib64', 'sbin']) symlinkSync(`usr/${dir}`, join(root, dir));
  const programs = [...TOOLS.map((name) => `/usr/bin/${name}`), ...(options.python ? ['/usr/bin/python3'] : [])];
  for (const program of programs) {
    put(root, program);
    for (const library of librariesOf(program)) put(root, library);
  }
  symlinkSync('bash', join(root, 'usr/bin/sh'));
  if (options.python) {
    const version = execFileSync('python3', ['-c', 'import sys; print("python%d.%d" % sys.version_info[:2])'], {
      encoding: 'utf8',
    }).trim();
    cpSync(`/usr/lib/${version}`, join(root, 'usr/lib', version), {
      recursive: true,
      preserveTimestamps: true,
      verbatimSymlinks: true,
      filter: (path) => !/\/(test|idlelib|tkinter|ensurepip|lib2to3|dist-packages|pydoc_data|config-[^/]*)$/.test(path),
    });
  }
  writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/bash\n');
  writeFileSync(join(root, 'etc/os-release'), 'NAME="the test base"\n');
  return root;
}

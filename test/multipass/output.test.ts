import assert from 'node:assert/strict';
import { pathsOfThisHost } from '../../src/connection/multipass/output.ts';
import { asEditor, toHost } from '../../src/connection/multipass/workspace/paths.ts';

const folders = { 'C:\\Users\\Ann\\my app': 'my-app', 'D:\\': 'D' };
const windows = (path: string) => toHost(path, folders, 'win32');

function through(pieces: string[], map = windows): string {
  const output = pathsOfThisHost(map);
  return pieces.map((piece) => output.push(piece)).join('') + output.end();
}

describe('output with this host’s paths', () => {
  const cases: [string, string][] = [
    [
      '/workspaces/my-app/src/a.ts(3,7): error TS2322: no.',
      'C:\\Users\\Ann\\my app\\src\\a.ts(3,7): error TS2322: no.',
    ],
    ['/workspaces/my-app/src/ü.c:12:5: error', 'C:\\Users\\Ann\\my app\\src\\ü.c:12:5: error'],
    ['File "/workspaces/my-app/t.py", line 9', 'File "C:\\Users\\Ann\\my app\\t.py", line 9'],
    ['\x1b[1m/workspaces/my-app/a.js\x1b[22m', '\x1b[1mC:\\Users\\Ann\\my app\\a.js\x1b[22m'],
    ['see /workspaces/my-app/README.md.', 'see C:\\Users\\Ann\\my app\\README.md.'],
    ['in [/workspaces/my-app/a] and /workspaces/D/b', 'in [C:\\Users\\Ann\\my app\\a] and D:\\b'],
    // The machine's own, and what only looks like it.
    ['/workspaces/other/a.ts:1', '/workspaces/other/a.ts:1'],
    ['/usr/include/stdio.h:3', '/usr/include/stdio.h:3'],
    ['src/workspaces/my-app/a', 'src/workspaces/my-app/a'],
    ['https://example.org/workspaces/my-app/a', 'https://example.org/workspaces/my-app/a'],
    ['/workspaces', '/workspaces'],
  ];
  for (const [there, here] of cases) {
    it(there.replaceAll('\x1b', '␛'), () => assert.equal(through([there]), here));
    it('… cut anywhere', () => {
      for (let at = 0; at <= there.length; at++)
        for (let next = at; next <= there.length; next++)
          assert.equal(through([there.slice(0, at), there.slice(at, next), there.slice(next)]), here, `${at} ${next}`);
    });
  }

  it('keeps nothing back that cannot become a path', () => {
    const output = pathsOfThisHost(windows);
    assert.equal(output.push('Password: '), 'Password: ');
    assert.equal(output.push('/workspaces/my-app/a\n'), 'C:\\Users\\Ann\\my app\\a\n');
    const endless = `/workspaces/${'a'.repeat(5_000)}`;
    assert.equal(output.push(endless), endless);
    assert.equal(output.end(), '');
  });

  it('is compared with the editor’s own paths, which have a small drive letter', () => {
    assert.equal(asEditor('C:\\Users\\Ann'), 'c:\\Users\\Ann');
    assert.equal(asEditor('/home/Ann'), '/home/Ann');
  });
});

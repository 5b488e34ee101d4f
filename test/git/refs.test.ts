import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { arriving, isBranchName, isRefName, packedRefs, readRefs, refComponent } from '../../helper/client/git/refs.ts';

const A = 'a'.repeat(40);
const B = 'b'.repeat(40);

describe('names of refs', () => {
  it('are taken where git takes them', () => {
    const names = [
      'refs/heads/main',
      'refs/heads/a/b',
      'refs/heads/ü',
      'refs/heads/a b',
      'refs/heads/../../x',
      'refs/heads/.a',
      'refs/heads/a.lock',
      'refs/heads/a.lock/b',
      'refs/heads/a.',
      'refs/heads/@{x',
      'refs/heads/a@b',
      'refs/heads/x~1',
      'refs/heads/x^',
      'refs/heads/x:y',
      'refs/heads/x*',
      'refs/heads/x[',
      'refs/heads/x\\y',
      'refs/heads/x\ny',
      'refs//x',
      'refs/heads/',
      '/refs/x',
      'refs/heads/-x',
      'HEAD',
    ];
    for (const name of names) {
      let taken = true;
      try {
        execFileSync('git', ['check-ref-format', name], { stdio: 'ignore' });
      } catch {
        taken = false;
      }
      assert.equal(isRefName(name), taken, JSON.stringify(name));
    }
    assert.ok(!isRefName('refs/heads/\ufffd'));
    assert.deepEqual(['api/fix', '-x', 'HEAD', A, 'a..b', ''].map(isBranchName), [
      true,
      false,
      false,
      false,
      false,
      false,
    ]);
  });

  it('bear the sandbox’s name, or its id where that is no name for git', () => {
    assert.equal(refComponent('api', 's1'), 'api');
    for (const [name, expected] of [
      ['my app', 'my-app-s1'],
      ['../..', 's1'],
      ['a/b', 'a-b-s1'],
      ['x.lock', 'x-lock-s1'],
      ['日本', '日本'],
      ['~', 's1'],
      ['-x', 'x-s1'],
      ['x'.repeat(255), `${'x'.repeat(60)}-s1`],
    ] as const) {
      assert.equal(refComponent(name, 's1'), expected, name);
      assert.ok(isRefName(`refs/teleport-env/${expected}/heads/x`));
    }
  });

  it('are read packed and loose, through symbolic ones, never in circles', () => {
    assert.deepEqual(
      [...packedRefs(`# pack-refs with: peeled\n${A} refs/heads/x\n^${B}\nrubbish\n`)],
      [['refs/heads/x', A]],
    );
    const loose = new Map([
      ['refs/heads/x', `${B}\n`],
      ['refs/heads/s', 'ref: refs/heads/x\n'],
      ['refs/heads/c', 'ref: refs/heads/c\n'],
      ['refs/heads/bad', 'nothing'],
      ['refs/heads/a..b', A],
      ['refs/remotes/o/x', A],
      ['refs/stash', A],
    ]);
    const refs = readRefs(loose, `${A} refs/tags/v1\n${A} refs/heads/x\n`, 'ref: refs/heads/x\n');
    assert.deepEqual(Object.fromEntries(refs.named), { 'tags/v1': A, 'heads/x': B, 'heads/s': B, stash: A });
    assert.deepEqual(
      [refs.branch, refs.head, refs.odd.sort()],
      ['heads/x', B, ['refs/heads/a..b', 'refs/heads/bad', 'refs/heads/c']],
    );
    assert.deepEqual(readRefs(new Map(), '', 'ref: refs/heads/none\n').head, null);
  });

  it('arrive where they moved, are new, or arrived before; HEAD where it is on none', () => {
    const root = readRefs(new Map([['refs/heads/m', A]]), '', 'ref: refs/heads/m');
    const same = readRefs(new Map([['refs/heads/m', A]]), '', 'ref: refs/heads/m');
    assert.deepEqual([...arriving(same, root, [])], []);
    assert.deepEqual([...arriving(same, root, ['heads/m'])], [['heads/m', A]]);
    const moved = readRefs(
      new Map([
        ['refs/heads/m', A],
        ['refs/heads/n', B],
      ]),
      '',
      B,
    );
    assert.deepEqual(
      [...arriving(moved, root, [])],
      [
        ['heads/n', B],
        ['HEAD', B],
      ],
    );
    assert.deepEqual([...arriving(same, null, [])], [['heads/m', A]]);
  });
});

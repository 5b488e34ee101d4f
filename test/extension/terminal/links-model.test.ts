import assert from 'node:assert/strict';
import { namedIn, placesOf } from '../../../src/terminal/links-model.ts';

describe('files that a terminal names', () => {
  for (const [line, ...expected] of [
    ['src/a.ts(12,5): error TS2304: Cannot find it.', 'src/a.ts(12,5) → src/a.ts 12 5'],
    ['./test/b.test.js:3', './test/b.test.js:3 → ./test/b.test.js 3'],
    ['at f (/srv/app/index.js:10:22)', '/srv/app/index.js:10:22 → /srv/app/index.js 10 22'],
    ['  File "/srv/x.py", line 4, in <module>', '/srv/x.py", line 4 → /srv/x.py 4'],
    ['see ../notes/läs mig.md, README.md.', '../notes/läs → ../notes/läs', 'mig.md → mig.md', 'README.md → README.md'],
    ['@scope/pkg and a/b/ and .env.local', '@scope/pkg → @scope/pkg', 'a/b → a/b'],
    ['https://docs.example/a.html?b=1 is none'],
    ['nor is any of these words... -- 12 % == &&'],
    [''],
  ] as const)
    it(`are found in: ${line}`, () => {
      const found = namedIn(line).map(
        ({ start, length, path, line: row, column }) =>
          `${line.slice(start, start + length)} → ${[path, row, column].filter((one) => one !== undefined).join(' ')}`,
      );
      assert.deepEqual(found, expected);
    });

  it('are no more than can be asked about', () => {
    assert.equal(namedIn('a/b '.repeat(100)).length, 12);
  });

  it('lie below where the shell is, or below the workspace', () => {
    assert.deepEqual(placesOf('src/a.ts', '/w/api/lib', '/w/api'), ['/w/api/lib/src/a.ts', '/w/api/src/a.ts']);
    assert.deepEqual(placesOf('/etc/hosts', '/w/api', '/w/api'), ['/etc/hosts']);
    assert.deepEqual(placesOf('../a.ts', '/w/api', '/w/api'), ['/w/a.ts']);
  });
});

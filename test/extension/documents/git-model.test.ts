import assert from 'node:assert/strict';
import { arrivedWords, branchWords, nameFor, whyNoBranch } from '../../../src/documents/git-model.ts';
import { chooseOnCreate, outcomeOf } from '../../../src/setup/on-create-model.ts';

describe('git in words', () => {
  it('offers a name that git takes, and says at once where one is none', () => {
    for (const [sandbox, name] of [
      ['api', 'sandbox/api'],
      ['my app', 'sandbox/my-app'],
      ['日本', 'sandbox/日本'],
      ['~~', 'sandbox/work'],
    ] as const) {
      assert.equal(nameFor(sandbox), name);
      assert.equal(whyNoBranch(name), undefined);
    }
    for (const bad of ['', 'a b', 'a..b', '-a', 'a/', '/a', 'a.lock', 'a/.b', 'a~1', 'x:y', 'a.', 'a@{b', 'a//b'])
      assert.ok(whyNoBranch(bad), bad);
  });

  it('says what came', () => {
    const made = { to: '/w', branch: 'b', commit: 'a'.repeat(40), commits: 1, uncommitted: null, left: [] };
    assert.equal(branchWords(made), 'Branch b: 1 new commit.');
    assert.equal(
      branchWords({ ...made, commits: 3, uncommitted: 1 }),
      'Branch b: 3 new commits, the last of what was not committed inside (1 file).',
    );
    assert.equal(
      branchWords({ ...made, left: [{ path: 'lib', reason: 'a submodule' }] }),
      'Branch b: 1 new commit. Left inside: lib, a submodule.',
    );
    const ref = (name: string, moved: boolean) => ({ ref: name, commit: 'a'.repeat(40), commits: 1, moved });
    const arrived = (...refs: ReturnType<typeof ref>[]) =>
      arrivedWords({ to: '/w', from: 'k1', refs, left: [] }, 'api');
    assert.equal(arrived(ref('x', false)), 'No new commits in api.');
    assert.equal(arrived(ref('x', true), ref('y', false)), 'x arrived.');
    assert.equal(arrived(ref('x', true), ref('y', true), ref('z', true)), 'x and 2 more arrived.');
    const left = [{ path: 'lib', reason: 'a submodule' }];
    assert.equal(
      arrivedWords({ to: '/w', from: 'k1', refs: [ref('x', true)], left }, 'api'),
      'x arrived. Left inside: lib, a submodule.',
    );
  });
});

describe('what sets a new sandbox up', () => {
  it('is the user’s own word, or the folder’s once it was shown', () => {
    const choose = (user?: string, folder?: string, container: string | null = null, trusted = true) => {
      const choice = chooseOnCreate(user, folder, container, trusted);
      return choice && `${choice.ask ? 'ask' : 'run'} ${choice.command}`;
    };
    assert.equal(choose(), undefined);
    assert.equal(choose(' npm ci '), 'run npm ci');
    assert.equal(choose('npm ci', 'curl x | sh'), 'ask curl x | sh');
    assert.equal(choose('npm ci', 'npm ci'), 'run npm ci');
    assert.equal(choose(undefined, 'make', 'other'), 'ask make');
    assert.equal(choose('npm ci', '', 'other'), undefined, 'an empty one wants none');
    assert.equal(choose(undefined, undefined, 'npm i'), 'ask npm i');
    assert.equal(choose('npm ci', undefined, 'npm i'), 'run npm ci');
    assert.equal(choose('npm ci', 'evil', 'evil', false), 'run npm ci', 'an untrusted folder has no say');
    assert.equal(choose(undefined, 'evil', 'evil', false), undefined);
    assert.deepEqual([0, 130, 7].map(outcomeOf), ['done', 'cancelled', 'failed']);
  });
});

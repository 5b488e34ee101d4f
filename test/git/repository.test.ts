import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { identityOf } from '../../helper/client/git/identity.ts';
import { outside } from '../../helper/client/git/outside.ts';
import { repositoryAt } from '../../helper/client/git/repository.ts';
import { submodulePaths, submodulesOf } from '../../helper/client/git/submodules.ts';
import { gitConfig, withoutCredentials } from '../../helper/engine/git-config.ts';
import { GIT_ENV, git, newRepository } from './repositories.ts';

describe("a workspace's git", () => {
  let top: string;
  beforeEach(() => {
    top = realpathSync(mkdtempSync(join(tmpdir(), 'git-place-')));
  });
  afterEach(() => rmSync(top, { recursive: true, force: true }));

  it('is its own folder, with nothing outside', async () => {
    const main = newRepository(join(top, 'main'));
    assert.deepEqual(await repositoryAt(main), { dir: join(main, '.git'), common: join(main, '.git') });
    assert.deepEqual(await outside(main), { folders: [], notes: [] });
    assert.deepEqual(await outside(top), { folders: [], notes: [] });
  });

  it('of a worktree, a submodule and a folder set apart lies outside', async () => {
    const main = newRepository(join(top, 'main'));
    const tree = join(top, 'tree');
    git(main, 'worktree', 'add', '-q', tree);
    assert.deepEqual(await outside(tree), { folders: [join(main, '.git')], notes: [] });
    const library = newRepository(join(top, 'library'));
    git(main, '-c', 'protocol.file.allow=always', 'submodule', '--quiet', 'add', library, 'sub');
    assert.deepEqual(await outside(join(main, 'sub')), { folders: [join(main, '.git/modules/sub')], notes: [] });
    assert.deepEqual(await outside(main), { folders: [], notes: [] });
    const apart = join(top, 'apart');
    execFileSync('git', ['init', '-q', '--separate-git-dir', join(top, 'elsewhere.git'), apart]);
    assert.match((await outside(apart)).notes[0]!, /To bring it in: git -C .* config core\.worktree/);
    git(apart, 'config', 'core.worktree', apart);
    assert.deepEqual(await outside(apart), { folders: [join(top, 'elsewhere.git')], notes: [] });
  });

  it('of a submodule that lives elsewhere comes along where it leads back, and is named where it does not', async () => {
    const main = newRepository(join(top, 'main'));
    const sub = newRepository(join(main, 'sub dir'));
    const elsewhere = join(top, 'elsewhere.git');
    renameSync(join(sub, '.git'), elsewhere);
    writeFileSync(join(sub, '.git'), `gitdir: ${elsewhere}\n`);
    git(main, 'add', '-A');
    assert.match(git(main, 'ls-files', '--stage'), /^160000 .*\tsub dir$/m);
    const found = await outside(main);
    assert.deepEqual(found.folders, []);
    assert.match(found.notes.join(), /sub dir\/\.git leads to .*elsewhere\.git, which does not lead back/);
    git(sub, 'config', 'core.worktree', sub);
    assert.deepEqual(await outside(main), { folders: [elsewhere], notes: [] });
    // A folder that is a link to another repository is that one's, not a submodule.
    rmSync(sub, { recursive: true });
    symlinkSync(newRepository(join(top, 'other')), sub);
    assert.deepEqual(
      (await submodulesOf({ dir: join(main, '.git'), common: join(main, '.git') }, main, { env: GIT_ENV })).map(
        ({ path, repository }) => [path, repository],
      ),
      [['sub dir', null]],
    );
    assert.deepEqual(await outside(main), { folders: [], notes: [] });
  });

  it('that leads to what is nobody’s business is left outside, and says so', async () => {
    const secret = newRepository(join(top, 'secret'));
    const ws = join(top, 'ws');
    mkdirSync(ws);
    for (const trick of [`gitdir: ${secret}/.git\n`, 'gitdir: ../secret/.git']) {
      writeFileSync(join(ws, '.git'), trick);
      const found = await outside(ws);
      assert.deepEqual([found.folders, found.notes.length], [[], 1], trick);
      assert.match(found.notes[0]!, /does not lead back/);
    }
    rmSync(join(ws, '.git'));
    symlinkSync(join(secret, '.git'), join(ws, '.git'));
    assert.deepEqual((await outside(ws)).folders, []);
    rmSync(join(ws, '.git'));
    newRepository(ws);
    writeFileSync(join(ws, '.git/commondir'), `${secret}/.git\n`);
    assert.deepEqual((await outside(ws)).folders, []);
    rmSync(join(ws, '.git/commondir'));
    writeFileSync(join(ws, '.git/objects/info/alternates'), `${secret}/.git/objects\n`);
    const borrowing = await outside(ws);
    assert.deepEqual(borrowing.folders, []);
    assert.match(borrowing.notes[0]!, /borrows objects from .*git repack -a -d/);
  });

  it('is not in a part of a repository, and a folder that only looks like a repository is none', async () => {
    const main = newRepository(join(top, 'main'));
    mkdirSync(join(main, 'packages/api'), { recursive: true });
    assert.match((await outside(join(main, 'packages/api'))).notes[0]!, /part of the repository .*make the sandbox of/);
    const bare = join(top, 'bare');
    execFileSync('git', ['init', '-q', '--bare', bare]);
    appendFileSync(join(bare, 'config'), '[user]\n\tname = Mallory\n');
    assert.equal(await repositoryAt(bare), null);
    assert.deepEqual(await identityOf(bare, { ...process.env, GIT_CONFIG_GLOBAL: '/dev/null' }), {});
  });

  it('tells who commits, by what holds for that folder', async () => {
    const main = newRepository(join(top, 'main'));
    writeFileSync(join(top, 'global'), '[user]\n\tname = Jo "J" Müller\\n<x>\n\temail = jo@example.test\n');
    const env = { ...process.env, GIT_CONFIG_GLOBAL: join(top, 'global') };
    git(main, 'config', '--unset', 'user.email');
    git(main, 'config', '--unset', 'user.name');
    assert.deepEqual(await identityOf(main, env), { name: 'Jo J Müllerx', email: 'jo@example.test' });
    git(main, 'config', 'user.email', 'work@example.test');
    assert.equal((await identityOf(main, env)).email, 'work@example.test');
    assert.deepEqual(await identityOf(join(top, 'nowhere'), env), {});
    const file = join(top, 'written');
    for (const name of ['a "b" \\c', "d'e # f;", ' g ']) {
      writeFileSync(file, gitConfig({ name }));
      assert.equal(git(main, 'config', '-f', file, 'user.name'), `${name}\n`);
    }
    assert.equal(gitConfig({}), '');
  });

  it('loses its credentials on the way in, and nothing else', () => {
    const harmless =
      '[core]\n\tbare = false\n[remote "o"]\n\turl = ssh://git@host/x.git\n\tfetch = +refs/*:refs/*\n[alias]\n\tx = "!f() { \\\n echo a@b; }; f"';
    assert.equal(withoutCredentials(harmless), harmless);
    const secrets = `[core]
	bare = false
[remote "origin"]
	url = https://bob:SECRET@host/x.git
	pushurl = https://SECRET@host/x.git
[http "https://host/"] extraheader = AUTHORIZATION: \\
 SECRET
	sslVerify = true
[credential "https://host"]
	helper = "!echo SECRET"
	username = SECRET
[credential.https://host] helper = SECRET
[url "https://bob:SECRET@host/"]
	insteadOf = https://SECRET/
[user]
	signingKey = SECRET
	name = Bob
[commit]
	gpgSign = true
[github] oauth-token = SECRET
[x] password = SECRET
`;
    const left = withoutCredentials(secrets);
    assert.doesNotMatch(left, /SECRET|gpgSign/i);
    for (const kept of ['bare = false', 'url = https://host/x.git', 'sslVerify = true', 'name = Bob', '[commit]'])
      assert.ok(left.includes(kept), kept);
  });

  it('names its submodules in .gitmodules', () => {
    const text = '[submodule "a b"]\n\tpath = a b\n\turl = x\n[submodule "c"]\n\tpath="lib/c"\n#path = no\n';
    assert.deepEqual(submodulePaths(text), ['a b', 'lib/c']);
    assert.deepEqual(submodulePaths(''), []);
  });
});

/** Commits leave a sandbox: the real git on both sides, the real CRIU between, for root and for a plain user. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performPrepared, prepareApply } from '../../helper/client/apply/index.ts';
import { fetchCommits, targetOf } from '../../helper/client/git/arrive.ts';
import { branchFromSandbox } from '../../helper/client/git/branch.ts';
import { outside } from '../../helper/client/git/outside.ts';
import { TeleportError } from '../../helper/protocol/errors.ts';
import { needsMachine } from '../daemon/helper-process.ts';
import { Rig } from '../states/rig.ts';
import { GIT_ENV, git as gitHere, newRepository } from './repositories.ts';

for (const uid of [0, 1501])
  describe(`commits made in a sandbox of ${uid === 0 ? 'root' : 'a plain user'}`, function () {
    this.timeout(60_000);
    let rig: Rig;
    let top: string;
    let count = 0;

    before(async function () {
      needsMachine(this);
      rig = await Rig.make(uid);
      top = realpathSync(mkdtempSync(join(tmpdir(), 'git-arrive-')));
      chmodSync(top, 0o755);
    });
    after(async () => {
      await rig?.end();
      if (top) rmSync(top, { recursive: true, force: true });
    });

    /** A repository and a sandbox of it. */
    async function make(prepare: (dir: string) => void = () => {}, within = '') {
      const dir = newRepository(join(top, `r${++count}`));
      prepare(dir);
      const workspace = join(dir, within);
      execFileSync('chown', ['-R', `${uid}:${uid}`, top]);
      const { folders } = await outside(workspace);
      const identity = { name: 'Jo', email: 'jo@example.test', folders };
      const params = { workspace, name: `r${count}`, git: identity };
      const { sandbox } = await rig.connection.request('sandbox/create', params);
      const { id } = sandbox;
      return {
        dir,
        id,
        name: sandbox.name,
        git: (...argv: string[]) =>
          execFileSync('git', argv, {
            cwd: dir,
            env: GIT_ENV,
            encoding: 'utf8',
            ...(uid ? { uid, gid: uid } : {}),
          }).trim(),
        async run(line: string): Promise<string> {
          const { output, exitCode } = await rig.connection.request('run', { sandbox: id, line, checkpoint: false });
          const said = Buffer.from(output, 'base64').toString().trim();
          return exitCode === 0 ? said : `exit ${exitCode}: ${said}`;
        },
        async fetch(from?: string) {
          const target = await targetOf(rig.connection, { sandbox: id }, { env: GIT_ENV });
          const { head, current } = target.sandbox;
          return (await fetchCommits(rig.connection, target, from ?? head ?? current)).arrived;
        },
        branch: (name: string, uncommitted = true, from?: string) =>
          branchFromSandbox(rig.connection, { sandbox: id, name, uncommitted, from: from as never }, { env: GIT_ENV }),
        checkpoint: async () => (await rig.connection.request('checkpoint/create', { sandbox: id })).checkpoint.id,
        rollback: (checkpoint: string) => rig.connection.request('checkpoint/rollback', { sandbox: id, checkpoint }),
      };
    }
    const refused = (code: string, message: RegExp) => (error: unknown) => {
      assert.ok(error instanceof TeleportError, String(error));
      assert.equal(error.code, code, error.message);
      assert.match(error.message, message);
      return true;
    };
    /** Everything in a folder, with its content. */
    function contents(dir: string): Map<string, string> {
      const found = new Map<string, string>();
      for (const name of readdirSync(dir, { recursive: true }) as string[])
        if (lstatSync(join(dir, name)).isFile()) found.set(name, readFileSync(join(dir, name), 'latin1'));
      return found;
    }

    it('arrive under their own names, and move nothing else', async () => {
      const { dir, git, run, fetch, id } = await make();
      assert.deepEqual((await fetch()).refs, []);
      const [index, head] = [readFileSync(join(dir, '.git/index')), git('rev-parse', 'main')];
      await run(
        'echo two > b.txt; git add -A; git commit -qm two; git tag -a v1 -m v1; git switch -qc side; git commit -q --allow-empty -m three; echo x > c; git add c; git stash -q',
      );
      const { refs, to } = await fetch();
      assert.equal(to, dir);
      assert.deepEqual(refs.map(({ ref, commits, moved }) => [ref.replace(/.*r\d+\//, ''), commits, moved]).sort(), [
        ['heads/main', 1, true],
        ['heads/side', 2, true],
        ['stash', 4, true],
        ['tags/v1', 1, true],
      ]);
      const prefix = `refs/teleport-env/${(await rig.connection.request('sandbox/get', { sandbox: id })).sandbox.name}`;
      assert.equal(git('log', '--format=%s', `${prefix}/heads/side`), 'three\ntwo\nfirst');
      assert.equal(git('show', `${prefix}/heads/main:b.txt`), 'two');
      assert.equal(git('cat-file', '-t', `${prefix}/tags/v1`), 'tag');
      assert.deepEqual(
        [readFileSync(join(dir, '.git/index')), git('rev-parse', 'main'), git('status', '--porcelain')],
        [index, head, ''],
      );
      for (const name of readdirSync(join(dir, '.git'), { recursive: true }) as string[])
        assert.equal(lstatSync(join(dir, '.git', name)).uid, uid, name);
      assert.ok((await fetch()).refs.every(({ moved }) => !moved));
      assert.equal(existsSync(join(dir, '.git/FETCH_HEAD')), false);
    });

    it('come out of packs, from any moment, and go back with a rollback', async () => {
      const { git, run, fetch, checkpoint, rollback, name } = await make();
      const ref = `refs/teleport-env/${name}/heads/main`;
      await run('for i in 1 2 3; do echo $i > f; git add f; git commit -qm $i; done; git gc -q --prune=now');
      const packed = await checkpoint();
      assert.match(await run('ls .git/objects'), /^info\npack$/);
      await run('git commit -q --allow-empty -m later');
      await fetch(packed);
      assert.equal(git('log', '-1', '--format=%s', ref), '3');
      await fetch();
      assert.equal(git('log', '-1', '--format=%s', ref), 'later');
      await rollback(packed);
      await fetch();
      assert.equal(git('log', '-1', '--format=%s', ref), '3');
      // The user's repository loses what the sandbox began with.
      git('checkout', '-q', '--orphan', 'other');
      git('commit', '-qm', 'other');
      for (const gone of ['refs/heads/main', ref]) git('update-ref', '-d', gone);
      git('reflog', 'expire', '--expire=now', '--all');
      git('gc', '-q', '--prune=now');
      await fetch();
      assert.equal(git('rev-list', '--count', ref), '4');
    });

    it('of a rebase half-way arrive, and it goes on after a rollback', async () => {
      const { git, run, fetch, checkpoint, rollback, name } = await make((dir) => {
        gitHere(dir, 'switch', '-qc', 'work');
        writeFileSync(join(dir, 'other'), 'x\n');
        gitHere(dir, 'add', '-A');
        gitHere(dir, 'commit', '-qm', 'fine');
        writeFileSync(join(dir, 'a.txt'), 'work\n');
        gitHere(dir, 'commit', '-qam', 'clashes');
        gitHere(dir, 'switch', '-q', 'main');
        writeFileSync(join(dir, 'a.txt'), 'main\n');
        gitHere(dir, 'commit', '-qam', 'main moved');
      });
      assert.match(await run('git switch -q work; git rebase main'), /^exit 1: [\s\S]*CONFLICT/);
      const halfway = await checkpoint();
      const { refs } = await fetch();
      assert.deepEqual(
        refs.map(({ ref, commits }) => [ref.replace(/.*r\d+\//, ''), commits]),
        [['HEAD', 1]],
      );
      assert.equal(git('log', '--format=%s', `refs/teleport-env/${name}/HEAD`), 'fine\nmain moved\nfirst');
      await run('git rebase --abort');
      await rollback(halfway);
      assert.match(await run('git status'), /rebase in progress/);
      assert.equal(
        await run(
          'echo both > a.txt; git add a.txt; GIT_EDITOR=true git rebase --continue >/dev/null 2>&1; git log --format=%s',
        ),
        'clashes\nfine\nmain moved\nfirst',
      );
      await fetch();
      assert.equal(git('log', '-1', '--format=%s', `refs/teleport-env/${name}/heads/work`), 'clashes');
    });

    it('become a branch, with what is not committed as one more commit; the sandbox stays as it is', async () => {
      const { dir, git, run, branch, name, id } = await make((dir) =>
        writeFileSync(join(dir, '.gitignore'), 'ignored\n'),
      );
      await run(
        'git add .gitignore; git commit -qm two; echo new > new.txt; echo more >> a.txt; git add a.txt; echo x > ignored; cd /',
      );
      const before = await run(`cd ${dir}; git status --porcelain; git log --format=%H; cd /`);
      const made = await branch('from/sandbox');
      assert.deepEqual([made.commits, made.uncommitted, made.branch], [2, 2, 'from/sandbox']);
      assert.equal(
        git('log', '--format=%s', 'from/sandbox'),
        `What was not committed in the sandbox ${name}\ntwo\nfirst`,
      );
      assert.equal(git('show', '--format=', '--name-only', 'from/sandbox'), 'a.txt\nnew.txt');
      assert.equal(git('rev-parse', '--abbrev-ref', 'HEAD'), 'main');
      assert.equal(await run(`cd ${dir}; git status --porcelain; git log --format=%H; cd /`), before);
      const { sandbox } = await rig.connection.request('sandbox/get', { sandbox: id });
      assert.equal(sandbox.branches.filter(({ role }) => role === 'fork').length, 0, 'no fork is left');
      assert.deepEqual(
        [(await branch('commits', false)).commits, git('log', '-1', '--format=%s', 'commits')],
        [0, 'two'],
      );
      // A shell in the middle of something is not waited for; a stopped sandbox has a repository, too.
      const running = run('sleep 60; true').catch(() => 'ended');
      assert.equal((await branch('busy')).uncommitted, 2);
      await rig.connection.request('sandbox/stop', { sandbox: id });
      await running;
      assert.equal((await branch('stopped')).uncommitted, 2);
      assert.equal(git('rev-parse', 'stopped^{tree}'), git('rev-parse', 'from/sandbox^{tree}'));
      await assert.rejects(branch('stopped'), refused('invalidRequest', /exists already/));
      await assert.rejects(branch('a..b'), refused('invalidRequest', /no branch of the name/));
      await assert.rejects(branch('-x'), refused('invalidRequest', /no branch of the name/));
    });

    it('of a worktree arrive in its repository', async () => {
      const { dir, git, run, fetch, name } = await make((dir) => gitHere(dir, 'worktree', 'add', '-q', 'tree'), 'tree');
      await run('git commit -q --allow-empty -m inside');
      assert.equal((await fetch()).to, join(dir, 'tree'));
      assert.equal(git('log', '-1', '--format=%s', `refs/teleport-env/${name}/heads/tree`), 'inside');
      assert.equal(git('log', '-1', '--format=%s', 'refs/heads/tree'), 'first');
    });

    it('of submodules arrive in the submodule’s own repository', async () => {
      const library = newRepository(join(top, `library${++count}`));
      newRepository(join(top, `deep${count}`));
      const add = (dir: string, from: string, at: string) => {
        gitHere(dir, '-c', 'protocol.file.allow=always', 'submodule', '--quiet', 'add', from, at);
        gitHere(dir, 'commit', '-qm', `with ${at}`);
      };
      add(library, join(top, `deep${count}`), 'deep');
      const elsewhere = join(top, `elsewhere${count}.git`);
      const { dir, run, fetch, branch, git, name } = await make((dir) => {
        add(dir, library, 'lib');
        gitHere(dir, '-c', 'protocol.file.allow=always', 'submodule', '--quiet', 'update', '--init', '--recursive');
        add(dir, join(top, `deep${count - 1}`), 'later');
        gitHere(dir, 'submodule', '--quiet', 'deinit', '-f', 'later');
        rmSync(join(dir, '.git/modules/later'), { recursive: true });
        // One whose git folder lies outside, and leads back.
        const away = newRepository(join(dir, 'away'));
        execFileSync('mv', [join(away, '.git'), elsewhere]);
        writeFileSync(join(away, '.git'), `gitdir: ${elsewhere}\n`);
        gitHere(away, 'config', 'core.worktree', away);
        gitHere(dir, 'add', '-A');
        gitHere(dir, 'commit', '-qm', 'with away');
      });
      assert.deepEqual(await fetch().then(({ refs, left }) => [refs, left]), [[], []]);
      await run(`id='-c user.name=I -c user.email=i@example.test'
        for at in lib lib/deep away; do (cd $at; git switch -qc fix; echo new > new; git add new; git $id commit -qm "in $at"); done
        git add -A; git commit -qm all
        git init -q later; cd later; echo x > x; git add x; git $id commit -qm later; cd ..
        git init -q made; cd made; git $id commit -q --allow-empty -m made; cd ..; printf '[submodule "made"]\\n\\tpath = made\\n' >> .gitmodules`);
      const { refs, left } = await fetch();
      const ref = `refs/teleport-env/${name}/heads/fix`;
      assert.deepEqual(
        refs.map(({ ref, submodule, commits, moved }) => [submodule, ref.replace(/.*r\d+\//, ''), commits, moved]),
        [
          [undefined, 'heads/main', 1, true],
          ['away', 'heads/fix', 1, true],
          ['lib', 'heads/fix', 1, true],
          ['lib/deep', 'heads/fix', 1, true],
        ],
      );
      for (const at of ['lib', 'lib/deep', 'away'])
        assert.equal(git('-C', join(dir, at), 'log', '-1', '--format=%s', ref), `in ${at}`);
      assert.equal(git('rev-parse', `refs/teleport-env/${name}/heads/main:lib`), git('-C', 'lib', 'rev-parse', ref));
      assert.deepEqual(
        left.map(({ path, reason }) => [path, /git submodule update --init later|made inside/.test(reason)]),
        [
          ['made', true],
          ['later', true],
        ],
      );
      for (const at of [join(dir, '.git'), elsewhere])
        for (const file of readdirSync(at, { recursive: true }) as string[])
          assert.equal(lstatSync(join(at, file)).uid, uid, file);
      // With the branch, too; and what is bent elsewhere is left, by name.
      await run('git -C lib/deep -c user.name=I -c user.email=i@example.test commit -q --allow-empty -m more');
      const { left: behind } = await branch('all');
      assert.deepEqual(behind.map(({ path }) => path).sort(), ['later', 'lib', 'made']);
      assert.match(behind.find(({ path }) => path === 'lib')!.reason, /not committed: commit it inside/);
      assert.equal(git('-C', join(dir, 'lib/deep'), 'log', '-1', '--format=%s', ref), 'more');
      await run('rm lib/.git; cp -r .git/modules/lib lib/.git; git -C lib config --unset core.worktree');
      const bent = await fetch();
      assert.match(bent.left.find(({ path }) => path === 'lib')!.reason, /^a submodule: \.git leads to .*lib\/\.git/);
      assert.deepEqual(
        bent.refs.map(({ submodule }) => submodule),
        [undefined, 'away'],
      );
    });

    it('of a history that is cut off arrive', async () => {
      const { git, run, fetch, name } = await make((dir) => {
        for (const text of ['two', 'three']) gitHere(dir, 'commit', '-q', '--allow-empty', '-m', text);
        const shallow = `${dir}-shallow`;
        execFileSync('git', ['clone', '-q', '--depth', '1', `file://${dir}`, shallow], { env: GIT_ENV });
        rmSync(join(dir, '.git'), { recursive: true });
        execFileSync('mv', [join(shallow, '.git'), join(dir, '.git')]);
      });
      await run('git commit -q --allow-empty -m inside');
      await fetch();
      assert.equal(git('log', '--format=%s', `refs/teleport-env/${name}/heads/main`), 'inside\nthree');
    });

    it('are not what apply writes', async () => {
      const { dir, run, id } = await make();
      const before = contents(join(dir, '.git'));
      await run(
        'echo two > b.txt; git add -A; git commit -qm two; git config user.name Mallory; echo evil > .git/hooks/post-checkout',
      );
      const prepared = await prepareApply(rig.connection, { sandbox: id });
      await performPrepared(prepared, { force: true }, { env: { ...process.env, XDG_STATE_HOME: join(top, 'state') } });
      assert.deepEqual(contents(join(dir, '.git')), before);
      assert.equal(readFileSync(join(dir, 'b.txt'), 'utf8'), 'two\n');
      assert.ok(prepared.plan.left.some(({ path }) => path === '.git'));
    });

    describe('by a repository that means harm', () => {
      /** Where anything that runs outside would leave its mark: the sandbox can't write there. */
      const mark = () => join(top, 'it-ran');
      const evil = () => `touch ${mark()}`;
      beforeEach(() => rmSync(mark(), { force: true }));
      afterEach(() => assert.ok(!existsSync(mark()), 'something ran outside'));

      it('run nothing outside: hooks, settings, filters', async () => {
        const { run, fetch, branch, dir } = await make();
        const config = readFileSync(join(dir, '.git/config'), 'utf8');
        await run(`
          for h in post-checkout reference-transaction pre-auto-gc post-index-change update post-update pre-receive; do
            printf '#!/bin/sh\\n${evil()}\\n' > .git/hooks/$h; chmod +x .git/hooks/$h; done
          git config core.fsmonitor '${evil()}'; git config core.sshCommand '${evil()}'; git config core.pager '${evil()}'
          git config uploadpack.packObjectsHook '${evil()}'; git config filter.x.clean '${evil()}'; git config filter.x.smudge '${evil()}'
          git config core.alternateRefsCommand '${evil()}'; git config gpg.program '${evil()}'; git config credential.helper '!${evil()}'
          echo '* filter=x' > .gitattributes; echo x > x; git add -A; git -c core.hooksPath=/dev/null commit -qm evil; echo y > y`);
        await fetch();
        await branch('evil');
        assert.equal(readFileSync(join(dir, '.git/config'), 'utf8'), config);
      });

      it('are refused with what no tree may hold', async () => {
        const { run, fetch, branch, git, name } = await make();
        const evilTrees = [
          `printf '100644 blob %s\\t.git\\n' "$b"`,
          `printf '100644 blob %s\\t.GIT\\n' "$b"`,
          `printf '100644 blob %s\\t..\\n' "$b"`,
          `printf '120000 blob %s\\t.gitmodules\\n' "$b"`,
        ];
        for (const tree of evilTrees) {
          await run(
            `b=$(echo /etc/passwd | git hash-object -w --stdin); t=$(${tree} | git mktree); git update-ref refs/heads/evil $(git commit-tree -m evil $t)`,
          );
          await assert.rejects(
            fetch(),
            refused('gitRefused', /git refused what r\d+ committed: .*(fsck|has|contains|unpack|symlink|object)/i),
          );
          await assert.rejects(branch('evil', false), refused('gitRefused', /./));
        }
        assert.equal(git('for-each-ref', `refs/teleport-env/${name}/`), '');
        await run('git update-ref -d refs/heads/evil; git commit -q --allow-empty -m good');
        await fetch();
        assert.match(git('for-each-ref', `refs/teleport-env/${name}/`), /heads\/main$/);
      });

      it('are refused cut, forged or missing, and names that lead elsewhere stay inside', async () => {
        const { run, fetch, git, dir, name } = await make();
        await run('git commit -q --allow-empty -m good; cp -r .git /tmp/good');
        const object = 'f=.git/objects/$(git rev-parse HEAD | sed "s,^..,&/,")';
        for (const harm of [
          `${object}; chmod u+w $f; head -c 20 $f > /tmp/x; cat /tmp/x > $f`,
          `${object}; rm $f`,
          `${object}; o=.git/objects/$(git rev-parse HEAD^^{tree} | sed "s,^..,&/,"); cp -f $o $f`,
        ]) {
          await run(harm);
          await assert.rejects(fetch(), refused('gitRefused', /./), harm);
          await run('rm -rf .git; cp -r /tmp/good .git');
        }
        const refs = readdirSync(join(dir, '.git/refs'));
        await run(`h=$(git rev-parse HEAD); mkdir -p .git/refs/heads/a.lock; echo $h > .git/refs/heads/a.lock/x; echo $h > '.git/refs/heads/x~1';
          echo $h > ".git/refs/heads/$(printf 'n\\nl')"; printf '%s refs/heads/../../../HEAD\\n%s refs/heads/../../config\\n' $h $h >> .git/packed-refs; echo 'ref: ../../config' > .git/refs/heads/sym`);
        const { left } = await fetch();
        assert.deepEqual(left.map(({ path }) => path).sort(), [
          'refs/heads/../../../HEAD',
          'refs/heads/../../config',
          'refs/heads/a.lock/x',
          'refs/heads/n\nl',
          'refs/heads/sym',
          'refs/heads/x~1',
        ]);
        assert.equal(
          git('for-each-ref', '--format=%(refname)', `refs/teleport-env/${name}/`),
          `refs/teleport-env/${name}/heads/main`,
        );
        assert.deepEqual(readdirSync(join(dir, '.git/refs')), [...refs, 'teleport-env'].sort());
      });

      it('are refused where .git leads elsewhere', async () => {
        const { run, fetch } = await make();
        await run('git init -q /tmp/other; git -C /tmp/other commit -q --allow-empty -m other; mv .git /tmp/mine');
        for (const harm of [
          'ln -s /tmp/other/.git .git',
          'echo gitdir: /tmp/other/.git > .git',
          'cp -r /tmp/mine .git; echo /tmp/other/.git > .git/commondir',
        ]) {
          await run(`rm -rf .git; ${harm}`);
          await assert.rejects(fetch(), refused('gitRefused', /leads to/), harm);
        }
        await run('rm -rf .git');
        await assert.rejects(fetch(), refused('notARepository', /no git repository at .* in the sandbox/));
      });

      it('find nothing where the workspace only looks like a repository', async () => {
        const ws = join(top, `bare${++count}`);
        mkdirSync(ws);
        execFileSync('git', ['init', '-q', '--bare', ws], { env: GIT_ENV });
        execFileSync('git', ['config', '-f', join(ws, 'config'), 'core.fsmonitor', evil()]);
        execFileSync('chown', ['-R', `${uid}:${uid}`, ws]);
        const { sandbox } = await rig.connection.request('sandbox/create', { workspace: ws });
        await assert.rejects(
          targetOf(rig.connection, { sandbox: sandbox.id }),
          refused('notARepository', /no git repository/),
        );
        await rig.connection.request('sandbox/remove', { sandbox: sandbox.id });
      });
    });
  });

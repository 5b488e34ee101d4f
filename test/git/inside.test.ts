/** Git in a sandbox, with the real helper: who commits, what it can see. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Connection } from '../../helper/client/connection.ts';
import { cli, json } from '../cli/run-cli.ts';
import { HelperProcess, needsMachine } from '../daemon/helper-process.ts';
import { GIT_ENV, git, newRepository } from './repositories.ts';

describe('git in a sandbox', () => {
  let helper: HelperProcess;
  let connection: Connection;
  let top: string;

  before(async function () {
    needsMachine(this);
    helper = await HelperProcess.start();
    connection = await helper.connect();
    top = realpathSync(mkdtempSync(join(tmpdir(), 'git-inside-')));
    writeFileSync(
      join(top, 'global'),
      '[user]\n\tname = Jo Müller\n\temail = jo@example.test\n\tsigningKey = ABC\n[credential]\n\thelper = store\n[commit]\n\tgpgSign = true\n',
    );
  });
  after(async () => {
    await helper?.stop();
    if (top) rmSync(top, { recursive: true, force: true });
  });

  const env = () => ({
    ...GIT_ENV,
    HOME: homedir(),
    TELEPORT_ENV_SOCKET: helper.socket,
    GIT_CONFIG_GLOBAL: join(top, 'global'),
  });
  async function up(workspace: string) {
    const ran = await cli(null, ['up', '--json', '--workspace', workspace], { env: env() });
    assert.equal(ran.code, 0, ran.stdout);
    const { sandbox } = json(ran);
    return async (line: string): Promise<string> => {
      const { output } = await connection.request('run', { sandbox, line, checkpoint: false });
      return Buffer.from(output, 'base64').toString();
    };
  }

  it('commits in the user’s name, with none of their credentials', async () => {
    const main = newRepository(join(top, 'main'));
    for (const key of ['user.name', 'user.email']) git(main, 'config', '--unset', key);
    git(main, 'remote', 'add', 'origin', 'https://bob:SECRET@host.test/x.git');
    git(main, 'config', 'http.https://host.test/.extraheader', 'AUTHORIZATION: SECRET');
    const before = readFileSync(join(main, '.git/config'), 'utf8');
    const run = await up(main);
    assert.equal(
      await run('git commit -q --allow-empty -m x && git log -1 --format="%an <%ae> %cn"'),
      'Jo Müller <jo@example.test> Jo Müller\n',
    );
    assert.equal(
      await run(
        'git config --list --show-origin | grep -E "SECRET|credential|gpgsign|signingkey|extraheader"; grep -c SECRET .git/config',
      ),
      '0\n',
    );
    assert.equal(await run('git remote get-url origin; git status --porcelain'), 'https://host.test/x.git\n');
    assert.equal(await run('git config --global user.name Agent && git config user.name'), 'Agent\n');
    assert.equal(readFileSync(join(main, '.git/config'), 'utf8'), before, 'the user’s own is as it was');
  });

  it('brings commits home by the command line', async () => {
    const main = newRepository(join(top, 'home'));
    const run = await up(main);
    const call = async (...argv: string[]) => await cli(null, argv, { env: env(), cwd: main });
    assert.equal((await call('git', 'fetch')).stdout, '✓ nothing new\n');
    await run('echo x > x; git add x; git commit -qm inside; echo y > y');
    assert.match(
      (await call('git', 'fetch')).stdout,
      /^refs\/teleport-env\/home\/heads\/main +[0-9a-f]{10} +1 new commit\n✓ 1 ref arrived in /,
    );
    const left = json(await call('apply', '--json')).left;
    assert.ok(left.every(({ reason }: { reason: string }) => reason.includes('git fetch')));
    const made = await call('git', 'branch', 'fix/inside');
    assert.match(
      made.stdout,
      /^✓ branch fix\/inside at [0-9a-f]{10}: 2 new commits, the last of what was not committed inside \(1 path\)\n$/,
    );
    assert.equal(git(main, 'show', 'fix/inside:y'), 'y\n');
    const twice = json(await call('git', 'branch', '--json', 'fix/inside'));
    assert.deepEqual([twice.error.code, twice.error.hint], ['invalidRequest', 'choose another name']);
    const none = await call('git', 'fetch', '--to', top);
    assert.match(none.stderr, /is no git repository[\s\S]*--to/);
    assert.equal(none.code, 1);
    assert.match((await call('git', '--help')).stdout, /fetch[\s\S]*branch/);
    assert.match((await call('git', 'branch', '--help')).stdout, /\[SANDBOX\] NAME[\s\S]*Examples/);
    assert.equal((await call('git')).code, 1);
  });

  it('works in a worktree and in a submodule', async () => {
    const main = newRepository(join(top, 'super'));
    const tree = join(top, 'tree');
    git(main, 'worktree', 'add', '-q', tree);
    git(
      main,
      '-c',
      'protocol.file.allow=always',
      'submodule',
      '--quiet',
      'add',
      newRepository(join(top, 'library')),
      'sub',
    );
    git(main, 'commit', '-qm', 'with sub');
    appendFileSync(join(tree, 'a.txt'), 'two\n');
    const inTree = await up(tree);
    assert.equal(
      await inTree('git status --short --branch; git commit -qam two; git log --oneline | wc -l'),
      '## tree\n M a.txt\n2\n',
    );
    const inSub = await up(join(main, 'sub'));
    assert.equal(await inSub('git commit -q --allow-empty -m x; git log --oneline | wc -l'), '2\n');
    assert.equal(execFileSync('git', ['rev-list', '--count', '--all'], { cwd: tree, encoding: 'utf8' }), '2\n');
  });

  it('says what it can’t have', async () => {
    const main = newRepository(join(top, 'whole'));
    execFileSync('mkdir', [join(main, 'part')]);
    const ran = await cli(null, ['up', '--workspace', join(main, 'part')], { env: env() });
    assert.match(ran.stderr, /part of the repository .*whole/);
    assert.equal(ran.code, 0);
  });
});

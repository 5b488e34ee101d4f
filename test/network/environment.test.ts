import assert from 'node:assert/strict';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Connection } from '../../helper/client/connection.ts';
import { homeOf } from '../../helper/daemon/owner.ts';
import { whyFailed } from '../../helper/daemon/why.ts';
import { toolFolders } from '../../helper/engine/skeleton.ts';
import { HelperProcess, needsMachine, workspace } from '../daemon/helper-process.ts';

describe('environment', () => {
  it('lets through the tool folders that PATH names, and nothing that holds secrets', () => {
    const home = '/home/dev';
    const path = (...below: string[]): string => ['/usr/bin', ...below.map((b) => `${home}/${b}`)].join(':');
    assert.deepEqual(toolFolders(path('.pyenv/shims', '.cargo/bin', 'go/bin'), home), [
      `${home}/.cargo/bin`,
      `${home}/.pyenv`,
      `${home}/.rustup`,
      `${home}/go/bin`,
      `${home}/go/lib/node_modules`,
    ]);
    assert.deepEqual(toolFolders(path('.ssh/bin', '.aws', '.config/bin', '.gnupg/../.ssh/bin', 'Documents'), home), []);
    assert.deepEqual(toolFolders('/home/other/.cargo/bin:relative/bin', home), []);
  });

  it('tells whoever wanted to be root what would let them', () => {
    const owner = { uid: 1000 };
    const why = (text: string, more: object = {}) =>
      whyFailed({ exitCode: 1, output: Buffer.from(text) }, { name: 'api', network: 'nat', owner, ...more });
    for (const text of [
      'sudo: The "no new privileges" flag is set, which prevents sudo from running as root.',
      "sudo: effective uid is not 0, is /usr/bin/sudo on a file system with the 'nosuid' option set?",
      'pkexec must be setuid root',
      'su: Authentication failure',
      'E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), are you root?',
      'mount: /mnt: must be superuser to use mount.',
    ]) {
      assert.match(why(text) ?? '', /root-inside.*--root/, text);
      assert.equal(why(text, { root: true }), undefined);
      assert.equal(why(text, { owner: { uid: 0 } }), undefined);
    }
    assert.equal(why('the root of all evil'), undefined);
  });

  describe('of a sandbox', () => {
    let helper: HelperProcess;
    let connection: Connection;
    let ws: string;
    const home = homeOf(process.getuid?.() ?? 0);

    before(async function () {
      needsMachine(this);
      process.env.TELEPORT_TEST_SECRET = 'do not tell';
      helper = await HelperProcess.start();
      connection = await helper.connect();
      ws = workspace({});
    });
    after(async () => {
      delete process.env.TELEPORT_TEST_SECRET;
      await helper?.stop();
      if (ws) rmSync(ws, { recursive: true, force: true });
    });

    async function made(env: Record<string, string>): Promise<(line: string) => Promise<string>> {
      const { sandbox } = await connection.request('sandbox/create', { workspace: ws, env });
      return async (line) => {
        const ran = await connection.request('run', { sandbox: sandbox.id, line, checkpoint: false });
        return Buffer.from(ran.output, 'base64').toString();
      };
    }

    it('has the variables that were named, and no others', async () => {
      const run = await made({ MINE: 'yes' });
      const names = (await run('env')).split('\n').map((line) => line.split('=')[0]);
      const own = ['MINE', 'PATH', 'HOME', 'USER', 'LOGNAME', 'SHELL', 'LANG', 'TELEPORT_ENV'];
      const bash = ['PWD', 'SHLVL', '_', 'OLDPWD', ''];
      assert.deepEqual(
        names.filter((name) => !own.includes(name!) && !bash.includes(name!)),
        [],
      );
      assert.equal(await run('echo $MINE'), 'yes\n');
    });

    it('masks homes', async function () {
      if (home === '/') return this.skip(); // a user that /etc/passwd does not know
      const run = await made({});
      assert.equal(await run('ls -A /home /root ~ 2>/dev/null | grep -E "^\\.(ssh|aws|bash_history|gnupg)"'), '');
      assert.match(await run('cat /etc/shadow'), /^([^:\n]+:\*:::::::\n|cat: .*denied\n)+$/, 'nobody has a password');
    });

    // Those that this machine's user has; which folders each tool needs is tested above, for all.
    const tools = [
      ['.pyenv', '.pyenv/shims', 'python3 -c "import sys; print(sys.prefix)"'],
      ['.cargo', '.cargo/bin', 'cargo --version && command -v cargo'],
      ['.nvm', '.nvm', 'ls -d ~/.nvm'],
    ] as const;
    for (const [tool, bin, command] of tools.filter(([, bin]) => home !== '/' && existsSync(join(home, bin))))
      it(`runs what ${tool} holds, where PATH names it`, async () => {
        const run = await made({ PATH: `${home}/${bin}:/usr/bin:/bin` });
        assert.match(await run(command), new RegExp(`${home}/${tool.replace('.', '\\.')}`));
        assert.equal(await run(`ls -A ~ | grep -vE '^\\${tool}$|^\\.rustup$'`), '');
      }).timeout(60_000);
  });
});

/** Agents outside: which settings send their commands inside, what stands in for a shell, and that they learn of a rollback. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { commandOf } from '../../helper/cli/commands/as-shell.ts';
import { wasRolledBack } from '../../helper/client/agents/known.ts';
import type { Connection } from '../../helper/client/connection.ts';
import { News } from '../../src/agents/news.ts';
import { type Current, planSettings, planUndo, shellScript } from '../../src/agents/settings-plan.ts';
import { cli } from '../cli/run-cli.ts';
import { HelperProcess, needsMachine, workspace } from '../daemon/helper-process.ts';

const SHELL = '/store/sandbox-shell';

describe('settings for agents outside', () => {
  const values = (given: Record<string, Partial<Current>>) => (setting: string) => ({
    known: setting.startsWith('terminal.') || setting.startsWith('chat.tools.'),
    workspace: undefined,
    value: undefined,
    ...given[setting],
  });

  it('send terminals, tasks and Claude Code to the sandbox, beside what there is', () => {
    const changes = planSettings(
      'linux',
      SHELL,
      values({ 'terminal.integrated.env.linux': { workspace: { A: '1' } } }),
    );
    assert.deepEqual(
      changes.map(({ setting, after }) => [setting, after]),
      [
        ['chat.tools.terminal.terminalProfile.linux', { path: SHELL }],
        ['terminal.integrated.automationProfile.linux', { path: SHELL }],
        ['terminal.integrated.env.linux', { A: '1', CLAUDE_CODE_SHELL_PREFIX: SHELL }],
      ],
    );
  });

  it('turn off the editor’s own sandbox where it is on, in its own words', () => {
    const own = 'chat.agent.sandbox.enabled';
    for (const [value, after] of [
      [true, false],
      ['on', 'off'],
      ['allowNetwork', 'off'],
    ])
      assert.deepEqual(planSettings('osx', SHELL, values({ [own]: { value } })).at(-1), {
        setting: own,
        why: 'ownSandbox',
        before: undefined,
        after,
      });
    const windows = 'chat.agent.sandbox.enabledWindows';
    assert.deepEqual(
      planSettings('windows', SHELL, values({ [own]: { value: 'on' }, [windows]: { value: 'on' } })).map(
        ({ setting }) => setting,
      ),
      [
        'chat.tools.terminal.terminalProfile.windows',
        'terminal.integrated.automationProfile.windows',
        'terminal.integrated.env.windows',
        windows,
      ],
      'there it is a setting of its own',
    );
    for (const value of [false, 'off', undefined])
      assert.ok(!planSettings('osx', SHELL, values({ [own]: { value } })).some(({ setting }) => setting === own));
  });

  it('are undone where they stand as they were written, and left alone where not', () => {
    const written = planSettings(
      'linux',
      SHELL,
      values({ 'terminal.integrated.env.linux': { workspace: { A: '1' } } }),
    );
    const { back, left } = planUndo(
      written,
      values({
        'chat.tools.terminal.terminalProfile.linux': { workspace: { path: SHELL } },
        'terminal.integrated.automationProfile.linux': { workspace: { path: '/bin/zsh' } },
        'terminal.integrated.env.linux': { workspace: { A: '1' } },
      }),
    );
    assert.deepEqual(
      back.map(({ setting, after }) => [setting, after]),
      [['chat.tools.terminal.terminalProfile.linux', undefined]],
    );
    assert.deepEqual(left, ['terminal.integrated.automationProfile.linux']);
  });

  it('name an executable that passes on what it is given, whatever is in it', () => {
    const dir = mkdtempSync(join(tmpdir(), 'te-shell-'));
    const path = join(dir, 'shell');
    writeFileSync(path, shellScript('printf', ['[%s]', "it's"], { A: 'a b' }));
    chmodSync(path, 0o755);
    const { stdout } = spawnSync(path, ['-c', 'echo "$HOME"; x'], { encoding: 'utf8' });
    rmSync(dir, { recursive: true });
    assert.equal(stdout, `[it's][-c][echo "$HOME"; x]`);
  });
});

describe('what stands in for a shell', () => {
  it('reads its arguments as shells do', () => {
    for (const [args, command] of [
      [[], null],
      [['-l'], null],
      [['-i', '-l'], null],
      [['-c', 'npm test'], 'npm test'],
      [['-lc', 'a && b'], 'a && b'],
      [['-l', '-c', ''], ''],
      [['npm test'], 'npm test'],
      [['--', 'ls', 'a b'], "ls 'a b'"],
    ] as const)
      assert.equal(commandOf(args), command, args.join(' '));
  });

  it('tells a rollback from going on', () => {
    const tree = ['k0', 'k1', 'k2', 'k3'].map((id, n) => ({ id, parent: n ? `k${n - 1}` : null }));
    const forked = [...tree, { id: 'k4', parent: 'k1' }];
    assert.equal(wasRolledBack(tree, 'k2', 'k2'), false);
    assert.equal(wasRolledBack(tree, 'k2', 'k3'), false);
    assert.equal(wasRolledBack(tree, 'k3', 'k2'), true);
    assert.equal(wasRolledBack(forked, 'k3', 'k4'), true);
    assert.equal(wasRolledBack([], 'k9', 'k1'), true);
  });
});

describe('news for the editor’s own agents', () => {
  const moved = (cause: 'rollback' | 'rotate', head = 'b2') =>
    ({ sandbox: 's1', head, checkpoint: 'k1', cause, ms: 1, saved: 'k3' }) as const;
  const nothing = () => undefined;

  it('is told once, of others’ moves only', async () => {
    const news = new News();
    news.heard(moved('rotate'));
    assert.equal(news.since('s1', nothing), undefined);
    await news.own(async () => news.heard(moved('rollback')));
    assert.equal(news.since('s1', nothing), undefined);
    // The notification of its own rollback comes after the answer, however long, or before it.
    await news.own(async () => news.expected('s1', 'b3'));
    news.heard(moved('rollback', 'b3'));
    assert.equal(news.since('s1', nothing), undefined);
    news.heard(moved('rollback', 'b4'));
    news.expected('s1', 'b4');
    assert.equal(news.since('s1', nothing), undefined);
    news.heard(moved('rollback', 'b5'));
    assert.match(news.since('s1', nothing)!, /^The user rolled this sandbox back: .* at k1\. .* kept as k3\.$/);
    assert.equal(news.since('s1', nothing), undefined);
  });
});

describe('an agent outside, whose shell is a sandbox', () => {
  let helper: HelperProcess;
  let user: Connection;
  let ws: string;

  before(async function () {
    needsMachine(this);
    helper = await HelperProcess.start();
    user = await helper.connect();
    ws = realpathSync(workspace({ 'a.txt': 'one\n' }));
  });
  after(async () => {
    await helper?.stop();
    if (ws) rmSync(ws, { recursive: true, force: true });
  });

  it('makes each command a step, passes streams and exit codes on, and tells of a rollback once', async () => {
    const { sandbox } = await user.request('sandbox/create', { workspace: ws });
    const env = { TELEPORT_ENV_SOCKET: helper.socket, XDG_STATE_HOME: join(helper.dir, 'user-state') };
    const shell = (stdin: string, ...args: string[]) =>
      cli(null, ['as-shell', sandbox.id, '--', ...args], { cwd: ws, env, stdin });
    const first = await shell('from outside', '-c', 'cat; pwd; echo two > b.txt; echo bad >&2; exit 5');
    assert.deepEqual([first.code, first.stdout, first.stderr], [5, `from outside${ws}\n`, 'bad\n']);
    assert.equal((await shell('', 'echo three > c.txt')).code, 0);
    const { checkpoints } = await user.request('checkpoint/list', { sandbox: sandbox.id });
    assert.deepEqual(checkpoints.map(({ id, kind, command, exitCode }) => [id, kind, command, exitCode]).slice(0, 2), [
      ['k2', 'run', 'echo three > c.txt', 0],
      ['k1', 'run', 'cat; pwd; echo two > b.txt; echo bad >&2; exit 5', 5],
    ]);
    assert.equal(readFileSync(join(ws, 'a.txt'), 'utf8'), 'one\n');
    await user.request('checkpoint/rollback', { sandbox: sandbox.id, checkpoint: 'k1' });
    const told = await shell('', '-c', 'ls');
    assert.match(told.stderr, /^The user rolled this sandbox back: .* at k1 "cat; pwd/);
    assert.equal(told.stdout, 'a.txt\nb.txt\n');
    assert.equal((await shell('', '-c', 'ls')).stderr, '');
  });
});

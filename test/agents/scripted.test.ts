/** Agents of each kind inside a sandbox, as programs that call their hooks as documented: every tool call is a step, and going back takes their memory along. Needs root. */
import assert from 'node:assert/strict';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { PassThrough } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Connection } from '../../helper/client/connection.ts';
import { AGENTS, type Agent, agentById } from '../../helper/protocol/agents.ts';
import { cli, type Ran } from '../cli/run-cli.ts';
import { HelperProcess, needsMachine, workspace } from '../daemon/helper-process.ts';

/** What the timeline says of the three calls. */
const STEPS: Record<string, [step: string, exitCode: number | null][]> = {
  'claude-code': [
    ['echo one > one.txt', null],
    ['Write two.txt', null],
    ['echo three > three.txt; exit 3', 3],
  ],
  codex: [
    ['echo one > one.txt', 0],
    ['apply_patch two.txt', 0],
    ['echo three > three.txt; exit 3', 3],
  ],
  gemini: [
    ['echo one > one.txt', null],
    ['write_file two.txt', null],
    ['echo three > three.txt; exit 3', 3],
  ],
  'qwen-code': [
    ['echo one > one.txt', null],
    ['write_file two.txt', null],
    ['echo three > three.txt; exit 3', 3],
  ],
  copilot: [
    ['echo one > one.txt', null],
    ['create two.txt', null],
    ['echo three > three.txt; exit 3', 3],
  ],
  opencode: [
    ['echo one > one.txt', 0],
    ['write two.txt', 0],
    ['echo three > three.txt; exit 3', 3],
  ],
  aider: [
    ['aider: one.txt', null],
    ['aider: two.txt', null],
    ['aider: three.txt', null],
  ],
  other: [
    ['Other: one.txt', null],
    ['Other: two.txt', null],
    ['Other: three.txt', null],
  ],
};

const VARIABLES = [...new Set(AGENTS.flatMap(({ variables }) => variables))];
const ALL_CONFIG = [...new Set(AGENTS.flatMap(({ config }) => config))].sort();

describe('agents inside a sandbox', () => {
  let helper: HelperProcess;
  let user: Connection;
  let home: string;
  /** The home of somebody who has all agents, with all that each keeps there. */
  let full: string;
  const folders: string[] = [];

  before(async function () {
    needsMachine(this);
    helper = await HelperProcess.start();
    user = await helper.connect();
    // The user's own home, with what each agent has there.
    home = realpathSync(mkdtempSync(join(tmpdir(), 'teleport-home-')));
    full = realpathSync(mkdtempSync(join(tmpdir(), 'teleport-home-')));
    folders.push(home, full);
    for (const path of AGENTS.flatMap(({ config }) => config))
      if (isFolder(path)) place(`${path}/one.md`, 'of the user\n', full);
      else place(path, /\.jsonc?$/.test(path) ? '{"of": "the user"}\n' : '# of the user\n', full);
    place(
      '.claude/settings.json',
      '{"model": "opus", "hooks": {"Stop": [{"hooks": [{"type": "command", "command": "true"}]}]}}',
    );
    place('.qwen/settings.json', '{ // a comment\n "model": {} }');
    place('.gemini/oauth_creds.json', '{"access_token": "secret"}');
  });
  after(async () => {
    await helper?.stop();
    for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  });
  afterEach(function () {
    if (this.currentTest?.state === 'failed') console.error(helper.logText());
  });

  function place(path: string, text: string, below = home): void {
    mkdirSync(dirname(join(below, path)), { recursive: true });
    writeFileSync(join(below, path), text);
  }
  const isFolder = (path: string) => /\/(agents|commands|skills)$/.test(path);

  async function create(
    program: string,
    given: Record<string, string> = {},
  ): Promise<{ id: string; ws: string; call(...argv: string[]): Promise<Ran> }> {
    const ws = realpathSync(workspace());
    folders.push(ws);
    mkdirSync(join(ws, 'bin'));
    copyFileSync(join(__dirname, 'programs/scripted.py'), join(ws, 'bin', program));
    chmodSync(join(ws, 'bin', program), 0o755);
    const PATH = `${join(ws, 'bin')}:${process.env.PATH}`;
    const { sandbox } = await user.request('sandbox/create', { workspace: ws, env: { PATH } });
    const env = {
      TELEPORT_ENV_SOCKET: helper.socket,
      HOME: home,
      PATH,
      GEMINI_API_KEY: 'k1',
      GEMINI_MODEL: 'm1',
      ...given,
    };
    return { id: sandbox.id, ws, call: (...argv) => cli(null, argv, { cwd: ws, env }) };
  }

  async function inside(sandbox: string, line: string): Promise<string> {
    const ran = await user.request('run', { sandbox, line, checkpoint: false });
    return Buffer.from(ran.output, 'base64').toString();
  }

  async function steps(sandbox: string) {
    const { checkpoints } = await user.request('checkpoint/list', { sandbox });
    return checkpoints.reverse().filter(({ kind }) => kind === 'run' || kind === 'auto');
  }

  /** What an agent told of its calls; where it has no hooks, what came to rest. */
  async function own(sandbox: string, { hooks }: Agent) {
    return (await steps(sandbox)).filter(({ kind }) => kind === (hooks.kind === 'none' ? 'auto' : 'run'));
  }

  async function until<T>(look: () => Promise<T>, good: (found: T) => boolean): Promise<T> {
    for (const deadline = Date.now() + 20_000; ; await sleep(50)) {
      const found = await look();
      if (good(found)) return found;
      assert.ok(Date.now() < deadline, JSON.stringify(found));
    }
  }

  const versions = AGENTS.map((agent) => ({ agent, name: agent.name, words: [] as string[] }));
  const opencode = agentById('opencode')!;
  versions.push({ agent: opencode, name: 'opencode 2', words: ['--env', 'OPENCODE_VERSION=2'] });
  for (const { agent, name, words } of versions)
    it(`${name}: each tool call is a step; back before the second one, it goes on from there`, async () => {
      const program = agent.binary ?? 'my-agent';
      const everything = Object.fromEntries(VARIABLES.map((name) => [name, `my ${name}`]));
      const { id, call } = await create(program, { ...everything, HOME: full });
      words.push('--sign-in', '--', ...(agent.binary ? [] : [program]), 'do it');
      const ran = await call('agent', agent.id, ...words);
      assert.match(ran.stdout, /^done [0-9a-f]{8}\r?\n$/m, `${ran.stdout}${ran.stderr}`);
      assert.equal(ran.code, 7, 'its exit code is its own');
      const made = await until(
        () => own(id, agent),
        (found) => found.length >= 3,
      );
      assert.deepEqual(
        made.map(({ command, label, exitCode }) => [command ?? label, exitCode]),
        STEPS[agent.id],
      );
      // Files that rested before a slow hook was called are a step before that; none has nothing.
      const doubled = agent.quiet && agent.hooks.kind !== 'none';
      const all = await steps(id);
      assert.ok(all.every(({ kind, filesChanged }) => filesChanged >= 1 || (doubled && kind === 'run')));
      // What is its own came along, and nothing of the others'.
      const given = JSON.parse(await inside(id, 'cat /tmp/given'));
      for (const variable of VARIABLES)
        assert.equal(given[variable], agent.variables.includes(variable) ? `my ${variable}` : undefined, variable);
      const there = (await inside(id, `cd ~; ls -d ${ALL_CONFIG.join(' ')} 2>/dev/null`)).split('\n').filter(Boolean);
      const { hooks } = agent;
      assert.deepEqual(
        there.filter((path) => hooks.kind === 'none' || path !== hooks.file),
        ALL_CONFIG.filter((path) => agent.config.includes(path) && (hooks.kind === 'none' || path !== hooks.file)),
      );
      for (const path of agent.config)
        assert.match(await inside(id, `cat ~/${path}${isFolder(path) ? '/one.md' : ''}`), /of"?:? "?the user/, path);
      const before = (await inside(id, 'cat /tmp/memory')).split('\n');

      await user.request('checkpoint/rollback', { sandbox: id, checkpoint: made[0]!.id });
      const after = (
        await until(
          () => inside(id, 'cat /tmp/memory 2>/dev/null'),
          (text) => text !== '',
        )
      ).split('\n');
      assert.equal(after[0], before[0], 'it remembers what it did before');
      assert.notEqual(after[1], before[1], 'and nothing of what came after');
      const again = (
        await until(
          () => own(id, agent),
          (found) => found.length >= 5,
        )
      ).slice(3);
      assert.deepEqual(
        again.map(({ command, label }) => command ?? label),
        STEPS[agent.id]!.slice(1).map(([step]) => step),
      );
      if (!doubled) assert.equal(again[0]!.parent, made[0]!.id);
      await until(
        async () =>
          (await user.request('sandbox/get', { sandbox: id })).sandbox.branches.flatMap((b) => b.agents ?? []),
        (names) => names.length === 0,
      );
      await user.request('sandbox/remove', { sandbox: id });
    });

  it('takes configuration and keys along only when told to, and what it wrote inside stays', async () => {
    const { id, call } = await create('gemini');
    const without = await call('agent', 'gemini');
    assert.match(without.stderr, /not brought along without --sign-in: \.gemini\/oauth_creds\.json, GEMINI_API_KEY/);
    assert.match(
      without.stderr,
      /has no network, and Gemini CLI has to reach 3 hosts; to allow it: teleport-env network/,
    );
    assert.equal(await inside(id, 'ls -A ~/.gemini'), 'settings.json\n');
    const signedIn = await call('agent', 'gemini', '--sign-in');
    assert.match(signedIn.stderr, /copied in: \.gemini\/oauth_creds\.json/);
    assert.equal(
      await inside(id, 'stat -c %a ~/.gemini/oauth_creds.json; cat ~/.gemini/oauth_creds.json'),
      '600\n{"access_token": "secret"}',
    );
    await inside(id, 'echo mine > ~/.gemini/oauth_creds.json');
    assert.doesNotMatch((await call('agent', 'gemini', '--sign-in')).stderr, /copied in/);
    assert.equal(await inside(id, 'cat ~/.gemini/oauth_creds.json'), 'mine\n');
  });

  it('keeps the settings that there are, comments too; what can not be read stays as it is', async () => {
    const claude = await create('claude');
    await claude.call('agent', 'claude-code', '--sign-in');
    const settings = JSON.parse(await inside(claude.id, 'cat ~/.claude/settings.json'));
    assert.equal(settings.model, 'opus');
    assert.deepEqual(Object.keys(settings.hooks), ['Stop', 'PostToolUse', 'PostToolUseFailure']);
    const qwen = await create('qwen');
    await qwen.call('agent', 'qwen-code', '--sign-in');
    const commented = await inside(qwen.id, 'cat ~/.qwen/settings.json');
    assert.match(commented, /^\{ \/\/ a comment\n.*"PostToolUse": \[\n.*teleport-env hook qwen-code/s);
    assert.deepEqual(
      (await steps(qwen.id)).map(({ command }) => command),
      STEPS['qwen-code']!.map(([step]) => step),
    );
    await qwen.call('agent', 'qwen-code');
    assert.equal(await inside(qwen.id, 'cat ~/.qwen/settings.json'), commented, 'it is in there once');
    await inside(qwen.id, "echo '{ broken' > ~/.qwen/settings.json");
    await qwen.call('agent', 'qwen-code');
    assert.equal(await inside(qwen.id, 'cat ~/.qwen/settings.json'), '{ broken\n');
  });

  it('that ends before anybody looks is shown to its end, with its exit code, until a key is pressed', async () => {
    const { id, ws, call } = await create('claude');
    const argv = ['sh', '-c', 'echo please sign in; exit 7'];
    const { session } = await user.request('session/open', { sandbox: id, kind: 'terminal', argv, attach: false });
    await until(
      async () => (await user.request('session/list', { sandbox: id })).sessions.find((one) => one.id === session),
      (one) => one?.running === false,
    );
    const stdin = new PassThrough();
    let shown = '';
    const ran = await cli(null, ['shell', id, '--session', session, '--hold'], {
      cwd: ws,
      env: { TELEPORT_ENV_SOCKET: helper.socket },
      stdin: Object.assign(stdin, { setRawMode: () => {} }),
      tty: { columns: 80, rows: 24 },
      onOutput: (data) => {
        shown += data;
        if (/any key/.test(shown)) stdin.write('x');
      },
    });
    assert.equal(ran.code, 7, `${ran.stdout}${ran.stderr}`);
    assert.match(ran.stdout, /please sign in\r\n.*— ended with exit code 7; any key closes this terminal —/s);
    // It was seen: nothing of it is kept.
    assert.match((await call('shell', '--session', session)).stderr, /there is no session/);
  });

  it('says what stands in the way', async () => {
    const { id, call } = await create('claude');
    assert.match((await call('agent', 'nobody')).stderr, /✗ no agent "nobody" is known — known are claude-code, codex/);
    assert.match((await call('agent', 'aider')).stderr, /✗ aider is not in the sandbox \(aider\) — install it/);
    assert.match((await call('agent', 'other')).stderr, /✗ which command is the agent\?/);
    assert.match((await call('agent', 'claude-code', '--json')).stdout, /invalidRequest/);
    await user.request('sandbox/stop', { sandbox: id, discard: true });
    assert.match((await call('agent', 'claude-code')).stderr, /✗ .* is stopped/);
  });
});

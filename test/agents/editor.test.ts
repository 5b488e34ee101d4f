/** Agents in a real VS Code with the real helper: one inside, and the editor's commands sent inside for one outside. Needs root. */
import assert from 'node:assert/strict';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Connection } from '../../helper/client/connection.ts';
import { AGENTS } from '../../helper/protocol/agents.ts';
import { SETTINGS } from '../../src/ids.ts';
import { HelperProcess, needsMachine } from '../daemon/helper-process.ts';
import { sideBar } from '../extension/side-bar.ts';
import { stageExtension } from '../extension/stage.ts';
import { type Editor, startEditor } from '../vscode/harness.ts';
import { isSetUp } from '../vscode/paths.ts';
import { waitFor } from '../vscode/waiting.ts';

/** The editor's own, which keeps an agent's commands from reaching anything. */
const OWN_SANDBOX = 'chat.agent.sandbox.enabled';

describe('agents in a real VS Code', function () {
  this.timeout(180_000);
  let place: string;
  let folder: string;
  let helper: HelperProcess;
  let user: Connection;
  let sandbox: string;
  let editor: Editor;
  const timeline = (until?: Parameters<Editor['treeRows']>[1]) => editor.treeRows('Checkpoint timeline', until);
  const sandboxes = (until?: Parameters<Editor['treeRows']>[1]) => editor.treeRows('Sandboxes', until);
  const { inline } = sideBar(() => editor);
  const settings = (): Record<string, unknown> => {
    const file = join(folder, '.vscode/settings.json');
    return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {};
  };

  before(async function () {
    needsMachine(this);
    if (!isSetUp()) this.skip();
    place = realpathSync(mkdtempSync(join(tmpdir(), 'te-agents-')));
    folder = join(place, 'api-server');
    mkdirSync(join(folder, 'bin'), { recursive: true });
    mkdirSync(join(folder, '.vscode'));
    for (const name of ['claude', 'my-agent']) {
      copyFileSync(join(__dirname, 'programs/scripted.py'), join(folder, 'bin', name));
      chmodSync(join(folder, 'bin', name), 0o755);
    }
    const tasks = [
      { label: 'outside', type: 'shell', command: 'echo from the task > task.txt', problemMatcher: [] },
      {
        label: 'inside',
        type: 'teleport-env',
        line: 'echo $((6 * 7)) > answer.txt; cat answer.txt',
        problemMatcher: [],
      },
    ];
    writeFileSync(join(folder, '.vscode/tasks.json'), JSON.stringify({ version: '2.0.0', tasks }));
    helper = await HelperProcess.start();
    editor = await startEditor({
      workspaceFolder: folder,
      developmentPath: stageExtension(place),
      env: {
        TELEPORT_ENV_SOCKET: helper.socket,
        XDG_STATE_HOME: join(place, 'state'),
        ANTHROPIC_API_KEY: 'not-a-key',
      },
      settings: { [SETTINGS.helperStart]: false, [OWN_SANDBOX]: 'on' },
      size: { width: 1360, height: 860 },
    });
    await editor.changeSettings({ [SETTINGS.helperStart]: false });
    await editor.openContainer('Teleport Env');
    // Made as from a command line, where the program is on PATH; the editor takes its own from a login shell.
    const PATH = `${join(folder, 'bin')}:${process.env.PATH}`;
    user = await helper.connect();
    sandbox = (await user.request('sandbox/create', { workspace: folder, env: { PATH } })).sandbox.id;
    await sandboxes((rows) => rows[0]?.label === 'api-server' && /^running/.test(rows[0].description));
  });
  after(async () => {
    await editor?.close();
    await helper?.stop();
    if (place) rmSync(place, { recursive: true, force: true });
  });
  afterEach(async function () {
    if (this.currentTest?.state !== 'failed') return;
    console.error(helper.logText());
    await editor.screenshot(`failed-agents-${this.currentTest.title.slice(0, 20)}`);
  });

  const inside = async (line: string) => {
    const { output } = await user.request('run', { sandbox, line, checkpoint: false });
    return Buffer.from(output, 'base64').toString();
  };

  it('runs one inside, after asking what comes along; each of its tool calls is an entry', async () => {
    await editor.command('teleportEnv.runAgent');
    const placeholder = editor.page.locator('.quick-input-widget input.input');
    await waitFor(async () =>
      /It runs inside: a rollback takes its memory back, too\./.test(
        (await placeholder.getAttribute('placeholder')) ?? '',
      ),
    );
    await editor.screenshot('agent-which');
    const offered = await editor.page.locator('.quick-input-list .monaco-list-row .label-name').allInnerTexts();
    assert.deepEqual(
      offered.map((name) => name.trim()),
      AGENTS.map(({ name }) => name),
    );
    await editor.pick(/^Claude Code/);
    const signIn = await editor.dialog(/Bring the configuration and sign-in of Claude Code along\?/);
    await editor.screenshot('agent-sign-in');
    await signIn.click('Run without');
    const network = await editor.dialog(/api-server has no network\. Claude Code has to reach its model\./);
    await network.click('Run without');
    await timeline((rows) => rows.some(({ label }) => label.startsWith('echo three > three.txt')));
    const rows = await timeline();
    assert.deepEqual(
      rows.map(({ label }) => label.split(';')[0]),
      ['echo three > three.txt', 'Write two.txt', 'echo one > one.txt', 'sandbox created'],
    );
    await editor.screenshot('agent-steps');
  });

  it('takes it back: it goes on from that step', async () => {
    await inline('echo one > one.txt', 'Roll back');
    await (await editor.notification(/Back at “echo one/)).close();
    await timeline((rows) => rows.filter(({ label }) => /Write two\.txt/.test(label)).length === 2);
    await timeline((rows) => rows.filter(({ label }) => /echo three/.test(label)).length === 2);
  });

  it('runs another, by its command, with its key brought along; files that rest after a change are its steps', async () => {
    await editor.command('teleportEnv.runAgent');
    await editor.pick(/^Other/);
    await editor.answer('my-agent --fast');
    const signIn = await editor.dialog(/Bring the configuration and sign-in of Other along\?/);
    assert.match(
      signIn.text,
      /ANTHROPIC_API_KEY\. They are copied into the sandbox, whose memory images hold them then\./,
    );
    await signIn.click('Bring along');
    const rows = await timeline((all) => all.some(({ label }) => label === 'Other: three.txt'));
    assert.deepEqual(
      rows.map(({ label }) => label).filter((label) => label.startsWith('Other')),
      ['Other: three.txt', 'Other: two.txt', 'Other: one.txt'],
    );
    assert.equal(JSON.parse(await inside('cat /tmp/given')).ANTHROPIC_API_KEY, 'not-a-key');
  });

  it('that is not in the sandbox is said to be missing, with what to do', async () => {
    await editor.command('teleportEnv.runAgent');
    await editor.pick(/^aider/);
    const signIn = await editor.dialog(/Bring the configuration and sign-in of aider along\?/);
    await signIn.click('Run without');
    await (await editor.dialog(/api-server has no network\. aider has to reach its model\./)).click('Run without');
    await (await editor.notification(/aider is not in the sandbox \(aider\).* install it inside/)).close();
  });

  it('a step of an agent that could not be kept is told, once', async () => {
    // A traced process can't be carried.
    const traced = 'import ctypes,os,time\\nif os.fork()==0: ctypes.CDLL(None).ptrace(0,0,0,0)\\ntime.sleep(100)';
    await inside(`printf '${traced}' > /tmp/traced.py; python3 /tmp/traced.py & echo $! > /tmp/traced.pid; sleep 0.5`);
    const call = JSON.stringify({ tool_name: 'Bash', tool_input: { command: 'x' } });
    for (const _ of [1, 2]) await inside(`echo '${call}' | teleport-env hook codex`);
    await (await editor.notification(/A step of Codex was not kept: /)).close();
    assert.equal(await editor.page.locator('.notifications-toasts .notification-list-item').count(), 0);
    await inside('kill $(cat /tmp/traced.pid)');
  });

  it('sends what an agent outside runs inside, after showing the settings, and takes them back', async () => {
    await editor.command('teleportEnv.useForAgents');
    const question = await editor.dialog(/Send what agents run in terminals to api-server\?/);
    // What is written, and what is to be known of it, stands there before anything is.
    for (const said of [
      'chat.tools.terminal.terminalProfile.linux = {"path":"/',
      `"CLAUDE_CODE_SHELL_PREFIX":"/`,
      `${OWN_SANDBOX} = "off"`,
      'VS Code’s own agent sandbox is on: commands in it can’t reach this one, so it is turned off here.',
      'An agent outside keeps its memory over a rollback: its next result says that it was rolled back.',
    ])
      assert.ok(question.text.includes(said), `${said}\n\n${question.text}`);
    assert.deepEqual(settings(), {});
    await editor.screenshot('agent-settings');
    await question.click('Write settings');
    const done = await editor.notification(/Each command is a step/);
    const shell = (settings()['terminal.integrated.automationProfile.linux'] as { path: string }).path;
    const environment = settings()['terminal.integrated.env.linux'] as Record<string, string>;
    assert.equal(environment.CLAUDE_CODE_SHELL_PREFIX, shell);
    assert.deepEqual(settings()['chat.tools.terminal.terminalProfile.linux'], { path: shell });
    assert.equal(settings()[OWN_SANDBOX], 'off');
    await editor.command('workbench.action.tasks.runTask');
    await editor.pick(/^outside/);
    await timeline((rows) => /^echo from the task/.test(rows[0]!.label));
    assert.ok(!existsSync(join(folder, 'task.txt')));
    await done.click('Undo');
    await (await editor.notification(/run outside again/)).close();
    assert.deepEqual(settings(), {});
  });

  it('runs a task of its own kind inside', async () => {
    await editor.command('workbench.action.tasks.runTask');
    await editor.pick(/^inside/);
    await timeline((rows) => /^echo \$\(\(6 \* 7\)\)/.test(rows[0]!.label));
    assert.ok(!existsSync(join(folder, 'answer.txt')));
  });
});

/** A real agent CLI, Qwen Code, in a sandbox's terminal, against a model that follows a script. Needs root, and scripts/setup-agent.sh. */
import assert from 'node:assert/strict';
import { copyFileSync, existsSync, mkdirSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { PassThrough } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Connection } from '../../helper/client/connection.ts';
import { cli } from '../cli/run-cli.ts';
import { HelperProcess, needsMachine, workspace } from '../daemon/helper-process.ts';

const installed = resolve(__dirname, '../../build/agent');
const MODEL_PORT = 8123;

describe('Qwen Code inside a sandbox', function () {
  this.timeout(240_000); // it is 700 MB of program, and starts slowly on a busy machine

  let helper: HelperProcess;
  let user: Connection;
  let ws: string;

  before(async function () {
    needsMachine(this);
    if (!existsSync(join(installed, 'complete'))) {
      if (process.env.TELEPORT_REQUIRE_CRIU) throw new Error('this suite needs build/agent (scripts/setup-agent.sh)');
      this.skip();
    }
    helper = await HelperProcess.start(16 * 1024 ** 3);
    user = await helper.connect();
    ws = realpathSync(workspace());
    mkdirSync(join(ws, 'victim'));
    writeFileSync(join(ws, 'victim/a.txt'), 'precious\n');
    copyFileSync(join(__dirname, 'programs/model.mjs'), join(ws, 'model.mjs'));
  });
  after(async () => {
    await helper?.stop();
    if (ws) rmSync(ws, { recursive: true, force: true });
  });
  afterEach(function () {
    if (this.currentTest?.state === 'failed') console.error(helper.logText());
  });

  async function inside(sandbox: string, line: string): Promise<string> {
    const ran = await user.request('run', { sandbox, line, checkpoint: false });
    return Buffer.from(ran.output, 'base64').toString();
  }
  async function steps(sandbox: string) {
    const { checkpoints } = await user.request('checkpoint/list', { sandbox });
    return checkpoints.reverse().filter(({ kind }) => kind === 'run');
  }
  async function stepsOnceThere(sandbox: string, count: number, screen: () => string) {
    for (const deadline = Date.now() + 90_000; ; await sleep(50)) {
      const found = await steps(sandbox);
      if (found.length >= count) return found;
      assert.ok(Date.now() < deadline, `${JSON.stringify(found)}\n${screen()}`);
    }
  }

  it('makes each tool call a step; taken back to before the second one, it goes on from there, on the same screen', async () => {
    // The model is in there too: no network is needed, and it is taken back along with the agent.
    const PATH = `${realpathSync(join(installed, 'node_modules/.bin'))}:${process.env.PATH}`;
    const { sandbox } = await user.request('sandbox/create', { workspace: ws, env: { PATH } });
    const { id } = sandbox;
    assert.match(
      await inside(
        id,
        `node model.mjs ${MODEL_PORT} ${ws} > /tmp/model 2>&1 & until grep -qs ready /tmp/model; do sleep 0.1; done`,
      ),
      /^$/,
    );

    const keys = new PassThrough();
    const shown: Buffer[] = [];
    const screen = () => Buffer.concat(shown).toString();
    const variables = {
      OPENAI_API_KEY: 'none',
      OPENAI_BASE_URL: `http://127.0.0.1:${MODEL_PORT}/v1`,
      OPENAI_MODEL: 'scripted',
      QWEN_CODE_NO_RELAUNCH: '1',
    };
    const ended = cli(
      null,
      [
        'agent',
        id,
        'qwen-code',
        ...Object.entries(variables).flatMap(([name, value]) => ['--env', `${name}=${value}`]),
        '--',
        '--auth-type',
        'openai',
        '--yolo',
        '--prompt-interactive',
        'Please do the three steps',
      ],
      {
        cwd: ws,
        stdin: keys,
        tty: { columns: 100, rows: 40 },
        env: { TELEPORT_ENV_SOCKET: helper.socket, HOME: process.env.HOME, PATH, TERM: 'xterm-256color' },
        onOutput: (data) => shown.push(data),
      },
    );
    const made = await stepsOnceThere(id, 3, screen);
    assert.deepEqual(
      made.map(({ command, note, exitCode }) => [command, note, exitCode]),
      [
        ['echo one > one.txt', 'The first file', 0],
        [`write_file ${ws}/two.txt`, null, null],
        ['rm -rf victim; ls -d victim', 'Make room', 2],
      ],
    );
    const written = await inside(id, 'cat two.txt');
    assert.match(await inside(id, 'ls victim'), /No such file/);

    await user.request('checkpoint/rollback', { sandbox: id, checkpoint: made[0]!.id });
    assert.equal(await inside(id, 'cat one.txt; cat victim/a.txt'), 'one\nprecious\n');
    const again = await stepsOnceThere(id, 5, screen);
    assert.deepEqual(
      again.slice(3).map(({ command, parent }) => [command, parent]),
      [
        [`write_file ${ws}/two.txt`, made[0]!.id],
        ['rm -rf victim; ls -d victim', again[3]!.id],
      ],
    );
    assert.notEqual(await inside(id, 'cat two.txt'), written, 'the step was done anew');
    assert.match(screen(), /— back at .* ms —/);

    // It is the very program that was started, and listens to the keys. Its menu of commands takes an Enter or two.
    keys.write('/quit');
    let code: number | undefined;
    for (const deadline = Date.now() + 40_000; code === undefined && Date.now() < deadline; ) {
      code = await Promise.race([ended.then((ran) => ran.code), sleep(700, undefined)]);
      if (code === undefined) keys.write('\r');
    }
    assert.equal(code, 0, screen().slice(-3000));
    assert.match(screen().split('— back at').at(-1)!, /All three are done\./);
  });
});

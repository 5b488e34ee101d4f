/** One helper at a time has a state folder, whoever starts how many. Needs root. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import {
  existsSync,
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
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Connection } from '../../helper/client/connection.ts';
import { HelperProcess, needsMachine, workspace } from '../daemon/helper-process.ts';
import { build, program } from './program.ts';
import { json } from './run-cli.ts';

describe('serve', function () {
  this.timeout(60_000);
  let helper: HelperProcess;
  let dir: string;
  let ws: string;
  before(async function () {
    needsMachine(this);
    build();
    helper = await HelperProcess.start();
    dir = mkdtempSync(join(tmpdir(), 'serve-'));
    ws = realpathSync(workspace({ 'a.txt': 'one\n' }));
  });
  after(async () => {
    await helper?.stop();
    for (const folder of [dir, ws]) if (folder) rmSync(folder, { recursive: true, force: true });
  });
  afterEach(function () {
    if (this.currentTest?.state === 'failed') console.error(helper.logText());
  });

  const call = (argv: string[], env: NodeJS.ProcessEnv = {}) =>
    program(argv, { cwd: ws, env: { TELEPORT_ENV_SOCKET: helper.socket, ...env } });
  async function refused(state: string, exit: number, code: string): Promise<string> {
    const socket = join(dir, 'other.sock');
    const { code: ended, stdout } = await call(['serve', '--json', '--socket', socket, '--state', state]);
    assert.deepEqual([ended, json({ stdout } as never).error.code], [exit, code], stdout);
    assert.ok(!existsSync(socket));
    return json({ stdout } as never).error.message;
  }

  it('leaves alone what another helper has', async () => {
    assert.equal((await call(['up', '--name', 'api'])).code, 0);
    assert.equal((await call(['run', 'api', '--', 'X=1; sleep 1000 &'])).code, 0);
    // As while a sandbox is being made: a helper that begins would sweep it away.
    const unfinished = join(helper.state, 'volume/sandboxes/s99');
    mkdirSync(unfinished);
    const message = await refused(helper.state, 1, 'sandboxBusy');
    assert.ok(message.includes(helper.socket), message);
    assert.ok(existsSync(unfinished));
    rmSync(unfinished, { recursive: true });
    const ran = await call(['run', 'api', '--no-checkpoint', '--', 'echo $X; jobs -r | wc -l']);
    assert.equal(ran.stdout, '1\n1\n');
  });

  it('has a socket that is open to all from the first moment', async () => {
    // Looks without a pause, as no process that has other work to do could.
    const look = `import os, stat, sys
modes = set()
while os.getppid() == ${process.pid} and not os.path.exists(sys.argv[2]):
    try: modes.add(oct(stat.S_IMODE(os.stat(sys.argv[1]).st_mode)))
    except FileNotFoundError: pass
print(*modes)`;
    const over = join(dir, 'over');
    const looking = promisify(execFile)('python3', ['-c', look, helper.socket, over]);
    for (let i = 0; i < 5; i++) {
      await helper.kill('SIGTERM');
      rmSync(helper.socket, { force: true });
      await helper.restart();
    }
    writeFileSync(over, '');
    assert.equal((await looking).stdout, '0o666\n');
  });

  it('says where its state cannot stand', async () => {
    for (const name of ['a:b', 'a,b', 'a b', 'a\\b', 'a\nb']) {
      await refused(join(dir, name), 1, 'invalidRequest');
      assert.ok(!existsSync(join(dir, name)));
    }
    const file = join(dir, 'file');
    writeFileSync(file, 'kept');
    for (const state of [file, join(file, 'below')]) await refused(state, 2, 'volumeUnusable');
    assert.equal(readFileSync(file, 'utf8'), 'kept');
    // Node's own way to make folders never ends there.
    await refused('/proc/none/below', 2, 'volumeUnusable');
  });

  it('says where its socket cannot stand, and begins nothing', async () => {
    const file = join(dir, 'mine');
    writeFileSync(file, 'kept');
    const state = join(dir, 'unused');
    for (const socket of [file, join(file, 'below'), '/proc/none/d.sock', '/proc/none', join(dir, 'x'.repeat(108))]) {
      const { code, stdout } = await call(['serve', '--json', '--socket', socket, '--state', state]);
      const { error } = json({ stdout } as never);
      assert.deepEqual([code, error.code], [1, 'invalidRequest'], stdout);
      assert.ok(error.message.includes(socket) && error.hint, stdout);
    }
    assert.equal(readFileSync(file, 'utf8'), 'kept');
    assert.ok(!existsSync(state));
  });

  /** Helpers that clients began at our socket. */
  const begun = () =>
    readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map(Number)
      .filter((pid) => {
        try {
          const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
          return words.includes('serve') && words.includes(helper.socket);
        } catch {
          return false; // it ended meanwhile
        }
      });

  it('is begun by several clients at once, and one of them serves all', async () => {
    await helper.kill();
    const env = { TELEPORT_ENV_STATE: helper.state, TELEPORT_ENV_DEV: '1' };
    try {
      const line = ['run', 'api', '--json', '--no-checkpoint', '--', 'echo $X'];
      const answers = await Promise.all(Array.from({ length: 4 }, () => call(line, env)));
      for (const ran of answers) assert.deepEqual([ran.code, json(ran).output], [0, '1\n'], ran.stdout);
      const [first, ...others] = await Promise.all(
        Array.from({ length: 2 }, async () => {
          const connection = await Connection.open(helper.socket, 'test');
          connection.close();
          return connection.helper.pid;
        }),
      );
      assert.deepEqual(others, [first]);
      const said = readFileSync(`${helper.socket}.log`, 'utf8');
      assert.equal(said.match(/listening on/g)?.length, 1, said);
    } finally {
      // One that comes late finds the folder free again, and would serve.
      for (let all = begun(); all.length > 0; all = begun()) {
        for (const pid of all) process.kill(pid, 'SIGTERM');
        await sleep(50);
      }
    }
    // The one that was told to end has the folder until it did: the next waits for that.
    await helper.restart();
    assert.equal((await call(['run', 'api', '--no-checkpoint', '--', 'echo $X'])).stdout, '1\n');
  });
});

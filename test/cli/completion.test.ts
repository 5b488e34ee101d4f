/** Completion: what is offered where, then each real shell with the built program. The latter needs root. */
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { complete, fromBash } from '../../helper/cli/completion.ts';
import { SCRIPTS } from '../../helper/cli/completion-scripts.ts';
import { Context } from '../../helper/cli/context.ts';
import { processIo } from '../../helper/cli/io.ts';
import { buildProgram } from '../../helper/cli/main.ts';
import { HelperProcess, needsMachine } from '../daemon/helper-process.ts';
import { build, PROGRAM, program } from './program.ts';
import { json } from './run-cli.ts';

const definitions = buildProgram(new Context(processIo(), undefined), () => {});
const values = (...words: string[]) => complete(definitions, words).candidates.map(({ value }) => value);
const kinds = (...words: string[]) =>
  complete(definitions, words).kinds.map(({ kind, sandbox }) =>
    sandbox === undefined ? kind : `${kind} of ${sandbox}`,
  );

describe('completion', () => {
  it('offers every command with what it is for, and none that is hidden', () => {
    const { candidates } = complete(definitions, ['']);
    assert.ok(candidates.length > 25);
    for (const { value, about } of candidates) assert.ok(value && about, value);
    assert.ok(values('').includes('rollback') && !values('').includes('complete'));
    assert.deepEqual(values('help', ''), values(''));
    assert.deepEqual(values('git', ''), ['fetch', 'branch', 'help']);
    assert.deepEqual(kinds('git', 'fetch', ''), ['sandbox']);
    assert.deepEqual(values('no-such-command', ''), []);
  });

  it('offers the options of the command, those given once not again', () => {
    assert.ok(values('rollback', '-').includes('--discard'));
    assert.ok(!values('rollback', '--discard', '-').includes('--discard'));
    assert.ok(values('up', '--env', 'A=1', '-').includes('--env'));
    assert.deepEqual(values('-'), ['--version', '--help']);
  });

  it('knows that the sandbox may be left out', () => {
    assert.deepEqual(kinds('log', ''), ['sandbox']);
    assert.deepEqual(kinds('rollback', ''), ['sandbox', 'checkpoint']);
    assert.deepEqual(kinds('rollback', 'api', ''), ['checkpoint of api']);
    assert.deepEqual(kinds('rollback', '--sandbox', 'k1', ''), ['checkpoint of k1']);
    assert.deepEqual(kinds('rollback', 'k3', ''), [], 'nothing comes after it');
    assert.deepEqual(kinds('diff', 'k3', ''), ['checkpoint', 'branch']);
    assert.deepEqual(kinds('diff', 'api', 'k3', ''), ['checkpoint of api', 'branch of api']);
    assert.deepEqual(kinds('cat', 'k3', ''), ['file']);
    assert.deepEqual(kinds('forward', 'api', ''), ['port of api']);
  });

  it('knows what an option takes', () => {
    assert.deepEqual(kinds('exec', 'api', '--branch', ''), ['branch of api']);
    assert.deepEqual(kinds('exec', '--branch=', ''), ['sandbox'], 'a value that is given');
    assert.deepEqual(kinds('exec', '--branch=b'), ['branch']);
    assert.deepEqual(kinds('up', '--workspace', ''), ['file']);
    assert.deepEqual(values('up', '--network', ''), ['none', 'nat']);
    assert.deepEqual(kinds('rollback', 'api', 'k3', '--expect', ''), ['checkpoint of api']);
    assert.deepEqual(values('run', '--expect='), ['none']);
    assert.deepEqual(kinds('up', '--name', ''), []);
  });

  it('offers fixed words, and -- where a command for inside follows', () => {
    assert.deepEqual(values('completion', ''), ['bash', 'zsh', 'fish']);
    assert.deepEqual(values('network', 'api', ''), ['none', 'nat']);
    assert.deepEqual(values('exec', 'api', ''), ['--']);
    assert.deepEqual(kinds('exec', 'api', '--', 'cat', ''), ['file']);
  });

  it('reads words as bash splits them', () => {
    assert.deepEqual(fromBash(['log', 'my\\ api', "'x y'"]), ['log', 'my api', 'x y']);
    assert.deepEqual(fromBash(['exec', '--branch', '=', 'b']), ['exec', '--branch=b']);
    assert.deepEqual(fromBash(['exec', '--branch', '=']), ['exec', '--branch=']);
  });

  it('says nothing, and starts nothing, where no helper runs', async () => {
    build();
    const ran = await program(['complete', '--', 'log', ''], { env: { TELEPORT_ENV_SOCKET: '/nowhere/d.sock' } });
    assert.deepEqual([ran.code, ran.stdout, ran.stderr], [0, '', '']);
    assert.equal((await program(['completion', 'tcsh'])).code, 1);
    assert.equal(json(await program(['completion', 'bash', '--json'])).script, SCRIPTS.bash);
  });

  describe('in a real shell', function () {
    this.timeout(60_000);
    let helper: HelperProcess;
    let dir: string;
    before(async function () {
      needsMachine(this);
      helper = await HelperProcess.start();
      dir = realpathSync(mkdtempSync(join(tmpdir(), 'completion-')));
      mkdirSync(join(dir, 'bin'));
      symlinkSync(PROGRAM, join(dir, 'bin/teleport-env'));
      for (const name of ['plain', 'my project']) {
        mkdirSync(join(dir, name));
        const up = await program(['up', '--workspace', join(dir, name)], { env: env() });
        assert.equal(up.code, 0, up.stderr);
      }
      await program(['checkpoint', 'plain', '--label', 'the first one'], { env: env() });
    });
    after(async () => {
      await helper?.stop();
      if (dir) rmSync(dir, { recursive: true, force: true });
    });
    const env = (): NodeJS.ProcessEnv => ({
      PATH: `${join(dir, 'bin')}:${process.env.PATH}`,
      HOME: dir,
      TERM: 'xterm',
      LANG: 'C.UTF-8',
      TELEPORT_ENV_SOCKET: helper.socket,
    });
    const missing = (shell: string) => spawnSync(shell, ['--version']).error !== undefined;

    const open = new Set<Typed>();
    afterEach(async () => {
      for (const shell of open) await shell.end();
    });
    /** A shell on a terminal of its own: type, then wait for what the screen must show. */
    class Typed {
      #raw = '';
      private readonly child;
      /** Without colours and the like. */
      get shown(): string {
        return this.#raw.replace(/\x1b(\[[?0-9;]*[a-zA-Z]|[=>])/g, '');
      }
      constructor(command: string) {
        this.child = spawn('script', ['-qec', `stty cols 200 rows 50; exec ${command}`, '/dev/null'], {
          cwd: dir,
          env: env(),
          stdio: ['pipe', 'pipe', 'inherit'],
        });
        this.child.stdout.on('data', (data: Buffer) => {
          this.#raw += data;
        });
        open.add(this);
      }
      async type(keys: string, until: RegExp): Promise<void> {
        this.#raw = '';
        this.child.stdin.write(keys);
        for (let i = 0; i < 500 && !until.test(this.shown); i++) await sleep(20);
        const { shown } = this;
        assert.match(shown, until, `after ${JSON.stringify(keys)}: ${JSON.stringify(shown)}`);
      }
      /** The terminal goes, and with it the shell. */
      async end(): Promise<void> {
        open.delete(this);
        if (this.child.exitCode !== null || this.child.signalCode !== null) return;
        const ended = new Promise((resolve) => this.child.once('exit', resolve));
        this.child.kill('SIGKILL');
        await ended;
      }
    }

    async function usual(shell: Typed): Promise<void> {
      await shell.type('teleport-env rollb\t', /rollback /);
      await shell.type('pl\t', /plain /);
      await shell.type('k1\r', /back at k1/);
      await shell.type('teleport-env rollback plain --disc\t', /--discard/);
      await shell.type('\x15teleport-env log my\t', /my\\ project|'my project'/);
      await shell.type('\r', /sandbox created/);
      await shell.type('teleport-env exec plain -- cat pla\t', /plain\//);
    }

    it('bash', async function () {
      if (missing('bash') || missing('script')) return this.skip();
      const shell = new Typed('bash --norc -i');
      await shell.type('PS1="> "; source <(teleport-env completion bash); echo rea""dy\r', /ready\r\n/);
      await usual(shell);
      await shell.type('\x15teleport-env rollback plain k\t\t', /k1 +k0|k0 +k1/);
      await shell.type('\x15teleport-env up --network=na\t', /--network=nat /);
    });

    it('zsh', async function () {
      if (missing('zsh') || missing('script')) return this.skip();
      writeFileSync(
        join(dir, '.zshrc'),
        'PROMPT="> "\nautoload -Uz compinit\ncompinit -u -D\nsource <(teleport-env completion zsh)\n',
      );
      const shell = new Typed('zsh -i');
      await shell.type('echo rea""dy\r', /ready\r\n/);
      await usual(shell);
      await shell.type('\x15teleport-env rollback plain \t\t', /k1 +-- the first one/);
      // As a file of fpath, which is loaded at the first TAB.
      writeFileSync(join(dir, '_teleport-env'), SCRIPTS.zsh);
      writeFileSync(join(dir, '.zshrc'), `PROMPT="> "\nfpath=(${dir} $fpath)\nautoload -Uz compinit\ncompinit -u -D\n`);
      const another = new Typed('zsh -i');
      await another.type('teleport-env rollb\t', /rollback /);
    });

    it('fish', function () {
      if (missing('fish')) return this.skip();
      const offered = (line: string) =>
        execFileSync('fish', ['-c', `teleport-env completion fish | source; complete -C ${JSON.stringify(line)}`], {
          cwd: dir,
          env: env(),
          encoding: 'utf8',
        });
      assert.equal(offered('teleport-env rollb'), 'rollback\tgo back to a checkpoint; where you were is kept\n');
      assert.match(offered('teleport-env rollback plain k'), /^k1\tthe first one\nk0\tsandbox created\n$/m);
      assert.match(offered('teleport-env log my'), /^my(\\ | )project\trunning, 1 checkpoint/);
      assert.equal(offered('teleport-env up --network=na').trim(), '--network=nat');
      assert.match(offered('teleport-env exec plain -- cat pla'), /^plain\//);
    });
  });
});

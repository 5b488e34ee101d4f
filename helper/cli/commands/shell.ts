import type { Command } from 'commander';
import type { Connection } from '../../client/connection.ts';
import { AttachedSession, type SessionEvents } from '../../client/session.ts';
import { TeleportError } from '../../protocol/errors.ts';
import { restoredScreen } from '../../protocol/scrollback.ts';
import type { Context } from '../context.ts';
import { define } from '../define.ts';
import { terminalEnv } from '../environment.ts';
import { deferred } from '../process.ts';
import { only } from '../target.ts';
import { freshScreen, KEEP_TITLE, RESTORE } from '../terminal.ts';
import { printable } from '../text.ts';

interface ShellOptions {
  session?: string;
  branch?: string;
  hold?: boolean;
}

const CTRL_D = '\x04';
const SAY_END_MS = 100;
/** How long a shell waits for a daemon that was restarted. */
const REATTACH_MS = 30_000;

export function registerShell(program: Command, ctx: Context): void {
  define<ShellOptions>(program, ctx, {
    usage: 'shell [SANDBOX] [-- CMD…]',
    summary: 'a terminal inside; a rollback takes it back too, and it goes on',
    examples: ['shell', 'shell api -- htop', 'shell api --session x3'],
    takesTail: true,
    options: (command) =>
      command
        .option('--session <session>', 'attach to one that is open')
        .option('--branch <branch>', 'in that live fork')
        .option('--hold', 'where it fails, or ended already, show that and wait for a key'),
    action: async (ctx, words, options) => {
      if (ctx.json)
        throw new TeleportError('invalidRequest', 'a shell has no JSON answer', { hint: 'use run or exec' });
      const sandbox = await ctx.sandbox(only(words, options.sandbox));
      ctx.exitCode = await new Shell(ctx, sandbox.id, options).run();
    },
  });
}

/** One terminal: ours outside, one inside, from opening to exit. */
export class Shell {
  #session: AttachedSession | undefined;
  readonly #ending = deferred<number>();
  #left = false;
  /** It had ended before we attached: who looks has seen nothing of it yet. */
  #late = false;
  #released: (() => void) | undefined;
  /** Keys typed while the daemon is away are kept and not lost. */
  #keys: Promise<void> = Promise.resolve();

  constructor(
    private readonly ctx: Context,
    private readonly sandbox: string,
    private readonly options: ShellOptions,
    /** What runs in it. Without: what stands after `--`, else the login shell. */
    private readonly command: { argv?: string[]; env?: Record<string, string> } = { argv: ctx.tail },
  ) {}

  async run(): Promise<number> {
    const { stdin, stdout } = this.ctx.io;
    // Before there is a session: a window that is closed meanwhile must not leave one behind.
    const stops = this.#listenToSignals();
    const restore = () => {
      stdin.setRawMode?.(false);
      stdout.write(RESTORE);
    };
    try {
      await this.#open();
      stops.push(...this.#listen());
      if (this.#left) await this.#leave();
      if (this.#tty) {
        stops.push(restore);
        stdin.setRawMode?.(true);
        stdout.write(KEEP_TITLE);
      }
      const code = await this.#ending.promise;
      if (this.options.hold && this.#tty && !this.#left && (code !== 0 || this.#late)) await this.#hold(code);
      return code;
    } finally {
      for (const stop of stops) stop();
      this.#session?.detach();
    }
  }

  async #open(): Promise<void> {
    const helper = await this.ctx.helper();
    this.#watch(helper);
    const where = { sandbox: this.sandbox, branch: this.options.branch, ...this.#size() };
    if (this.options.session !== undefined) return await this.#attach(helper, this.options.session, false);
    const env = { ...terminalEnv(this.ctx.io.env), ...this.command.env };
    this.#session = await AttachedSession.open(
      helper,
      { ...where, kind: 'terminal', argv: this.command.argv, env },
      this.#events(),
    );
  }

  async #attach(helper: Connection, session: string, again: boolean): Promise<void> {
    const where = { sandbox: this.sandbox, branch: this.options.branch, session, ...this.#size() };
    const opened = await AttachedSession.attach(helper, where, this.#events());
    const { attached, scrollback, deliver } = opened;
    this.#session = attached;
    this.#late = !again && !opened.session.running;
    if (!again) this.ctx.io.stdout.write(scrollback);
    else if (this.#tty) this.ctx.io.stdout.write(freshScreen(scrollback));
    deliver();
  }

  /** The window that shows us would close with us, and what was said would be gone. */
  async #hold(code: number): Promise<void> {
    const { stdin, stdout } = this.ctx.io;
    const released = new Promise<void>((resolve) => {
      stdin.once('data', () => resolve()).once('end', () => resolve());
      this.#released = resolve;
    });
    stdout.write(`\r\n${this.ctx.style.dim(`— ended with exit code ${code}; any key closes this terminal —`)}`);
    await released;
    stdout.write('\r\n');
  }

  #events(): SessionEvents {
    const { stdout } = this.ctx.io;
    return {
      output: (_, data) => this.ctx.stream('stdout', data),
      exit: (code) => this.#ending.resolve(code),
      restored: (moment, scrollback) => {
        // Through a pipe there is no screen to show anew.
        if (!this.#tty) return;
        const { text, fullScreen } = restoredScreen(scrollback.toString(), moment.at, moment.ms);
        stdout.write(text);
        void this.#fit(fullScreen);
      },
      gone: (reason) => {
        const told = `this terminal did not exist at that moment: ${printable(reason)}`;
        if (this.options.session === undefined) return this.#ending.reject(new TeleportError('unknownSession', told));
        // An editor's terminal: it ends, and that is no failure to be shown in a message of its own.
        stdout.write(`\r\n${told}\r\n`);
        this.#ending.resolve(0);
      },
    };
  }

  /** A daemon that is restarted finds the session again, and so do we. */
  #watch(helper: Connection): void {
    helper.lost.addEventListener('abort', () => void this.#reattach().catch((error) => this.#ending.reject(error)));
  }

  async #reattach(): Promise<void> {
    const id = this.#session?.id;
    if (id === undefined) return;
    this.#session?.detach();
    for (const deadline = Date.now() + REATTACH_MS; ; await pause(200)) {
      try {
        const helper = await this.ctx.helper();
        await this.#attach(helper, id, true);
        return this.#watch(helper);
      } catch (error) {
        const passing = error instanceof TeleportError && ['noHelper', 'notRoot', 'sandboxBusy'].includes(error.code);
        if (!passing || Date.now() > deadline) throw error;
      }
    }
  }

  #listen(): (() => void)[] {
    const { stdin, stdout } = this.ctx.io;
    const send = (data: Uint8Array) => {
      this.#keys = this.#keys.then(() => this.#session?.write(data)).catch(() => {});
      return this.#keys;
    };
    const onData = (data: Buffer | string) => void send(Buffer.from(data));
    // A terminal's input has no end, so Ctrl-D says it: to whoever reads now, and then to whoever reads next.
    let ending: NodeJS.Timeout | undefined;
    const onEnd = () => {
      const say = () => void send(Buffer.from(CTRL_D)).then(() => ending?.refresh());
      ending = setTimeout(say, SAY_END_MS);
      say();
    };
    const resize = () => void this.#fit();
    stdin.on('data', onData).once('end', onEnd);
    stdout.on('resize', resize);
    return [
      () => stdin.off('data', onData).off('end', onEnd).pause(),
      () => clearTimeout(ending),
      () => stdout.off('resize', resize),
    ];
  }

  /** Raw mode hands Ctrl-C over as a key. These come from elsewhere: the window is closed, or somebody ends us. */
  #listenToSignals(): (() => void)[] {
    const leave = () => {
      this.#left = true;
      this.#released?.();
      void this.#leave();
    };
    const interrupt = () => void this.#session?.signal(2).catch(() => {});
    return [
      this.ctx.io.onSignal('SIGHUP', leave),
      this.ctx.io.onSignal('SIGTERM', leave),
      this.ctx.io.onSignal('SIGINT', interrupt),
    ];
  }

  /** A session of our own ends with us; one that we attached to goes on. Before there is one, {@link run} comes back to it. */
  async #leave(): Promise<void> {
    if (!this.#session) return;
    if (this.options.session === undefined) await this.#session.close().catch(() => {});
    this.#ending.resolve(129);
  }

  get #tty(): boolean {
    return this.ctx.io.stdin.isTTY === true && this.ctx.io.stdout.isTTY === true;
  }

  /** Gives the terminal inside our size. `redraw`: a program that fills the screen draws it anew when that changes. */
  async #fit(redraw = false): Promise<void> {
    const { cols, rows } = this.#size();
    if (!cols || !rows) return;
    try {
      if (redraw) await this.#session?.resize(cols, Math.max(1, rows - 1));
      await this.#session?.resize(cols, rows);
    } catch {
      // it ended, or the helper did: then it is attached again with our size
    }
  }

  #size(): { cols?: number; rows?: number } {
    const { columns, rows } = this.ctx.io.stdout;
    return columns && rows ? { cols: columns, rows } : {};
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

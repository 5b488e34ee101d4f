import { Buffer } from 'node:buffer';
import { Disposable, EventEmitter, type Pseudoterminal, type TerminalDimensions } from 'vscode';
import { clearFor, quietScrollback, restoredScreen } from '../../helper/protocol/scrollback.ts';
import type { App } from '../app.ts';
import { HelperError } from '../connection/errors.ts';
import type { ShownSession } from '../connection/place.ts';
import { t } from '../l10n.ts';
import { wordsOf } from '../report.ts';

/** It is attached again once there is a connection. */
const UNREACHABLE: ReadonlySet<HelperError['code']> = new Set<HelperError['code']>(['lost', 'unanswered', 'noHelper']);

/**
 * A terminal over our own connection to the helper, for places where no process of its own can reach it. It holds nothing:
 * the screen is VS Code's, the shell and its past are the sandbox's.
 */
export class SessionTerminal implements Pseudoterminal {
  private readonly writer = new EventEmitter<string>();
  private readonly closer = new EventEmitter<number | undefined>();
  readonly onDidWrite = this.writer.event;
  readonly onDidClose = this.closer.event;
  private decoder = new TextDecoder();
  private dimensions: TerminalDimensions | undefined;
  private typed: string[] = [];
  private sending = false;
  private over = false;
  /** It ended, with this exit code, and waits for a key. */
  private held: number | undefined;
  private listening: Disposable | undefined;

  constructor(
    private readonly app: Pick<App, 'helper' | 'log'>,
    readonly place: ShownSession,
  ) {}

  open(dimensions: TerminalDimensions | undefined): void {
    this.dimensions = dimensions;
    const { helper } = this.app;
    const mine = (p: { sandbox: string; session: string; branch?: string }) =>
      p.sandbox === this.place.sandbox &&
      p.session === this.place.session &&
      (this.place.branch === undefined || p.branch === undefined || p.branch === this.place.branch);
    this.listening = Disposable.from(
      helper.onNotification('session/output', (p) => mine(p) && this.show(Buffer.from(p.data, 'base64'))),
      helper.onNotification('session/exit', (p) => mine(p) && this.exited(p.exitCode)),
      helper.onNotification('session/gone', (p) => {
        if (!mine(p)) return;
        this.line(t('this terminal did not exist at that moment'));
        this.end();
      }),
      helper.onNotification('session/restored', (p) => {
        if (!mine(p)) return;
        this.decoder = new TextDecoder();
        const { text, fullScreen } = restoredScreen(textOf(p.scrollback), p.at, p.ms);
        this.writer.fire(text);
        if (!p.running) this.end();
        else if (fullScreen) this.redraw();
        else if (this.dimensions) this.setDimensions(this.dimensions); // the window's may be another than it was then
      }),
      helper.onDidChangeState((state) => {
        if (state.kind === 'waiting') this.line(t('helper unreachable, trying again'));
        if (state.kind === 'ready') void this.attach();
      }),
    );
    void this.attach();
  }

  handleInput(data: string): void {
    if (this.held !== undefined) {
      this.end(this.held);
      return;
    }
    this.typed.push(data);
    void this.send();
  }

  setDimensions(dimensions: TerminalDimensions): void {
    this.dimensions = dimensions;
    if (this.over) return;
    const size = { cols: dimensions.columns, rows: dimensions.rows };
    this.quietly(this.app.helper.ask('session/resize', { ...this.address(), ...size }));
  }

  /** VS Code closes the terminal: somebody did, or the window goes. Only the former ends the session, see `terminals.ts`. */
  close(): void {
    this.over = true;
    this.listening?.dispose();
  }

  private async attach(): Promise<void> {
    if (this.held !== undefined) return;
    const size = this.dimensions && { cols: this.dimensions.columns, rows: this.dimensions.rows };
    try {
      const { session, scrollback } = await this.app.helper.ask('session/attach', { ...this.address(), ...size });
      this.replay(scrollback);
      if (!session.running) this.exited(session.exitCode ?? 0, true);
    } catch (error) {
      if (error instanceof HelperError && UNREACHABLE.has(error.code)) return;
      this.line(wordsOf(error));
      this.end();
    }
  }

  /** One write at a time, so that keys arrive in the order they were typed. */
  private async send(): Promise<void> {
    if (this.sending) return;
    this.sending = true;
    try {
      while (this.typed.length > 0 && !this.over) {
        const data = Buffer.from(this.typed.splice(0).join(''), 'utf8').toString('base64');
        await this.app.helper.ask('session/write', { ...this.address(), data });
      }
    } catch (error) {
      this.app.log.debug(`terminal: ${wordsOf(error)}`);
    } finally {
      this.sending = false;
    }
  }

  /** A full-screen program draws everything anew when its size changes. */
  private redraw(): void {
    if (!this.dimensions) return;
    const { columns: cols, rows } = this.dimensions;
    const { helper } = this.app;
    const address = this.address();
    this.quietly(
      helper
        .ask('session/resize', { ...address, cols, rows: Math.max(1, rows - 1) })
        .then(() => helper.ask('session/resize', { ...address, cols, rows })),
    );
  }

  private replay(scrollback: string): void {
    this.decoder = new TextDecoder();
    const text = textOf(scrollback);
    this.writer.fire(`${clearFor(text)}${quietScrollback(text)}`);
  }

  private show(data: Buffer): void {
    const text = this.decoder.decode(data, { stream: true });
    if (text) this.writer.fire(text);
  }

  private line(text: string): void {
    this.writer.fire(`\r\n\x1b[2m— ${text} —\x1b[22m\r\n`);
  }

  private exited(code: number, unseen = false): void {
    if (this.place.hold && !this.over && (code !== 0 || unseen)) {
      this.held = code;
      this.line(t('ended with exit code {0}; any key closes this terminal', code));
    } else this.end(code);
  }

  private end(code?: number): void {
    if (this.over) return;
    this.over = true;
    this.closer.fire(code);
  }

  private address() {
    const { sandbox, branch, session } = this.place;
    return { sandbox, session, ...(branch === undefined ? {} : { branch }) };
  }

  private quietly(work: Promise<unknown>): void {
    work.catch((error) => this.app.log.debug(`terminal: ${wordsOf(error)}`));
  }
}

function textOf(scrollback: string): string {
  return Buffer.from(scrollback, 'base64').toString('utf8');
}

/**
 * Terminals whose shells were not open at the moment that the head went to: they close, which is said, and come back when the
 * head goes to a moment that has them (an undo, most of all).
 */
import { type Disposable, type TerminalOptions, ThemeIcon, window } from 'vscode';
import type { App } from '../app.ts';
import type { ShownSession } from '../connection/place.ts';
import { t } from '../l10n.ts';
import { wordsOf } from '../report.ts';
import { SessionTerminal } from './session-terminal.ts';

interface Shown {
  readonly place: ShownSession;
  readonly options: TerminalOptions;
}

/** Finds out which session a terminal shows. */
type PlaceOf = (terminal: (typeof window.terminals)[number]) => ShownSession | undefined;

export class Moves implements Disposable {
  /** What this window itself moves: whoever asked says what came of it. */
  private readonly own = new Set<string>();
  /** By sandbox: closed by a move, and not by hand. */
  private readonly closed = new Map<string, readonly Shown[]>();
  private readonly listening: Disposable;

  constructor(
    private readonly app: Pick<App, 'helper' | 'store' | 'log'>,
    private readonly placeOf: PlaceOf,
  ) {
    this.listening = app.helper.onNotification('head/moved', ({ sandbox }) => {
      if (this.own.has(sandbox)) return;
      void this.settle(sandbox, this.shown(sandbox)).then((count) => {
        const name = app.store.sandbox(sandbox)?.name ?? sandbox;
        if (count > 0) window.setStatusBarMessage(t('{0}: {1}', name, notOpenThen(count)), 10_000);
      });
    });
  }

  /** Moves a head. With what came of it, how many terminals of this window closed. */
  async around<T>(sandbox: string, move: () => PromiseLike<T>): Promise<{ moved: T; closed: number }> {
    const before = this.shown(sandbox);
    this.own.add(sandbox);
    try {
      const moved = await move();
      return { moved, closed: await this.settle(sandbox, before) };
    } finally {
      this.own.delete(sandbox);
    }
  }

  dispose(): void {
    this.listening.dispose();
  }

  private shown(sandbox: string): Shown[] {
    return window.terminals.flatMap((terminal) => {
      const place = this.placeOf(terminal);
      if (place?.sandbox !== sandbox || place.branch !== undefined) return [];
      return [{ place, options: terminal.creationOptions as TerminalOptions }];
    });
  }

  /** Nothing of this is worth failing a move that is done. */
  private async settle(sandbox: string, before: readonly Shown[]): Promise<number> {
    const earlier = this.closed.get(sandbox) ?? [];
    if (before.length + earlier.length === 0) return 0;
    try {
      const { sessions } = await this.app.helper.ask('session/list', { sandbox });
      const here = new Map<string, boolean>(sessions.map(({ id, running }) => [id, running]));
      // Word of a move that this window made comes after its answer: a terminal may still be closing then.
      const known = new Set<string>(earlier.map(({ place }) => place.session));
      const gone = before.filter(({ place }) => !here.has(place.session) && !known.has(place.session));
      for (const one of earlier) if (here.get(one.place.session)) this.showAgain(one);
      this.closed.set(sandbox, [...earlier.filter(({ place }) => !here.has(place.session)), ...gone]);
      return gone.length;
    } catch (error) {
      this.app.log.warn(`terminals of ${sandbox} after a move: ${wordsOf(error)}`);
      return 0;
    }
  }

  private showAgain({ place, options }: Shown): void {
    const again = 'pty' in options ? { ...options, pty: new SessionTerminal(this.app, place) } : options;
    window.createTerminal({ ...again, iconPath: options.iconPath ?? new ThemeIcon('history') }).show(true);
  }
}

/** For a toast that offers to undo it. */
export function notOpenThen(count: number): string {
  return count === 1
    ? t('1 terminal was not open then, and closed.')
    : t('{0} terminals were not open then, and closed.', count);
}

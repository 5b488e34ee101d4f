import { commands, type LogOutputChannel, window } from 'vscode';
import { HelperError } from './connection/errors.ts';
import { COMMANDS } from './ids.ts';
import { t } from './l10n.ts';

/** What a button of an error message does. */
interface WayOn {
  readonly title: string;
  readonly command: string;
}

/** The way on for each error that has one. */
export function wayOn(code: HelperError['code']): WayOn | undefined {
  switch (code) {
    case 'noHelper':
    case 'notRoot':
    case 'noCriu':
    case 'criuTooOld':
      return { title: t('Set up'), command: COMMANDS.setUp };
    case 'noOverlay':
    case 'noLoop':
    case 'noCgroup':
    case 'noNamespaces':
    case 'volumeFull':
    case 'volumeUnusable':
      return { title: t('Run doctor'), command: COMMANDS.doctor };
    case 'lost':
    case 'unanswered':
    case 'unexpectedAnswer':
      return { title: t('Reconnect'), command: COMMANDS.reconnect };
    case 'atRest':
      return { title: t('Start'), command: COMMANDS.startMachine };
    case 'untrusted':
      return { title: t('Manage trust'), command: 'workbench.trust.manage' };
    case 'internal':
      return { title: t('Show log'), command: COMMANDS.showLog };
    default:
      return undefined;
  }
}

/** An error in words: what was asked and what stood in the way, then what to do. */
export function wordsOf(error: unknown): string {
  if (error instanceof HelperError) {
    const { message, hint } = error;
    return hint ? `${message}${/[.!?]$/.test(message) ? ' ' : '; '}${hint}` : message;
  }
  return error instanceof Error ? error.message : String(error);
}

/** Shows an error once, without waiting for anybody. Cancelled by hand: nothing to say. */
export function report(log: LogOutputChannel, error: unknown): void {
  if (error instanceof HelperError && error.code === 'cancelled') return;
  log.error(error instanceof Error ? (error.stack ?? error.message) : String(error));
  const way = error instanceof HelperError ? wayOn(error.code) : undefined;
  const buttons = way ? [way.title] : [];
  window.showErrorMessage(wordsOf(error), ...buttons).then((chosen) => {
    if (way && chosen === way.title) void commands.executeCommand(way.command);
  });
}

/** Buttons that do something, on a message that waits for nobody. */
export function tell(log: LogOutputChannel, message: string, actions: Record<string, () => unknown> = {}): void {
  window.showInformationMessage(message, ...Object.keys(actions)).then(async (chosen) => {
    if (chosen === undefined) return;
    try {
      await actions[chosen]?.();
    } catch (error) {
      report(log, error);
    }
  });
}

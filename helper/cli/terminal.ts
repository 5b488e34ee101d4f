/** What a terminal is told around a session: plain functions from state to bytes. */
import { clock, duration } from './text.ts';

const CLEAR = '\x1b[0m\x1b[?1049l\x1b[H\x1b[2J\x1b[3J';
/** Whatever a program inside turned on and could not turn off: alternate screen, mouse, bracketed paste, key modes, colours, a hidden cursor. */
const RESET =
  '\x1b[?1049l\x1b[?9l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1004l\x1b[?1005l\x1b[?1006l\x1b[?1015l\x1b[?2004l\x1b[?1l\x1b>\x1b[<u\x1b[0m\x1b[?7h\x1b[?25h\x1b(B';
/** The window's title is kept on the terminal's stack while we are there. */
export const KEEP_TITLE = '\x1b[22;0t';
export const RESTORE = `${RESET}\x1b[23;0t`;

/** `— back at 14:03:22, 1.3 ms —` */
export function backLine(at: string, ms: number): string {
  return `— back at ${clock(at)}, ${duration(ms)} —`;
}

/**
 * The screen as it was, and a dim line that the shell knows nothing of: above the last line, which is the prompt, so that
 * the cursor stands where the shell believes it. A full-screen program has the screen for itself.
 */
export function restoredScreen(scrollback: Buffer, at: string, ms: number): Buffer {
  const text = scrollback.toString('latin1');
  const fullScreen = text.lastIndexOf('\x1b[?1049h') > text.lastIndexOf('\x1b[?1049l');
  const note = fullScreen ? '' : `\x1b[0m\x1b[2m${backLine(at, ms)}\x1b[22m\r\n`;
  const lastLine = scrollback.lastIndexOf(0x0a) + 1;
  return Buffer.concat([
    Buffer.from(CLEAR),
    scrollback.subarray(0, lastLine),
    Buffer.from(note),
    scrollback.subarray(lastLine),
  ]);
}

/** A screen that is shown anew, without a remark. */
export function freshScreen(scrollback: Buffer): Buffer {
  return Buffer.concat([Buffer.from(CLEAR), scrollback]);
}

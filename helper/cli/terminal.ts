/** What our terminal is told around a session. */
import { clearFor, quietScrollback } from '../protocol/scrollback.ts';

/** Whatever a program inside turned on and could not turn off: alternate screen, mouse, bracketed paste, key modes, colours, a hidden cursor. */
const RESET =
  '\x1b[?1049l\x1b[?9l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1004l\x1b[?1005l\x1b[?1006l\x1b[?1015l\x1b[?2004l\x1b[?1l\x1b>\x1b[<u\x1b[0m\x1b[?7h\x1b[?25h\x1b(B';
/** The window's title is kept on the terminal's stack while we are there. */
export const KEEP_TITLE = '\x1b[22;0t';
export const RESTORE = `${RESET}\x1b[23;0t`;

/** A screen that is shown anew, without a remark. */
export function freshScreen(scrollback: Buffer): string {
  const text = scrollback.toString();
  return clearFor(text) + quietScrollback(text);
}

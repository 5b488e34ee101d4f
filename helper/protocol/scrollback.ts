/**
 * A terminal's past, made fit to be shown again. VS Code's shell integration marks (OSC 633) in it would count as commands
 * that run now: each of them would become another timeline entry. So all up to the last finished command go; those after it
 * describe the prompt or the command that is really there, and stay.
 */
export function quietScrollback(text: string): string {
  const marks = [...text.matchAll(MARK)];
  const last = marks.findLastIndex((mark) => mark[1] === 'D');
  if (last < 0) return text;
  const end = marks[last]!.index + marks[last]![0].length;
  return text.slice(0, end).replace(MARK, '') + text.slice(end);
}

const MARK = /\x1b\]633;([A-Z])[^\x07\x1b]*(?:\x07|\x1b\\)/g;

/**
 * What a terminal writes after its sandbox went back: the screen as it was, and above the line that the cursor is on
 * (usually the prompt) a dim one that the shell knows nothing of. A full-screen program's screen is left as it is; it draws
 * anew when its size changes.
 */
export function restoredScreen(scrollback: string, at: string, ms: number): { text: string; fullScreen: boolean } {
  const text = quietScrollback(scrollback);
  const clear = clearFor(scrollback);
  const fullScreen = text.lastIndexOf('\x1b[?1049h') > text.lastIndexOf('\x1b[?1049l');
  if (fullScreen) return { text: clear + text, fullScreen };
  const line = text.lastIndexOf('\n') + 1;
  return { text: `${clear}${text.slice(0, line)}${backLine(at, ms)}\r\n${text.slice(line)}`, fullScreen };
}

function backLine(at: string, ms: number): string {
  const time = new Date(at).toLocaleTimeString('en-GB');
  const took = ms < 10 ? Math.round(ms * 10) / 10 : Math.round(ms);
  return `\x1b[2m— back at ${time}, ${took} ms —\x1b[22m`;
}

/**
 * Empties screen and scrollback, with attributes, modes and the cursor as at the beginning. Where the shell marks its
 * commands, VS Code is told first that the line being typed, or the command that runs, is over (without an exit code,
 * since nobody will ever know): it would take the prompt that is shown next for a part of it.
 */
export function clearFor(scrollback: string): string {
  const over = scrollback.includes('\x1b]633;') ? '\x1b]633;C\x07\x1b]633;D\x07' : '';
  return `${over}\x1b[!p\x1b[?1049l\x1b[?25h\x1b[0m\x1b[2J\x1b[3J\x1b[H`;
}

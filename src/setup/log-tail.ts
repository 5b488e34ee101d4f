/** What went wrong lately, for a bug report: of the log its warnings and errors, without what is anybody's own. */

const MOST_LINES = 40;
const LONGEST_LINE = 300;
const ENTRY = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ \[(\w+)\] /;

/** Warnings and errors with the lines that belong to them; the rest may be a command of the user's, or what it printed. */
export function troubleOf(log: string): string[] {
  const lines: string[] = [];
  let wanted = false;
  for (const line of log.split('\n')) {
    const level = ENTRY.exec(line)?.[1];
    if (level) wanted = level === 'warning' || level === 'error';
    if (wanted && line.trim()) lines.push(line.length > LONGEST_LINE ? `${line.slice(0, LONGEST_LINE)}…` : line);
  }
  return lines.slice(-MOST_LINES);
}

/** Where no file is anybody's own. */
const OF_THE_SYSTEM = /^\/(usr|opt|run|etc|proc|sys|dev|lib|lib64|bin|sbin|boot|snap|var\/(lib|run|log))(\/|$)/;
/** Ours and the editor's, as a stack names them. */
const CODE = /(?:^|\/)((?:extension|teleport-env|part-[\w-]+|extensionHostProcess)\.js(?::\d+)*)$/;

/**
 * Without paths that are anybody's own, what stands in quotes, addresses with a name in them, what is given as a value, what looks
 * like a key, and these `names`.
 */
export function withoutOwn(text: string, names: readonly string[]): string {
  let out = text
    .replace(/“[^”\n]*”/g, '“…”')
    .replace(/"[^"\n]*"/g, '"…"')
    .replace(/\b([a-z][a-z0-9+.-]*):\/\/[^\s)]+/gi, (all, scheme) => (scheme === 'node' ? all : `${scheme}://…`))
    .replace(/(?<![\w.…/])\/(?!\/…)[^\s:,;()'"“”]+(?::\d+)*/g, (path) => {
      if (OF_THE_SYSTEM.test(path)) return path;
      const code = CODE.exec(path)?.[1];
      return code ? `…/${code}` : '…';
    })
    .replace(/(?<!\w)[A-Za-z]:\\[^\s:,;()'"“”]+/g, '…')
    .replace(/\b([A-Za-z_]\w*)=\S+/g, '$1=…')
    .replace(/\S+@\S+/g, '…')
    .replace(/(?<![\w/.-])(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{24,}(?![\w/-])/g, '…');
  // Longest first: one name may be a part of another.
  for (const name of [...names].filter((one) => one.length > 1).sort((a, b) => b.length - a.length))
    out = out.replace(new RegExp(`(?<!\\w)${name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}(?!\\w)`, 'g'), '…');
  return out;
}

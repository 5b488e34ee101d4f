/** What went wrong lately, for a bug report: of the log its warnings and errors, without what is anybody's own. */

import type { LogOutputChannel } from 'vscode';

const MOST_LINES = 40;
const LONGEST_LINE = 300;

/** The last of what was logged as a warning or an error. What else is in a log may be a command of the user's, or what it printed. */
export class Trouble {
  private readonly kept: string[] = [];

  get lines(): readonly string[] {
    return this.kept;
  }

  /** The same log, with an ear of ours at it. */
  heardFrom(log: LogOutputChannel): LogOutputChannel {
    const hear =
      (level: 'warn' | 'error') =>
      (message: string | Error, ...rest: unknown[]) => {
        this.add(level, message instanceof Error ? (message.stack ?? message.message) : message);
        log[level](message as string, ...rest);
      };
    return Object.create(log, { warn: { value: hear('warn') }, error: { value: hear('error') } });
  }

  private add(level: string, text: string): void {
    const lines = `${new Date().toISOString()} [${level}] ${text}`.split('\n').filter((line) => line.trim());
    this.kept.push(...lines.map((line) => (line.length > LONGEST_LINE ? `${line.slice(0, LONGEST_LINE)}…` : line)));
    this.kept.splice(0, this.kept.length - MOST_LINES);
  }
}

/** Where no file is anybody's own. */
const OF_THE_SYSTEM = /^\/(usr|opt|run|etc|proc|sys|dev|lib|lib64|bin|sbin|boot|snap|var\/(lib|run|log))(\/|$)/;
/** Ours and the editor's, as a stack names them. */
const CODE = /(?:^|\/)((?:extension|teleport-env|helper-[\w-]+|part-[\w-]+|extensionHostProcess)\.js(?::\d+)*)$/;

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

/** How things are said to people: plain functions, no I/O. */
import type { ModelUsage } from '../protocol/usage.ts';
import { costText } from '../protocol/usage-words.ts';

/** Names, commands and paths may hold anything; what could move the cursor, colour the screen or turn the writing round is escaped. */
export function printable(text: string): string {
  return text.replace(
    /[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g,
    (char) => {
      if (char === '\n') return '\\n';
      if (char === '\t') return '\\t';
      if (char === '\r') return '\\r';
      const code = char.charCodeAt(0);
      return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16).padStart(4, '0')}`;
    },
  );
}

/** What somebody typed, as an error repeats it: in one line, and not all of a novel. */
export function brief(text: string): string {
  return shorten(printable(text.slice(0, 200)), 80);
}

/** `1.3 ms`, `14 ms`, `2.4 s`, `3 min`. */
export function duration(ms: number): string {
  if (ms < 9.95) return `${ms.toFixed(1)} ms`;
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 9950) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 99_500) return `${Math.round(ms / 1000)} s`;
  if (ms < 99 * 60_000) return `${Math.round(ms / 60_000)} min`;
  return `${Math.round(ms / 3_600_000)} h`;
}

/** How long ago: `now`, `40 s`, `4 min`, `3 h`, `2 d`. */
export function age(then: string, now: number): string {
  const seconds = Math.floor((now - Date.parse(then)) / 1000);
  if (Number.isNaN(seconds)) return '';
  if (seconds < 2) return 'now';
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** `14:03:22`, local time. */
export function clock(then: string): string {
  const date = new Date(then);
  if (Number.isNaN(date.getTime())) return '';
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map((n) => String(n).padStart(2, '0')).join(':');
}

/** `12 kB`, `3.4 MB`. */
export function bytes(count: number): string {
  if (count < 1000) return `${count} B`;
  const units = ['kB', 'MB', 'GB', 'TB'];
  let value = count / 1000;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${value < 9.95 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** `1 file`, `3 files`. */
export function count(number: number, noun: string, plural = `${noun}s`): string {
  return `${number} ${number === 1 ? noun : plural}`;
}

/** `2 requests · 12,400 in (8,000 cached) · 950 out · cost 0.0412`: tokens, and the cost where each request has a known price. */
export function usageText({ requests, inputTokens, cachedTokens, outputTokens, cost, unpriced }: ModelUsage): string {
  const number = (n: number) => n.toLocaleString('en');
  const cached = cachedTokens ? ` (${number(cachedTokens)} cached)` : '';
  const parts = [count(requests, 'request'), `${number(inputTokens)} in${cached}`, `${number(outputTokens)} out`];
  if (requests > 0 && unpriced === 0) parts.push(`cost ${costText(cost)}`);
  return parts.join(' · ');
}

/** Columns a text takes in a terminal: East Asian characters and emoji take two, marks none. */
export function width(text: string): number {
  let columns = 0;
  for (const char of text.replace(/\x1b\[[0-9;]*m/g, '')) {
    if (/\p{Mark}|\u200d|\ufe0f/u.test(char)) continue;
    columns += WIDE.test(char) ? 2 : 1;
  }
  return columns;
}
const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}|[\u{20000}-\u{3fffd}]/u;

/** Cut to that many columns, with `…` where something was cut. */
export function shorten(text: string, columns: number): string {
  if (width(text) <= columns) return text;
  let cut = '';
  let used = 0;
  for (const char of text) {
    used += width(char);
    if (used > columns - 1) break;
    cut += char;
  }
  return `${cut.trimEnd()}…`;
}

/** Rows with their columns aligned, two spaces between; no spaces at a row's end. `right` lists columns aligned to the right. */
export function table(rows: string[][], right: number[] = []): string {
  const widths: number[] = [];
  for (const row of rows) for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, width(cell));
  const line = (row: string[]) =>
    row
      .map((cell, i) => {
        const fill = ' '.repeat(widths[i]! - width(cell));
        return right.includes(i) ? fill + cell : cell + fill;
      })
      .filter((_, i) => widths[i]! > 0)
      .join('  ')
      .trimEnd();
  return rows.map((row) => `${line(row)}\n`).join('');
}

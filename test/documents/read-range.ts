import type { Range } from 'vscode-languageserver';

/** The text of a range within one line. */
export function readRange(text: string, { start, end }: Range): string {
  return text.split('\n')[start.line]!.slice(start.character, end.character);
}

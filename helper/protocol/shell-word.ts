/** Text as one word of a POSIX shell, quoted only where it has to be. */
export function shellWord(text: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(text) ? text : `'${text.replace(/'/g, `'\\''`)}'`;
}

/** Words as a shell line that means those very words. */
export function shellLine(words: readonly string[]): string {
  return words.map(shellWord).join(' ');
}

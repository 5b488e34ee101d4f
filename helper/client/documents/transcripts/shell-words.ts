/** Text as one word of a shell, quoted only where it has to be. */
export function shellWord(text: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(text) ? text : `'${text.replace(/'/g, `'\\''`)}'`;
}

/** A heredoc that hands `content` to `command` byte for byte, its end's word chosen so that no line of it can be taken for the end. */
export function heredoc(command: string, content: string): string {
  const lines = content.split('\n');
  let end = 'EOF';
  while (lines.includes(end)) end = `${end}_`;
  const body = content.endsWith('\n') || content === '' ? content : `${content}\n`;
  return `${command} <<'${end}'\n${body}${end}`;
}

/** A heredoc that hands `content` to `command` byte for byte, its end's word chosen so that no line of it can be taken for the end. */
export function heredoc(command: string, content: string): string {
  const lines = content.split('\n');
  let end = 'EOF';
  while (lines.includes(end)) end = `${end}_`;
  const body = content.endsWith('\n') || content === '' ? content : `${content}\n`;
  return `${command} <<'${end}'\n${body}${end}`;
}

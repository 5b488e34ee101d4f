/** To an agent outside of a sandbox, which remembers what a rollback took back: its next result begins with this. */
export function rolledBackNews(
  to: { id: string; label?: string | null; command?: string | null },
  saved: string | null,
): string {
  const title = to.label ?? to.command;
  const place = `${to.id}${title ? ` ${JSON.stringify(title)}` : ''}`;
  const kept = saved ? ` What was there before is kept as ${saved}.` : '';
  return `The user rolled this sandbox back: files and processes are as they were at ${place}. What you did after that is undone; look again before you go on.${kept}`;
}

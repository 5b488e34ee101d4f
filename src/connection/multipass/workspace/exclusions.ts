/** What is not brought from a host of another system: it was built for that one, and a build makes it again. */

/** Names, at any depth. The setting `teleportEnv.machine.leaveOut` begins with these. */
export const BUILT_FOR_THE_HOST: readonly string[] = [
  'node_modules',
  '.venv',
  'venv',
  '__pycache__',
  '.tox',
  'target',
  '.gradle',
  '.next',
  '.turbo',
  'Pods',
  'DerivedData',
  '.DS_Store',
  'Thumbs.db',
];

/** `3 folders were left out: node_modules (2), .venv`. Sorted by how many. */
export function leftOutWords(paths: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const path of paths) {
    const name = path.split('/').at(-1)!;
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  const sorted = [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  return sorted.map(([name, count]) => (count > 1 ? `${name} (${count})` : name)).join(', ');
}

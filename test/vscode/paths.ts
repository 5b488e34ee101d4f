// Where the pieces of the real VS Code stand, and what to say when they are missing.

import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';

export const repository = join(__dirname, '..', '..');
const installed = join(repository, 'build', 'vscode');

/** Node 24, for code-server only: everything else runs under the Node that runs the tests. */
export const serverNode = join(installed, 'node');
export const codeServer = join(installed, 'node_modules', 'code-server', 'out', 'node', 'entry.js');
export const playwrightFolder = join(installed, 'node_modules', 'playwright-core');

export function isSetUp(): boolean {
  return existsSync(join(installed, 'complete')) && chromium() !== undefined;
}

export function requireSetUp(): void {
  if (!isSetUp()) throw new Error('No VS Code to test in: run scripts/setup-vscode.sh first.');
}

export function chromium(): string | undefined {
  const given = process.env.TELEPORT_ENV_CHROMIUM;
  if (given) return existsSync(given) ? given : undefined;
  const folders = (process.env.PATH ?? '').split(delimiter);
  return ['chromium', 'chromium-browser', 'google-chrome']
    .flatMap((name) => folders.map((folder) => join(folder, name)))
    .find(existsSync);
}

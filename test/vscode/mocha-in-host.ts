// Runs inside the extension host, loaded by the module that mocha.ts writes.

import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import Mocha from 'mocha';

export async function run(path: string): Promise<void> {
  // `require`d one by one, not imported: so that TypeScript and `vscode` are resolved as for an extension.
  const mocha = new Mocha({ ui: 'bdd', timeout: 60_000, color: false, reporter: 'spec' });
  for (const file of filesOf(path)) mocha.addFile(file);
  if (mocha.files.length === 0) throw new Error(`No *.test.ts or *.test.js in ${path}`);
  const failures = await new Promise<number>((resolve) => mocha.run(resolve));
  if (failures > 0) throw new Error(`${failures} failed`);
}

function filesOf(path: string): string[] {
  if (statSync(path).isFile()) return [path];
  return (readdirSync(path, { recursive: true }) as string[])
    .filter((name) => /\.test\.(ts|js|cjs)$/.test(name))
    .sort()
    .map((name) => join(path, name));
}

import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { repository } from '../vscode/paths.ts';

/** The extension as it would be installed, built into a folder of the test's own. */
export function stageExtension(place: string): string {
  const folder = join(place, 'extension');
  mkdirSync(folder);
  const manifest = readdirSync(repository).filter((name) => /^package(\.nls(\.[\w-]+)?)?\.json$/.test(name));
  for (const file of [...manifest, 'LICENSE']) cpSync(join(repository, file), join(folder, file));
  for (const linked of ['media', 'scripts']) symlinkSync(join(repository, linked), join(folder, linked));
  const tsx = createRequire(__filename).resolve('tsx/cjs');
  const build = join(repository, 'scripts', 'build.ts');
  execFileSync(process.execPath, ['--require', tsx, build, '--no-maps', '--out', join(folder, 'dist')], {
    cwd: repository,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  return folder;
}

/** The extension as it is published, for this processor. */
export function packageExtension(): string {
  const script = join(repository, 'scripts', 'package.sh');
  execFileSync(script, ['--native-only'], { stdio: ['ignore', 'ignore', 'inherit'] });
  return join(repository, 'build', 'teleport-env.vsix');
}

/** Real repositories for tests, the same whoever runs them. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Without the settings of whoever runs the tests. */
export const GIT_ENV = {
  ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('GIT_'))),
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_CONFIG_NOSYSTEM: '1',
  HOME: '/',
  XDG_CONFIG_HOME: '',
};

export function git(dir: string, ...argv: string[]): string {
  return execFileSync('git', argv, { cwd: dir, env: GIT_ENV, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

/** With one commit on `main`, of a file `a.txt`. */
export function newRepository(dir: string): string {
  execFileSync('git', ['init', '-q', '-b', 'main', dir], { env: GIT_ENV });
  git(dir, 'config', 'user.name', 'Tester');
  git(dir, 'config', 'user.email', 'tester@example.test');
  writeFileSync(join(dir, 'a.txt'), 'one\n');
  git(dir, 'add', '-A');
  git(dir, 'commit', '-qm', 'first');
  return dir;
}

/** Which files git tracks, asked of git once in a while. Where there is no git, none. */
import { execFile } from 'node:child_process';
import { join, normalize } from 'node:path';

const FRESH_MS = 10_000;

export class Tracked {
  private files: Promise<Set<string>> | undefined;
  private asked = 0;

  constructor(private readonly folders: string[]) {}

  /** A question that needs no waiting: whether git tracks a file, as a script in one of the folders names it. */
  async ask(): Promise<(path: string) => boolean> {
    if (!this.files || Date.now() - this.asked > FRESH_MS) {
      this.asked = Date.now();
      this.files = Promise.all(this.folders.map(tracked)).then((all) => new Set(all.flat()));
    }
    const files = await this.files;
    return (path) =>
      path.startsWith('/')
        ? files.has(normalize(path))
        : this.folders.some((folder) => files.has(normalize(join(folder, path))));
  }
}

function tracked(folder: string): Promise<string[]> {
  // A repository's own settings must run nothing.
  const args = ['-c', 'core.fsmonitor=false', '-c', 'core.hooksPath=/dev/null', 'ls-files', '-z'];
  return new Promise((resolve) => {
    execFile('git', args, { cwd: folder, maxBuffer: 64 << 20, timeout: 5000 }, (error, stdout) => {
      resolve(
        error
          ? []
          : stdout
              .split('\0')
              .filter(Boolean)
              .map((path) => join(folder, path)),
      );
    });
  });
}

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A small file system of its own in an image file, with what is mounted in it. `release` undoes all, in any state. */
export interface Volume {
  readonly path: string;
  release(): void;
}

/** Why no volume can be made here, or undefined. */
export function volumeMissing(): string | undefined {
  if (process.geteuid?.() !== 0) return 'needs root';
  try {
    execFileSync('mkfs.xfs', ['-V'], { stdio: 'ignore' });
    return undefined;
  } catch {
    return 'needs mkfs.xfs (xfsprogs)';
  }
}

export function makeVolume(megabytes = 512): Volume {
  const home = mkdtempSync(join(tmpdir(), 'teleport-volume-'));
  const image = join(home, 'image');
  const path = join(home, 'mnt');
  const release = () => {
    const points = readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .map((line) => line.split(' ')[4] ?? '')
      .filter((point) => point.startsWith(`${home}/`));
    for (const point of points.reverse()) execFileSync('umount', ['-l', point]);
    rmSync(home, { recursive: true, force: true });
  };
  try {
    mkdirSync(path);
    execFileSync('truncate', ['-s', `${megabytes}M`, image]);
    execFileSync('mkfs.xfs', ['-q', '-m', 'reflink=1', image]);
    execFileSync('mount', ['-o', 'loop,noatime', image, path]);
    return { path, release };
  } catch (error) {
    release();
    throw error;
  }
}

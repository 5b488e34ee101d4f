/**
 * The state volume: an XFS image file (reflinks), mounted by loop. It bounds what sandboxes can fill and keeps uppers and
 * lowers apart from the host's root file system, which overlayfs demands.
 */
import { execFile } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statfsSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { TeleportError } from '../protocol/errors.ts';
import { makeFolder } from './make-folder.ts';
import { ficlone } from './syscalls.ts';

const run = promisify(execFile);

/** `xfs` and `ext4` are image files by loop, `tmpfs` is memory (lost with the machine), `mounted`: an administrator put a file system there. */
export type VolumeKind = 'xfs' | 'ext4' | 'tmpfs' | 'mounted';
export interface Volume {
  path: string;
  kind: VolumeKind;
}

const GIB = 1024 ** 3;
/** Sparse, so it takes what is used; four fifths of the free space at most, so that sandboxes can't fill the host. */
const LARGEST = 256 * GIB;
/** mkfs.xfs makes no smaller one. */
const SMALLEST = 320 * 1024 ** 2;

function mountedAt(path: string): { type: string; source: string } | null {
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n').reverse()) {
    const [before, after] = line.split(' - ');
    if (before?.split(' ')[4] === path) return { type: after!.split(' ')[0]!, source: after!.split(' ')[1]! };
  }
  return null;
}

async function tool(command: string, args: string[]): Promise<void> {
  try {
    await run(command, args);
  } catch (cause) {
    const { stderr, message } = cause as { stderr?: string; message: string };
    throw new TeleportError('volumeUnusable', `${command} ${args[0]}: ${(stderr || message).trim()}`, {
      hint: 'teleport-env doctor says what is missing; scripts/setup-linux.sh installs it',
      cause,
    });
  }
}

async function makeImage(image: string, bytes: number): Promise<void> {
  const part = `${image}.part`;
  writeFileSync(part, '', { mode: 0o600 });
  truncateSync(part, bytes);
  // XFS on a loop device needs neither a large log nor many allocation groups; the log's size is what a sync waits for.
  if (existsSync('/usr/sbin/mkfs.xfs') || existsSync('/sbin/mkfs.xfs'))
    await tool('mkfs.xfs', ['-q', '-f', '-m', 'reflink=1', '-i', 'size=512', part]);
  else await tool('mkfs.ext4', ['-q', '-F', '-O', '^has_journal', part]);
  await run('mv', [part, image]);
}

/**
 * Mounts the volume at STATE/volume, making it first where there is none.
 * @param bytes size for a new one; default: four fifths of what is free, 256 GiB at most
 * @throws TeleportError `volumeUnusable` or `noLoop`
 */
export async function openVolume(state: string, bytes?: number): Promise<Volume> {
  const path = join(state, 'volume');
  const image = join(state, 'volume.img');
  mkdirSync(state, { recursive: true, mode: 0o700 });
  mkdirSync(path, { recursive: true, mode: 0o700 });
  const there = mountedAt(path);
  if (there) return { path, kind: kindOf(there) };
  if (!existsSync('/dev/loop-control')) {
    await tool('mount', ['-t', 'tmpfs', '-o', 'mode=0700,size=50%', 'teleport-env', path]);
    return { path, kind: 'tmpfs' };
  }
  if (!existsSync(image)) {
    const { bavail, bsize } = statfsSync(state);
    const size = bytes ?? Math.min(LARGEST, Math.floor(bavail * bsize * 0.8));
    if (size < SMALLEST)
      throw new TeleportError(
        'volumeUnusable',
        `the state volume needs ${SMALLEST >> 20} MiB, ${size >> 20} are free`,
        {
          hint: `free some space below ${state}`,
        },
      );
    await makeImage(image, size);
  }
  if (statSync(image).size < SMALLEST / 2)
    throw new TeleportError('volumeUnusable', `${image} is cut short`, {
      hint: 'restore it, or remove it to start afresh',
    });
  await tool('mount', ['-o', 'loop,noatime', image, path]);
  return { path, kind: kindOf(mountedAt(path)) };
}

function kindOf(mount: { type: string; source: string } | null): VolumeKind {
  if (mount?.type === 'tmpfs') return 'tmpfs';
  if (mount?.source.startsWith('/dev/loop') && (mount.type === 'xfs' || mount.type === 'ext4')) return mount.type;
  return 'mounted';
}

/** Whether a copy of a file shares its data (reflinks): tried, as XFS and btrfs can be made without. */
export function sharesData(path: string): boolean {
  const place = mkdtempSync(join(path, '.sharing-'));
  try {
    writeFileSync(join(place, 'a'), 'x');
    const from = openSync(join(place, 'a'), 'r');
    const to = openSync(join(place, 'b'), 'w');
    try {
      ficlone(to, from);
      return true;
    } finally {
      closeSync(from);
      closeSync(to);
    }
  } catch {
    return false;
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

/** Where our build of CRIU keeps what it found out about the kernel (scripts/build-criu.sh), in the folder that it sees as /run. */
const FEATURE_CACHE_DIR = 'teleport-env';

/**
 * A tmpfs for CRIU's /run, shared by all daemons of the machine. On none other CRIU keeps what it found out about the kernel, and finds
 * it out in every operation, which doubles its time (dump 20 instead of 10 ms). It goes with the machine's next start, so another
 * kernel is asked anew; another CRIU does not take it.
 */
export async function openRun(path: string): Promise<string> {
  makeFolder(path, 0o755);
  const run = join(path, 'criu');
  makeFolder(run, 0o700);
  if (mountedAt(run)?.type !== 'tmpfs')
    await tool('mount', ['-t', 'tmpfs', '-o', 'mode=0700,size=16m', 'teleport-env', run]);
  const cache = join(run, FEATURE_CACHE_DIR);
  mkdirSync(cache, { recursive: true });
  // Of a CRIU that was killed when it wrote it: none would ever keep anything again. A distribution's keeps it in /run itself.
  for (const dir of [cache, run]) rmSync(join(dir, 'criu.kdat.tmp'), { force: true });
  removeForgotten(cache);
  return run;
}

/** No restore takes that long. To remove a folder that another helper's restores in would unmount what is in it. */
const FORGOTTEN_MS = 3_600_000;

/** Folders in which a CRIU that was killed put a tree of mounts together (`own-folder`): empty, as those mounts went with it. */
function removeForgotten(dir: string): void {
  for (const name of readdirSync(dir).filter((one) => one.startsWith('.criu.mntns.'))) {
    const path = join(dir, name);
    const { mtimeMs } = statSync(path, { throwIfNoEntry: false }) ?? { mtimeMs: Date.now() };
    if (Date.now() - mtimeMs > FORGOTTEN_MS) rmdirSync(path);
  }
}

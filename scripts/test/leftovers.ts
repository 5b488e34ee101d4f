/**
 * What a test file left on the machine: mounts, loop devices, control groups, processes. A test that needs a clean-up by
 * hand poisons the next run, so leaving something is a failure like any other.
 *
 * Ours is told from what others do on the same machine by two marks: a temporary folder that all of a run's files are
 * below, and a variable that all of its processes inherit. Control groups bear neither; new ones count, unless a process
 * that is not ours serves the state folder that they are named after.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { findCgroup2, groupName } from '../../helper/engine/cgroup.ts';

export const MARK = 'TELEPORT_ENV_TEST_RUN';
/** What is being taken down in the background gets so long. */
const GRACE_MS = 5000;

interface Leftover {
  what: string;
  remove(): void;
}

export class Watch {
  private readonly groupsBefore = new Set(groups());
  private readonly folder: string;

  /** @param folder temporary folder of the run, which is also the value of `MARK` */
  constructor(folder: string) {
    this.folder = folder;
  }

  /** What is left, by name, after a time of grace; and removes it, so that the next file starts clean. */
  async clear(): Promise<string[]> {
    for (const deadline = Date.now() + GRACE_MS; Date.now() < deadline; await sleep(100))
      if (this.find().length === 0) return [];
    const found = this.find();
    for (const { remove } of found)
      try {
        remove();
      } catch {
        // reported all the same
      }
    return found.map(({ what }) => what);
  }

  private find(): Leftover[] {
    const below = `${this.folder}/`;
    const processes = pids()
      .filter((pid) => pid !== process.pid && isMarked(pid, this.folder))
      .map((pid) => ({ what: `process ${pid}: ${commandLine(pid)}`, remove: () => process.kill(pid, 'SIGKILL') }));
    const mine = new Set(pids().filter((pid) => isMarked(pid, this.folder)));
    const cgroups = groups()
      .filter((path) => !this.groupsBefore.has(path) && !servedByOthers(path, mine))
      .map((path) => ({ what: `control group ${path}`, remove: () => removeGroup(path) }));
    const mounts = mountPoints()
      .filter((path) => path.startsWith(below))
      .reverse()
      .map((path) => ({ what: `mount ${path}`, remove: () => execFileSync('umount', ['-l', path]) }));
    const loops = loopFiles()
      .filter(({ file }) => file.startsWith(below))
      .map(({ device, file }) => ({
        what: `loop device ${device} (${file})`,
        remove: () => execFileSync('losetup', ['-d', device]),
      }));
    return [...processes, ...cgroups, ...mounts, ...loops];
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function pids(): number[] {
  return readdirSync('/proc').map(Number).filter(Boolean);
}

function isMarked(pid: number, folder: string): boolean {
  return read(`/proc/${pid}/environ`).split('\0').includes(`${MARK}=${folder}`);
}

function commandLine(pid: number): string {
  return read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim();
}

function mountPoints(): string[] {
  return read('/proc/self/mountinfo')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '');
}

function loopFiles(): { device: string; file: string }[] {
  return readdirSync('/sys/block')
    .filter((name) => name.startsWith('loop'))
    .map((name) => ({ device: `/dev/${name}`, file: read(`/sys/block/${name}/loop/backing_file`).trim() }));
}

/** The product's own, of an installed helper, is not a test's. */
function groups(): string[] {
  const mount = findCgroup2();
  if (!mount) return [];
  return readdirSync(mount)
    .filter((name) => name.startsWith('teleport-env-'))
    .map((name) => join(mount, name));
}

/** A group is named after its state folder, and that stands among the words that a daemon was started with. */
function servedByOthers(group: string, mine: Set<number>): boolean {
  return pids().some(
    (pid) =>
      !mine.has(pid) &&
      commandLine(pid)
        .split(' ')
        .some((word) => word.startsWith('/') && groupName(word, '') === basename(group)),
  );
}

function removeGroup(path: string): void {
  const children = readdirSync(path, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  writeFileSync(join(path, 'cgroup.kill'), '1');
  for (const { name } of children) removeGroup(join(path, name));
  if (existsSync(path)) rmdirSync(path);
}

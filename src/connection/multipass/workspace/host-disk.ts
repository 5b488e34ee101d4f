/** What this host's file system can't hold of what a Linux one can. Plain functions, but for the two that look. */
import { lstat, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Plan, Step } from '../../../../helper/client/apply/plan.ts';
import { t } from '../../../l10n.ts';

export interface HostDisk {
  /** Two names that differ only in case are one. */
  readonly ignoresCase: boolean;
  /** Windows: permission bits are not kept, some names can't be. */
  readonly windows: boolean;
  /** This user may make symlinks. */
  readonly symlinks: boolean;
  /** Names that were not brought in at any depth; what the machine makes of them stays there, too. */
  readonly exclude: ReadonlySet<string>;
}

export async function lookAtDisk(
  folder: string,
  exclude: ReadonlySet<string>,
  platform: NodeJS.Platform = process.platform,
): Promise<HostDisk> {
  const windows = platform === 'win32';
  return { exclude, ignoresCase: await ignoresCase(folder), windows, symlinks: !windows || (await canLink()) };
}

/** Asked of the folder itself by its name in the other case. */
async function ignoresCase(folder: string): Promise<boolean> {
  const other = folder.replace(/[^\\/]+[\\/]*$/, (name) =>
    name === name.toUpperCase() ? name.toLowerCase() : name.toUpperCase(),
  );
  if (other === folder) return false;
  const [a, b] = await Promise.all([lstat(folder), lstat(other).catch(() => null)]);
  return b !== null && a.ino === b.ino && a.dev === b.dev;
}

/** Windows wants developer mode or a right for it. */
async function canLink(): Promise<boolean> {
  const dir = await mkdtemp(join(tmpdir(), 'teleport-env-'));
  try {
    await symlink('nowhere', join(dir, 'link'), 'file');
    return true;
  } catch {
    return false;
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/**
 * Takes out of a plan what the disk can't hold, each with its reason.
 * @param names every path that the sandbox has at or beside the planned ones
 */
export function fitting(plan: Plan, disk: HostDisk, names: Iterable<string> = []): Plan {
  const clashes = disk.ignoresCase ? caseClashes(plan.steps, names) : new Set<string>();
  const left = [...plan.left];
  const steps = plan.steps.filter((step) => {
    const reason = reasonAgainst(step, disk, clashes);
    if (reason !== null) left.push({ path: step.change.path, reason });
    return reason === null;
  });
  return { ...plan, steps, left: left.sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0)) };
}

function reasonAgainst({ change, theirs }: Step, disk: HostDisk, clashes: ReadonlySet<string>): string | null {
  if (change.path.split('/').some((part) => disk.exclude.has(part)))
    return t('made for Linux; names like this are not brought over (teleportEnv.machine.leaveOut)');
  if (clashes.has(change.path))
    return t('another name differs from it only in case, which this disk takes for the same');
  if (disk.windows && change.kind === 'mode') return t('only its permissions changed, which Windows does not keep');
  if (disk.windows && theirs !== null && !windowsTakes(change.path)) return t('Windows does not take such a name');
  if (!disk.symlinks && theirs?.type === 'symlink')
    return t('a symlink, which Windows lets you make only in developer mode');
  return null;
}

/** Paths that are there, or would be, under two spellings. A rename that changes only case is one of them no more. */
function caseClashes(steps: readonly Step[], names: Iterable<string>): Set<string> {
  const gone = new Set(
    steps.flatMap(({ change }) => (change.kind === 'deleted' ? [change.path] : (change.from ?? []))),
  );
  const there = steps.filter((step) => step.theirs !== null).map((step) => step.change.path);
  const spellings = new Map<string, Set<string>>();
  for (const path of [...names, ...there]) {
    if (gone.has(path)) continue;
    const key = path.toLowerCase();
    spellings.set(key, (spellings.get(key) ?? new Set()).add(path));
  }
  return new Set(there.filter((path) => spellings.get(path.toLowerCase())!.size > 1));
}

const RESERVED = /^(con|prn|aux|nul|com\d|lpt\d)(\.|$)/i;

export function windowsTakes(path: string): boolean {
  return path
    .split('/')
    .every((part) => !/[<>:"\\|?*\x00-\x1f]/.test(part) && !/[. ]$/.test(part) && !RESERVED.test(part));
}

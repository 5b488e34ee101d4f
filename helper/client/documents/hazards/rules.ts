/** What may destroy, judged by one command. Hints where to look, never a barrier: a miss is no harm done, a false alarm is. */
import { type Command, hasOption, operands } from './commands.ts';

export const HAZARDS = {
  recursiveDelete: 'Deletes folders with all they hold.',
  manyEdited: 'Edits many files in place.',
  overwrites: 'Overwrites a file that git tracks.',
  gitClean: 'Deletes files that git does not keep.',
  gitDiscard: 'Throws away what is not committed.',
  killsAll: 'Ends every process that it may.',
  disk: 'Writes to a disk past its file system.',
  pipeToShell: 'Runs what another command prints.',
} as const;
export type HazardKind = keyof typeof HAZARDS;

type Rule = (command: Command) => HazardKind | null;

const DISK_TOOLS =
  /^(?:mkfs(?:\..+)?|mke2fs|mkswap|mkdosfs|fdisk|sfdisk|cfdisk|gdisk|sgdisk|parted|wipefs|blkdiscard|shred|vgremove|lvremove|pvremove|badblocks)$/;
/** Devices that swallow or give, and keep nothing. */
const HARMLESS_DEVICE =
  /^\/dev\/(?:null|zero|full|u?random|stdin|stdout|stderr|tty|pts\/.*|fd\/.*|shm\/.*|tcp\/.*|udp\/.*)$/;

export function isDisk(path: string): boolean {
  return /^\/dev\/./.test(path) && !HARMLESS_DEVICE.test(path);
}

const rm: Rule = ({ name, args }) =>
  name === 'rm' && hasOption(args, 'rR', /^--r(?:e(?:c(?:u(?:r(?:s(?:i(?:v(?:e)?)?)?)?)?)?)?)?$/)
    ? 'recursiveDelete'
    : null;

const find: Rule = ({ name, args }) =>
  name === 'find' && args.some(({ text }) => text === '-delete') ? 'recursiveDelete' : null;

const foundAndRemoved: Rule = ({ name, fed }) => (fed && /^(?:rm|unlink|rmdir)$/.test(name) ? 'recursiveDelete' : null);

const rsync: Rule = ({ name, args }) =>
  name === 'rsync' && args.some(({ text }) => /^--(?:del|delete)/.test(text ?? '')) ? 'recursiveDelete' : null;

const inPlace: Rule = ({ name, args, fed }) => {
  const edits =
    (/^g?sed$/.test(name) && args.some(({ text }) => /^(?:-[nErsuz]*i|--in-place)/.test(text ?? ''))) ||
    (/^(?:perl|ruby)$/.test(name) && args.some(({ text }) => /^-[0-9pnlawsE]*i/.test(text ?? '')));
  return edits && (fed || operands(args).some(({ many, node }) => many && !isScript(node.text))) ? 'manyEdited' : null;
};

/** `s/$old/$new/` is a script with variables, not a list of files. */
function isScript(text: string): boolean {
  return /^["']?[sy](\W).*\1.*\1/s.test(text);
}

const git: Rule = ({ name, args }) => {
  if (name !== 'git') return null;
  let at = 0;
  while (at < args.length && /^-/.test(args[at]!.text ?? '')) at += /^-[Cc]$/.test(args[at]!.text!) ? 2 : 1;
  const rest = args.slice(at + 1);
  const says = (pattern: RegExp) => rest.some(({ text }) => pattern.test(text ?? ''));
  switch (args[at]?.text) {
    case 'clean':
      return hasOption(rest, 'n', /^--dry-run$/) ? null : 'gitClean';
    case 'reset':
      return says(/^--hard$/) ? 'gitDiscard' : null;
    case 'checkout':
      return says(/^(?:--|\.|-f|--force)$/) ? 'gitDiscard' : null;
    case 'restore':
      return says(/^(?:-S|--staged)$/) && !says(/^(?:-W|--worktree)$/) ? null : 'gitDiscard';
    case 'stash':
      return says(/^(?:drop|clear)$/) ? 'gitDiscard' : null;
    default:
      return null;
  }
};

const kill: Rule = ({ name, args }) => {
  if (name === 'killall5') return 'killsAll';
  if (name !== 'kill') return null;
  const words = args.map(({ text }) => text);
  if (words.some((word) => /^-(?:l|L)$/.test(word ?? ''))) return null;
  // `kill -1 42` sends signal 1 to 42; `kill -9 -1`, `kill -- -1` and `kill -s KILL -1` mean everybody.
  const [first, ...others] = words;
  const targets = first === '-1' && others.length > 0 ? others : words;
  return targets.includes('-1') ? 'killsAll' : null;
};

const disk: Rule = ({ name, args }) => {
  if (DISK_TOOLS.test(name)) return 'disk';
  if (name === 'dd') {
    const to = args.map(({ text }) => /^of=(.*)$/.exec(text ?? '')?.[1]).find((path) => path !== undefined);
    return to !== undefined && isDisk(to) ? 'disk' : null;
  }
  if (name === 'cryptsetup') return args.some(({ text }) => /^(?:luksFormat|erase)$/.test(text ?? '')) ? 'disk' : null;
  if (name === 'zpool' || name === 'zfs') return args[0]?.text === 'destroy' ? 'disk' : null;
  return null;
};

export const RULES: readonly Rule[] = [rm, find, foundAndRemoved, rsync, inPlace, git, kill, disk];

/**
 * The skeleton layer: stands over the base root file system and under the sandbox's own layers. It brings /dev and PID 1's
 * program, and masks what is the host's or somebody's own. Masked folders are opaque; masked files are whiteouts.
 */
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { INSIDE_BIN } from '../protocol/agents.ts';
import { gitConfig, withoutCredentials } from './git-config.ts';
import { DNS_ADDRESS } from './network.ts';
import { lsetxattr, makedev, mknod } from './syscalls.ts';

const CHARACTER = 0o020000;
const DEVICES: [name: string, major: number, minor: number][] = [
  ['null', 1, 3],
  ['zero', 1, 5],
  ['full', 1, 7],
  ['random', 1, 8],
  ['urandom', 1, 9],
  ['tty', 5, 0],
];
const LINKS: [name: string, target: string][] = [
  ['ptmx', 'pts/ptmx'],
  ['fd', '/proc/self/fd'],
  ['stdin', '/proc/self/fd/0'],
  ['stdout', '/proc/self/fd/1'],
  ['stderr', '/proc/self/fd/2'],
];
/** Empty in every sandbox. */
const MASKED: [path: string, mode: number][] = [
  ['/dev', 0o755],
  ['/proc', 0o555],
  ['/sys', 0o555],
  ['/run', 0o755],
  ['/tmp', 0o1777],
  ['/var/tmp', 0o1777],
  ['/root', 0o700],
  ['/home', 0o755],
];
const HIDDEN = ['/etc/shadow-', '/etc/gshadow', '/etc/gshadow-', '/etc/sudoers.d', '/etc/ssl/private'];

export interface SkeletonOptions {
  /** Root folder of the base, `/` for the host's. */
  base: string;
  /** PID 1's program. */
  init: string;
  hostname: string;
  home: string;
  uid: number;
  gid: number;
  /** Folders below home that may be seen (tools): absolute paths. */
  seen: string[];
  /** More folders to mask: where the helper keeps its state. */
  masked: string[];
  /** Who git's commits are by. */
  git?: { name?: string; email?: string };
}

export function opaque(dir: string): void {
  lsetxattr(dir, 'trusted.overlay.opaque', 'y');
}

/** Makes the folder and those above it, each like the base's where there is one. */
export function makeLike(layer: string, base: string, path: string): void {
  const target = join(layer, path);
  if (existsSync(target)) return;
  if (path !== '/') makeLike(layer, base, dirname(path));
  mkdirSync(target);
  try {
    const like = statSync(join(base, path));
    chownSync(target, like.uid, like.gid);
    chmodSync(target, like.mode & 0o7777);
  } catch {
    chmodSync(target, 0o755); // the base has none
  }
}

/** Fills the folder `layer`, which must not exist. */
export function makeSkeleton(layer: string, o: SkeletonOptions): void {
  mkdirSync(layer);
  const place = (path: string): string => join(layer, path);
  for (const [path, mode] of MASKED) {
    makeLike(layer, o.base, path);
    chmodSync(place(path), mode);
    opaque(place(path));
  }
  mkdirSync(place('/.teleport-env'));
  copyFileSync(o.init, place('/.teleport-env/init'));
  chmodSync(place('/.teleport-env/init'), 0o755);
  mkdirSync(place(INSIDE_BIN));
  symlinkSync('../init', place(`${INSIDE_BIN}/teleport-env`));
  makeDevices(place('/dev'));
  for (const dir of ['/run/lock', '/run/user']) mkdirSync(place(dir));
  for (const path of HIDDEN) hide(layer, o.base, path);
  maskAccounts(layer, o.base);
  for (const kind of ['rsa', 'ecdsa', 'ed25519', 'dsa']) hide(layer, o.base, `/etc/ssh/ssh_host_${kind}_key`);
  for (const path of o.masked) {
    if (!existsSync(join(o.base, path))) continue;
    makeLike(layer, o.base, path);
    opaque(place(path));
  }
  makeLike(layer, o.base, '/etc');
  writeFileSync(place('/etc/hostname'), `${o.hostname}\n`);
  writeFileSync(place('/etc/hosts'), `127.0.0.1 localhost ${o.hostname}\n::1 localhost ip6-localhost ip6-loopback\n`);
  writeFileSync(place('/etc/resolv.conf'), `nameserver ${DNS_ADDRESS}\noptions timeout:3 attempts:2\n`);
  maskGitConfig(place('/etc/gitconfig'), o);
  makeHome(layer, o);
}

/**
 * Who may become whom, where the administrator allows root inside: root may, and nobody has a password. Without these files PAM
 * and sudo let not even root become anybody.
 */
function maskAccounts(layer: string, base: string): void {
  const passwd = join(base, '/etc/passwd');
  const users = existsSync(passwd) ? readFileSync(passwd, 'latin1').split('\n') : [];
  const names = users.map((line) => line.split(':')[0]!).filter((name) => name !== '' && !name.startsWith('#'));
  const texts: Record<string, string> = {
    '/etc/shadow': names.map((name) => `${name}:*:::::::\n`).join(''),
    '/etc/sudoers': 'root ALL=(ALL:ALL) ALL\n',
  };
  for (const [path, text] of Object.entries(texts)) {
    const like = lstatSync(join(base, path), { throwIfNoEntry: false });
    if (!like) continue;
    makeLike(layer, base, dirname(path));
    writeFileSync(join(layer, path), text, { encoding: 'latin1', mode: 0o400 });
    chownSync(join(layer, path), like.uid, like.gid);
    if (like.isFile()) chmodSync(join(layer, path), like.mode & 0o7777);
  }
}

/** What this machine's git asks for passwords, its users are not asked by inside. A user without a home has their name here. */
function maskGitConfig(place: string, o: SkeletonOptions): void {
  const own = '/etc/gitconfig';
  const there = o.base === '/' && lstatSync(own, { throwIfNoEntry: false })?.isFile();
  const text = there ? readFileSync(own, 'latin1') : '';
  const left = withoutCredentials(text);
  const identity = o.home === '/' ? gitConfig(o.git ?? {}) : '';
  if (left === text && identity === '') return;
  writeFileSync(place, Buffer.concat([Buffer.from(left, 'latin1'), Buffer.from(identity)]));
}

function makeDevices(dev: string): void {
  for (const [name, major, minor] of DEVICES) {
    mknod(join(dev, name), CHARACTER | 0o666, makedev(major, minor));
    chmodSync(join(dev, name), 0o666); // whatever the umask
  }
  for (const [name, target] of LINKS) symlinkSync(target, join(dev, name));
  mkdirSync(join(dev, 'pts'));
  mkdirSync(join(dev, 'shm'));
  chmodSync(join(dev, 'shm'), 0o1777);
}

function hide(layer: string, base: string, path: string): void {
  if (!existsSync(join(base, path))) return;
  makeLike(layer, base, dirname(path));
  if (!existsSync(join(layer, path))) mknod(join(layer, path), CHARACTER, 0);
}

/**
 * The caller's home, empty but for the tool folders that they may see. Those are let through an opaque folder by an absolute
 * redirect, which overlayfs looks up from the root of the layers below.
 */
function makeHome(layer: string, o: SkeletonOptions): void {
  if (o.home === '/') return;
  makeLike(layer, o.base, o.home);
  const home = join(layer, o.home);
  opaque(home);
  chownSync(home, o.uid, o.gid);
  chmodSync(home, 0o750);
  for (const path of o.seen) {
    if (!path.startsWith(`${o.home}/`) || !existsSync(join(o.base, path))) continue;
    makeLike(layer, o.base, path);
    lsetxattr(join(layer, path), 'trusted.overlay.redirect', path);
  }
  const config = gitConfig(o.git ?? {});
  if (config === '') return;
  const file = join(home, '.gitconfig');
  writeFileSync(file, config, { flag: 'wx' });
  chownSync(file, o.uid, o.gid);
}

/** Parts of a home that hold tools and nothing secret, by what stands on PATH. */
const TOOLS: [onPath: RegExp, folder: string][] = [
  [/^\.nvm\//, '.nvm'],
  [/^\.pyenv\//, '.pyenv'],
  [/^\.rbenv\//, '.rbenv'],
  [/^\.volta\//, '.volta'],
  [/^\.asdf\//, '.asdf'],
  [/^\.fnm\//, '.fnm'],
  [/^\.local\/share\/fnm/, '.local/share/fnm'],
  // Programs there are links to what their installers put beside.
  [/^\.local\/bin\//, '.local/bin'],
  [/^\.local\/bin\//, '.local/lib/node_modules'],
  [/^\.local\/bin\//, '.local/share/claude'],
  [/^\.local\/bin\//, '.local/share/uv'],
  [/^\.local\/bin\//, '.local/share/pipx'],
  [/^\.cargo\/bin/, '.cargo/bin'],
  [/^\.cargo\/bin/, '.rustup'],
  [/^\.bun\//, '.bun'],
  [/^\.deno\//, '.deno'],
  [/^\.sdkman\//, '.sdkman'],
];
const NEVER = /^\.(ssh|aws|gnupg|azure|kube|docker|config|netrc|npmrc|password-store|mozilla|git-credentials)(\/|$)/;

/** Folders below `home` that the programs on `path` need. */
export function toolFolders(path: string, home: string): string[] {
  const found = new Set<string>();
  for (const entry of path.split(':')) {
    if (!entry.startsWith(`${home}/`)) continue;
    const below = entry.slice(home.length + 1);
    if (NEVER.test(below) || below.split('/').includes('..')) continue;
    const known = TOOLS.filter(([pattern]) => pattern.test(`${below}/`));
    if (known.length) for (const [, folder] of known) found.add(join(home, folder));
    else if (basename(below) === 'bin') {
      found.add(join(home, below));
      if (dirname(below) !== '.') found.add(join(home, dirname(below), 'lib/node_modules')); // of `npm --prefix`
    }
  }
  return [...found].sort();
}

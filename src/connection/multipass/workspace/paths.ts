/** Folders of this host and their places in the machine, there and back. Plain functions. */
import { createHash } from 'node:crypto';

/** Where folders are brought to. */
export const WORKSPACES = '/workspaces';

/** By folder of the host, its name below {@link WORKSPACES}. */
export type Folders = { readonly [hostFolder: string]: string };

/** Without the separator at the end; a drive's root keeps its own. */
export function normalHost(path: string, platform: NodeJS.Platform): string {
  const slashed = platform === 'win32' ? path.replaceAll('/', '\\') : path;
  const bare = slashed.length > 1 ? slashed.replace(platform === 'win32' ? /\\+$/ : /\/+$/, '') : slashed;
  if (platform !== 'win32') return bare;
  // VS Code writes drive letters small, terminals large.
  return /^[a-z]:/.test(bare) ? bare[0]!.toUpperCase() + bare.slice(1) : bare;
}

/** As the editor spells a path of Windows, with a small drive letter: its own are compared with ours letter by letter. */
export function asEditor(path: string): string {
  return /^[A-Z]:\\/.test(path) ? path[0]!.toLowerCase() + path.slice(1) : path;
}

/** Whether the host's file system, as it usually is, takes two names for one that differ in case. */
function folded(path: string, platform: NodeJS.Platform): string {
  return platform === 'win32' || platform === 'darwin' ? path.toLowerCase() : path;
}

/** The part of `path` below `folder`, with `/`; `''` for itself, null where it isn't below. */
function below(folder: string, path: string, platform: NodeJS.Platform): string | null {
  const separator = platform === 'win32' ? '\\' : '/';
  const [at, whole] = [folded(folder, platform), folded(path, platform)];
  if (whole === at) return '';
  const start = at.endsWith(separator) ? at : `${at}${separator}`;
  if (!whole.startsWith(start)) return null;
  const rest = path.slice(start.length);
  return platform === 'win32' ? rest.replaceAll('\\', '/') : rest;
}

/** A name for a folder that isn't known yet: its own, with a few letters more where another folder has that. */
export function nameFor(hostFolder: string, folders: Folders, platform: NodeJS.Platform): string {
  const own = normalHost(hostFolder, platform);
  const base = own.split(/[\\/]/).filter(Boolean).at(-1) ?? 'root';
  // What a shell, a URI and a prompt show without quoting; letters of all languages stay.
  const name = base.replace(/[^\p{L}\p{N}._-]+/gu, '-').replace(/^[.-]+|[.-]+$/g, '') || 'workspace';
  const taken = Object.entries(folders).some(([folder, other]) => other === name && folder !== own);
  return taken ? `${name}-${createHash('sha256').update(own).digest('hex').slice(0, 4)}` : name;
}

/** The known folder that a path of the host is in, the innermost. */
function folderOf(path: string, folders: Folders, platform: NodeJS.Platform): { folder: string; rest: string } | null {
  const own = normalHost(path, platform);
  const found = Object.keys(folders).flatMap((folder) => {
    const rest = below(folder, own, platform);
    return rest === null ? [] : [{ folder, rest }];
  });
  return found.sort((a, b) => b.folder.length - a.folder.length)[0] ?? null;
}

/** Null where the path is in no known folder. */
export function toMachine(path: string, folders: Folders, platform: NodeJS.Platform): string | null {
  const found = folderOf(path, folders, platform);
  return found && [WORKSPACES, folders[found.folder], found.rest].filter(Boolean).join('/');
}

/** Null where the path is not below a folder of this host: then it is the machine's own. */
export function toHost(path: string, folders: Folders, platform: NodeJS.Platform): string | null {
  if (!path.startsWith(`${WORKSPACES}/`)) return null;
  const [name, ...rest] = path
    .slice(WORKSPACES.length + 1)
    .split('/')
    .filter(Boolean);
  const folder = Object.keys(folders).find((host) => folders[host] === name);
  if (folder === undefined) return null;
  const separator = platform === 'win32' ? '\\' : '/';
  const start = folder.endsWith(separator) ? folder.slice(0, -1) : folder;
  return rest.length === 0 ? folder : [start, ...rest].join(separator);
}

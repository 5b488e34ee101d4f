/**
 * Files of a live branch, changed for whoever has the sandbox: with the rights of the sandbox's user, whom the kernel asks, and
 * between checkpoints. How no path leads out: engine/inside.ts.
 */

import { asUser } from '../engine/as-user.ts';
import { close } from '../engine/at.ts';
import {
  linkInside,
  makeFolderInside,
  openBranchRoot,
  removeInside,
  renameInside,
  writeInside,
} from '../engine/inside.ts';
import { type ErrorCode, TeleportError } from '../protocol/errors.ts';
import type { Parsed } from '../protocol/methods.ts';
import type { Client } from './client.ts';
import type { Sandbox } from './sandbox.ts';

/** Milliseconds of work after which others get their turn. */
const SLICE_MS = 4;

const WORDS: Record<string, [ErrorCode, string]> = {
  ENOENT: ['unknownPath', 'there is no such file'],
  ENOTDIR: ['notADirectory', 'a part of it is not a folder'],
  ELOOP: ['unknownPath', 'it leads through too many symbolic links'],
  EISDIR: ['notAFile', 'it is a folder'],
  EINVAL: ['notAFile', 'it is not a file'],
  EEXIST: ['pathExists', 'there is one already'],
  ENOTEMPTY: ['folderNotEmpty', 'the folder is not empty'],
  ESTALE: ['conflicts', 'it was changed meanwhile'],
  EACCES: ['notAllowed', 'the user of the sandbox may not do that'],
  EPERM: ['notAllowed', 'the user of the sandbox may not do that'],
  EROFS: ['notAllowed', 'it is read-only'],
  EXDEV: ['notAllowed', 'it is on a mount inside the sandbox'],
  EBUSY: ['notAllowed', 'it is in use'],
  ENAMETOOLONG: ['invalidRequest', 'the name is too long'],
  ETXTBSY: ['notAllowed', 'it is a program that runs'],
  ESRCH: ['notRunning', 'the sandbox has ended'],
};

/** The kernel's word in ours; anything else is passed on (a full volume has its own). */
function explained(error: unknown, path: string): unknown {
  const code = (error as NodeJS.ErrnoException).code ?? '';
  const words = WORDS[code];
  return words ? new TeleportError(words[0], `${path}: ${words[1]}`, { cause: error }) : error;
}

type Where = { sandbox: string; branch?: string };
type Find = (client: Client, sandbox: string) => Sandbox;

/** The requests that change files. */
export function fileHandlers(find: Find) {
  /** `work` is synchronous, and has the user's rights and no others. */
  const within = <T>(client: Client, where: Where, path: string, work: (root: number) => T): Promise<T> => {
    const sandbox = find(client, where.sandbox);
    return inBranch(sandbox, where.branch, path, async (root) => asUser(sandbox.record.owner, () => work(root)));
  };
  return {
    'file/write': async (params: Parsed<'file/write'>, client: Client) => {
      const data = Buffer.from(params.data, 'base64');
      const write = (root: number) => writeInside(root, params.path, data, params);
      return { stat: await within(client, params, params.path, write) };
    },
    'file/mkdir': async ({ path, mode, ...where }: Parsed<'file/mkdir'>, client: Client) => {
      await within(client, where, path, (root) => makeFolderInside(root, path, mode));
      return {};
    },
    'file/symlink': async ({ path, target, ...where }: Parsed<'file/symlink'>, client: Client) => {
      await within(client, where, path, (root) => linkInside(root, path, target));
      return {};
    },
    'file/rename': async ({ from, to, overwrite, ...where }: Parsed<'file/rename'>, client: Client) => {
      await within(client, where, from, (root) => renameInside(root, from, to, overwrite));
      return {};
    },
    'file/remove': async ({ path, recursive, ...where }: Parsed<'file/remove'>, client: Client) => {
      const sandbox = find(client, where.sandbox);
      await inBranch(sandbox, where.branch, path, async (root) => {
        const steps = removeInside(root, path, recursive);
        const slice = (): boolean => {
          for (const until = performance.now() + SLICE_MS; performance.now() < until; )
            if (steps.next().done) return true;
          return false;
        };
        try {
          while (!asUser(sandbox.record.owner, slice)) await new Promise(setImmediate);
        } finally {
          steps.return();
        }
      });
      return {};
    },
  };
}

function inBranch<T>(
  sandbox: Sandbox,
  id: string | undefined,
  path: string,
  work: (root: number) => Promise<T>,
): Promise<T> {
  return sandbox.edit(id, async ({ live }) => {
    try {
      const root = openBranchRoot(live.pid, live.startTime);
      try {
        return await work(root);
      } finally {
        close(root);
      }
    } catch (error) {
      throw explained(error, path);
    }
  });
}

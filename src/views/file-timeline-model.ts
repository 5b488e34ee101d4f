import { isAbsolute, posix, relative, sep } from 'node:path';
import type { Checkpoint } from '../../helper/protocol/model.ts';
import { HelperError } from '../connection/errors.ts';
import type { Ask } from '../connection/helper.ts';

/** VS Code's own Timeline, as far as we use it: not in the published types yet, and only in some editors for everybody. */
export interface TimelineApi<Provider, Registered> {
  registerTimelineProvider?(scheme: string[], provider: Provider): Registered;
}

/** Undefined where the editor has no such thing, or not for us: `why` is told of the latter. */
export function offer<Provider, Registered>(
  api: TimelineApi<Provider, Registered>,
  schemes: string[],
  provider: Provider,
  why: (error: unknown) => void,
): Registered | undefined {
  if (typeof api.registerTimelineProvider !== 'function') return undefined;
  try {
    return api.registerTimelineProvider(schemes, provider);
  } catch (error) {
    why(error);
    return undefined;
  }
}

const MOST_STEPS = 60;

/** Of the newest steps those that touched a file, newest first. */
export async function touching(
  ask: Ask,
  sandbox: string,
  newestFirst: readonly Checkpoint[],
  path: string,
): Promise<Checkpoint[]> {
  const steps = newestFirst.filter((c) => c.parent !== null && c.filesChanged > 0).slice(0, MOST_STEPS);
  const touched = await Promise.all(
    steps.map(async ({ parent, id }) => {
      try {
        const { changes } = await ask('diff', { sandbox, from: parent!, to: id, path });
        return changes.length > 0;
      } catch (error) {
        // Deleted meanwhile, and so no entry any more.
        if (error instanceof HelperError && error.code === 'unknownCheckpoint') return false;
        throw error;
      }
    }),
  );
  return steps.filter((_, i) => touched[i]);
}

/** A file of the folder as the sandbox has it; null for one that is elsewhere. */
export function insidePath(folder: string, workspace: string, file: string): string | null {
  const below = relative(folder, file);
  if (below === '' || below === '..' || below.startsWith(`..${sep}`) || isAbsolute(below)) return null;
  return posix.join(workspace, ...below.split(sep));
}
